"""What can be asked of a model's coordinator, and what it answers: the messages that cross its stub.

Each call is safe to repeat. ``ModelStub`` (stub.py) is the typed way to make them.
"""

from typing import Literal

import msgspec

from coordinator.letters import REPLICATE, State, Try
from coordinator.overflow.policy import Overflow
from coordinator.prediction import Document, LongInput
from coordinator.protocol.messages import AgentMessage, Attach, Event, Finished, Held, Hello, Upload


class Call(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="call", omit_defaults=True):
    """Base of every call."""


class Reply(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="reply", omit_defaults=True):
    """Base of every reply."""


class Create(Call, frozen=True, kw_only=True, tag="create"):
    """Accept a prediction. The id is the caller's (``Ids.make``); the same id again changes nothing, as long
    as it has not ended and left for the index: who asks ``again`` has looked there."""

    id: str
    account: str
    token: str
    pool: str
    model: str
    input: bytes
    version: str = ""
    input_files: dict[str, str] = {}
    long_input: LongInput | None = None
    """Where it is; then ``input`` is ``{}``."""
    streams: bool = False
    again: bool = False
    """It may have been accepted before."""
    life: str = ""
    """The life that did not know it before the index was asked; another one answers Unknown."""
    queue_s: float | None = None
    run_s: float | None = None
    total_s: float | None = None
    """Limits of waiting, of each attempt, and of it all; None for the server's, which has none for it all."""
    max_wait_s: float | None = None
    """How long it may wait in all, where that is less."""
    lease_s: float | None = None
    retries: int | None = None
    """How many more workers get it after one was lost; None for what its model says."""
    urgency: int = 1
    user: str = ""
    gpu: str = ""
    gpu_memory: int = 0
    account_share: float = 1.0
    token_share: float = 1.0
    max_running: int = 0
    webhook: str = ""
    webhook_events: tuple[str, ...] = ()
    redriven_from: str = ""
    deployment: str = ""
    """The name by which it was asked for."""
    own_id: str = ""
    """The client's own."""
    wait_s: float = 0.0
    """Hold the answer until it has ended, for no longer than this: then it is as it was when accepted."""
    metadata: bytes = b""
    dialect: str = REPLICATE
    overflow: Overflow | None = None
    retention_s: float | None = None
    """How long its data is kept after its end; None for the server's time."""
    destination: str = ""
    """Of a training; empty for a prediction."""
    trace: str = ""
    """The ``traceparent`` that it came under."""


class CreateMany(Call, frozen=True, kw_only=True, tag="create_many"):
    """Accept several predictions in one turn, each as if it came alone."""

    creates: tuple[Create, ...]


class Refused(Reply, frozen=True, kw_only=True, tag="refused"):
    """Not accepted; nothing was kept. ``retry_after_s`` is set when trying again makes sense."""

    code: Literal["queue_full", "queue_bytes_full", "index_behind"]
    detail: str
    retry_after_s: float | None = None


class Found(Reply, frozen=True, kw_only=True, tag="found"):
    document: Document


class Unknown(Reply, frozen=True, kw_only=True, tag="unknown"):
    """No such prediction here, or not of this account: either it is in the index, or it never was. ``life``
    is for who wants to create it then (``repeats.py``)."""

    life: str = ""


Creation = Found | Refused | Unknown
"""What becomes of one that may have been created before."""


class Created(Reply, frozen=True, kw_only=True, tag="created"):
    """What became of each, in their order."""

    replies: tuple[Creation, ...]


class Get(Call, frozen=True, kw_only=True, tag="get"):
    id: str
    account: str
    by_id: bool = False
    """Of whatever account, if its dialect lets anybody read it who knows its id."""


class Why(Call, frozen=True, kw_only=True, tag="why"):
    """Where a prediction stands, and why it is not running."""

    id: str
    account: str


