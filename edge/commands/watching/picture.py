"""All that ``cogflare status`` shows of a server at one moment, as it answers an operator's orders."""

import asyncio
from typing import Any

from edge.administration import carry_out, ordered
from edge.control import AskStatus, ListDead, ListQueues, ListWorkers
from edge.data_dir import DataDir
from edge.where import Where

FAILURES = 5


def take(where: Where) -> dict[str, Any]:
    """What the server says of itself, with its ``queues``, ``workers`` and last ``failures``. Raises
    CommandFailed."""
    if where.server:
        queues = ordered(where, ListQueues(), "status")  # who may not ask is told so first
        server = asyncio.run(_from_afar(where.server))
    else:
        server = carry_out(DataDir(where.data), AskStatus(), "status")
        queues = ordered(where, ListQueues(), "status")
    return {
        **server,
        "queues": queues,
        "workers": ordered(where, ListWorkers(), "status"),
        "failures": ordered(where, ListDead(limit=FAILURES), "status"),
    }


async def _from_afar(url: str) -> dict[str, Any]:
    """What a server says of itself to everybody."""
    from edge.commands.predicting.api import Api, Away

    async with Api(url, "") as api:
        try:
            state = str((await api.call("GET", "/readyz"))["status"])
        except Away:
            state = "not ready"
        return {"url": api.server, "state": state}
