"""Replicate's HTTP API as a provider. Another Cogflare speaks the same, so it is one too, by another URL.

Shapes and statuses: Replicate's OpenAPI document. ``aborted``, which it says of a prediction that did not
start before its deadline, is a cancel here.
"""

import logging
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from msgspec import Raw

from coordinator.overflow.provider import (
    BadKey,
    Gone,
    NoModel,
    NotReached,
    OutOfCredit,
    ProviderError,
    Rejected,
    Remote,
    RemoteModel,
    RemoteVersion,
    Status,
    Throttled,
    Unreachable,
    Wanted,
)
from coordinator.protocol.names import valid_version
from coordinator.tls import client_context

log = logging.getLogger(__name__)

T = TypeVar("T")

REPLICATE_URL = "https://api.replicate.com"
DELIVERY = ".replicate.delivery"
"""Where Replicate's output files are, for an hour."""
_FILES = ("/files/", "/v1/files/", "/outputs/")
"""Where those of another Cogflare are."""
CONNECT_S = 5.0
ANSWER_S = 30.0
"""It answers a creation within seconds; ``Prefer: wait`` is never asked for."""
ANSWER_BYTES = 64 * 1024 * 1024
VERSION_PAGES = 4
"""Pages of a model's versions that are read."""
FIND_PAGES = 10
"""Pages of a hundred that are looked through for a prediction whose id is not known."""
RETRY_AFTER_S = 30.0
"""After a 429 that does not say."""
NEWEST_S = 300.0
"""How long the newest version of a model is taken for that."""
_LONGEST_DEADLINE_S = 24 * 3600
_SHORTEST_DEADLINE_S = 5
_DETAIL = 1000
_HIDDEN = "hidden"
_BAD_WEBHOOK = "webhook"
"""What the detail of a 422 names when the provider does not send any there."""
_BAD_VERSION = "Invalid version"
"""What the detail of a 422 says that is not about the input."""
_MASK = re.compile(r"\*{3,}|[\[<(]?redacted[\])>]?", re.IGNORECASE)
_STATUSES: Mapping[str, Status] = {
    "starting": "starting",
    "processing": "processing",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
    "aborted": "canceled",
}


class _Prediction(msgspec.Struct):
    id: str
    status: str
    model: str | None = None
    version: str | None = None
    input: Any = None
    output: Raw = Raw(b"null")
    error: Any = None
    logs: str | None = None
    metrics: dict[str, Raw] | None = None
    created_at: str | None = None
    started_at: str | None = None


class _Page(msgspec.Struct):
    results: list[_Prediction]
    next: str | None = None


class _Version(msgspec.Struct):
    id: str
    created_at: str | None = None
    cog_version: str | None = None
    openapi_schema: Raw = Raw(b"null")


class _Versions(msgspec.Struct):
    results: list[_Version]
    next: str | None = None


class _Model(msgspec.Struct):
    owner: str
    name: str
    description: str | None = None
    visibility: str | None = None
    is_official: bool | None = None
    run_count: int | None = None
    latest_version: _Version | None = None
    github_url: str | None = None
    paper_url: str | None = None
    license_url: str | None = None
    weights_url: str | None = None
    cover_image_url: str | None = None


_LINKS = ("github_url", "paper_url", "license_url", "weights_url", "cover_image_url")


