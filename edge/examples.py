"""Examples of a model: predictions that its owner chose, for whoever may see the model.

Others see them, so they are shown without what is their client's alone. One whose data is removed, by its
retention or by order, is no example any more.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from msgspec.structs import replace

from coordinator.blobs.errors import BlobsUnavailable
from coordinator.keeping import is_over
from coordinator.letters import COGFLARE
from coordinator.long_inputs import whole
from coordinator.prediction import Document, Status
from coordinator.protocol.limits import MODEL_EXAMPLE_BYTES, MODEL_EXAMPLES
from coordinator.store.errors import Invalid
from coordinator.store.models import ModelRow
from edge.context import Edge
from edge.quantities import format_size
from edge.schemas import ModelOut, PredictionOut

Find = Callable[[str], Awaitable[Document | None]]
"""A prediction of the account that owns the model, by its id; None when there is none."""


async def chosen(model: str, account: str, ids: Sequence[str], find: Find) -> tuple[str, ...]:
    """Our ids of these predictions, each once. Raises Invalid: which cannot be an example, and why."""
    if len(ids) > MODEL_EXAMPLES:
        raise Invalid(f"{len(ids)} examples are too many", f"choose at most {MODEL_EXAMPLES}")
    found: dict[str, None] = {}
    for id in ids:
        document = await find(id)
        if document is None:
            raise Invalid(
                f"there is no prediction {id} of account {account}",
                "an example is a prediction of the account that owns the model",
            )
        _check(model, id, document)
        found[document.id] = None
    return tuple(found)


async def examples_of(edge: Edge, row: ModelRow) -> AsyncIterator[PredictionOut]:
    """What is left of those that were chosen, in their order. Wakes no coordinator."""
    for id in row.config.examples:
        document = edge.services.projector.recent(id)
        if document is None or document.account != row.account:
            document = await edge.services.store.index.get(id, row.account)
        if document is None or document.model != row.model or is_over(document, edge.services.clock.now()):
            continue
        document = _without_its_clients(await whole(edge.services.blobs, document))
        version, schema = await edge.catalog.shown(document)
        yield edge.render.prediction(document, version, schema, in_list=True)


async def shown_model(edge: Edge, row: ModelRow) -> ModelOut:
    """A model with the first of its examples; without, while storage does not give that one's input."""
    try:
        first = await anext(examples_of(edge, row), None)
    except BlobsUnavailable:
        first = None
    return edge.render.model(row, first)


def _check(model: str, id: str, document: Document) -> None:
    if document.model != model:
        raise Invalid(f"prediction {id} is one of {document.model}", f"choose predictions of {model}")
    if document.destination:
        raise Invalid(f"{id} is a training", f"choose predictions of {model}")
    if document.status is not Status.SUCCEEDED:
        raise Invalid(f"prediction {id} is {document.status.value}", "choose predictions that have succeeded")
    if document.data_removed:
        raise Invalid(
            f"input and output of prediction {id} were removed",
            "run it again with retention: forever, and choose that one",
        )
    if document.dialect == COGFLARE:
        # Its id is the right to read all of it.
        raise Invalid(
            f"prediction {id} was made by a token of 2022, whose predictions are open to who knows their ids",
            "run it again with a token of today",
        )
    if document.input_bytes + len(document.output or b"") > MODEL_EXAMPLE_BYTES:
        raise Invalid(
            f"input and output of prediction {id} are longer than {format_size(MODEL_EXAMPLE_BYTES)}",
            "give files by URL, and choose that one",
        )


def _without_its_clients(document: Document) -> Document:
    """It without what its client says of itself, and without the right to follow its stream."""
    return replace(document, own_id="", metadata=b"", deployment="", redriven_from="", streams=False)
