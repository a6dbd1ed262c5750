"""Where a prediction stands, in a sentence. Pure."""

from coordinator.calls import Explained, Reason
from coordinator.prediction import Document, ErrorCode, Status
from edge.keeping import why_removed

_WAITS: dict[Reason, str] = {
    "paused": "an administrator has paused the model, and nothing of it begins until it is resumed",
    "no_workers": "no worker of this model is connected",
    "no_such_version": "no connected worker has the version that it is pinned to",
    "no_such_hardware": "no connected worker has the GPU that the model needs",
    "input_too_large": "its input is too large for the connected workers, which are all of 2022",
    "workers_unhealthy": "the workers that could run it get no work because of what happened on them",
    "model_loading": "the workers that could run it are loading the model",
    "draining": "the workers that could run it are being drained",
    "token_cap": "its token runs as many predictions at once as it may",
    "behind_fair_share": "others have had less of their share and go first",
    "all_busy": "all workers are busy",
    "overflow_cap": "no worker can take it now, and its token has had what it may of the provider today",
    "overflow_paused": "no worker can take it now, and the provider refuses more or cannot be reached",
    "overflow_full": "no worker can take it now, and as many run at the provider as may",
}
_ENDED: dict[str, str] = {
    ErrorCode.DEADLINE_BEFORE_START: "It was canceled before it began",
    ErrorCode.MAX_WAIT: "It was canceled before it began",
    ErrorCode.RUN_TIMEOUT: "It was canceled when its run took too long",
    ErrorCode.TOTAL_TIMEOUT: "It was canceled when waiting and running took too long together",
    ErrorCode.WORKER_LOST: "It failed because its workers were lost",
    ErrorCode.POISON: "It failed because the processes that ran it ended",
    ErrorCode.OUTPUT_LOST: "It failed because its output could not be kept",
    ErrorCode.MODEL_ERROR: "It failed with an error of the model",
}


def sentence(explained: Explained) -> str:
    """Ends with a full stop."""
    document = explained.document
    if document.data_removed:
        return f"{_ended(document)} {why_removed(document)}"
    if document.status.terminal:
        return _ended(document)
    if explained.reason is None:
        return _runs(document)
    text = f"Waits: {_WAITS[explained.reason]}; it is number {explained.position} of {explained.of}"
    if explained.eta_p50_s is not None and explained.eta_p90_s is not None:
        text += f", and begins in about {_time(explained.eta_p50_s)}"
        text += f" (nine times in ten within {_time(explained.eta_p90_s)})"
    return f"{text}."


def _runs(document: Document) -> str:
    if not document.attempts:
        return "Is about to wait for a worker."
    attempt = document.attempts[-1]
    if document.cancel_requested:
        return f"Is being canceled on {attempt.agent_name}."
    if document.status is Status.STARTING:
        return f"Was given to {attempt.agent_name}, which has not begun it yet."
    again = f", as attempt {attempt.number}" if attempt.number > 1 else ""
    return f"Runs on {attempt.agent_name}{again}."


def _ended(document: Document) -> str:
    if document.status is Status.SUCCEEDED:
        return "It succeeded."
    if document.status is Status.CANCELED and document.error_code in (None, ErrorCode.CANCELED):
        return "It was canceled, as asked."
    said = _ENDED.get(document.error_code or "", f"It {document.status.value}")
    return f"{said}: {document.error.rstrip('.')}." if document.error else f"{said}."


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
