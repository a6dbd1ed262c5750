"""What a prediction has said, for operators: in the shape in which the API shows it to its own account."""

from typing import Any

from coordinator import calls
from coordinator.keeping import shown
from coordinator.prediction import Document
from coordinator.store.database import Store
from coordinator.store.errors import NotFound
from coordinator.stub import Models


async def logs_of(store: Store, models: Models, id: str, now: int) -> dict[str, Any]:
    """Raises NotFound, Unavailable."""
    document = await store.index.find(id)
    if document is None:
        raise NotFound(f"there is no prediction {id}", "give the id that its creation answered")
    if not document.status.terminal:
        number = await store.objects.number(document.pool, document.model)
        reply = await models.stub(number).get(calls.Get(id=id, account=document.account))
        if isinstance(reply, calls.Found):
            document = reply.document
        else:  # it has ended since, and is in the index
            document = await store.index.find(id) or document
    return _described(shown(document, now))


def _described(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "model": document.model,
        "status": document.status.value,
        "error": document.error,
        "logs": document.logs,
        "data_removed": document.data_removed,
        "attempts": [
            {
                "number": attempt.number,
                "worker": attempt.agent_name,
                "outcome": attempt.outcome,
                "reason": attempt.reason or None,
                "logs": attempt.logs,
            }
            for attempt in document.attempts
        ],
    }
