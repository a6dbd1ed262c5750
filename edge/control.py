"""The control socket: how ``cogflare token``, ``worker``, ``dead`` and ``status`` talk to the running server.

``DATA/control.sock`` is a Unix socket of mode 0600 in a directory of mode 0700: whoever can open it may give
any order. One connection carries one order and its answer, each one line of JSON.
"""

import asyncio
import contextlib
import logging
import os
import pwd
import shutil
import socket
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

log = logging.getLogger(__name__)

LINE_BYTES = 32 * 1024 * 1024
"""Longest order: an import of some 100,000 tokens."""
ANSWER_S = 15.0
ADDRESS_BYTES = 100
"""Longest path that every system takes as the address of a Unix socket (macOS 103, Linux 107)."""


class CreateToken(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="token.create"):
    name: str
    account: str = "default"
    scopes: tuple[str, ...] = ("submit", "read")
    pools: tuple[str, ...] = ("default",)
    models: tuple[str, ...] = ()
    expire_s: float | None = None
    worker: str | None = None
    share: float = 1.0
    max_running: int = 0
    creations_per_min: int | None = None
    requests_per_min: int | None = None
    retention_s: float | None = None
    daily_predictions: int | None = None
    daily_run_s: float | None = None
    daily_budget: float | None = None
    overflow_per_day: int | None = None
    overflow_cost_per_day: float | None = None
    replicate: str | None = None


class ImportedToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a Cogflare of 2022 kept of one token. ``label`` names it without giving it away."""

    label: str
    secret: str
    allow: bool
    replicate: str | None = None
    worker: str | None = None


class ImportTokens(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="token.import"):
    account: str
    entries: tuple[ImportedToken, ...]
    skip_bad: bool = False
    dry_run: bool = False


class ListTokens(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="token.list"):
    account: str | None = None
    token: str | None = None
    """Only this one, by id or name, which must exist."""
    after: tuple[int, str] | None = None
    limit: int | None = None
    """A page of them; None for all."""


class SetToken(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="token.set"):
    token: str
    changes: dict[str, Any]
    """Fields of ``token_changes.CHANGEABLE``; ``expire_s`` from now in place of ``expires_at``, None for no
    end."""
    account: str | None = None


class RotateToken(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="token.rotate"):
    token: str
    overlap_s: float
    account: str | None = None


class RevokeToken(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="token.revoke"):
    token: str
    account: str | None = None


class SetAccount(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="account.set"):
    account: str
    share: float | None = None
    storage_at_most: int | None = None
    """Bytes."""
    daily_predictions: int | None = None
    daily_run_s: float | None = None
    daily_budget: float | None = None
    """0 is no limit, None leaves each as it is."""


class ListAccounts(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="account.list"):
    account: str | None = None
    """Only this one, which must exist."""


class RotateWebhookSecret(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="account.rotate_webhook_secret"
):
    account: str


class SetModel(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="model.set"):
    model: str
    changes: dict[str, Any]
    """Fields of ``ModelConfig``, and ``visibility``."""


class ListModels(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="model.list"):
    model: str | None = None
    """Only this one, which must exist."""


TokenOrder = CreateToken | ImportTokens | ListTokens | SetToken | RotateToken | RevokeToken


class CreateKey(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="key.create"):
    """A key of the token ``maker``; None is what that one has."""

    maker: str
    name: str
    scopes: tuple[str, ...] = ("submit", "read")
    pools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    expire_s: float | None = None
    creations_per_min: int | None = None
    requests_per_min: int | None = None


class ListKeys(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="key.list"):
    maker: str
    key: str | None = None
    """Only this one, by id or name, which must exist."""
    after: tuple[int, str] | None = None
    limit: int = 100


class RotateKey(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="key.rotate"):
    maker: str
    key: str
    overlap_s: float


class RevokeKey(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="key.revoke"):
    maker: str
    key: str


KeyOrder = CreateKey | ListKeys | RotateKey | RevokeKey


class ListAudit(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="audit.list"):
    act: str | None = None
    target: str | None = None
    token: str | None = None
    before: int | None = None
    limit: int = 100


class AskUsage(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="usage"):
    """Days as ``2026-03-01``, inclusive."""

    group_by: tuple[str, ...]
    first: str | None = None
    last: str | None = None
    account: str | None = None
    token: str | None = None
    end_user: str | None = None
    model: str | None = None


RecordOrder = AskUsage | SetAccount | ListAccounts | RotateWebhookSecret | SetModel | ListModels


class AskStatus(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="status"):
    pass


class ListWorkers(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="worker.list"):
    model: str | None = None
    all: bool = False
    """Also those that models remember which nobody uses now."""


class MarkWorker(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="worker.mark"):
    worker: str
    """Name or agent id."""
    mark: Literal["quarantine", "release", "drain", "resume"]
    model: str | None = None


class PauseModel(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="model.pause"):
    """Nothing of it begins; what is created waits, and what runs goes on."""

    model: str
    pool: str | None = None
    """Only there; in every pool that it has when not given."""


class ResumeModel(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="model.resume"):
    model: str
    pool: str | None = None


class ListQueues(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="queue.list"):
    model: str | None = None
    all: bool = False
    """Also those that nobody uses now."""


class ListDead(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="dead.list"):
    model: str | None = None
    limit: int = 100


class ReadLogs(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="prediction.logs"):
    """What a prediction of whatever account has said, in this attempt and in those before."""

    id: str


class Redrive(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="dead.redrive"):
    ids: tuple[str, ...]


class StartBackup(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="backup.start"):
    to: str
    """Absolute path of the folder, which the server's process writes."""
    rate_bytes: int
    hold_s: float


