"""The versions that trainings have made of their destinations (``training_output.py``), as models' others."""

from collections.abc import Sequence

from msgspec.structs import replace

from coordinator.keeping import is_over
from coordinator.prediction import Document, Status
from coordinator.store.models import ModelRow, VersionRow
from edge import lookup
from edge.auth import Principal
from edge.catalog import Reference, Target
from edge.context import Edge
from edge.errors import Problem
from edge.inputs import WEIGHTS_INPUT
from edge.training_output import makes_version, trained_version, training_of, url_of, weights_of

LISTED = 100
"""The newest trainings of a model whose versions are listed with its others."""
PAGE = 10
"""How many are read at once: each has its logs in it."""


async def trained(edge: Edge, principal: Principal, wanted: Reference) -> Target | None:
    """What runs when such a version is wanted: the one that was trained, with its weights. None for another
    version, or one whose training is not the account's, or is removed."""
    training = await _training(edge, principal.account, wanted)
    return None if training is None else await _target(edge, principal, training)


async def newest_trained(edge: Edge, principal: Principal, model: str) -> Target | None:
    """The same of the newest such version of a model."""
    for training in await _trainings(edge, principal.account, model, 1):
        return await _target(edge, principal, training)
    return None


async def trained_row(edge: Edge, account: str, model: str, version: str) -> VersionRow | None:
    """Such a version as it is shown: it has the schema of the one that was trained."""
    training = await _training(edge, account, Reference(model, version))
    return None if training is None else await _row(edge, training)


async def trained_rows(edge: Edge, account: str, model: str, limit: int = LISTED) -> list[VersionRow]:
    """Those of a model, newest first."""
    rows = [await _row(edge, training) for training in await _trainings(edge, account, model, limit)]
    return [row for row in rows if row is not None]


async def with_newest(edge: Edge, account: str, row: ModelRow) -> ModelRow:
    """A model that no worker has registered a version of, with the newest that a training has made."""
    if row.latest_version is not None:
        return row
    found = await trained_rows(edge, account, row.model, 1)
    return replace(row, latest_version=found[0]) if found else row


async def _target(edge: Edge, principal: Principal, training: Document) -> Target | None:
    base = Reference(training.model, training.version)
    target = await edge.catalog.target(principal, base, here=True)
    weights = weights_of(training)
    if target is None or weights is None or not makes_version(training, target.schema.training):
        return None
    return replace(target, given={WEIGHTS_INPUT: url_of(weights, training, edge.links)})


async def _row(edge: Edge, training: Document) -> VersionRow | None:
    row = await edge.catalog.version(training.account, training.model, training.version)
    _, schema = await edge.catalog.shown(training)
    if row is None or not makes_version(training, schema):
        return None
    at = training.completed_at or training.created_at
    return replace(row, id=trained_version(training.id), model=training.destination, created_at=at)


async def _training(edge: Edge, account: str, wanted: Reference) -> Document | None:
    id = None if wanted.version is None else training_of(wanted.version)
    if id is None:
        return None
    try:
        document = await lookup.find(edge, id, account)
    except Problem as problem:
        if problem.code != "not_found":
            raise
        return None
    mine = document.destination and wanted.model in (None, document.destination)
    return document if mine and not document.data_removed else None


async def _trainings(edge: Edge, account: str, model: str, limit: int) -> Sequence[Document]:
    """The account's for this model that have succeeded and are kept, newest first."""
    # Before the rows: what reaches the index while they are read is in neither otherwise.
    projector, now = edge.services.projector, edge.services.clock.now()
    pending = [projector.recent(each.id) or each for each in projector.pending(account)]
    made: dict[str, Document] = {}
    before, more = None, True
    while more and len(made) < limit:
        # Files of one that was removed stay while a prediction needs them: some may have to be passed over.
        rows = await edge.services.store.index.made_for(account, model, before=before, limit=PAGE)
        made |= {each.id: each for each in rows if _has_made(each, model, now)}
        more = len(rows) == PAGE
        before = (rows[-1].created_at, rows[-1].id) if rows else None
    made |= {each.id: each for each in pending if _has_made(each, model, now)}
    return sorted(made.values(), key=lambda one: (one.created_at, one.id), reverse=True)[:limit]


def _has_made(training: Document, model: str, now: int) -> bool:
    ours = training.destination == model and training.status is Status.SUCCEEDED
    return ours and not is_over(training, now)
