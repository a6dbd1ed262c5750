"""A prediction: its document, its states and what may happen to it. Pure: no clock, no I/O.

    starting ──accepted──▶ processing ──finished──▶ succeeded | failed | canceled

What is returned or lost goes back to the queue; a client that has seen ``processing`` never sees ``starting``
again. A terminal status is final.

A document is immutable; each event makes a new one with a higher ``sequence``. Times are integer
microseconds since the epoch.
"""

from enum import StrEnum

import msgspec

from coordinator.letters import REPLICATE
from coordinator.overflow.policy import Overflow
from coordinator.protocol.messages import StoredFile
from coordinator.protocol.names import queue_of


class Status(StrEnum):
    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED})


class Happening(StrEnum):
    """What may happen to a prediction."""

    DISPATCHED = "dispatched"
    ACCEPTED = "accepted"
    RETURNED = "returned"
    LOST = "lost"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


_ENDS = {
    Happening.SUCCEEDED: Status.SUCCEEDED,
    Happening.FAILED: Status.FAILED,
    Happening.CANCELED: Status.CANCELED,
}
TRANSITIONS: dict[tuple[Status, Happening], Status] = {
    **{(status, happening): status for status in Status for happening in Happening},
    (Status.STARTING, Happening.ACCEPTED): Status.PROCESSING,
    **{
        (status, happening): end
        for status in (Status.STARTING, Status.PROCESSING)
        for happening, end in _ENDS.items()
    },
}
"""The one table: what is not changed by its last lines stays as it is."""


class ErrorCode(StrEnum):
    """Our own word for why a prediction ended; ``error`` says it in a sentence."""

    DEADLINE_BEFORE_START = "deadline_before_start"
    MAX_WAIT = "max_wait"
    RUN_TIMEOUT = "run_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    WORKER_LOST = "worker_lost"
    CANCELED = "canceled"
    POISON = "poison"
    """It ended the process of each worker that ran it."""
    MODEL_ERROR = "model_error"
    OUTPUT_LOST = "output_lost"


class Attempt(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One dispatch of one prediction to one agent."""

    number: int
    agent: str
    agent_name: str
    incarnation: str
    dispatched_at: int
    secret: str = ""
    """Proves a report; gone from the document once the prediction is terminal."""
    key: str = ""
    """Unguessable prefix of the attempt's output files."""
    ended_at: int | None = None
    outcome: str | None = None
    """A word of ``outcomes.Outcome``; None while open."""
    legacy: bool = False
    """With a worker of 2022 (``legacy.py``)."""
    reason: str = ""
    """Why it ended early, in words for the client; empty when it came to a result."""
    provider: str = ""
    """Where it runs, when that is at a provider (``elsewhere.py``); empty on an own worker."""
    remote: str = ""
    """What the provider calls it; empty until that is known."""
    doubtful: bool = False
    """The provider may have begun it all the same: its answer was lost."""
    logs: str = ""
    """The end of what it had said when it was given up; those of the last one are the prediction's."""


class LongInput(msgspec.Struct, frozen=True, gc=False):
    """An input that lies in the storage of files, its length in bytes."""

    key: str
    length: int


class Document(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Everything known of a prediction: what coordinators store, the index keeps and the edge renders."""

    id: str
    account: str
    token: str
    """Id of the token that made it (its share, not its authority)."""
    pool: str
    model: str
    created_at: int
    input: bytes
    """The client's JSON object, as sent; ``{}`` where it is long."""
    status: Status = Status.STARTING
    version: str = ""
    """64 hex; empty until dispatch when the client did not pin one."""
    pinned: bool = False
    input_files: dict[str, str] = {}
    """URL as it stands in the input -> key of the blob behind it."""
    long_input: LongInput | None = None
    """Where the input is (``long_inputs.py``) that would be too much for a row."""
    output: bytes | None = None
    """JSON; a stored file stands as ``cogflare://blob/<key>``. None until there is any."""
    files: tuple[StoredFile, ...] = ()
    error: str | None = None
    error_code: str | None = None
    logs: str = ""
    metrics: bytes = b"{}"
    """JSON object."""
    started_at: int | None = None
    completed_at: int | None = None
    queue_deadline_at: int | None = None
    queue_s: float = 0.0
    """How long it may wait each time that it does; 0, as in what older releases wrote: the server's limit."""
    max_wait: bool = False
    """That is its client's wish: how long it may wait in all."""
    run_s: float = 0.0
    total_deadline_at: int | None = None
    """When it ends, whatever it is doing then."""
    lease_s: float = 0.0
    """How long a lost worker keeps it; 0, as in what older releases wrote: the server's."""
    max_attempts: int = 0
    """Workers that may be lost while they run it before it fails; 0 likewise."""
    urgency: int = 1
    """0 interactive, 1 normal, 2 batch."""
    user: str = ""
    """The client's own key for whom it works; a share of the token's share."""
    gpu: str = ""
    gpu_memory: int = 0
    """What the worker's GPU must be: part of its name, bytes."""
    account_share: float = 1.0
    token_share: float = 1.0
    max_running: int = 0
    """What its owners may have, by their records of that time: weights, and how many predictions of the token
    may run at once (0 is no limit)."""
    cancel_requested: bool = False
    attempts: tuple[Attempt, ...] = ()
    streams: bool = False
    """The version's output is an iterator, or files: the client gets ``urls.stream``."""
    retries: int | None = None
    """How often it may be repeated after a worker was lost with it or crashed over it; None for the server's
    limit. 0: never, whatever that costs."""
    webhook: str = ""
    """URL that is told of it; empty for none."""
    webhook_events: tuple[str, ...] = ()
    """What it is told of: words of ``letters.EVENTS``."""
    redriven_from: str = ""
    """The failed prediction that this one repeats, by an administrator's order."""
    deployment: str = ""
    """Name of the account's deployment that it was created by."""
    metadata: bytes = b""
    """The client's JSON object for itself; empty when it gave none."""
    own_id: str = ""
    """What its client calls it (``store/aliases.py``)."""
    dialect: str = REPLICATE
    """Its client's, by the record of the token that made it."""
    overflow: Overflow | None = None
    """How it may run at a provider; None when it may not."""
    destination: str = ""
    """Of a training: the model that it was made for. Empty for a prediction."""
    source: str = "api"
    trace: str = ""
    """The ``traceparent`` that it came under (``protocol/traces.py``)."""
    retention_s: float | None = None
    """How long its data is kept after its end; None, as in what older releases wrote: for good."""
    expires_at: int | None = None
    """When its data is removed; None for never, or until it has ended."""
    clear_at: int | None = None
    """When files of attempts that were given up are cleared away (``keeping.py``)."""
    data_removed: bool = False
    sequence: int = 1
    """Counts the states that leave the coordinator; the index keeps only the highest."""

    @property
    def input_bytes(self) -> int:
        """Length of the input, wherever it is."""
        return len(self.input) if self.long_input is None else self.long_input.length

    @property
    def queue(self) -> str:
        """The name of its coordinator within the pool."""
        return queue_of(self.model, self.destination)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Document).decode
