"""How long what a prediction was given and gave is kept, and what becomes of it then. Pure.

    ended ──expires_at──▶ removed: input, output, logs and files are gone ──forget_s──▶ forgotten: no row

``expires_at`` is fixed in the transaction that ends the prediction. From then on nobody is shown what it was,
whether the sweep has come to it or not.
"""

from typing import Any

from msgspec.structs import replace

from coordinator.prediction import Attempt, Document, Status
from coordinator.protocol.limits import FOREVER_S

AGAIN_US = 3600 * 1_000_000
"""When files are looked at again that another prediction still waits for."""
_FINISHED = "finished"


def times_of_end(
    document: Document, attempts: tuple[Attempt, ...], now: int, upload_ttl_s: float
) -> dict[str, Any]:
    """What the end of a prediction fixes: when its data is to be removed, and when the files of attempts are
    to be cleared away that were given up and may upload until then."""
    kept_s = document.retention_s
    expires_at = None if kept_s is None or kept_s >= FOREVER_S else now + int(kept_s * 1e6)
    # An upload may begin at the last moment that its URL is good, and take as long again.
    clear_at = now + int(2 * upload_ttl_s * 1e6) if _gave_up(attempts) else None
    return {"expires_at": expires_at, "clear_at": clear_at}


def _gave_up(attempts: tuple[Attempt, ...]) -> bool:
    """Whether one of them may still be at work: all others but a single one that came to its end."""
    return len(attempts) > 1 or any(attempt.outcome != _FINISHED for attempt in attempts)


def is_over(document: Document, now: int) -> bool:
    """Whether its time is over: nobody is to see its data any more."""
    return document.data_removed or (document.expires_at is not None and document.expires_at <= now)


def without_data(document: Document) -> Document:
    """What is left of it: what it was, when and how it ended, and the words of its error."""
    return replace(
        document,
        input=b"{}",
        input_files={},
        long_input=None,
        output=None,
        files=(),
        logs="",
        attempts=tuple(
            replace(attempt, logs="") if attempt.logs else attempt for attempt in document.attempts
        ),
        streams=False,
        data_removed=True,
    )


def shown(document: Document, now: int) -> Document:
    """It, or what is left of it when its time is over."""
    return without_data(document) if is_over(document, now) and document.status.terminal else document


def due_at(document: Document, forget_s: float) -> int | None:
    """When the sweep has something to do for it next."""
    if not document.status.terminal:
        return None
    expires_at = document.expires_at
    if document.data_removed and document.clear_at is None:
        return None if expires_at is None or forget_s >= FOREVER_S else expires_at + int(forget_s * 1e6)
    times = [document.clear_at, None if document.data_removed else expires_at]
    return min((at for at in times if at is not None), default=None)


def is_forgotten(document: Document, now: int, forget_s: float) -> bool:
    """Whether nothing is left to be done but to delete its row."""
    at = due_at(document, forget_s)
    return document.data_removed and document.clear_at is None and at is not None and at <= now


def may_have_strays(document: Document) -> bool:
    """Whether there may be files below its prefix that it does not name."""
    return bool(document.attempts) and (
        document.clear_at is not None or document.status is not Status.SUCCEEDED
    )


def swept(document: Document, now: int, *, held: bool) -> Document:
    """It after the sweep: its data is removed if its time is over, and its strays are cleared away if theirs
    is. ``held``: some of its files had to stay, for a prediction that has not ended uses them."""
    files = document.files
    if is_over(document, now):
        document = without_data(document)
    if held:
        return replace(document, files=files, clear_at=now + AGAIN_US)
    if document.clear_at is not None and document.clear_at <= now:
        return replace(document, clear_at=None)
    return document