Reason = Literal[
    "paused",
    "no_workers",
    "no_such_version",
    "no_such_hardware",
    "input_too_large",
    "workers_unhealthy",
    "model_loading",
    "draining",
    "token_cap",
    "behind_fair_share",
    "all_busy",
    "overflow_cap",
    "overflow_paused",
    "overflow_full",
]
"""Why a prediction waits: an administrator lets nothing of the model begin; no worker is connected; none has
its version, or such a GPU; all are of 2022 and take no such large input; those that would do get no work
because of what they did; they load the model; they are being drained; its token runs as many as it may;
others have had less of their share; all slots are taken. It might run at a provider, but its token has had as
much of that as it may today; the provider refuses, or cannot be reached; as many run there as may.
"""


class Explained(Reply, frozen=True, kw_only=True, tag="explained"):
    """One that does not wait has no reason. ``position`` counts from 1; the times are seconds from now until
    it begins, as likely as not and in nine of ten cases, None when there is nothing to go by."""

    document: Document
    reason: Reason | None = None
    position: int = 0
    of: int = 0
    workers: int = 0
    running: int = 0
    eta_p50_s: float | None = None
    eta_p90_s: float | None = None


class AskRoom(Call, frozen=True, kw_only=True, tag="ask_room"):
    """Whether something with these needs would find a worker."""

    version: str = ""
    gpu: str = ""
    gpu_memory: int = 0


class RoomIs(Reply, frozen=True, kw_only=True, tag="room_is"):
    """Workers that would do, and their free slots."""

    workers: int = 0
    free: int = 0


class Cancel(Call, frozen=True, kw_only=True, tag="cancel"):
    id: str
    account: str


class EventsAfter(Call, frozen=True, kw_only=True, tag="events_after"):
    """Wait until there is anything after ``cursor``, or ``timeout_s`` is over.

    Cursor is ``<attempt>:<seq>``, empty for the start. With ``only_terminal`` progress does not end the wait.
    With ``status`` it also ends when the prediction's status is another one. With ``recall`` what is no
    longer in memory is had from the agent, and ``lost`` means that it cannot be had now.
    """

    id: str
    account: str
    cursor: str = ""
    timeout_s: float = 0.0
    only_terminal: bool = False
    status: str = ""
    recall: bool = False


def read_cursor(cursor: str) -> tuple[int, int]:
    """(attempt, seq) of an event id; (0, 0), the start, for anything else."""
    attempt, _, seq = cursor.partition(":")
    return (int(attempt), int(seq)) if attempt.isdecimal() and seq.isdecimal() else (0, 0)


class Events(Reply, frozen=True, kw_only=True, tag="events"):
    """What came after the cursor. ``replaced`` means that the attempt under the cursor is gone: start over.
    ``lost`` means that events after the cursor are no longer in memory. The document is without the output of
    a running attempt: that is in the events."""

    attempt: int
    events: tuple[Event, ...]
    cursor: str
    document: Document
    replaced: bool = False
    lost: bool = False


