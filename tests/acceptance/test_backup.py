"""``cogflare backup`` and ``cogflare restore`` as a person uses them: what they say, and what they refuse."""

import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Trace
from tests.support.commands import Agent, Command, Server, run, until


def test_a_stopped_server_is_backed_up_and_restored_by_hand(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace, tmp_path: Path
) -> None:
    server = serve()
    work(server).ready()
    id = server.calls().create("test/waiter", trace.input("one", wait=False), Prefer="wait")["id"]
    admin = (server.data / "admin-token").read_text()
    assert server.stop() == 0
    backup, data = tmp_path / "backup", tmp_path / "restored"
    made = run("backup", str(backup), "--data", str(server.data))
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"the backup is in {backup}\n")
    assert "cogflare: control database ...\n" in made.stderr
    checked = run("backup", str(backup), "--verify")
    assert (checked.returncode, checked.stdout.split(":")[0]) == (0, "whole")
    restored = run("restore", str(backup), "--data", str(data))
    assert restored.returncode == 0, restored.stderr
    assert restored.stdout.startswith(f"{data} is restored\n")
    assert (data / "admin-token").read_text() == admin
    secret = data / "secret.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    other = serve(data=data)
    other.tokens = server.tokens
    assert other.calls().get(id)["output"] == "done one"


def test_what_is_in_the_way_is_moved_aside_only_when_asked_for(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server, backup = serve(), tmp_path / "backup"
    assert run("backup", str(backup), "--data", str(server.data)).returncode == 0
    data = ("--data", str(server.data))
    in_use = run("restore", str(backup), *data, "--force")
    assert in_use.returncode == 3
    assert "is in use by process" in in_use.stderr
    server.stop()
    secret = (server.data / "secret.key").read_bytes()
    refused = run("restore", str(backup), *data)
    assert refused.returncode == 2
    assert (
        "is not empty: it holds admin-token, blobs, control.db (give a new --data, or --force"
        in refused.stderr
    )
    for count in (1, 2):
        assert run("restore", str(backup), *data, "--force").returncode == 0
        asides = sorted(server.data.glob("replaced-*"))
        assert [(aside / "secret.key").read_bytes() for aside in asides] == [secret] * count
    server.start()
    assert server.client().get("/v1/account").status_code == 200


def test_a_restore_that_was_cut_off_is_finished_by_the_next(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server, backup, data = serve(), tmp_path / "backup", tmp_path / "restored"
    assert run("backup", str(backup), "--data", str(server.data)).returncode == 0
    damaged = next(backup.glob("state-*/secret.key"))
    secret = damaged.read_bytes()
    damaged.write_bytes(secret[::-1])
    failed = run("restore", str(backup), "--data", str(data))
    assert failed.returncode == 5
    assert "secret.key is not what was written" in failed.stderr
    started = run("serve", "--data", str(data), "--port", "0")
    assert started.returncode == 5
    assert "has not come to its end (run `cogflare restore` on it again)" in started.stderr
    damaged.write_bytes(secret)
    assert run("restore", str(backup), "--data", str(data)).returncode == 0
    assert sorted(path.name for path in data.iterdir()) == [
        "admin-token",
        "blobs",
        "control.db",
        "lock",
        "objects",
        "secret.key",
    ]


def test_what_cannot_be_done_is_one_line(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    data = ("--data", str(server.data))
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    for arguments, code, text in [
        (("backup", str(full), *data), 5, "holds something else: thesis.txt (name an empty folder"),
        (("backup", str(server.data / "backup"), *data), 2, "is inside of the data directory"),
        (("backup", str(full / "thesis.txt"), *data), 5, "File exists"),
        (("backup", str(tmp_path / "b"), "--data", str(tmp_path / "no")), 5, "there is no Cogflare data in"),
        (("backup", str(full), "--verify"), 5, "it has no manifest.json"),
        (("restore", str(full), "--data", str(tmp_path / "new")), 5, "there is no backup in"),
        (("backup", *data), 2, "TO is needed"),
        (("backup", str(tmp_path / "b"), *data, "--rate-bytes", "1"), 2, "is below 64KiB"),
    ]:
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), (arguments, done.stderr)
        assert text in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert [path.name for path in full.iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "new").exists(), "nothing was begun"


def test_ctrl_c_ends_the_backup_of_the_server(serve: Callable[..., Server], tmp_path: Path) -> None:
    server, backup = serve(), tmp_path / "backup"
    slow = ("--data", str(server.data), "--rate-bytes", "64KiB")
    command = Command("backup", str(backup), *slow)
    until(lambda: [*backup.glob("state-*/objects")], "it is at work")
    os.kill(command.process.pid, signal.SIGINT)
    code = command.process.wait(20)
    command.close()
    assert code == 130
    until(lambda: not [*backup.glob("state-*")], "it has tidied up")
    assert run("backup", str(backup), "--data", str(server.data), "--json").returncode == 0
    assert json.loads(run("backup", str(backup), "--verify", "--json").stdout)["wrong"] == []
