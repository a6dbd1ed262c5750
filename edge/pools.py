"""Which of a token's pools serves a prediction: decided once, when it is submitted."""

from collections.abc import Sequence

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.scheduling.flow import Gpu, Needs
from edge.catalog import Target
from edge.context import Edge
from edge.errors import Problem


async def choose_pool(edge: Edge, target: Target, needs: Needs) -> str:
    """The target's first pool with a free slot, else the first with a worker, else the first; of several only
    those that ever had the hardware. Only a token of several pools pays for the question.

    Raises Problem ``no_such_hardware`` when no worker of any pool ever had it.
    """
    pools: Sequence[str] = target.pools
    model = target.model
    if needs.gpu or needs.gpu_memory:
        pools = [pool for pool in pools if await _had(edge, pool, model, needs)]
        if not pools:
            raise _never_had(model, needs)
    if len(pools) == 1:
        return pools[0]
    staffed: str | None = None
    for pool in pools:
        room = await _room(edge, pool, target.queue, needs)
        if room.free:
            return pool
        if room.workers and staffed is None:
            staffed = pool
    return staffed or pools[0]


async def _had(edge: Edge, pool: str, model: str, needs: Needs) -> bool:
    gpus = [Gpu(name, memory) for name, memory in await edge.catalog.gpus(pool, model)]
    return needs.met_by(needs.version, gpus)


def _never_had(model: str, needs: Needs) -> Problem:
    wanted = [f"a GPU of the kind {needs.gpu!r}"] if needs.gpu else ["a GPU"]
    if needs.gpu_memory:
        wanted.append(f"with {needs.gpu_memory / 2**30:g} GiB of memory")
    return Problem(
        "no_such_hardware",
        f"{model} needs {' '.join(wanted)}, and no worker that ever served it in your pools had one. "
        "Connect such a worker first, or change what the model needs (cogflare model set).",
    )


async def _room(edge: Edge, pool: str, queue: str, needs: Needs) -> calls.RoomIs:
    """An object that sleeps has no workers, and is not woken to say so."""
    number = await edge.catalog.number(pool, queue)
    if edge.services.models.live(number):
        try:
            ask = calls.AskRoom(version=needs.version, gpu=needs.gpu, gpu_memory=needs.gpu_memory)
            return await edge.services.models.stub(number).room(ask)
        except Unavailable:
            pass
    return calls.RoomIs()
