"""What Cog's launch names make of their words, told by a stand-in for the ``cogflare`` that they become."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ECHO = """#!{python}
import json, os, sys
print(json.dumps({{"words": sys.argv[1:], "pid": os.getpid(), "flags": sys.flags.ignore_environment,
                   "environment": dict(os.environ)}}))
sys.exit(7)
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A program that says how it was started, and ends with 7."""
    program = tmp_path / "bin" / "cogflare"
    program.parent.mkdir()
    program.write_text(ECHO.format(python=sys.executable))
    program.chmod(0o755)
    return program


@pytest.fixture
def launch(runtime: Path, stand_in: Path) -> Any:
    def run(
        module: str, *words: str, python: str = sys.executable, **environment: str
    ) -> tuple[int, dict[str, Any], str, int]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("COG", "PORT", "LOG_", "PYTHON"))}
        found = {"COGFLARE_BIN": str(stand_in), "PYTHONPATH": str(runtime), **environment}
        process = subprocess.Popen(
            [python, "-m", f"cog.server.{module}", *words],
            env={**kept, **{name: text for name, text in found.items() if text}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, err = process.communicate(timeout=30)
        return process.returncode, json.loads(out) if out.startswith("{") else {"out": out}, err, process.pid

    return run


def test_the_process_becomes_the_server(launch: Any, any_python: str, runtime: Path) -> None:
    code, told, err, pid = launch("http", python=any_python, PYTHONPATH=f"{runtime}{os.pathsep}/nowhere")
    assert (code, err) == (7, "")
    assert told["pid"] == pid
    *words, interpreter = told["words"]
    assert words == ["cog-server", ".", "--python"]
    assert Path(interpreter).samefile(any_python)
    assert told["flags"] == 1, "PYTHONPATH is not for the server's interpreter"
    assert told["environment"]["PYTHONPATH"].endswith("/nowhere"), "but for the model's"
    assert told["environment"]["COGFLARE_HOST"] == "0.0.0.0"
    assert "COGFLARE_BIN" not in told["environment"]


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (["--host", "::1", "--port", "80"], {}, ["--host", "::1", "--port", "80"]),
        ([], {"COG_HOST": "h", "COG_PORT": "81"}, ["--host", "h", "--port", "81"]),
        (["--host=a"], {"COG_HOST": "b"}, ["--host", "a"]),
        (["--threads", "4", "--cleanup-timeout", "10s"], {}, []),
        (["--max-runners=3"], {}, ["--max-runners", "3"]),
        (["--upload-url", "http://u/"], {}, ["--upload-url", "http://u/"]),
        (["--x-mode", "train"], {}, ["--x-mode", "train"]),
        (["--await-explicit-shutdown"], {}, ["--await-explicit-shutdown"]),
        (["--await-explicit-shutdown", "true"], {}, ["--await-explicit-shutdown"]),
        (["--await-explicit-shutdown=false"], {"COG_AWAIT_EXPLICIT_SHUTDOWN": "1"}, []),
        ([], {"COG_AWAIT_EXPLICIT_SHUTDOWN": "1"}, ["--await-explicit-shutdown"]),
        (["--runner-shutdown-grace-period", "5m"], {}, ["--drain-s", "5m"]),
        (["--one-shot=false"], {"COG_USE_PROCEDURE_MODE": "false"}, []),
    ],
)
def test_options_of_every_generation(
    launch: Any, words: list[str], environment: dict[str, str], expected: list[str]
) -> None:
    code, told, err, _ = launch("http", *words, **environment)
    assert (code, err) == (7, "")
    assert told["words"][:2] == ["cog-server", "."]
    assert told["words"][4:] == expected


def test_another_folder_or_none(launch: Any) -> None:
    _, told, _, _ = launch("http", "--working-directory", "/models/x")
    assert told["words"][:2] == ["cog-server", "/models/x"]
    _, told, _, _ = launch("http", COG_USE_PROCEDURE_MODE="true")
    assert told["words"][:2] == ["cog-server", "--procedure-mode"]


def test_variables_are_put_into_the_servers_words(launch: Any) -> None:
    given = {"COG_LOG_LEVEL": "WARN", "LOG_FORMAT": "development", "PORT": "1", "COG_SETUP_TIMEOUT": "5"}
    _, told, err, _ = launch("http", **given, COG_WEIGHTS="w", COGFLARE_HOST="127.0.0.1")
    assert err == ""
    expected = {**given, "COG_LOG_LEVEL": "warning", "LOG_FORMAT": "console", "COGFLARE_HOST": "127.0.0.1"}
    assert {name: told["environment"][name] for name in expected} == expected


def test_a_variable_that_no_generation_has_is_told(launch: Any) -> None:
    code, _, err, _ = launch("http", COG_SETUP_TIMOUT="5")
    assert code == 7
    assert err == "python -m cog.server.http: COG_SETUP_TIMOUT is not a variable of Cog's and is ignored\n"


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["--bogus"], {}, "unrecognized arguments: --bogus (see python -m cog.server.http --help)"),
        (["--port", "x"], {}, "--port: 'x' cannot be used: port to listen on"),
        ([], {"COG_PORT": "x"}, "COG_PORT: 'x' cannot be used"),
        (["--await-explicit-shutdown", "maybe"], {}, "--await-explicit-shutdown: 'maybe' cannot be used"),
        (["--one-shot"], {}, "--one-shot: a server that ends after one prediction is `cogflare predict DIR`"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    launch: Any, words: list[str], environment: dict[str, str], said: str
) -> None:
    code, told, err, _ = launch("http", *words, **environment)
    assert (code, told) == (2, {"out": ""})
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("module", ["http", "websockets"])
def test_where_cogflare_is_not_installed(launch: Any, module: str, tmp_path: Path, runtime: Path) -> None:
    words = () if module == "http" else WORKER
    code, _, err, _ = launch(module, *words, COGFLARE_BIN=str(tmp_path / "none"))
    assert code == 8
    assert (
        err
        == f"python -m cog.server.{module}: COGFLARE_BIN is {tmp_path}/none, and there is no such program\n"
    )
    alone = tmp_path / "copied"
    (alone / "cog").parent.mkdir()
    subprocess.run(["cp", "-r", str(runtime / "cog"), str(alone)], check=True)
    code, _, err, _ = launch(module, *words, COGFLARE_BIN="", PYTHONPATH=str(alone), PATH="/nowhere")
    assert code == 8
    assert "the cogflare command is not installed here: pip install 'DIR-OF-COGFLARE[server]'" in err
    assert err.count("\n") == 1


def test_without_a_setting_the_installation_comes_before_the_path(
    launch: Any, tmp_path: Path, runtime: Path, stand_in: Path
) -> None:
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "gpu_agent" / "runtime"
    site.mkdir(parents=True)
    subprocess.run(["cp", "-r", str(runtime / "cog"), str(site)], check=True)
    path = f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}"
    _, told, _, _ = launch("http", COGFLARE_BIN="", PYTHONPATH=str(site), PATH=path)
    assert told["words"][0] == "cog-server", "by the path"
    own = tmp_path / "venv" / "bin" / "cogflare"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\necho own\n")
    own.chmod(0o755)
    code, told, _, _ = launch("http", COGFLARE_BIN="", PYTHONPATH=str(site), PATH=path)
    assert (code, told) == (0, {"out": "own\n"})


def test_help_and_version(launch: Any) -> None:
    code, told, _, _ = launch("http", "--help")
    assert code == 0
    assert "--await-explicit-shutdown" in told["out"]
    assert launch("http", "--version")[1]["out"].startswith("cogflare ")
    assert "wss://HOST/v1/models/OWNER/NAME/websockets/WORKER-TOKEN" in launch("websockets", "-h")[1]["out"]


# --- the worker -------------------------------------------------------------------------------------------

WORKER = (
    "wss://h.example/v1/models/me/m/websockets/t0k%2Fen",
    "https://h.example/v1/models/me/m/files",
    "me/m",
)


@pytest.mark.parametrize(
    ("ws_url", "upload_url", "server"),
    [
        (WORKER[0], WORKER[1], "https://h.example"),
        ("ws://h:81/v1/models/me/m/websocket/t0k%2Fen", "http://h:81/x", "http://h:81"),
        ("ws://h:80/a/b/v1/models/me/m/websocket/t0k%2Fen/?session_id=1", "http://h", "http://h/a/b"),
        ("wss://[::1]:444/v1/models/me/m/websockets/t0k%2Fen/x", "https://[::1]:444/", "https://[::1]:444"),
    ],
)
def test_the_agent_gets_server_and_token_by_its_environment(
    launch: Any, ws_url: str, upload_url: str, server: str
) -> None:
    code, told, err, _ = launch("websockets", ws_url, upload_url, "me/m")
    assert (code, err) == (7, "")
    assert told["words"] == ["agent", "--model", "me/m=.", "--python", sys.executable]
    assert told["environment"]["COGFLARE_SERVER"] == server
    assert told["environment"]["COGFLARE_TOKEN"] == "t0k/en"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected WS_URL UPLOAD_URL OWNER/NAME, not 0 arguments"),
        (
            ["wss://h/v1/models/me/m/TOKEN", *WORKER[1:]],
            "expected wss://HOST/v1/models/OWNER/NAME/websockets/",
        ),
        (["ftp://h/v1/models/me/m/websocket/TOKEN", *WORKER[1:]], "the first URL is not ws://HOST/"),
        (["wss://h:x/v1/models/me/m/websocket/TOKEN", *WORKER[1:]], "the first URL is no URL"),
        ([WORKER[0], "https://other.example/files", "me/m"], "the second URL is of another server"),
        ([WORKER[0], "http://h.example/files", "me/m"], "the second URL is of another server"),
        ([*WORKER[:2], "me/other"], "the first URL is of me/m, the last argument says 'me/other'"),
    ],
)
def test_a_worker_with_wrong_words_says_which(launch: Any, words: list[str], said: str) -> None:
    code, _, err, _ = launch("websockets", *words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert "TOKEN" not in err.replace("WORKER-TOKEN", "")