class AskBackup(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="backup.ask"):
    wait_s: float
    """How long to wait for its end before saying how far it is."""


class StopBackup(msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="backup.stop"):
    to: str
    """The folder of the backup that is meant: nobody ends that of somebody else."""


BackupOrder = StartBackup | AskBackup | StopBackup


class CancelPredictions(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="order", tag="prediction.cancel"
):
    """Those that have not ended and are all of this; without any of it they must be ``all``."""

    account: str | None = None
    model: str | None = None
    token: str | None = None
    end_user: str | None = None
    status: Literal["starting", "processing"] | None = None
    created_before: int | None = None
    """Microseconds since the epoch."""
    all: bool = False
    dry_run: bool = False
    after: tuple[int, str] | None = None
    """Where the order before has ended."""


FleetOrder = (
    ListWorkers
    | MarkWorker
    | PauseModel
    | ResumeModel
    | ListQueues
    | ListDead
    | ReadLogs
    | Redrive
    | CancelPredictions
)
Order = TokenOrder | KeyOrder | ListAudit | AskStatus | RecordOrder | FleetOrder | BackupOrder


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A running server, as ``cogflare status`` shows it."""

    version: str
    process: int
    url: str
    data: str
    started_at: str
    state: str
    """``ready``, ``waking`` or ``draining``."""
    public_url: str = ""
    storage: str = ""
    """``--storage`` as it was given."""


class Done(msgspec.Struct, frozen=True, tag_field="answer", tag="done"):
    result: Any


class Refusal(msgspec.Struct, frozen=True, tag_field="answer", tag="refusal"):
    """One line for the operator, what to do about it, and the exit code that goes with it."""

    message: str
    hint: str
    code: int


Answer = Done | Refusal

_decode_order = msgspec.json.Decoder(Order).decode
_decode_answer: Callable[[bytes], Answer] = msgspec.json.Decoder(Answer).decode
Carry = Callable[[Any, str], Awaitable[Answer]]
"""Carries out an order of somebody on this machine: the name of the operating system's user."""
_encode = msgspec.json.Encoder().encode


class ControlServer:
    """Takes orders on a socket file. ``start`` returns once it listens; ``stop`` is safe at any time."""

    def __init__(self, path: Path, carry_out: Carry) -> None:
        self._path = path
        self._carry_out = carry_out
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen. Only the process that holds the data directory may call this. Raises OSError."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            with _address(self._path) as address:
                before = os.umask(0o177)
                try:
                    listener.bind(address)
                finally:
                    os.umask(before)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_BYTES)
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for task in self._busy:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy, timeout=ANSWER_S)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a stream's callback always runs in one
        self._busy.add(task)
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._answer(await reader.readline(), peer(writer.get_extra_info("socket")))
                writer.write(_encode(answer) + b"\n")
                await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.debug("control socket: %s", error)
        finally:
            self._busy.discard(task)
            writer.close()

    async def _answer(self, line: bytes, who: str) -> Answer:
        try:
            order = _decode_order(line)
        except msgspec.DecodeError as error:
            return Refusal(f"the running server does not know this order: {error}", "use its own version", 2)
        try:
            return await self._carry_out(order, who)
        except Exception:
            log.exception("control socket: an order failed")
            return Refusal("the running server failed to do it", "see its log", 1)


def peer(connection: Any) -> str:
    """The user at the other end; our own where the system does not tell, for nobody else may open it."""
    if connection is None or not hasattr(socket, "SO_PEERCRED"):
        return user(os.getuid())
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return user(uid)


def user(uid: int) -> str:
    """Name of a user of this machine, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def ask(path: Path, order: Order) -> Answer:
    """Give an order to the running server and wait for its answer. Raises OSError when there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_S)
        with _address(path) as address:
            connection.connect(address)
        connection.sendall(_encode(order) + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("the server closed the control socket")
    return _decode_answer(line)


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path, or a short one to the same file when the system would not take it as an address."""
    if len(os.fsencode(path)) <= ADDRESS_BYTES:
        yield str(path)
        return
    shortcut = Path(tempfile.mkdtemp(prefix="cogflare-"))
    try:
        (shortcut / "d").symlink_to(path.parent)
        yield str(shortcut / "d" / path.name)
    finally:
        shutil.rmtree(shortcut, ignore_errors=True)
