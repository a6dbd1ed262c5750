"""A prediction as the queue sees it: whether it waits, in which flow, and until when. Pure."""

from coordinator.prediction import Document, ErrorCode
from coordinator.protocol.limits import LEGACY_FILE_BYTES, LEGACY_INPUT_BYTES
from coordinator.protocol.names import legacy_version
from coordinator.scheduling.flow import Flow, Needs, Terms, Waiting

NO_WORKER = "elsewhere"
"""In place of a version, of what is for no worker: it may run at a provider only."""
_FAILED = frozenset({"lost", "crashed", "unfit"})


def waits(document: Document) -> bool:
    """Whether it stands in the queue: it has not ended, and no attempt of it is open."""
    return not document.status.terminal and all(a.ended_at is not None for a in document.attempts)


def too_large_for_legacy(document: Document) -> bool:
    """Whether a worker of 2022 could not take it: it closes its connection on a larger message."""
    return document.input_bytes + LEGACY_FILE_BYTES * len(document.input_files) > LEGACY_INPUT_BYTES


def flow_of(document: Document) -> Flow:
    version = document.version if document.pinned else ""
    if document.overflow is not None and document.overflow.when == "always":
        version = NO_WORKER
    needs = Needs(
        version=version,
        gpu=document.gpu,
        gpu_memory=document.gpu_memory,
        unfit=legacy_version(document.model) if too_large_for_legacy(document) else "",
    )
    return Flow(document.urgency, document.account, document.token, document.user, needs)


def waiting_of(document: Document, place: int, cost_s: float = 1.0) -> Waiting:
    """``cost_s`` is how long it will probably run."""
    return Waiting(
        id=document.id,
        flow=flow_of(document),
        sequence=place,
        since=document.created_at,
        cost_s=cost_s,
        avoid=frozenset(a.agent for a in document.attempts if a.outcome in _FAILED),
        input_bytes=document.input_bytes,
        terms=Terms(document.account_share, document.token_share, document.max_running),
    )


def deadline_of(document: Document) -> int | None:
    """When it has waited too long, microseconds since the epoch."""
    limits = (document.queue_deadline_at, document.total_deadline_at)
    return min((at for at in limits if at is not None), default=None)


def waits_until(document: Document, now: int, queue_s: float) -> int:
    """Until when one may wait that is put back into the queue now, microseconds since the epoch; ``queue_s``
    is what the server allows. A client's ``max_wait`` is for all of its waiting together."""
    limit = int((document.queue_s or queue_s) * 1e6)
    if document.max_wait:
        ran = sum((a.ended_at or now) - a.dispatched_at for a in document.attempts)
        limit -= now - document.created_at - ran
    return now + max(0, limit)


def in_vain(document: Document) -> ErrorCode:
    """Which limit is over of one that has waited too long."""
    total = document.total_deadline_at
    if document.max_wait and (total is None or total != deadline_of(document)):
        return ErrorCode.MAX_WAIT
    return ErrorCode.DEADLINE_BEFORE_START


def too_long(document: Document, workers: int, *, paused: bool = False) -> str:
    """What to say of one whose deadline is over before it ran."""
    total = document.total_deadline_at
    if total is not None and total == deadline_of(document):
        seconds = (total - document.created_at) / 1_000_000
        limit = f"did not begin within its limit of {seconds:g} s for waiting and running together"
    elif document.max_wait:
        limit = f"waited longer than its max_wait of {document.queue_s:g} s"
    else:
        waited = f" of {document.queue_s:g} s" if document.queue_s else ""
        limit = f"waited longer than its limit{waited} for waiting"
    text = f"{limit}; connected workers: {workers}{'; the model is paused' if paused else ''}"
    return f"{text}; its input is too large for those of 2022" if too_large_for_legacy(document) else text


Queued = tuple[str | None, int | None, int | None]
"""What only the row of a waiting prediction has: the text of its flow, how much of that is the same for all
flows of its token, and its deadline."""
NOT_QUEUED: Queued = (None, None, None)
_NO_USER = Flow(0, "", "").text().removeprefix('["",""')


def queued_as(document: Document) -> Queued:
    flow = flow_of(document)
    return flow.text(), len(owner_text(flow)), deadline_of(document)


def owner_text(flow: Flow) -> str:
    """What the texts of all flows of the same token begin with."""
    return Flow(0, flow.account, flow.token).text().removesuffix(_NO_USER)


def owner_of(text: str) -> Flow:
    """Some flow of the token that this is the text of."""
    return Flow.of(f"{text}{_NO_USER}")
