"""The routes: from a request to what is asked of the service, and back. A bare ASGI application."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, unquote

import msgspec

from gpu_agent.server.feed import Feed
from gpu_agent.server.history import Book
from gpu_agent.server.http import (
    JSON,
    ClientGone,
    Headers,
    Receive,
    Refused,
    Scope,
    Send,
    read_body,
    refuse,
    reply,
)
from gpu_agent.server.orders import (
    SYNC,
    Order,
    Preference,
    input_problems,
    preference,
    read_envelope,
    read_order,
)
from gpu_agent.server.prediction import Past, Prediction
from gpu_agent.server.predictions import Predictions
from gpu_agent.server.service import Service
from gpu_agent.server.sse import last_event_id, stream, takes_json, wants_stream

log = logging.getLogger("cogflare.cog_server")

COG_VERSION = "0.23.1"
"""The Cog whose HTTP API this is a superset of."""
WATCH_AFTER_S = 0.02
"""A client is watched for going away only when its prediction takes longer than this: most do not."""
_HTML = (b"content-type", b"text/html; charset=utf-8")

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


class App:
    """One per process."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.limits = service.settings.limits
        self._streams = 0
        self._pages: dict[str, tuple[str, Handler]] = {
            "/": ("GET", self._discovery),
            "/health-check": ("GET", self._health),
            "/openapi.json": ("GET", self._document),
            "/docs": ("GET", self._docs),
            "/shutdown": ("POST", self._shutdown),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._route(scope, receive, send)
        except Refused as refused:
            await refuse(send, refused)
        except ClientGone:
            pass

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if method == "HEAD":
            method = "GET"
        if path in self._pages:
            allowed, page = self._pages[path]
            if method != allowed:
                raise _not_allowed(allowed)
            await page(scope, receive, send)
            return
        # Of the path as it was sent: an id may have an escaped slash in it.
        collection, *rest = scope["raw_path"].decode("latin-1").strip("/").split("/")
        noun = self._service.nouns.get(collection)
        if noun is None and collection in ("predictions", "trainings", "procedures"):
            raise Refused(404, self._service.elsewhere)
        if noun is None or len(rest) > 2 or (len(rest) == 2 and rest[1] != "cancel"):
            raise Refused(404, "Not Found")
        id = unquote(rest[0]) if rest else None
        match len(rest), method:
            case 0, "POST":
                await self._create(noun, None, scope["headers"], receive, send)
            case 1, "PUT":
                await self._create(noun, id, scope["headers"], receive, send)
            case 1, "GET":
                await self._get(noun, id or "", scope["headers"], receive, send)
            case 2, "POST":
                await self._cancel(noun, id or "", send)
            case _:
                raise _not_allowed(("POST", "GET, PUT", "POST")[len(rest)])

    # --- pages ------------------------------------------------------------------------------------------

    async def _discovery(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = {
            "cog_version": COG_VERSION,
            "docs_url": "/docs",
            "openapi_url": "/openapi.json",
            "shutdown_url": "/shutdown",
            "healthcheck_url": "/health-check",
            **self._service.routes(),
        }
        await reply(send, 200, msgspec.json.encode(found))

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 200, await self._service.health())

    async def _document(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        await reply(send, 200, self._service.document(query))

    async def _docs(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 200, self._service.page, [_HTML])

    async def _shutdown(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 200, b"{}")
        log.info("leaving: POST /shutdown")
        self._service.leaving.set()

    # --- predictions and trainings ----------------------------------------------------------------------

    async def _create(
        self, noun: str, id: str | None, headers: Headers, receive: Receive, send: Send
    ) -> None:
        book = self._service.book(noun)
        body = await read_body(headers, receive, self.limits.body_bytes)
        envelope = read_envelope(headers, body)
        line = self._service.line(noun, envelope.context or {})
        order = read_order(envelope, headers, body, line.door, id)
        streams = self._streaming(line, headers)
        known = None if id is None else self._known(book, order)
        if known is not None and streams and known.feed is not None:
            self._check_room()
            await self._stream(known, headers, receive, send)
        elif known is not None:
            await reply(send, 200 if known.ended else 202, known.document())
        else:
            if streams:
                self._check_room()
            prediction, line = await self._service.create(line, order)
            if streams:
                line.launch(prediction)
                if await self._yields(prediction, line, headers, receive):
                    await self._stream(prediction, headers, receive, send, made_here=True)
                    return
            await self._hold(prediction, line, preference(headers), receive, send, launched=streams)

    def _known(self, book: Book, order: Order) -> Prediction | Past | None:
        """The prediction that this PUT repeats: one that runs, or one that did the same and succeeded."""
        found = book.get(order.id)
        if found is None or not found.ended:
            return found
        return found if found.status == "succeeded" and found.digest == order.digest else None

    async def _hold(
        self,
        prediction: Prediction,
        predictions: Predictions,
        prefer: Preference,
        receive: Receive,
        send: Send,
        *,
        launched: bool = False,
    ) -> None:
        """Answer at the end of the prediction, or when the client does not want to wait any longer."""
        if prefer is SYNC and not launched:
            await _attend(prediction, predictions, receive)
        else:
            if not launched:
                predictions.launch(prediction)
            await _wait(prediction, receive, prefer)
        headers = [JSON]
        if prefer.wait_s is not None:
            headers.append((b"preference-applied", b"wait=%d" % prefer.wait_s))
        elif prefer.respond_async:
            headers.append((b"preference-applied", b"respond-async"))
        if prediction.problems:
            raise Refused(422, prediction.problems)
        if prediction.refused_input:
            raise Refused(422, input_problems(prediction.refused_input, predictions.input_names))
        # Nobody reads it when the client has gone.
        await reply(send, 200 if prediction.ended else 202, prediction.document(), headers)

    async def _get(self, noun: str, id: str, headers: Headers, receive: Receive, send: Send) -> None:
        found = self._service.book(noun).get(id)
        if found is None:
            raise Refused(404, f"there is no {noun} with this id, or it ended too long ago")
        if wants_stream(headers) and found.feed is not None:
            self._check_room()
            await self._stream(found, headers, receive, send)
        else:
            await reply(send, 200, found.document())

    async def _cancel(self, noun: str, id: str, send: Send) -> None:
        found = self._service.book(noun).running(id)
        if found is None:
            raise Refused(404, f"no {noun} with this id is running")
        found.cancel()
        await reply(send, 200, b"{}")

    # --- streams ----------------------------------------------------------------------------------------

    def _streaming(self, predictions: Predictions, headers: Headers) -> bool:
        """Whether the answer is an event stream. Raises ``Refused`` if it must be one and cannot."""
        if not wants_stream(headers):
            return False
        if predictions.door.streams:
            return True
        if takes_json(headers):
            return False
        raise _nothing_to_stream()

    async def _yields(
        self, prediction: Prediction, predictions: Predictions, headers: Headers, receive: Receive
    ) -> bool:
        """The same of a prediction that has been taken on, once its model is known."""
        if not predictions.known.is_set():
            watcher = _Watcher(receive, prediction.cancel)
            try:
                await _first(predictions.known.wait(), prediction.until_ended())
            finally:
                watcher.stop()
            if prediction.problems:
                raise Refused(422, prediction.problems)
        if predictions.door.streams:
            return True
        if takes_json(headers):
            return False
        prediction.cancel()
        raise _nothing_to_stream()

    def _check_room(self) -> None:
        if self._streams >= self.limits.streams:
            raise Refused(429, f"{self._streams} streams are open, the most that may (--streams)")

    async def _stream(
        self,
        prediction: Prediction | Past,
        headers: Headers,
        receive: Receive,
        send: Send,
        *,
        made_here: bool = False,
    ) -> None:
        feed = prediction.feed
        assert feed is not None
        last = last_event_id(headers)
        self._streams += 1
        feed.streams += 1
        feed.owned = feed.owned or made_here
        try:
            after = feed.start() if last is None else min(last, feed.last)
            await stream(feed, after, receive, send, self.limits.stream_heartbeat_s)
        finally:
            self._streams -= 1
            feed.streams -= 1
            if isinstance(prediction, Prediction) and feed.owned and not feed.streams:
                linger_s = self.limits.stream_linger_s
                asyncio.get_running_loop().call_later(linger_s, _cancel_if_alone, prediction, feed)


def _cancel_if_alone(prediction: Prediction, feed: Feed) -> None:
    if not feed.streams:
        prediction.cancel()


async def _attend(prediction: Prediction, predictions: Predictions, receive: Receive) -> None:
    """Run the prediction for a client that waits for it: without that client it is of no use."""
    watcher = _Watcher(receive, prediction.cancel)
    try:
        await predictions.attend(prediction)
    finally:
        watcher.stop()


async def _wait(prediction: Prediction, receive: Receive, prefer: Preference) -> None:
    """Wait as long as the client wants to. One that goes away, and has not asked for more, is not served."""
    if prefer.hold_s == 0.0:
        return
    ended = prediction.until_ended()
    watcher = _Watcher(receive, _nothing if prefer.respond_async else prediction.cancel)
    try:
        await asyncio.wait((ended,), timeout=prefer.hold_s)
    finally:
        watcher.stop()


async def _first(*things: Awaitable[object]) -> None:
    """Wait for the first of them; leave the others."""
    waits = [asyncio.ensure_future(thing) for thing in things]
    try:
        await asyncio.wait(waits, return_when="FIRST_COMPLETED")
    finally:
        for wait in waits:
            wait.cancel()


class _Watcher:
    """Calls ``gone`` when the client goes away."""

    def __init__(self, receive: Receive, gone: Callable[[], None]) -> None:
        self._receive = receive
        self._gone = gone
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            self._task = None


def _nothing() -> None:
    pass


def _nothing_to_stream() -> Refused:
    return Refused(406, "this model does not yield, so there is nothing to stream: ask for application/json")


def _not_allowed(allowed: str) -> Refused:
    return Refused(405, "Method Not Allowed", [(b"allow", allowed.encode())])
