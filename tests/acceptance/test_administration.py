"""``cogflare ... --server``: administering a server from another machine, by the commands alone."""

import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.cli import main
from tests.support.commands import Agent, Server, run


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    server.close()


def ordered(server: Server, *arguments: str) -> Any:
    """What a command gives of a server that it reaches by HTTP alone."""
    where = ("--server", server.url, "--token", f"@{server.data / 'admin-token'}", "--json")
    code, out, error = command(*arguments, *where)
    assert code == 0, error
    return json.loads(out)


def command(*arguments: str) -> tuple[int, str, str]:
    """A command's exit code and what it says. It runs in this process: there are many."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as error:
        code = main(arguments)
    return code, out.getvalue(), error.getvalue()


def test_tokens_and_accounts_from_afar(server: Server, tmp_path: Path) -> None:
    made = ordered(server, "token", "create", "bot", "--account", "acme", "--scope", "read")
    changed = ordered(server, "token", "set", "bot", "--share", "2", "--requests-per-min", "7")
    assert (changed["id"], changed["share"], changed["requests_per_min"]) == (made["id"], 2.0, 7)
    rotated = ordered(server, "token", "rotate", "bot", "--overlap-s", "0")
    assert rotated["token"] != made["token"]
    listed = ordered(server, "token", "list", "--account", "acme")
    assert [(token["id"], token["prefix"]) for token in listed] == [(made["id"], rotated["prefix"])]
    assert (
        ordered(server, "account", "set", "acme", "--share", "3", "--storage-at-most", "1MiB")["share"] == 3
    )
    assert [row["account"] for row in ordered(server, "account", "list")] == ["acme", "default"]
    assert ordered(server, "account", "rotate-webhook-secret", "acme")["key"].startswith("whsec_")
    old = tmp_path / "kv.json"
    old.write_text(json.dumps({"a-secret-of-2022-with-letters": {"allow": True}}))
    assert ordered(server, "token", "import", str(old))["applied"]
    assert ordered(server, "token", "revoke", "bot")["revoked_at"]
    acts = ordered(server, "audit", "list", "--act", "token")
    assert [act["act"] for act in acts] == [
        f"token.{act}" for act in ("revoke", "import", "rotate", "set", "create", "create")
    ]
    assert [act["door"] for act in acts] == [*["http"] * 5, "files"]  # the last is the first start's
    assert json.loads(run("token", "create", "near", "--data", str(server.data), "--json").stdout)
    (near, *_) = json.loads(run("audit", "list", "--data", str(server.data), "--json").stdout)
    assert (near["door"], near["act"], near["token"]) == ("socket", "token.create", None)


def test_models_queues_and_workers_from_afar(server: Server, work: Callable[..., Agent]) -> None:
    agent = work(server).ready()
    model = "test/waiter"
    changed = ordered(server, "model", "set", model, "--run-s", "60", "--overflow", "never")
    assert changed["settings"] == {"run_s": 60.0, "overflow": "never"}
    assert ordered(server, "model", "set", model, "--reset", "overflow")["settings"] == {"run_s": 60.0}
    assert [queue["paused"] for queue in ordered(server, "model", "pause", model)] == [True]
    (shown,) = [each for each in ordered(server, "model", "list") if each["model"] == model]
    assert shown == ordered(server, "model", "show", model)
    assert shown["paused"] == ["default"]
    (queue,) = ordered(server, "queue", "list", "--model", model)
    assert (queue["paused"], queue["workers"]) == (True, 1)
    assert [queue["paused"] for queue in ordered(server, "model", "resume", model)] == [False]
    ordered(server, "model", "pause", model)
    secret = ordered(server, "token", "create", "client")["token"]
    made = httpx.post(
        f"{server.url}/v1/models/{model}/predictions",
        json={"input": {"name": "x", "folder": "/nowhere"}},
        headers={"Authorization": f"Bearer {secret}"},
    ).json()
    asked = ("prediction", "cancel", "--model", model)
    for more in (("--dry-run",), ()):
        assert [each["id"] for each in ordered(server, *asked, *more)] == [made["id"]]
    assert ordered(server, "prediction", "cancel", "--older-s", "0") == []
    assert ordered(server, "dead", "list") == []
    ordered(server, "model", "resume", model)
    (worker,) = ordered(server, "worker", "list")
    for mark, state in (("drain", "draining"), ("resume", "ok"), ("quarantine", "quarantined")):
        assert [each["state"] for each in ordered(server, "worker", mark, worker["agent"])] == [state]
    assert [each["state"] for each in ordered(server, "worker", "release", worker["agent"])] == ["ok"]
    assert agent.command.process.poll() is None


def test_what_cannot_be_is_one_line_and_a_code(server: Server) -> None:
    where = ("--server", server.url, "--token", f"@{server.data / 'admin-token'}")
    for arguments, code, words in (
        (("token", "revoke", "nobody", *where), 10, "there is no token nobody"),
        (("dead", "redrive", "nothing", *where), 10, "there is no prediction nothing"),
        (("prediction", "cancel", *where), 2, "no filter was given"),
        (("token", "create", "-", "--json", *where), 2, "is no name for a token"),
        (("token", "list", "--server", server.url), 2, "--server needs --token"),
        (("token", "list", "--server", server.url, "--token", "cf_wrong"), 2, "see --token"),
        (("token", "list", "--token", "cf_x"), 2, "--token is for --server"),
        (("token", "list", "--server", server.url, "--token", "@/none"), 2, "cannot be read"),
        (("token", "list", "--server", "http://127.0.0.1:9", "--token", "x"), 1, "cannot be reached"),
    ):
        ended, out, error = command(*arguments)
        assert (ended, out) == (code, ""), error
        assert words in error
        assert len(error.splitlines()) == 1
