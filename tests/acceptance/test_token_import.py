"""``cogflare token import``: the tokens of a Cogflare of 2022, on a running server and on the files."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from coordinator.store.database import migrate
from edge.data_dir import DataDir
from edge.provider_keys import LABEL, ProviderKeys
from tests.support.commands import Server, run

KV: dict[str, Any] = {
    "client-token-number-1": {"allow": True, "replicate": "r8_first_key", "worker": "worker-string-a"},
    "client-token-number-2": {"allow": True, "replicate": "r8_second_key", "worker": "worker-string-a"},
    "client-token-number-3": json.dumps({"allow": True, "worker": "worker-string-b"}),
    "client-token-number-4": {"allow": False, "replicate": "r8_fourth_key"},
    "client-token-number-5": {"allow": True, "worker": "client-token-number-5", "extra": 1},
}
SECRETS = [
    *KV,
    "worker-string-a",
    "worker-string-b",
    "r8_first_key",
    "r8_second_key",
    "r8_fourth_key",
]


@pytest.fixture
def files(tmp_path: Path) -> DataDir:
    """A data directory on which no server runs."""
    data = DataDir(tmp_path / "data")
    data.create()
    data.key(LABEL)
    migrate(data.database_url)
    return data


def write(folder: Path, document: Any) -> Path:
    path = folder / "KV.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def bring_in(data: Path, file: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return run("token", "import", str(file), "--data", str(data), *options)


def listed(data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("token", "list", "--json", "--data", str(data)).stdout)
    return found


def rows(data: DataDir) -> dict[str, Any]:
    with sqlite3.connect(data.database) as connection:
        return {row[0]: row[1:] for row in connection.execute("SELECT * FROM tokens ORDER BY id")}


def test_clients_keep_their_tokens_on_a_running_server(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    done = bring_in(server.data, write(tmp_path, KV))
    assert done.returncode == 0, done.stderr
    assert "imported into account default: 5 clients and 2 workers" in done.stdout

    def status(secret: str) -> int:
        headers = {"Authorization": f"Token {secret}"}
        return httpx.get(f"{server.url}/v1/account", headers=headers).status_code

    allowed = {secret: status(secret) for secret in KV}
    assert allowed.pop("client-token-number-4") == 401
    assert set(allowed.values()) == {200}
    assert status("worker-string-a") == 403  # it may dial in and nothing else
    assert server.command is not None
    told = "\n".join([done.stdout, done.stderr, *server.command.lines])
    assert not [secret for secret in SECRETS if secret in told]


def test_who_named_one_worker_string_shares_one_pool(files: DataDir, tmp_path: Path) -> None:
    assert bring_in(files.path, write(tmp_path, KV), "--account", "night").returncode == 0
    tokens = listed(files.path)
    assert {token["account"] for token in tokens} == {"night"}
    assert {token["api"] for token in tokens} == {"cogflare"}
    workers = {token["pools"][0]: token for token in tokens if token["scopes"] == ["worker"]}
    assert len(workers) == 2
    assert {token["prefix"] for token in workers.values()} == {""}
    clients = [token for token in tokens if "submit" in token["scopes"]]
    sizes = sorted(sum(client["pools"] == [pool] for client in clients) for pool in workers)
    assert sizes == [1, 2]
    (both,) = [client for client in clients if "worker" in client["scopes"]]
    assert both["pools"][0] not in {*workers, "default"}
    assert run("token", "list", "--data", str(files.path)).stdout.count("locked out") == 1
    (alone,) = [client for client in clients if client["pools"] == ["default"]]
    assert not alone["allow"]
    assert all(token["prefix"] == "clien" for token in clients)


def test_no_secret_is_in_any_file_of_ours_and_keys_can_be_read_again(files: DataDir, tmp_path: Path) -> None:
    assert bring_in(files.path, write(tmp_path, KV)).returncode == 0
    stored = b"".join(path.read_bytes() for path in files.path.rglob("*") if path.is_file())
    assert not [secret for secret in SECRETS if secret.encode() in stored]
    with sqlite3.connect(files.database) as connection:
        sealed = connection.execute("SELECT replicate FROM tokens WHERE replicate NOT NULL").fetchall()
    keys = ProviderKeys(lambda: files.key(LABEL))
    assert {keys.open(row[0]) for row in sealed} == {"r8_first_key", "r8_second_key", "r8_fourth_key"}
    assert (files.path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_the_same_file_again_changes_nothing(files: DataDir, tmp_path: Path) -> None:
    file = write(tmp_path, KV)
    assert bring_in(files.path, file).returncode == 0
    before = rows(files)
    again = bring_in(files.path, file, "--json")
    assert again.returncode == 0
    told = json.loads(again.stdout)
    assert (told["made"], told["changed"], told["unchanged"]) == ([], [], 7)
    assert rows(files) == before


def test_a_changed_record_changes_its_token(files: DataDir, tmp_path: Path) -> None:
    assert bring_in(files.path, write(tmp_path, KV)).returncode == 0
    second = KV | {
        "client-token-number-1": {"allow": False, "replicate": "r8_new", "worker": "worker-string-a"}
    }
    told = json.loads(bring_in(files.path, write(tmp_path, second), "--json").stdout)
    (changed,) = told["changed"]
    assert (changed["allow"], told["made"], told["unchanged"]) == (False, [], 6)


def test_a_dry_run_says_it_and_changes_nothing(files: DataDir, tmp_path: Path) -> None:
    done = bring_in(files.path, write(tmp_path, KV), "--dry-run")
    assert (done.returncode, rows(files)) == (0, {})
    assert "would import into account default: 5 clients and 2 workers" in done.stdout
    assert "imported-" not in done.stdout, "the pools will have other names"
    made = json.loads(bring_in(files.path, write(tmp_path, KV), "--dry-run", "--json").stdout)["made"]
    assert {(record["id"], record["name"]) for record in made} == {(None, None)}


BAD = """{
    "good-token-number-1": {"allow": true},
    "text-token-number-2": "not json",
    "list-token-number-3": [],
    "allow-token-number-4": {"allow": "yes"},
    "reply-token-number-5": {"allow": true, "replicate": 5},
    "works-token-number-6": {"allow": true, "worker": {}},
    "twice-token-number-7": {"allow": true},
    "twice-token-number-7": {"allow": false},
    "": {"allow": true},
    "\\u00e9-token-with-an-accent": {"allow": true},
    "slash-token-number-10": {"allow": true, "worker": "a/b"}
}"""


def test_each_bad_record_is_a_line_and_nothing_is_imported(files: DataDir, tmp_path: Path) -> None:
    done = bring_in(files.path, write(tmp_path, BAD))
    assert (done.returncode, rows(files)) == (2, {})
    lines = done.stderr.splitlines()
    expected = [
        "record 2 (token text...): its record is not JSON",
        "record 3 (token list...): its record is not an object",
        "record 4 (token allow...): allow is neither true nor false",
        "record 5 (token reply...): replicate is not a text",
        "record 6 (token works...): worker is not a text",
        "record 8 (token twice...): it is there twice",
        "record 9 (token ...): it has no token",
        "characters that no HTTP header carries",
        "record 11 (token slash...): worker has a slash",
        "nothing was imported: 9 of the records",
    ]
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert words in line
    assert "number" not in done.stderr

    skipped = bring_in(files.path, write(tmp_path, BAD), "--skip-bad")
    assert skipped.returncode == 0
    assert "2 clients" in skipped.stdout
    assert {token["allow"] for token in listed(files.path)} == {True}


def test_what_is_in_use_already_is_not_taken_over(files: DataDir, tmp_path: Path) -> None:
    made = run("token", "create", "own", "--json", "--data", str(files.path))
    own = json.loads(made.stdout)["token"]
    kv = {own: {"allow": True}, "new-token-number-1": {"allow": True, "worker": own}}
    done = bring_in(files.path, write(tmp_path, kv))
    assert done.returncode == 2
    assert "it is another kind of token here already" in done.stderr
    assert own not in done.stderr
    assert len(rows(files)) == 1

    assert (
        bring_in(
            files.path, write(tmp_path, {"a-token-of-night": {"allow": True}}), "--account", "n"
        ).returncode
        == 0
    )
    elsewhere = bring_in(files.path, write(tmp_path, {"a-token-of-night": {"allow": True}}))
    assert "it is a token of account n already" in elsewhere.stderr


@pytest.mark.parametrize(
    ("document", "words"),
    [("{", "is not JSON in UTF-8 at line 1"), ("3", "has no tokens in it"), ('["a"]', "has no tokens in it")],
)
def test_a_file_that_is_none(files: DataDir, tmp_path: Path, document: str, words: str) -> None:
    done = bring_in(files.path, write(tmp_path, document))
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_list_that_the_key_value_store_exports(files: DataDir, tmp_path: Path) -> None:
    exported = [{"key": secret, "value": json.dumps(KV[secret])} for secret in list(KV)[:2]]
    done = bring_in(files.path, write(tmp_path, exported))
    assert "2 clients and 1 worker" in done.stdout


def test_a_replicate_key_of_a_new_token_is_stored_encrypted(files: DataDir, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("r8_from_a_file\n")
    data = ("--json", "--data", str(files.path))
    made = run("token", "create", "payer", "--replicate", f"@{key}", *data)
    assert json.loads(made.stdout)["replicate"] is True
    (row,) = sqlite3.connect(files.database).execute("SELECT replicate FROM tokens").fetchall()
    assert ProviderKeys(lambda: files.key(LABEL)).open(row[0]) == "r8_from_a_file"
    assert "r8_from_a_file" not in made.stdout + run("token", "list", *data).stdout
    missing = run("token", "create", "x", "--replicate", f"@{key}.none", *data)
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)
    blank = run("token", "create", "x", "--replicate", "r8 with blanks", *data)
    assert (blank.returncode, "with blanks" in blank.stderr) == (2, False)
