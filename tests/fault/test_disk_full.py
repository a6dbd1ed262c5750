"""A full disk: writes are refused loudly, nothing accepted is lost, and no agent's socket is dropped."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Trace
from tests.support.commands import Agent, Server, until

SIZE_BYTES = 24 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every byte that is left."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    return path


def test_a_failed_commit_answers_503_and_drops_no_agents_socket(
    serve: Callable[..., Server], work: Callable[..., Agent], small_disk: Path, trace: Trace
) -> None:
    server = serve(data=small_disk / "data")
    agent = work(server).ready()
    calls = server.calls()
    before = calls.create("test/waiter", trace.input("before", wait=False), Prefer="wait")
    running = calls.create("test/waiter", trace.input("running"))["id"]
    until(lambda: trace.runs("running"), "it runs")

    ballast = fill(small_disk)
    body = {"model": "test/waiter", "input": trace.input("refused", wait=False)}

    def refused() -> bool:
        answer = calls.http.post("/v1/predictions", json=body)
        assert answer.status_code in (201, 503), answer.text
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
        return answer.status_code == 503

    until(refused, "a create is refused with 503")
    ballast.unlink()

    def accepted() -> dict[str, object] | None:
        answer = calls.http.post("/v1/predictions", json=body)
        return dict(answer.json()) if answer.status_code == 201 else None

    after = until(accepted, "creates are accepted again")
    trace.go("running")
    assert calls.ended(running)["output"] == "done running"
    assert calls.ended(str(after["id"]))["output"] == "done refused"
    assert calls.get(before["id"])["status"] == "succeeded"
    assert len(trace.runs("running")) == 1
    dialled = [line for line in agent.command.lines if "connected" in line.lower()]
    assert len(dialled) <= 1, dialled