class Replicate:
    """See ``Provider``. ``url`` is without ``/v1``."""

    def __init__(
        self,
        url: str = REPLICATE_URL,
        *,
        name: str = "replicate",
        answer_s: float = ANSWER_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._origin = _origin(url)
        self._http = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/v1",
            timeout=httpx.Timeout(answer_s, connect=CONNECT_S),
            headers={"User-Agent": "cogflare"},
            follow_redirects=False,
            verify=client_context(),
            transport=transport,
        )
        self._newest: dict[str, tuple[str, float]] = {}
        """Version by model, and until when; empty for a model that has none to name."""
        self._tells = True

    @property
    def tells(self) -> bool:
        return self._tells

    async def create(self, key: str, wanted: Wanted) -> Remote:
        path, body = "/predictions", {"input": Raw(wanted.input)}
        if version := wanted.version or await self._newest_of(key, wanted.model):
            body["version"] = Raw(msgspec.json.encode(version))
        else:  # an official model, which is asked for by its name
            path = f"/models/{quote(wanted.model)}/predictions"
        if wanted.webhook and self._tells:
            body["webhook"] = Raw(msgspec.json.encode(wanted.webhook))
            body["webhook_events_filter"] = Raw(b'["completed"]')
        seconds = min(max(wanted.run_s, _SHORTEST_DEADLINE_S), _LONGEST_DEADLINE_S)
        headers = {"Cancel-After": f"{seconds:.0f}"}
        try:
            content = await self._begun(path, key, body, headers)
        except Rejected as error:
            if _BAD_VERSION in str(error):
                raise NoModel(f"{error} ({wanted.model}:{wanted.version or 'newest'})") from None
            raise
        return _remote(_decoded(content, _Prediction))

    async def _begun(self, path: str, key: str, body: dict[str, Raw], headers: Mapping[str, str]) -> bytes:
        """The answer; without a webhook from now on if that is what the provider does not want: a Cogflare,
        for one, sends none to private addresses."""
        try:
            return await self._ask("POST", path, key, body=body, headers=headers)
        except Rejected as error:
            if "webhook" not in body or _BAD_WEBHOOK not in str(error):
                raise
            log.warning("overflow: no webhooks from %s, it is asked for each end: %s", self.name, error)
        plain = {name: value for name, value in body.items() if not name.startswith("webhook")}
        answer = await self._ask("POST", path, key, body=plain, headers=headers)
        self._tells = False
        return answer

    async def _newest_of(self, key: str, model: str) -> str:
        version, until = self._newest.get(model, ("", 0.0))
        if until < time.monotonic():
            try:
                found = await self.model(key, model)
            except Unreachable as error:
                raise NotReached(str(error)) from None
            if found is None:
                raise NoModel(f"{self.name} has no model {model}")
            version = found.version
            self._newest[model] = version, time.monotonic() + NEWEST_S
        return version

    async def get(self, key: str, id: str) -> Remote:
        try:
            content = await self._ask("GET", f"/predictions/{quote(id, safe='')}", key)
        except Rejected as error:
            raise Gone(str(error)) from None
        return _remote(_decoded(content, _Prediction))

    async def cancel(self, key: str, id: str) -> None:
        try:
            await self._ask("POST", f"/predictions/{quote(id, safe='')}/cancel", key)
        except Rejected as error:
            raise Gone(str(error)) from None

    async def find(self, key: str, wanted: Wanted, since: int, known: frozenset[str]) -> Remote | None:
        given, found = msgspec.json.decode(wanted.input), None
        after = datetime.fromtimestamp(since / 1e6, UTC).isoformat().replace("+00:00", "Z")
        path: str | None = f"/predictions?created_after={quote(after)}"
        for _ in range(FIND_PAGES):
            if path is None:
                break
            page = _decoded(await self._ask("GET", path, key), _Page)
            for each in page.results:
                same = _shows(each.input, given) and each.id not in known and _is_of(each, wanted)
                if same and (_time(each.created_at) or since) >= since:
                    found = each  # pages are newest first: the last one is the oldest
            path = _next("/predictions", page.next)
        return None if found is None else await self.get(key, found.id)

    async def model(self, key: str, name: str) -> RemoteModel | None:
        try:
            content = await self._ask("GET", f"/models/{quote(name)}", key)
        except Rejected:
            return None
        found = _decoded(content, _Model)
        latest = None if found.latest_version is None else _version(found.latest_version)
        # What an official model runs has an id, too, but only some of these are taken.
        named = latest is not None and valid_version(latest.id) and not found.is_official
        return RemoteModel(
            name=f"{found.owner}/{found.name}",
            latest=latest,
            version=latest.id if latest is not None and named else "",
            description=found.description or "",
            private=found.visibility == "private",
            run_count=found.run_count or 0,
            links={name: link for name in _LINKS if (link := getattr(found, name))},
        )

    async def version(self, key: str, name: str, id: str) -> RemoteVersion | None:
        try:
            content = await self._ask("GET", f"/models/{quote(name)}/versions/{quote(id, safe='')}", key)
        except Rejected:
            return None
        return _version(_decoded(content, _Version))

    async def versions(self, key: str, name: str) -> list[RemoteVersion]:
        path, found = f"/models/{quote(name)}/versions", list[RemoteVersion]()
        following: str | None = path
        for _ in range(VERSION_PAGES):
            if following is None:
                break
            try:
                page = _decoded(await self._ask("GET", following, key), _Versions)
            except Rejected:
                break
            found += map(_version, page.results)
            following = _next(path, page.next)
        return found

    async def model_of(self, key: str, version: str) -> str | None:
        page = _decoded(await self._ask("GET", "/predictions", key), _Page)
        return next((each.model for each in page.results if each.version == version and each.model), None)

    def owns(self, url: str) -> bool:
        return _origin(url) == self._origin

    def delivers(self, url: str) -> bool:
        scheme, host = _origin(url)
        of_replicate = scheme == "https" and f".{host}".endswith(DELIVERY)
        return of_replicate or (self.owns(url) and urlsplit(url).path.startswith(_FILES))

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        key: str,
        *,
        body: Mapping[str, Raw] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of a good answer. Raises ProviderError; Rejected also for what there is not."""
        content = None if body is None else msgspec.json.encode(body)
        sent = {"Authorization": f"Bearer {key}", **(headers or {})}
        if content is not None:
            sent["Content-Type"] = "application/json"
        try:
            request = self._http.build_request(method, path, content=content, headers=sent)
            answer = await self._http.send(request, stream=True)
            try:
                data = await _read(answer)
            finally:
                await answer.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotReached(f"{self.name} cannot be reached: {type(error).__name__}") from None
        except httpx.TimeoutException:
            raise Unreachable(f"{self.name} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"{self.name} cannot be reached: {type(error).__name__}") from None
        if answer.is_success:
            return data
        raise self._error(answer, data)

    def _error(self, answer: httpx.Response, data: bytes) -> ProviderError:
        status, said = answer.status_code, f"{self.name} says: {_detail(data) or answer.reason_phrase}"
        if status in (401, 403):
            return BadKey(said)
        if status == 402:
            return OutOfCredit(said)
        if status == 429:
            return Throttled(said, _retry_after_s(answer, data))
        if 400 <= status < 500 and status not in (408, 409, 425):
            return Rejected(said)
        return Unreachable(f"{said} ({status})")


async def _read(answer: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in answer.aiter_bytes():
        size += len(part)
        if size > ANSWER_BYTES:
            raise httpx.DecodingError("the answer is too large")
        parts.append(part)
    return b"".join(parts)


def _decoded(content: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreachable(f"the answer was not understood: {error}") from None


def _next(path: str, url: str | None) -> str | None:
    """The following page. Only the query is taken: the key goes to nobody whom an answer names."""
    query = urlsplit(url or "").query
    return f"{path}?{query}" if query else None


def _version(found: _Version) -> RemoteVersion:
    schema = bytes(found.openapi_schema)
    return RemoteVersion(
        id=found.id,
        openapi_schema=b"{}" if schema == b"null" else schema,
        cog_version=found.cog_version or "",
        created_at=_time(found.created_at) or 0,
    )


def _remote(found: _Prediction) -> Remote:
    status = _STATUSES.get(found.status)
    if status is None:
        raise Unreachable(f"the answer was not understood: a status {found.status[:40]!r}")
    return Remote(
        id=found.id,
        status=status,
        version="" if found.version in (None, _HIDDEN) else str(found.version),
        output=found.output,
        error=_text(found.error),
        logs=found.logs or "",
        metrics=found.metrics or {},
        started_at=_time(found.started_at),
    )


def _shows(shown: Any, given: dict[str, Any]) -> bool:
    """Whether it may be what was given: a provider does not show secrets."""
    return shown == given or (
        isinstance(shown, dict)
        and shown.keys() == given.keys()
        and all(value == given[name] or _is_mask(value) for name, value in shown.items())
    )


def _is_mask(value: Any) -> bool:
    return isinstance(value, str) and _MASK.fullmatch(value) is not None


def _is_of(found: _Prediction, wanted: Wanted) -> bool:
    """Whether it may be of the wanted model: what the provider leaves out says nothing."""
    if wanted.version and found.version not in (None, _HIDDEN):
        return found.version == wanted.version
    return found.model in (None, wanted.model)


def _origin(url: str) -> tuple[str, str]:
    """(scheme, host and port); empty for what is no URL of the web."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return (parts.scheme, parts.netloc.lower()) if parts.scheme in ("http", "https") else ("", "")


def _time(text: str | None) -> int | None:
    """Microseconds since the epoch; None for what is no time."""
    try:
        return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1e6)
    except ValueError:
        return None


def _text(error: Any) -> str | None:
    if error is None or isinstance(error, str):
        return error
    return msgspec.json.encode(error).decode()


def _detail(data: bytes) -> str:
    """What a problem document says, on one line."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    detail = body.get("detail") or body.get("title") if isinstance(body, dict) else None
    return " ".join(detail.split())[:_DETAIL] if isinstance(detail, str) else ""


def _retry_after_s(answer: httpx.Response, data: bytes) -> float:
    text = answer.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return RETRY_AFTER_S
    said = body.get("retry_after") if isinstance(body, dict) else None
    return float(said) if isinstance(said, int | float) and said >= 0 else RETRY_AFTER_S
