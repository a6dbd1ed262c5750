"""Files, where the originals leave something to be desired."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from tests.cog_server.scenarios.test_files import content
from tests.cog_server.targets import Target
from tests.support.commands import until
from tests.support.receiver import Receiver, Reply

Start = Callable[..., Target]
ABC = "data:text/plain;base64,YWJj"


def test_the_name_in_a_data_url_is_kept(shared: Callable[[str], Target]) -> None:
    found = shared("files").succeeded({"file": "data:text/plain;filename=my%20notes.md;base64,YWJj"})
    assert "got my notes.md\n" in found["logs"]


def test_yielded_files_of_one_name_do_not_overwrite_each_other(start: Start, hooks: Receiver) -> None:
    target = start("stream_files", "--upload-url", hooks.url).ready()
    found = target.succeeded({"count": 3})
    names = ["out.txt", "out-1.txt", "out-2.txt"]
    assert found["output"] == [f"{hooks.url}/{name}" for name in names]
    assert [each.body for each in hooks.received] == [b"file 0", b"file 1", b"file 2"]
    assert len({each.connection for each in hooks.received}) == 1


def test_a_failed_upload_of_an_item_stops_the_model(start: Start, hooks: Receiver) -> None:
    hooks.answer = lambda request: Reply(403)
    target = start("stream_files", "--upload-url", hooks.url).ready()
    found = target.predict({"count": 100_000}).json()
    assert found["status"] == "failed"
    assert "403" in found["error"]
    assert len(hooks.received) == 1
    target.reaches("READY")


def test_a_cancelation_ends_an_upload(start: Start, hooks: Receiver) -> None:
    from threading import Event

    hold = Event()
    hooks.answer = lambda request: Reply(hold=hold)
    target = start("files", "--upload-url", hooks.url).ready()
    target.predict({"file": ABC}, headers={"Prefer": "respond-async"}, id="one")
    hooks.wait_for(lambda all: bool(all), "the upload begins")
    # The model is done with it: another one has its slot while the upload hangs.
    target.reaches("READY")
    assert target.http.post("/predictions/one/cancel").status_code == 200
    assert target.ended("one")["status"] == "canceled"
    hold.set()


def test_a_cancelation_ends_a_fetch(start: Start, hooks: Receiver) -> None:
    from threading import Event

    hold = Event()
    hooks.answer = lambda request: Reply(hold=hold)
    target = start("files").ready()
    target.predict({"file": f"{hooks.url}/a.txt"}, headers={"Prefer": "respond-async"}, id="one")
    hooks.wait_for(lambda all: bool(all), "the fetch begins")
    target.http.post("/predictions/one/cancel")
    assert target.ended("one")["status"] == "canceled"
    target.reaches("READY")
    hold.set()


def test_nothing_of_a_prediction_stays_on_the_disk(start: Start, tmp_path: Path) -> None:
    target = start("files", environment={"TMPDIR": str(tmp_path)}).ready()
    folder = next(tmp_path.glob("cogflare-cog-server-*"))

    for _ in range(3):
        content(target.succeeded({"file": ABC})["output"][0])
    assert target.predict({"file": "data:text/plain;base64,A"}).json()["status"] == "failed"
    kept = ("predictions/*", "runner-*/*/out/*", "**/*.txt")
    until(lambda: not [path for each in kept for path in folder.glob(each)], "its files are removed")
    target.close()
    assert not list(tmp_path.glob("cogflare-*"))


def test_an_input_may_be_on_a_private_network_unless_the_operator_says_otherwise(
    start: Start, hooks: Receiver
) -> None:
    hooks.answer = lambda request: Reply(body=b"abc")
    target = start("files", "--public-inputs-only").ready()
    found = target.predict({"file": f"{hooks.url}/a.txt"}).json()
    assert found["status"] == "failed"
    assert "not public" in found["error"]
    answer = target.predict({"file": ABC}, output_file_prefix=f"{hooks.url}/")
    assert answer.json()["status"] == "failed"
    assert "not allowed" in answer.json()["error"]
    assert not hooks.received
    opened = start("files", "--public-inputs-only", "--allow-private", "127.0.0.0/8").ready()
    assert content(opened.succeeded({"file": f"{hooks.url}/a.txt"})["output"][0]) == b"cba0"


def test_metadata_addresses_are_never_fetched(shared: Callable[[str], Target]) -> None:
    found = shared("files").predict({"file": "http://169.254.169.254/latest/meta-data/"}).json()
    assert found["status"] == "failed"
    assert "not public" in found["error"]


def test_an_input_file_that_is_too_large(start: Start, hooks: Receiver) -> None:
    hooks.answer = lambda request: Reply(body=b"x" * 2000)
    target = start("files", "--input-bytes", "1000").ready()
    found = target.predict({"file": f"{hooks.url}/a.txt"}).json()
    assert found["status"] == "failed"
    assert "1000 bytes" in found["error"]


def test_an_upload_url_where_nobody_listens(start: Start) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    target = start("files", "--upload-url", url).ready()
    found = target.predict({"file": ABC}).json()
    assert found["status"] == "failed"
    assert "could not be stored" in found["error"]


def test_directories_of_killed_servers_are_removed(start: Start, tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path)}
    killed = start("echo", environment=environment).ready()
    killed.command.kill()
    left = {path.name for path in tmp_path.glob("cogflare-cog-server-*")}
    assert len(left) == 1
    runner_gone(tmp_path)
    other = start("echo", environment=environment).ready()
    now = {path.name for path in tmp_path.glob("cogflare-cog-server-*")}
    assert len(now) == 1
    assert not now & left
    other.succeeded({})


def runner_gone(folder: Path) -> None:
    """Wait until no process has this folder in its command line."""

    def gone() -> bool:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if os.fsencode(folder) in path.read_bytes():
                    return False
            except OSError:
                continue
        return True

    until(gone, "the runner has ended")
