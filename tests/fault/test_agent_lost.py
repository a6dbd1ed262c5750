"""What happens to work when the machine that does it goes away."""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Trace
from tests.support.commands import Agent, Server, until
from tests.support.proxy import Proxy


def test_another_agent_finishes_what_a_killed_one_ran(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """Promise 2: execution is at least once; after the lease another worker gets it."""
    server = serve("--lease-s", "1")
    first = work(server).ready()
    calls = server.calls()
    id = calls.create("test/waiter", trace.input("one"))["id"]
    until(lambda: trace.runs("one"), "it runs on the first agent")
    second = work(server).ready()
    first.kill()
    until(lambda: len(trace.runs("one")) == 2, "it runs on the second agent")
    trace.go("one")
    assert calls.ended(id)["output"] == "done one"
    assert second.command.process.poll() is None


def test_a_prediction_that_outlives_every_worker_fails_as_worker_lost(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """Promise 2: at most ``max_attempts``."""
    server = serve("--lease-s", "0.5", "--max-attempts", "2")
    calls = server.calls()
    agent = work(server).ready()
    id = calls.create("test/waiter", trace.input("one"))["id"]
    for runs in (1, 2):
        until(lambda runs=runs: len(trace.runs("one")) == runs, f"run {runs}")
        agent.kill()
        if runs == 1:
            agent = work(server)
    failed = calls.ended(id)
    assert failed["status"] == "failed"
    assert "workers were lost" in failed["error"]


@pytest.fixture
def proxy(serve: Callable[..., Server]) -> Iterator[tuple[Server, Proxy]]:
    server = serve()
    proxy = Proxy(server.port)
    yield server, proxy
    proxy.close()


def test_a_cut_connection_does_not_run_a_prediction_twice(
    proxy: tuple[Server, Proxy], work: Callable[..., Agent], trace: Trace
) -> None:
    """Promise 3: a cut-off worker keeps running, and its result arrives when it is back."""
    server, wire = proxy
    work(server, url=wire.url).ready()
    calls = server.calls()
    id = calls.create("test/waiter", trace.input("one"))["id"]
    until(lambda: trace.runs("one"), "it runs")
    wire.cut()
    trace.go("one")  # it ends while nobody can be told
    wire.mend()
    assert calls.ended(id)["output"] == "done one"
    assert len(trace.runs("one")) == 1


def test_a_prediction_runs_on_while_its_wire_is_cut_and_mended(
    proxy: tuple[Server, Proxy], work: Callable[..., Agent], trace: Trace
) -> None:
    server, wire = proxy
    work(server, url=wire.url).ready()
    calls = server.calls()
    id = calls.create("test/waiter", trace.input("one"))["id"]
    until(lambda: trace.runs("one"), "it runs")
    for _ in range(3):
        wire.cut()
        wire.mend()
        calls.reaches(id, "processing")
    trace.go("one")
    assert calls.ended(id)["output"] == "done one"
    assert len(trace.runs("one")) == 1


def test_a_silent_worker_gets_no_work_and_its_result_still_counts(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """Promise 3: a frozen machine is suspect after ``--silence-s``; its result comes when it thaws."""
    server = serve("--silence-s", "1", "--beat-s", "0.2")
    frozen = work(server).ready()
    calls = server.calls()
    running = calls.create("test/waiter", trace.input("running"))["id"]
    until(lambda: trace.runs("running"), "it runs")
    frozen.signal(signal.SIGSTOP)
    assert server.command is not None
    server.command.line("nothing heard")
    trace.go("running")
    work(server).ready()
    other = calls.create("test/waiter", trace.input("other", wait=False), Prefer="wait")
    assert other["status"] == "succeeded"
    frozen.signal(signal.SIGCONT)
    assert calls.ended(running)["output"] == "done running"
    assert len(trace.runs("running")) == 1
