"""Workers that fail, seen and handled by an operator, with the real commands."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from tests.conftest import Trace
from tests.support.commands import Agent, Calls, Server, run, until


def told(server: Server, *words: str) -> Any:
    answer = run(*words, "--json", "--data", str(server.data))
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def refused(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    answer = run(*words, "--data", str(server.data))
    assert answer.returncode != 0
    return answer


def crash(trace: Trace, name: str, run: int = 1) -> None:
    """Wait until it runs for that time, and kill the process that runs it."""
    pid = until(lambda: trace.runs(name)[run - 1 :], f"run {run} of {name}")[0]
    os.kill(int(pid), signal.SIGKILL)


def poisoned(calls: Calls, trace: Trace, name: str) -> dict[str, Any]:
    """A prediction that ends both processes that run it."""
    id = calls.create("test/waiter", trace.input(name))["id"]
    for run_number in (1, 2):
        crash(trace, name, run_number)
    return calls.ended(id)


def test_a_prediction_that_kills_its_workers_is_looked_at_and_tried_again(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """A prediction that kills workers fails as poison, with its attempts, and can be driven again."""
    server = serve()
    for name in ("one", "two"):
        work(server, options=("--name", name)).ready()
    calls = server.calls()
    failed = poisoned(calls, trace, "bad")
    assert (failed["status"], failed["error_code"]) == ("failed", "poison")
    assert {attempt["worker"] for attempt in failed["attempts"]} == {"one", "two"}
    assert [attempt["outcome"] for attempt in failed["attempts"]] == ["crashed", "crashed"]
    assert "SIGKILL" in failed["attempts"][0]["reason"]

    (letter,) = until(lambda: told(server, "dead", "list"), "it is listed")
    assert (letter["id"], letter["error_code"]) == (failed["id"], "poison")
    assert "no dead letter" not in refused(server, "dead", "redrive", "nothing").stderr
    trace.go("bad")
    (again,) = told(server, "dead", "redrive", failed["id"])
    assert again["redriven_from"] == failed["id"]
    assert told(server, "dead", "redrive", failed["id"])[0]["id"] == again["id"]
    done = calls.ended(again["id"])
    assert (done["output"], done["redriven_from"]) == ("done bad", failed["id"])
    until(
        lambda: told(server, "dead", "redrive", failed["id"]) == [again | {"status": "succeeded"}],
        "a redrive of what has been redriven gives what became of it",
    )
    assert len(trace.runs("bad")) == 3
    assert calls.get(failed["id"])["status"] == "failed"
    assert "no dead letter" in refused(server, "dead", "redrive", again["id"]).stderr


def test_a_model_that_must_never_run_twice_fails_where_another_would_be_tried_again(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """Promise 2: a model may say ``--retries 0``."""
    server = serve()
    for _ in range(2):
        work(server, options=("--retries", "0")).ready()
    calls = server.calls()
    id = calls.create("test/waiter", trace.input("once"))["id"]
    crash(trace, "once")
    failed = calls.ended(id)
    assert (failed["status"], failed["error_code"]) == ("failed", "runner_crashed")
    assert len(trace.runs("once")) == 1


def test_a_worker_that_fails_predictions_in_a_row_is_quarantined_and_released(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """A worker that fails N predictions in a row is quarantined with a reason; an operator can end that."""
    server = serve("--quarantine-after", "2")
    work(server, options=("--name", "box")).ready()
    calls = server.calls()
    poisoned(calls, trace, "first")
    second = calls.create("test/waiter", trace.input("second"))["id"]
    crash(trace, "second")
    (worker,) = until(
        lambda: [w for w in told(server, "worker", "list") if w["state"] == "quarantined"],
        "it is quarantined",
    )
    assert (worker["worker"], worker["strikes"]) == ("box", 2)
    assert "2 predictions in a row went wrong" in worker["reason"]
    assert "quarantined" in run("worker", "list", "--data", str(server.data)).stdout
    assert calls.get(second)["status"] == "processing"

    assert "there is no worker nobody" in refused(server, "worker", "release", "nobody").stderr
    (released,) = told(server, "worker", "release", "box")
    assert released["state"] == "ok"
    trace.go("second")
    assert calls.ended(second)["output"] == "done second"


def test_a_drained_worker_finishes_and_takes_nothing_until_it_is_resumed(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """An administrator may drain a worker: over restarts of both ends, until it is resumed."""
    server = serve()
    drained = work(server, options=("--name", "drained")).ready()
    calls = server.calls()
    running = calls.create("test/waiter", trace.input("running"))["id"]
    until(lambda: trace.runs("running"), "it runs")
    told(server, "worker", "drain", "drained")
    waiting = calls.create("test/waiter", trace.input("waiting", wait=False))["id"]
    trace.go("running")
    assert calls.ended(running)["output"] == "done running"
    server.stop()
    server.start()
    drained.close()
    drained.start_again().ready()
    (worker,) = told(server, "worker", "list")
    assert (worker["state"], worker["attached"]) == ("draining", True)
    assert calls.get(waiting)["status"] == "starting"
    told(server, "worker", "resume", "drained")
    assert calls.ended(waiting)["output"] == "done waiting"
