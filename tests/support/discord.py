"""Discord on loopback: its REST API and its gateway, on real sockets, for a bot that runs as a process.

It is as strict as Discord where bots go wrong: a command must be acknowledged within three seconds, once; its
token ends; a message is edited five times in five seconds; who has no right to a channel cannot write there.
"""

import asyncio
import json
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.support import discord_shapes as shapes
from tests.support.commands import until
from tests.support.discord_shapes import Document
from tests.support.threads import start_deaf

ACKNOWLEDGE_S = 3.0
EDITS, IN_S = 5, 5.0
LONGEST = 2000
UPLOAD_BYTES = 10485760
TOKEN = "the-bots-token"
HEARTBEAT_MS = 41250
THINKING = 128
"""The flag of a message that is not there yet."""


@dataclass(frozen=True)
class Edit:
    """The message as it was after one edit. ``at`` is of the monotonic clock."""

    at: float
    content: str
    buttons: dict[str, str]
    """The custom id of each, by its label."""
    files: dict[str, bytes]
    by_token: bool
    """As an answer to the command, not as the bot itself."""


@dataclass
class Asked:
    """An interaction, and what became of it."""

    document: Document
    sent_at: float
    callbacks: list[Document] = field(default_factory=list)
    message: Document = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    followups: list[Document] = field(default_factory=list)
    expired: bool = False
    """Its token is good for no edit any more."""
    deleted: bool = False

    def reaches(self, holds: Callable[[Edit], object], what: str) -> Edit:
        """The first edit of which this holds, waited for."""
        try:
            return until(lambda: next((one for one in list(self.edits) if holds(one)), None), what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {[one.content for one in self.edits]}") from None

    def acknowledged(self) -> Document:
        until(lambda: self.callbacks, "the interaction is acknowledged", ACKNOWLEDGE_S)
        return self.callbacks[0]


class Discord:
    """``commands`` are what the bot registered, ``refusals`` what Discord said no to."""

    def __init__(self) -> None:
        self.commands: list[Document] = []
        self.asked: list[Asked] = []
        self.identified: list[Document] = []
        self.resumed: list[Document] = []
        self.heartbeats = 0
        self.refusals: list[str] = []
        self.may_write = True
        """The bot's own right in the channel."""
        self.port = 0
        self._files: dict[str, bytes] = {}
        self._gateway: web.WebSocketResponse | None = None
        self._send: Callable[[Document], Awaitable[None]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sequence = 0

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v10"

    def command(self, name: str, asker: Document = shapes.ANNA, **options: str | int) -> Asked:
        """Somebody types a command."""
        registered = next(one for one in self.commands if one["name"] == name)
        return self._ask(shapes.command(registered, options, asker))

    def press(self, label: str, under: Asked, asker: Document = shapes.ANNA) -> Asked:
        """Somebody presses a button of the message as it is now."""
        pressed = shapes.press(under.edits[-1].buttons[label], under.message, asker)
        return self._ask(pressed, under.message)

    def cut(self) -> None:
        """Close the gateway's connection, as Discord does now and then; a bot then resumes its session."""
        assert self._loop is not None
        assert self._gateway is not None
        asyncio.run_coroutine_threadsafe(self._gateway.close(code=4000), self._loop).result(10)

    def _ask(self, document: Document, message: Document | None = None) -> Asked:
        assert self._loop is not None
        asked = Asked(document, time.monotonic(), message=message or {})
        self.asked.append(asked)
        asyncio.run_coroutine_threadsafe(self.dispatch("INTERACTION_CREATE", document), self._loop).result(10)
        return asked

    async def dispatch(self, event: str, data: Mapping[str, Any]) -> None:
        assert self._send is not None, "no bot is connected"
        self._sequence += 1
        await self._send({"op": 0, "t": event, "s": self._sequence, "d": data})

    # The gateway

    async def gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=1)
        await socket.prepare(request)
        compress = zlib.compressobj() if request.query.get("compress") == "zlib-stream" else None

        async def send(frame: Document) -> None:
            text = json.dumps(frame)
            if compress is None:
                await socket.send_str(text)
            else:
                await socket.send_bytes(compress.compress(text.encode()) + compress.flush(zlib.Z_SYNC_FLUSH))

        self._gateway = socket
        await send({"op": 10, "t": None, "s": None, "d": {"heartbeat_interval": HEARTBEAT_MS}})
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            await self._take(socket, send, json.loads(frame.data))
        return socket

    async def _take(
        self, socket: web.WebSocketResponse, send: Callable[[Document], Awaitable[None]], frame: Document
    ) -> None:
        op, data = frame["op"], frame["d"]
        if op == 1:
            self.heartbeats += 1
            await send({"op": 11, "t": None, "s": None, "d": None})
        elif op in (2, 6) and data["token"] != TOKEN:
            await socket.close(code=4004, message=b"Authentication failed.")
        elif op == 2:
            self._send = send
            self.identified.append(data)
            here = f"ws://127.0.0.1:{self.port}/gateway"
            await self.dispatch("READY", shapes.ready("a-session", here, data.get("shard", [0, 1])))
            await self.dispatch("GUILD_CREATE", shapes.guild())
        elif op == 6:
            self._send = send
            self.resumed.append(data)
            await self.dispatch("RESUMED", {"_trace": []})

    # REST of the bot itself

    async def me(self, request: web.Request) -> web.Response:
        return _json(shapes.BOT)

    async def application(self, request: web.Request) -> web.Response:
        return _json(shapes.application())

    async def gateway_bot(self, request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 999, "reset_after": 14400000, "max_concurrency": 1}
        url = f"ws://127.0.0.1:{self.port}/gateway"
        return _json({"url": url, "shards": 1, "session_start_limit": limit})

    async def put_commands(self, request: web.Request) -> web.Response:
        known = {"application_id": shapes.APPLICATION, "version": shapes.snowflake()}
        self.commands = [{**one, **known, "id": shapes.snowflake()} for one in await request.json()]
        return _json(self.commands)

    # Interactions

    async def callback(self, request: web.Request) -> web.Response:
        asked = self._asked(request.match_info["token"])
        late_s = time.monotonic() - asked.sent_at
        if late_s > ACKNOWLEDGE_S or asked.document["id"] != request.match_info["id"]:
            return self._refuse(404, 10062, "Unknown interaction")
        if asked.callbacks:
            return self._refuse(400, 40060, "Interaction has already been acknowledged.")
        body = await request.json()
        if body["type"] == 5:
            asked.message = shapes.message(shapes.snowflake(), _asker(asked), flags=THINKING)
        asked.callbacks.append(body)
        if request.query.get("with_response") not in ("true", "True", "1"):
            return web.Response(status=204)
        about = {"id": asked.document["id"], "type": asked.document["type"]}
        if not asked.message:
            return _json({"interaction": about})
        about.update(response_message_id=asked.message["id"], response_message_loading=body["type"] == 5)
        resource = {"type": body["type"]} | ({"message": asked.message} if body["type"] == 5 else {})
        return _json({"interaction": about, "resource": resource})

    async def edit_original(self, request: web.Request) -> web.Response:
        asked = self._asked(request.match_info["token"])
        if asked.expired:
            return self._refuse(401, 50027, "Invalid Webhook Token")
        return await self._edit(asked, request, by_token=True)

    async def edit_message(self, request: web.Request) -> web.Response:
        if not self.may_write:
            return self._refuse(403, 50001, "Missing Access")
        id = request.match_info["id"]
        asked = next(one for one in self.asked if one.message.get("id") == id)
        return await self._edit(asked, request, by_token=False)

    async def follow_up(self, request: web.Request) -> web.Response:
        asked = self._asked(request.match_info["token"])
        if not asked.callbacks:
            return self._refuse(404, 10015, "Unknown Webhook")
        body = await request.json()
        asked.followups.append(body)
        said = {"content": body["content"], "flags": body.get("flags", 0)}
        return _json(shapes.message(shapes.snowflake(), _asker(asked)) | said)

    async def _edit(self, asked: Asked, request: web.Request, *, by_token: bool) -> web.Response:
        if asked.deleted or not asked.message:
            return self._refuse(404, 10008, "Unknown Message")
        recent = [one.at for one in asked.edits if one.at > time.monotonic() - IN_S]
        if len(recent) >= EDITS:
            wait_s = recent[0] + IN_S - time.monotonic()
            self.refusals.append("429 You are being rate limited.")
            limited = {"message": "You are being rate limited.", "retry_after": wait_s, "global": False}
            return _json(limited, status=429, headers={"Via": "1.1 google"})
        changes, uploads = await _read(request)
        if len(changes.get("content") or "") > LONGEST:
            return self._refuse(400, 50035, "Invalid Form Body")
        if sum(len(content) for _, content in uploads.values()) > UPLOAD_BYTES:
            return self._refuse(413, 40005, "Request entity too large")
        self._change(asked.message, changes, uploads)
        edit = Edit(
            time.monotonic(),
            asked.message["content"],
            {
                one["label"]: one["custom_id"]
                for row in asked.message["components"]
                for one in row["components"]
            },
            {one["filename"]: self._files[one["id"]] for one in asked.message["attachments"]},
            by_token,
        )
        asked.edits.append(edit)
        reset_s = (recent or [edit.at])[0] + IN_S - edit.at
        bucket = {"Limit": EDITS, "Remaining": EDITS - len(recent) - 1, "Reset-After": f"{reset_s:.3f}"}
        headers = {f"X-RateLimit-{name}": str(value) for name, value in bucket.items()}
        return _json(asked.message, headers=headers)

    def _change(self, message: Document, changes: Document, uploads: dict[str, tuple[str, bytes]]) -> None:
        message["flags"] &= ~THINKING
        message["content"] = changes.get("content", message["content"]) or ""
        message["components"] = changes.get("components", message["components"]) or []
        if "attachments" not in changes and not uploads:
            return
        listed = {str(one["id"]) for one in changes.get("attachments", message["attachments"])}
        kept = [one for one in message["attachments"] if one["id"] in listed]
        for name, content in uploads.values():
            new = shapes.attachment(name, content, f"https://cdn.discordapp.com/attachments/{name}")
            self._files[new["id"]] = content
            kept.append(new)
        message["attachments"] = kept

    def _asked(self, token: str) -> Asked:
        return next(one for one in self.asked if one.document["token"] == token)

    def _refuse(self, status: int, code: int, message: str) -> web.Response:
        self.refusals.append(f"{status} {message}")
        return _json({"message": message, "code": code}, status=status)

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[_authorized], client_max_size=4 * UPLOAD_BYTES)
        bot = "/api/v10"
        app.router.add_get("/gateway/", self.gateway)
        app.router.add_get("/gateway", self.gateway)
        app.router.add_get(f"{bot}/users/@me", self.me)
        app.router.add_get(f"{bot}/oauth2/applications/@me", self.application)
        app.router.add_get(f"{bot}/gateway/bot", self.gateway_bot)
        app.router.add_put(f"{bot}/applications/{shapes.APPLICATION}/commands", self.put_commands)
        app.router.add_post(f"{bot}/interactions/{{id}}/{{token}}/callback", self.callback)
        webhook = f"{bot}/webhooks/{shapes.APPLICATION}/{{token}}"
        app.router.add_post(webhook, self.follow_up)
        app.router.add_patch(f"{webhook}/messages/@original", self.edit_original)
        app.router.add_patch(f"{bot}/channels/{shapes.CHANNEL}/messages/{{id}}", self.edit_message)
        return app

    async def serve(self, ready: threading.Event, over: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        runner = web.AppRunner(self._app(), shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await over.wait()
        if self._gateway is not None:
            await self._gateway.close(code=1001)
        await runner.cleanup()


@web.middleware
async def _authorized(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A path with a token of its own needs no other."""
    own = any(part in request.path for part in ("/gateway", "/webhooks/", "/interactions/"))
    if request.path.endswith("/gateway/bot"):
        own = False
    if not own and request.headers.get("Authorization") != f"Bot {TOKEN}":
        return _json({"message": "401: Unauthorized", "code": 0}, status=401)
    return await handler(request)


def _json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Of the type exactly as Discord names it: clients compare it."""
    body = json.dumps(document).encode()
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


async def _read(request: web.Request) -> tuple[Document, dict[str, tuple[str, bytes]]]:
    """An edit's changes, and its files as name and content by field."""
    if request.content_type != "multipart/form-data":
        return await request.json(), {}
    changes: Document = {}
    uploads: dict[str, tuple[str, bytes]] = {}
    async for part in await request.multipart():
        content = bytes(await part.read())
        if part.name == "payload_json":
            changes = json.loads(content)
        else:
            uploads[part.name] = (part.filename, content)
    return changes, uploads


def _asker(asked: Asked) -> Document:
    found: Document = asked.document["member"]["user"]
    return found


@contextmanager
def discord() -> Iterator[Discord]:
    """Discord for the length of the block, in a thread of its own."""
    found, ready = Discord(), threading.Event()
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        await found.serve(ready, over)

    thread = start_deaf(threading.Thread(target=lambda: asyncio.run(serve()), name="discord", daemon=True))
    assert ready.wait(10)
    try:
        yield found
    finally:
        stop[0]()
        thread.join(10)
