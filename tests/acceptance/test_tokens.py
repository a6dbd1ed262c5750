"""``cogflare token``: on a running server and on the files, from creation to revocation."""

import json
import os
import pty
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from coordinator.store.database import migrate
from edge.administration import carry_out
from edge.control import CreateToken
from edge.data_dir import DataDir
from tests.support.commands import COGFLARE, Agent, Server, run, until

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all that only adds tokens to it."""
    server = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    server.close()


def token(server: Server, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run("token", *arguments, "--data", str(server.data))


def created(server: Server, *arguments: str) -> dict[str, object]:
    done = token(server, "create", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    record: dict[str, object] = json.loads(done.stdout)
    return record


def status_of(server: Server, secret: object) -> int:
    return httpx.get(f"{server.url}/v1/account", headers={"Authorization": f"Bearer {secret}"}).status_code


def test_a_token_works_at_once_and_ends_within_a_second_of_its_revocation(server: Server) -> None:
    made = created(server, "bot")
    assert made["scopes"] == ["read", "submit"]
    assert made["account"] == "default"
    assert status_of(server, made["token"]) == 200
    done = token(server, "revoke", "bot")
    assert done.returncode == 0
    revoked = time.monotonic()
    until(lambda: status_of(server, made["token"]) == 401, "the token is refused", 1.0)
    assert time.monotonic() - revoked < 1.0
    assert token(server, "revoke", "bot").returncode == 0


def test_all_spellings_of_the_header(server: Server) -> None:
    secret = created(server, "speller")["token"]
    for headers in (
        {"Authorization": f"Bearer {secret}"},
        {"Authorization": f"token {secret}"},
        {"X-Cogflare-Token": f"{secret}"},
    ):
        assert httpx.get(f"{server.url}/v1/account", headers=headers).status_code == 200
    assert httpx.get(f"{server.url}/v1/account").status_code == 401


def test_the_list_tells_everything_but_the_secret(server: Server) -> None:
    made = created(
        server, "listed", "--account", "acme", "--scope", "read", "--expire-s", "1h", "--pool", "fast,slow"
    )
    text = token(server, "list").stdout
    assert "listed" in text
    assert "acme" in text
    assert str(made["token"]) not in text
    (row,) = json.loads(token(server, "list", "--account", "acme", "--json").stdout)
    assert row["pools"] == ["fast", "slow"]
    assert row["expires_at"] == made["expires_at"]
    assert "token" not in row


def test_a_token_made_on_the_files_is_good_once_the_server_runs(serve: Serve) -> None:
    server = serve()
    assert server.stop() == 0
    made = created(server, "night")
    server.start()
    assert status_of(server, made["token"]) == 200
    assert server.stop() == 0
    assert token(server, "revoke", "night").returncode == 0
    server.start()
    assert status_of(server, made["token"]) == 401


def test_a_workers_token_reads_nothing(server: Server) -> None:
    made = created(server, "gpu", "--worker", "fast")
    assert (made["scopes"], made["pools"]) == (["worker"], ["fast"])
    answer = httpx.get(f"{server.url}/v1/predictions", headers={"Authorization": f"Bearer {made['token']}"})
    assert answer.status_code == 403
    assert "read" in answer.json()["detail"]


def test_revoking_a_workers_token_closes_its_connection(serve: Serve, work: Callable[..., Agent]) -> None:
    server = serve()
    agent = work(server).ready()
    assert token(server, "revoke", "worker-default").returncode == 0
    agent.command.line("(?i)token|401")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """A data directory without a server; two accounts have a token named bot."""
    data = DataDir(tmp_path_factory.mktemp("files"))
    migrate(data.database_url)
    for account in ("default", "acme"):
        carry_out(data, CreateToken(name="bot", account=account), "token create")
    return data


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("create", "bot"), 2, "already has a token named bot"),
        (("create", "bad name"), 2, "is no name for a token"),
        (("create", "x", "--scope", "fly"), 2, "none of submit, read, worker, keys, admin"),
        (("create", "x", "--worker", "p", "--scope", "admin"), 2, "leave out --scope"),
        (("create", "x", "--worker", "p", "--pool", "q"), 2, "leave out --pool"),
        (("create", "x", "--pool", "a b"), 2, "'a b' is no name for a pool"),
        (
            ("create", "x", "--worker", "p", "--allow-model", "Me/*"),
            2,
            "no model is called like 'Me/*'",
        ),
        (("create", "x", "--worker", "p", "--allow-model", "me"), 2, "no model is called like 'me'"),
        (("revoke", "nobody"), 10, "there is no token nobody"),
        (("revoke", "bot"), 10, "several accounts have a token named bot: acme, default"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    files: DataDir, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = run("token", *arguments, "--json", "--data", str(files.path))
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_secret_goes_to_a_terminal_to_json_or_to_a_private_file(files: DataDir, tmp_path: Path) -> None:
    data = ("--data", str(files.path))
    piped = run("token", "create", "piped", *data)
    assert (piped.returncode, "--output" in piped.stderr) == (2, True)
    assert "piped" not in run("token", "list", *data).stdout

    file = tmp_path / "secret"
    kept = run("token", "create", "kept", "--output", str(file), *data)
    assert kept.returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("cf_")
    assert file.read_text().strip() not in kept.stdout
    assert run("token", "create", "again", "--output", str(file), *data).returncode == 2
    nowhere = run("token", "create", "lost", "--output", str(tmp_path / "none" / "secret"), *data)
    assert (nowhere.returncode, "there is no folder" in nowhere.stderr) == (2, True)
    assert "lost" not in run("token", "list", *data).stdout

    ours, theirs = pty.openpty()
    subprocess.run([COGFLARE, "token", "create", "shown", *data], stdout=theirs, check=True, timeout=30)
    os.close(theirs)
    assert b"    cf_" in os.read(ours, 4096)
    os.close(ours)


def test_without_data_nothing_is_made(tmp_path: Path) -> None:
    done = run("token", "create", "x", "--json", "--data", str(tmp_path / "typo"))
    assert done.returncode == 5
    assert "there is no Cogflare data" in done.stderr
    assert not (tmp_path / "typo").exists()
