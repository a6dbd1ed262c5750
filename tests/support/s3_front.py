"""What lies between us and a real store in tests: breaks requests, is slow, and refuses what AWS refuses.

It passes everything on under the host that the client named, so that signatures stay good. Where it plays a
store that does not know a header, it signs the request anew with the bucket's own key.
"""

import asyncio
import io
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from tests.support.seaweed import KEY, SECRET

_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
Fault = Callable[[web.Request], "web.StreamResponse | None"]


class S3Front:
    """A context. Each test sets what it wants to go wrong."""

    def __init__(self, store: str) -> None:
        self._store = store
        self.endpoint = ""
        self.requests: list[tuple[str, str]] = []
        """Method and path of each."""
        self.fail: list[int] = []
        """Statuses that the next requests are answered with."""
        self.delay_s = 0.0
        self.cut_after_bytes: int | None = None
        """The next answer with a longer body is cut off there,"""
        self.cut_what = ""
        """if it is to such a method, where one is named."""
        self.forgets: set[str] = set()
        """Headers that this store does not know."""

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            auto_decompress=False, cookie_jar=DummyCookieJar(), connector=TCPConnector(limit=0)
        )
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.endpoint = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def count(self, method: str, part: str = "") -> int:
        return sum(each == method and part in path for each, path in self.requests)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if "X-Amz-Signature" in request.query and "Authorization" in request.headers:
            return _error(400, "InvalidArgument", "Only one auth mechanism allowed")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.fail:
            await request.read()
            return _error(self.fail.pop(0), "InternalError", "We encountered an internal error.")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body = await request.read()
        url = self._store + request.raw_path
        if self.forgets & {name.lower() for name in headers}:
            url, headers = self._signed_anew(request, headers, body)
        async with self._session.request(
            request.method,
            URL(url, encoded=True),
            headers=headers,
            data=io.BytesIO(body),
            allow_redirects=False,
        ) as answer:
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=passed)
            await response.prepare(request)
            sent = 0
            async for chunk in answer.content.iter_any():
                cuts = self.cut_after_bytes is not None and self.cut_what in ("", request.method)
                if cuts and self.cut_after_bytes is not None and sent + len(chunk) > self.cut_after_bytes:
                    await response.write(chunk[: self.cut_after_bytes - sent])
                    self.cut_after_bytes = None
                    assert request.transport is not None
                    request.transport.close()
                    return response
                sent += len(chunk)
                await response.write(chunk)
            await response.write_eof()
            return response

    def _signed_anew(
        self, request: web.Request, headers: dict[str, str], body: bytes
    ) -> tuple[str, dict[str, str]]:
        kept = {
            name: value
            for name, value in headers.items()
            if name.lower() not in self.forgets
            and name.lower() not in ("authorization", "x-amz-date", "x-amz-content-sha256", "host")
        }
        query = {name: value for name, value in request.query.items() if not name.startswith("X-Amz-")}
        url = str(URL(self._store + request.raw_path.partition("?")[0], encoded=True).with_query(query))
        again = AWSRequest(request.method, url, headers=kept, data=body)
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(again)
        return url, dict(again.headers.items())


def _error(status: int, code: str, message: str) -> web.Response:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
