"""Queues predictions over the coordinator's stub, batch by batch, into a data directory that no server uses.

Each is committed and told to the index as if it had come over HTTP, which would take an hour for a million.
Prints the id of the last one, and the memory that this process needed, as JSON.
"""

import argparse
import asyncio
import json
import resource
import sys
from pathlib import Path

import uvloop

from coordinator import calls
from coordinator.actor.clock import SystemClock
from coordinator.actor.placement import LocalPlacement
from coordinator.actor.sqlite import SqliteStorages
from coordinator.blobs.disk import DiskBlobs
from coordinator.blobs.signing import Signer
from coordinator.host import Coordinators
from coordinator.ids import Ids
from coordinator.model_schema import MODEL_SCHEMA
from coordinator.protocol.limits import ServerLimits
from coordinator.store.database import Store, migrate
from edge.data_dir import DataDir

BATCH = 256
INPUT = b'{"prompt": "a light at the end of the pier, turning, at night, seen from a boat", "seed": %d}'


async def fill(data: DataDir, model: str, count: int, version: str) -> str:
    """Queue so many predictions of the model; gives the id of the last one."""
    limits, clock = ServerLimits(queue_length=10_000_000, queue_s=7 * 86_400.0), SystemClock()
    ids = Ids(data.key("prediction ids"))
    await asyncio.to_thread(migrate, data.database_url)
    store = await Store.open(data.database_url, clock=clock.now)
    coordinators = Coordinators(
        store=store,
        storages=SqliteStorages(data.objects, MODEL_SCHEMA, threads=2, open_limit=8),
        placement=LocalPlacement(),
        blobs=DiskBlobs(data.blobs),
        signer=Signer(data.key("signed urls")),
        clock=clock,
        limits=limits,
        on_fatal=lambda error: sys.exit(f"fill: {error}"),
    )
    await coordinators.start()
    number = await store.objects.number("default", model)
    stub = coordinators.models.stub(number)

    async def create(n: int) -> str:
        call = calls.Create(
            id=ids.make(number),
            account="default",
            token="tok_bench",
            pool="default",
            model=model,
            input=INPUT % n,
            version=version,
        )
        reply = await stub.create(call)
        if isinstance(reply, calls.Refused):  # the index is behind
            await asyncio.sleep(0.05)
            return await create(n)
        return reply.document.id

    last = ""
    for first in range(0, count, BATCH):
        made = await asyncio.gather(*(create(n) for n in range(first, min(first + BATCH, count))))
        last = made[-1]
    await coordinators.stop()
    await store.close()
    return last


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--version", default="")
    options = parser.parse_args()
    data = DataDir(options.data)
    data.create()
    data.hold("fill")
    last = uvloop.run(fill(data, options.model, options.count, options.version))
    data.release()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"last": last, "peak_mb": round(peak_mb)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
