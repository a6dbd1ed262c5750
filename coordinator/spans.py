"""What a coordinator tells of a prediction that has ended: how it waited, and its attempts. Pure.

Made from the document alone, so that it is whole whatever was restarted meanwhile.
"""

import secrets
from collections.abc import Iterator

from coordinator.prediction import Attempt, Document
from coordinator.protocol.messages import Trace
from coordinator.protocol.traces import Parent, Span, attempt_span, parent_of


def trace_of(document: Document, attempt: int) -> Trace | None:
    """What an agent is told, so that its spans are below that of the attempt; None where nobody traces it."""
    parent = parent_of(document.trace) if document.trace else None
    if parent is None:
        return None
    return Trace(parent=parent.of(attempt_span(document.id, attempt)).text, since=document.created_at)


def spans_of(document: Document) -> list[Span]:
    """The spans of an ended prediction; none where its client is not traced."""
    parent = parent_of(document.trace) if document.trace else None
    if parent is None or not parent.sampled or document.completed_at is None:
        return []
    return list(_spans(document, parent, document.completed_at))


def _spans(document: Document, parent: Parent, ended_at: int) -> Iterator[Span]:
    waits_from = document.created_at
    for attempt in document.attempts:
        yield _wait(document, parent, waits_from, attempt.dispatched_at)
        yield _attempt(document, parent, attempt, ended_at)
        waits_from = attempt.ended_at or ended_at
    if not document.attempts or waits_from < ended_at:
        yield _wait(document, parent, waits_from, ended_at)


def _wait(document: Document, parent: Parent, began_at: int, ended_at: int) -> Span:
    return Span(
        name="queue",
        trace_id=parent.trace_id,
        span_id=secrets.token_hex(8),
        parent_id=parent.span_id,
        began_at=began_at,
        ended_at=ended_at,
        attributes=_about(document),
    )


def _attempt(document: Document, parent: Parent, attempt: Attempt, ended_at: int) -> Span:
    failed = document.error_code or "failed" if document.status != "succeeded" else ""
    came_to_a_result = attempt.outcome in (None, "finished")
    return Span(
        name="attempt",
        trace_id=parent.trace_id,
        span_id=attempt_span(document.id, attempt.number),
        parent_id=parent.span_id,
        began_at=attempt.dispatched_at,
        ended_at=attempt.ended_at or ended_at,
        attributes={
            **_about(document),
            "cogflare.attempt": attempt.number,
            "cogflare.worker": attempt.agent_name,
            "cogflare.outcome": attempt.outcome or "finished",
            "cogflare.place": "provider" if attempt.provider else "own",
        },
        error=failed if came_to_a_result else attempt.outcome or "",
    )


def _about(document: Document) -> dict[str, str]:
    return {
        "cogflare.prediction": document.id,
        "cogflare.model": document.model,
        "cogflare.version": document.version,
        "cogflare.pool": document.pool,
    }
