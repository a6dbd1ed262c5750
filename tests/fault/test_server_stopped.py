"""A server that is paused expires no lease that nobody could have renewed."""

import os
import signal
import time
from collections.abc import Callable

from tests.conftest import Trace
from tests.support.commands import Agent, Server, until


def test_a_server_that_is_stopped_for_longer_than_a_lease_repeats_nothing(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """Promise 7: leases move by as long as the server stood still, and no worker is blamed for it."""
    server = serve("--lease-s", "1", "--silence-s", "1", "--beat-s", "0.3", "--quarantine-after", "1")
    work(server).ready()
    calls = server.calls()
    id = calls.create("test/waiter", trace.input("one"))["id"]
    until(lambda: trace.runs("one"), "it runs")
    assert server.command is not None
    pid = server.command.process.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(3.0)  # is the time that it stands still for: longer than lease and silence together
    os.kill(pid, signal.SIGCONT)
    calls.reaches(id, "processing")
    trace.go("one")
    ended = calls.ended(id)
    assert ended["output"] == "done one"
    assert "attempts" not in ended  # one, and it went well
    assert len(trace.runs("one")) == 1
