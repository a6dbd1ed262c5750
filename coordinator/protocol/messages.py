"""The messages on an agent's websocket: text frames, one JSON object each, told apart by ``type``.

PROTOCOL.md beside this file is the document for other implementers; the corpus in ``tests/contract/wire``
is decoded by both ends. Unknown fields are ignored, so either end may be newer. Times are integer
microseconds since the epoch. ``channel`` is the agent's own number for one of its models.
"""

from typing import Annotated, Literal

import msgspec

SUBPROTOCOL = "cogflare.v1"
VERSION = 4
"""The newest protocol that this code speaks."""
OLDEST = 1
"""The oldest one that it still speaks."""
PATH = "/v1/workers/websocket"

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A number that any JSON reader and any database keeps exactly; checked when a message is decoded."""
Ordinal = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
"""A number that counts from 1."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU of an agent's machine. ``kind`` is the name that its driver gives it."""

    kind: str
    memory_bytes: Count


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of every message; the tag is the class name in lower case with underscores."""


class Held(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An attempt that an agent holds when it attaches: running, or finished and not yet acknowledged."""

    prediction: str
    attempt: Ordinal
    secret: str
    state: Literal["running", "finished"]
    started_at: Count | None = None


class StoredFile(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A file that is in storage. In ``output`` it stands as the string ``cogflare://blob/<key>``."""

    key: str
    name: str
    content_type: str
    length: Count
    sha256: str


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One step of a running prediction. ``seq`` counts from 1 within the attempt, over all kinds."""

    seq: Ordinal
    kind: Literal["output", "logs", "metrics"]
    data: msgspec.Raw
    """output: one yielded item, any JSON. logs: a string. metrics: an object."""
    files: tuple[StoredFile, ...] = ()
    """The files that ``data`` mentions, each already stored."""


# --- agent to server -------------------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """First frame of a connection."""

    protocol: int
    """The newest that the agent speaks."""
    agent: str
    """Stable over restarts of the agent: its identity on disk."""
    incarnation: str
    """New for every process: work that an older incarnation ran and did not spool is lost."""
    name: str
    slots: Count
    software: str = ""
    oldest: int = 1
    """The oldest protocol that the agent speaks."""
    gpus: tuple[Gpu, ...] = ()


class Attach(Message, frozen=True, kw_only=True, tag="attach"):
    """Serve one model. Sent again, in answer to ``reattach``, with what is held by then."""

    channel: Count
    model: str
    """``owner/name``, or ``owner/name@train`` for its trainings. The latter from version 4 on."""
    version: str
    openapi_schema: msgspec.Raw
    cog_version: str
    concurrency: Ordinal
    granted: Count
    held: tuple[Held, ...] = ()
    retries: Count | None = None
    """How often a prediction of it may be repeated after a worker was lost or crashed; None: as the server
    has it."""
    state: Literal["ready", "loading"] = "ready"
    """``loading``: its setup is not over. The schema says nothing yet, and nothing is granted."""
    since: Count | None = None
    """Since when it loads."""
    shared: bool = False
    """The agent's slots are offered to other models too: it wants to hear of ``demand``."""


class Credit(Message, frozen=True, kw_only=True, tag="credit"):
    """How many dispatches in all the channel may have had since its last attach; may also sink."""

    channel: Count
    granted: Count


class Accepted(Message, frozen=True, kw_only=True, tag="accepted"):
    channel: Count
    prediction: str
    attempt: Ordinal
    started_at: Count


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    """The attempt did not run here, or was given back by a drain: it goes to the head and does not count."""

    channel: Count
    prediction: str
    attempt: Ordinal
    reason: Literal["busy", "draining", "unavailable"]


class Progress(Message, frozen=True, kw_only=True, tag="progress"):
    channel: Count
    prediction: str
    attempt: Ordinal
    events: tuple[Event, ...]


class Finished(Message, frozen=True, kw_only=True, tag="finished"):
    """The result of an attempt; repeated until ``ack``. The secret makes it good on any session."""

    channel: Count
    prediction: str
    attempt: Ordinal
    secret: str
    status: Literal["succeeded", "failed", "canceled"]
    output: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    error_code: str | None = None
    logs: str = ""
    metrics: dict[str, msgspec.Raw] = {}
    files: tuple[StoredFile, ...] = ()
    started_at: Count | None = None
    completed_at: Count | None = None


class Upload(Message, frozen=True, kw_only=True, tag="upload"):
    """Ask where to PUT one output file; ``upload_to`` or ``upload_refused`` answers the same request."""

    channel: Count
    request: Count
    prediction: str
    attempt: Ordinal
    secret: str
    name: str
    content_type: str
    length: Count
    sha256: str
    direct: bool = False
    """The agent would PUT it to the store itself, where the server has a URL for that. From version 2 on."""
    part_bytes: Count = 0
    parts: tuple[str, ...] = ()
    """SHA-256 of each piece of ``part_bytes``, the last one shorter: the file would go in parts. And what the
    server said of this upload before, to go on with it. From version 3 on."""
    resume: str = ""


class ModelState(Message, frozen=True, kw_only=True, tag="model_state"):
    """A model that was ready loads again, after its process ended, or is ready again. From version 2 on."""

    channel: Count
    state: Literal["ready", "loading"]
    since: Count


class Detach(Message, frozen=True, kw_only=True, tag="detach"):
    channel: Count


class Beat(Message, frozen=True, kw_only=True, tag="beat"):
    """Sent by either end every ``beat_s``; any message counts as a sign of life."""


# --- server to agent -------------------------------------------------------------------------------------


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    protocol: int
    server: str
    """Stable identity of the server's data: the agent keys its spool by it."""
    beat_s: float
    silence_s: float
    result_bytes: int
    log_bytes: int
    frame_bytes: int = 16 * 1024 * 1024
    """Largest frame that the server takes."""
    part_bytes: Count = 0
    """Larger output files go in parts of so many bytes; 0: none does. From version 3 on."""


class Verdict(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What becomes of a held attempt. keep: go on, and resend events from ``from_seq`` on."""

    prediction: str
    attempt: Ordinal
    verdict: Literal["keep", "cancel", "drop"]
    from_seq: Ordinal = 1


class Attached(Message, frozen=True, kw_only=True, tag="attached"):
    channel: Count
    verdicts: tuple[Verdict, ...] = ()


class AttachRefused(Message, frozen=True, kw_only=True, tag="attach_refused"):
    channel: Count
    code: str
    detail: str


class Reattach(Message, frozen=True, kw_only=True, tag="reattach"):
    """The coordinator behind the channel is a new one: send ``attach`` again."""

    channel: Count


class Trace(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Who follows a prediction: the W3C ``traceparent`` of its attempt, and when it was created."""

    parent: str
    since: Count


class Dispatch(Message, frozen=True, kw_only=True, tag="dispatch"):
    channel: Count
    prediction: str
    attempt: Ordinal
    secret: str
    input: msgspec.Raw
    run_s: float
    files: dict[str, str] = {}
    """URL as it stands in ``input`` -> path and query on this server where its bytes are."""
    trace: Trace | None = None
    """From version 4 on."""


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    channel: Count
    prediction: str
    attempt: Ordinal
    grace_s: float


class Ack(Message, frozen=True, kw_only=True, tag="ack"):
    """The result is durable, or will never be wanted: forget it."""

    channel: Count
    prediction: str
    attempt: Ordinal


class Resend(Message, frozen=True, kw_only=True, tag="resend"):
    """Somebody reads the events of a running attempt from further back than the server remembers: send one
    ``progress`` of those from ``from_seq`` on again, as far as they were sent. From version 2 on."""

    channel: Count
    prediction: str
    attempt: Ordinal
    from_seq: Ordinal


class PartTo(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Where one part of a file is to be PUT. ``number`` counts from 1; ``url`` is as in ``UploadTo``."""

    number: Ordinal
    url: str
    headers: dict[str, str] = {}


class UploadTo(Message, frozen=True, kw_only=True, tag="upload_to"):
    """Without ``url``, ``parts`` and ``stored`` it means that storage is away: ask again in a while."""

    channel: Count
    request: Count
    key: str
    url: str
    """Absolute, or a path on this server. Empty where ``parts`` have theirs."""
    headers: dict[str, str] = {}
    parts: tuple[PartTo, ...] = ()
    """The parts to send now, of those that are missing. Then ask again. From version 3 on."""
    resume: str = ""
    """To be said in the next question for this file."""
    stored: bool = False
    """All parts are there: the file is stored under ``key``."""


class UploadRefused(Message, frozen=True, kw_only=True, tag="upload_refused"):
    channel: Count
    request: Count
    detail: str


class Drain(Message, frozen=True, kw_only=True, tag="drain"):
    """An administrator wants nothing new to be given to the channel, or work as before. The server keeps to
    that by itself; the agent stops offering and can say so. From version 2 on."""

    channel: Count
    draining: bool


class Demand(Message, frozen=True, kw_only=True, tag="demand"):
    """So many predictions wait for the channel's model and could run here. Said to ``shared`` channels when
    some begin to wait and when none does any more. From version 2 on."""

    channel: Count
    waiting: Count


class Closing(Message, frozen=True, kw_only=True, tag="closing"):
    """The server is about to close the connection; connect again after ``retry_s``."""

    reason: str
    retry_s: float = 0.0


AgentMessage = (
    Hello | Attach | Credit | Accepted | Refused | Progress | Finished | Upload | ModelState | Detach | Beat
)
ServerMessage = (
    Welcome
    | Attached
    | AttachRefused
    | Reattach
    | Dispatch
    | Cancel
    | Ack
    | Resend
    | UploadTo
    | UploadRefused
    | Drain
    | Demand
    | Closing
    | Beat
)

BLOB_REFERENCE = "cogflare://blob/"
"""How a stored file stands in an output on the wire: this, then its key."""

encode = msgspec.json.Encoder().encode
decode_from_agent = msgspec.json.Decoder(AgentMessage).decode
decode_from_server = msgspec.json.Decoder(ServerMessage).decode
