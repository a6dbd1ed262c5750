"""A queue that is longer than memory holds of it, on a disk that is full or fails: it says so loudly, nothing
that was accepted is lost, and each runs once."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import Trace
from tests.fault.test_disk_full import fill, small_disk  # noqa: F401 - a fixture
from tests.support.commands import Agent, Calls, Server, until

WINDOW = 10
QUEUED = 8 * WINDOW


def registered(server: Server, work: Callable[..., Agent]) -> Server:
    """The model is known, and nobody works for it."""
    work(server).ready().close()
    return server


def queue(calls: Calls, trace: Trace, count: int, prefix: str = "p") -> dict[str, str]:
    """So many that wait: name -> id."""
    names = [f"{prefix}{n}" for n in range(count)]
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda name: calls.create("test/waiter", trace.input(name, wait=False)), names)
        return dict(zip(names, (one["id"] for one in made), strict=True))


def all_ended_once(calls: Calls, trace: Trace, queued: dict[str, str]) -> None:
    for name, id in queued.items():
        assert calls.ended(id, 60)["output"] == f"done {name}"
    assert {name: len(trace.runs(name)) for name in queued} == dict.fromkeys(queued, 1)


def test_kill_9_with_most_of_the_queue_on_disk(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    server = registered(serve("--queue-window", str(WINDOW)), work)
    calls = server.calls()
    queued = queue(calls, trace, QUEUED)
    server.kill()
    server.start()
    for id in (*queued.values(),)[:: QUEUED // 4]:
        assert calls.get(id)["status"] == "starting"
    listed = calls.http.get("/v1/predictions").json()["results"]
    assert {one["id"] for one in listed} == {*queued.values()}
    work(server).ready()
    until(lambda: len(trace.runs("p5")) == 1, "some have run")
    server.kill()
    server.start()
    all_ended_once(calls, trace, queued)


def test_a_disk_that_becomes_full_in_the_middle(
    serve: Callable[..., Server],
    work: Callable[..., Agent],
    small_disk: Path,  # noqa: F811
    trace: Trace,
) -> None:
    server = registered(serve("--queue-window", str(WINDOW), data=small_disk / "data"), work)
    calls = server.calls()
    accepted = queue(calls, trace, QUEUED)
    refused = threading.Event()

    def create_until_refused(client: int) -> dict[str, str]:
        kept, n = {}, 0
        while not refused.is_set():
            n += 1
            name = f"c{client}-{n}"
            body = {"model": "test/waiter", "input": trace.input(name, wait=False)}
            answer = calls.http.post("/v1/predictions", json=body)
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["detail"]
                refused.set()
            else:
                assert answer.status_code == 201, answer.text
                kept[name] = answer.json()["id"]
        return kept

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(create_until_refused, client) for client in range(4)]
        ballast = fill(small_disk)
        for client in clients:
            accepted |= client.result(60)

    waits_on_disk = accepted[f"p{QUEUED - 1}"]
    until(lambda: calls.http.get(f"/v1/predictions/{waits_on_disk}").status_code in (200, 503), "an answer")
    ballast.unlink()
    until(lambda: calls.http.get(f"/v1/predictions/{waits_on_disk}").status_code == 200, "it is found")
    work(server).ready()
    all_ended_once(calls, trace, accepted)


@contextmanager
def reads_fail(server: Server, folder: Path) -> Iterator[None]:
    """The next read of the server from a coordinator's database fails as that of a broken disk does."""
    assert server.command is not None
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    paths = list((server.data / "objects").iterdir())
    only = [part for path in paths for part in ("-P", str(path))]
    command = ["strace", "-f", "-q", "-o", str(folder / "strace"), *only, "-e", "trace=pread64"]
    command += ["-e", "inject=pread64:error=EIO", "-p", str(server.command.process.pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status = Path(f"/proc/{server.command.process.pid}/status")
    try:
        until(
            lambda: "TracerPid:\t0\n" not in status.read_text() or tracer.poll() is not None, "it is traced"
        )
        if tracer.poll() is not None:
            pytest.skip("needs the right to trace")
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def test_a_read_that_fails_ends_the_server_and_loses_nothing(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace, tmp_path: Path
) -> None:
    server = registered(serve("--queue-window", str(WINDOW)), work)
    calls = server.calls()
    queued = queue(calls, trace, QUEUED)
    server.stop()
    server.start()  # what it wrote is not in its cache any more
    assert server.command is not None
    with reads_fail(server, tmp_path):
        for id in reversed(queued.values()):
            try:
                answer = calls.http.get(f"/v1/predictions/{id}")
            except httpx.TransportError:
                break  # it has ended
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 503:
                break
    server.command.line(r"storage failed, the server stops: object storage: ")
    assert server.command.process.wait(30) != 0
    server.start()
    work(server).ready()
    all_ended_once(calls, trace, queued)
