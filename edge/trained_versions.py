"""The versions that trainings have made of their destinations (``training_output.py``), as models' others."""

from msgspec.structs import replace

from coordinator.prediction import Document
from coordinator.store.models import VersionRow
from edge import lookup
from edge.auth import Principal
from edge.catalog import Reference, Target
from edge.context import Edge
from edge.errors import Problem
from edge.inputs import WEIGHTS_INPUT
from edge.training_output import makes_version, trained_version, training_of, url_of, weights_of


async def trained(edge: Edge, principal: Principal, wanted: Reference) -> Target | None:
    """What runs when such a version is wanted: the one that was trained, with its weights. None for another
    version, or one whose training is not the account's, or is removed."""
    training = await _training(edge, principal.account, wanted)
    if training is None:
        return None
    base = Reference(training.model, training.version)
    target = await edge.catalog.target(principal, base, here=True)
    weights = weights_of(training)
    if target is None or weights is None or not makes_version(training, target.schema.training):
        return None
    return replace(target, given={WEIGHTS_INPUT: url_of(weights, training, edge.links)})


async def trained_row(edge: Edge, account: str, model: str, version: str) -> VersionRow | None:
    """Such a version as it is shown: it has the schema of the one that was trained."""
    training = await _training(edge, account, Reference(model, version))
    return None if training is None else await _row(edge, training)


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
