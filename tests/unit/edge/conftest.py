"""A server in this process, for tests of what it answers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.protocol.limits import ServerLimits
from tests.support.edge import TestServer, running


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits(stream_heartbeat_s=5.0)


@pytest.fixture
async def server(tmp_path: Path, limits: ServerLimits) -> AsyncIterator[TestServer]:
    async with running(tmp_path, limits) as server:
        yield server
