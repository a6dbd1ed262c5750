"""The drill: a server under load is backed up, killed, and restored elsewhere; what was accepted goes on."""

import hashlib
import itertools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import WAITER, Trace
from tests.support.commands import Agent, Calls, Server, run, until

PAINTER = """
import tempfile
from cog import BasePredictor, Path

class Predictor(BasePredictor):
    def predict(self, text: str) -> Path:
        path = Path(tempfile.mkdtemp()) / "picture.txt"
        path.write_text(text * 1000)
        return path
"""
CLIENTS = 3
BEFORE = 30
"""Predictions that are accepted before the backup begins."""


def picture(name: str) -> str:
    return hashlib.sha256((name * 1000).encode()).hexdigest()


class Load:
    """Clients that create predictions, one after the other; what was accepted is known by name."""

    def __init__(self, calls: Calls) -> None:
        self.accepted: dict[str, str] = {}
        self._calls = calls
        self._stop = threading.Event()

    def _create(self, client: int) -> None:
        for count in itertools.count():
            if self._stop.is_set():
                return
            name = f"{client}-{count} "
            self.accepted[name] = self._calls.create("test/painter", {"text": name})["id"]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._create, client) for client in range(CLIENTS)]
            try:
                yield self
            finally:
                self._stop.set()
                for client in clients:
                    client.result(60)


def told(*arguments: str) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def restored_server(server: Server, data: Path, stack: ExitStack) -> Server:
    """On another directory, at the same address, for those who have the old one's tokens."""
    other = Server(data)
    other.port = server.port
    other.tokens = server.tokens
    stack.callback(other.close)
    return other.start()


def download(calls: Calls, prediction: dict[str, Any]) -> str:
    answer = calls.http.get(prediction["output"])
    assert answer.status_code == 200, answer.text
    return hashlib.sha256(answer.content).hexdigest()


def test_a_backup_under_load_is_restored_elsewhere(
    serve: Callable[..., Server],
    work: Callable[..., Agent],
    trace: Trace,
    stack: ExitStack,
    tmp_path: Path,
) -> None:
    painter = tmp_path / "painter"
    painter.mkdir()
    (painter / "predict.py").write_text(PAINTER)
    server = serve()
    work(server, WAITER, f"test/painter={painter}", options=("--slots", "2")).ready()
    calls, backup, data = server.calls(), tmp_path / "backup", tmp_path / "elsewhere"
    uploaded = calls.http.post("/v1/files", files={"content": ("a.txt", b"uploaded")}).json()
    running = calls.create("test/waiter", trace.input("running"))["id"]
    until(lambda: trace.runs("running"), "it runs")

    with Load(calls).running() as load:
        until(lambda: len(load.accepted) >= BEFORE, "some are accepted")
        before = dict(load.accepted)
        ended = {id: one for id in before.values() if (one := calls.get(id))["status"] == "succeeded"}
        first = told("backup", str(backup), "--data", str(server.data), "--rate-bytes", "1MiB")
        enough = len(load.accepted) + 10
        until(lambda: len(load.accepted) >= enough, "more are accepted after it")
    assert first["coordinators"] == 2
    assert told("backup", str(backup), "--verify")["wrong"] == []

    server.kill()
    assert told("restore", str(backup), "--data", str(data))["begun_at"] == first["begun_at"]
    other = restored_server(server, data, stack)
    calls = other.calls()
    trace.go("running")
    assert calls.ended(running)["output"] == "done running"
    for name, id in before.items():
        found = calls.ended(id)
        assert found["status"] == "succeeded", found
        assert download(calls, found) == picture(name)
    for id, one in ended.items():
        assert calls.get(id)["output"].split("?")[0] == one["output"].split("?")[0], "it did not run again"
    assert [path.read_bytes() for path in (data / "blobs" / "uploads").rglob("a.txt")] == [b"uploaded"]
    assert calls.http.get(f"/v1/files/{uploaded['id']}").json()["checksums"] == uploaded["checksums"]
    listed = list(pages(calls.http))
    assert len(listed) == len({*listed}), "each is there once"
    assert {*before.values(), running} <= {*listed}

    new = calls.create("test/painter", {"text": "new"})["id"]
    assert download(calls, calls.ended(new)) == picture("new")
    second = told("backup", str(backup), "--data", str(data))
    assert second["files"] >= first["files"] + 1
    assert told("backup", str(backup), "--verify")["wrong"] == []
    assert other.stop() == 0


def pages(http: httpx.Client) -> Iterator[str]:
    """The ids of all predictions that a client sees."""
    url: str | None = "/v1/predictions"
    while url:
        page = http.get(url).json()
        yield from (one["id"] for one in page["results"])
        url = page["next"]


def test_a_server_that_is_killed_while_it_backs_up_loses_nothing(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace, tmp_path: Path
) -> None:
    server = serve()
    work(server).ready()
    calls, backup = server.calls(), tmp_path / "backup"
    told("backup", str(backup), "--data", str(server.data))
    ids = {name: calls.create("test/waiter", trace.input(name, wait=False))["id"] for name in ("a", "b", "c")}
    for id in ids.values():
        calls.ended(id)
    with ThreadPoolExecutor(1) as pool:
        # Slow enough that it is in the middle for some seconds.
        slow = ("--data", str(server.data), "--rate-bytes", "64KiB")
        making = pool.submit(run, "backup", str(backup), *slow)
        until(
            lambda: [*backup.glob("state-*/objects")] and len([*backup.glob("state-*")]) == 2, "it is at work"
        )
        later = calls.create("test/waiter", trace.input("later", wait=False), Prefer="wait")
        assert later["status"] == "succeeded", "a backup hinders nobody"
        server.kill()
        done = making.result(60)
    assert done.returncode != 0
    assert done.stderr
    server.start()
    for name, id in {**ids, "later": later["id"]}.items():
        assert calls.ended(id)["output"] == f"done {name}"
    assert told("backup", str(backup), "--verify")["wrong"] == [], "the one before is whole"
    told("backup", str(backup), "--data", str(server.data))
    assert len([*backup.glob("state-*")]) == 1
    assert told("backup", str(backup), "--verify")["predictions"] == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=66m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_backup_whose_disk_fills_up_harms_nobody(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace, small_disk: Path, tmp_path: Path
) -> None:
    server = serve()
    work(server).ready()
    calls = server.calls()
    data = ("--data", str(server.data))
    for _ in range(7):
        stored = calls.http.post("/v1/files", files={"content": ("a.bin", bytes(10 << 20))})
        assert stored.status_code == 201
    failed = run("backup", str(small_disk / "backup"), *data)
    assert failed.returncode == 5
    assert "No space left" in failed.stderr
    assert "make room there" in failed.stderr
    assert [path.name for path in (small_disk / "backup").glob("state-*")] == []
    done = calls.create("test/waiter", trace.input("after", wait=False), Prefer="wait")
    assert done["output"] == "done after"
    assert told("backup", str(tmp_path / "backup"), *data)["files"] == 7
