"""How many workers each model needs, as JSON that an autoscaler can poll."""

import msgspec

from coordinator.figures import Figures
from coordinator.tally import Tally
from edge.metrics.models import ModelIs, age_s
from edge.schemas import encode
from edge.services import Services


class ScaleOut(msgspec.Struct, kw_only=True):
    """How many workers a model in a pool needs now, and what that follows from."""

    model: str
    pool: str
    desired_workers: int
    workers: int
    """Connected ones that get work, or load the model."""
    queued: int
    held: int
    running: int
    oldest_age_s: float
    backlog_s: float


class ScalePage(msgspec.Struct, kw_only=True):
    models: list[ScaleOut]


async def scale_page(services: Services, model: str | None, pool: str | None) -> bytes | None:
    """Each model in each pool that is in use; or one of them, of which there may be nothing to say, but which
    must exist: None when it does not."""
    found = [
        each
        for each in await services.watched.now()
        if model in (None, each.model) and pool in (None, each.pool)
    ]
    if model is not None and not found:
        rows = [row for row in await services.store.objects.all(model) if pool in (None, row.pool)]
        if not rows:
            return None
        found = [ModelIs(row.model, row.pool, Figures(), Tally(), 0) for row in rows]
    now = services.clock.now()
    return encode(ScalePage(models=[_scale_of(each, now) for each in found]))


def _scale_of(each: ModelIs, now: int) -> ScaleOut:
    figures = each.figures
    return ScaleOut(
        model=each.model,
        pool=each.pool,
        desired_workers=each.desired,
        workers=figures.workers.get("ready", 0) + figures.workers.get("loading", 0),
        queued=figures.queued,
        held=figures.held,
        running=figures.running,
        oldest_age_s=round(age_s(figures, now), 3),
        backlog_s=round(figures.queued * figures.run_s, 3),
    )