class SocketAddress(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Where an agent's session can be reached: a gateway process and a session of it."""

    gateway: str
    session: str


class AttachSession(Call, frozen=True, kw_only=True, tag="attach_session"):
    """An agent offers itself for this model. Replaces the session of the same agent, if there is one.
    The coordinator itself sends ``attached``, gated, before anything else."""

    address: SocketAddress
    hello: Hello
    attach: Attach
    legacy: bool = False
    """A worker of 2022, for which our edge speaks: see ``legacy.py``."""


class NotAttached(Reply, frozen=True, kw_only=True, tag="not_attached"):
    """This worker is to have no session: its answers cannot be trusted. Says why."""

    detail: str


class FromAgent(Call, frozen=True, kw_only=True, tag="from_agent"):
    """One message of an attached session, in order. An unknown session is told to attach again."""

    address: SocketAddress
    message: AgentMessage


class DetachSession(Call, frozen=True, kw_only=True, tag="detach_session"):
    """The session's socket is gone. What it ran keeps its lease."""

    address: SocketAddress
    silent: bool = False
    """A legacy worker hung up in order, without a word on the job that it had been given."""


class AttachOverflow(Call, frozen=True, kw_only=True, tag="attach_overflow"):
    """The door to providers offers itself, with what it holds: one session for each coordinator."""

    address: SocketAddress
    granted: int
    held: tuple[Held, ...] = ()


class OverflowBegun(Call, frozen=True, kw_only=True, tag="overflow_begun"):
    """The provider has an attempt, and calls it ``remote``."""

    address: SocketAddress
    prediction: str
    attempt: int
    remote: str


class OverflowHeld(Call, frozen=True, kw_only=True, tag="overflow_held"):
    """An attempt has not begun, and no other of its token is to be tried until then."""

    address: SocketAddress
    prediction: str
    attempt: int
    reason: Literal["overflow_cap", "overflow_paused"]
    detail: str
    until: int
    """Microseconds since the epoch."""
    doubtful: bool = False
    """It may have begun all the same: the answer was lost."""
    version_only: bool = False
    """Only what wants the same version of the provider's model is not to be tried."""


class Done(Reply, frozen=True, kw_only=True, tag="done"):
    pass


class FilesChecked(Call, frozen=True, kw_only=True, tag="files_checked"):
    """Storage has been asked for the files of a result: go on with it. From the coordinator's own effect."""

    address: SocketAddress
    message: Finished
    missing: str | None = None
    """What is wrong with them, for the prediction's error."""


class Indexed(Call, frozen=True, kw_only=True, tag="indexed"):
    """The control index holds these (prediction id -> sequence): terminal ones may leave the coordinator."""

    sequences: dict[str, int]


class AskDeliveries(Call, frozen=True, kw_only=True, tag="ask_deliveries"):
    """What became of a prediction's terminal webhook; Unknown when there is nothing to say of it."""

    id: str
    account: str


class Redeliver(Call, frozen=True, kw_only=True, tag="redeliver"):
    """Send the terminal webhook of a prediction again, which has ended and names one."""

    document: Document


class Deliveries(Reply, frozen=True, kw_only=True, tag="deliveries"):
    """``waiting`` is for the index, ``pending`` until ``next_at``; the tries are the last ones."""

    state: State
    tries: tuple[Try, ...] = ()
    next_at: int | None = None


class LetterRendered(Call, frozen=True, kw_only=True, tag="letter_rendered"):
    """The bytes of a terminal webhook, or why there are none. From the coordinator's own effect."""

    id: str
    body: bytes | None = None
    error: str = ""


class LetterSent(Call, frozen=True, kw_only=True, tag="letter_sent"):
    """What came of a try. From the coordinator's own effect."""

    id: str
    attempt: Try


class ProgressSent(Call, frozen=True, kw_only=True, tag="progress_sent"):
    """A progress webhook is over, delivered or not. From the coordinator's own effect."""

    id: str


class MarkWorker(Call, frozen=True, kw_only=True, tag="mark_worker"):
    """Change what is thought of a worker, whether it is attached or not. ``release`` ends quarantine and
    distrust, ``resume`` a drain."""

    agent: str
    name: str
    mark: Literal["distrust", "quarantine", "release", "drain", "resume"]
    reason: str = ""


class AskWorkers(Call, frozen=True, kw_only=True, tag="ask_workers"):
    """Who is attached, and who else there is something to say of."""


class Worker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker of one model, as operators see it."""

    agent: str
    name: str
    attached: bool = False
    state: str = "ok"
    """``ok``, or the word for what keeps work away: ``quarantined``, ``distrusted``, ``draining``."""
    reason: str = ""
    since: int | None = None
    strikes: int = 0
    """Predictions that went wrong on it since its last success."""
    running: int = 0
    free: int = 0
    version: str = ""
    probe_at: int | None = None


class WorkersAre(Reply, frozen=True, kw_only=True, tag="workers_are"):
    workers: tuple[Worker, ...]


class Pause(Call, frozen=True, kw_only=True, tag="pause"):
    """Let nothing begin until it may again, on no worker and at no provider; what runs goes on."""

    paused: bool


class AskQueue(Call, frozen=True, kw_only=True, tag="ask_queue"):
    """How much waits and runs."""


class QueueIs(Reply, frozen=True, kw_only=True, tag="queue_is"):
    paused: bool = False
    waiting: int = 0
    input_bytes: int = 0
    oldest_at: int | None = None
    """When the oldest that waits was created, as far as it is in memory: microseconds since the epoch."""
    running: int = 0
    workers: int = 0
    free: int = 0
    """Slots that could take something at once."""
    reason: Reason | None = None
    """Why the oldest waits."""
    webhooks: int = 0
    """Terminal ones that are to be sent, now or when their receiver is tried again."""


AnyCall = (
    Create
    | CreateMany
    | Get
    | Why
    | AskRoom
    | Cancel
    | EventsAfter
    | AttachSession
    | FromAgent
    | DetachSession
    | FilesChecked
    | Indexed
    | MarkWorker
    | AskWorkers
    | Pause
    | AskQueue
    | AskDeliveries
    | Redeliver
    | LetterRendered
    | LetterSent
    | ProgressSent
    | AttachOverflow
    | OverflowBegun
    | OverflowHeld
)
AnyReply = (
    Refused
    | Found
    | Created
    | Explained
    | RoomIs
    | Unknown
    | Events
    | Done
    | NotAttached
    | WorkersAre
    | QueueIs
    | Deliveries
)


def about(call: AnyCall) -> tuple[str, ...]:
    """The predictions that the call is about, as far as they were there before it."""
    if isinstance(call, Get | Why | Cancel | EventsAfter):
        return (call.id,)
    if isinstance(call, Create):
        return (call.id,) if call.again else ()
    if isinstance(call, CreateMany):
        return tuple(each.id for each in call.creates if each.again)
    if isinstance(call, AttachSession):
        return tuple(held.prediction for held in call.attach.held)
    if isinstance(call, AttachOverflow):
        return tuple(held.prediction for held in call.held)
    if isinstance(call, FilesChecked):
        return (call.message.prediction,)
    # What runs is in memory: only of an attempt that was given up the prediction may wait.
    if isinstance(call, FromAgent) and isinstance(call.message, Finished | Upload):
        return (call.message.prediction,)
    return ()


class CheckFiles(msgspec.Struct, frozen=True):
    """Effect: ask storage for the files of a result; comes back as ``FilesChecked``."""

    address: SocketAddress
    message: Finished


class GrantUpload(msgspec.Struct, frozen=True):
    """Effect: send the agent a signed place for one output file."""

    address: SocketAddress
    upload: Upload
    attempt_key: str


class CallOverflow(msgspec.Struct, frozen=True):
    """Effect: have the door to providers attach; comes back as ``AttachOverflow``."""


class RenderLetter(msgspec.Struct, frozen=True):
    """Effect: render a terminal webhook's body; comes back as ``LetterRendered``."""

    id: str
    dialect: str
    snapshot: bytes


class SendLetter(msgspec.Struct, frozen=True):
    """Effect: one try of a terminal webhook; comes back as ``LetterSent``."""

    account: str
    url: str
    id: str
    message: str
    body: bytes


class SendProgress(msgspec.Struct, frozen=True):
    """Effect: send a prediction as it is, once; comes back as ``ProgressSent``."""

    id: str
    document: Document


# JSON, because calls carry the wire's raw JSON: another encoding would copy it in as it stands.
encode = msgspec.json.Encoder().encode
decode_call = msgspec.json.Decoder(AnyCall).decode
decode_reply = msgspec.json.Decoder(AnyReply).decode
