"""The ``cogflare`` command itself: finding commands, suggesting, starting fast. Real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COGFLARE = Path(sys.executable).with_name("cogflare")


def cogflare(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COGFLARE_")}
    return subprocess.run(
        [COGFLARE, *arguments], capture_output=True, text=True, timeout=30, env=clean | environ, check=False
    )


def test_help_lists_every_command() -> None:
    done = cogflare("--help")
    assert done.returncode == 0
    for name in (
        "serve",
        "agent",
        "token create",
        "token list",
        "token revoke",
        "schema",
        "install",
        "migrate",
        "version",
    ):
        assert f"  {name} " in done.stdout


def test_no_command_is_a_mistake_and_shows_the_commands() -> None:
    done = cogflare()
    assert done.returncode == 2
    assert "usage: cogflare COMMAND" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("serv",), "cogflare: there is no command 'serv' (did you mean cogflare serve?)"),
        (
            ("token", "creat"),
            "cogflare: there is no command 'token creat' (did you mean cogflare token create?)",
        ),
        (("frobnicate",), "cogflare: there is no command 'frobnicate' (see cogflare --help)"),
        (("--verbose",), "cogflare: there is no option --verbose (see cogflare --help)"),
        (
            ("serve", "--hots", "x"),
            "cogflare: there is no option --hots (did you mean --host?) (see cogflare serve --help)",
        ),
        (("serve", "--port", "x"), "cogflare: --port: 'x' is not a whole number (see cogflare serve --help)"),
    ],
)
def test_a_mistake_is_one_line_with_a_suggestion(arguments: tuple[str, ...], line: str) -> None:
    done = cogflare(*arguments)
    assert done.returncode == 2
    assert done.stderr == line + "\n"


def test_help_of_a_command_shows_defaults_and_variables() -> None:
    done = cogflare("serve", "--help", COLUMNS="100")
    text = " ".join(done.stdout.split())
    assert done.returncode == 0
    assert "--port N port to listen on; 0 for a free one [default 8000; COGFLARE_PORT]" in text
    assert "[default 8MiB; COGFLARE_BODY_BYTES]" in text
    assert "bench" not in text


def test_version_for_people_and_for_machines() -> None:
    assert cogflare("version").stdout.startswith("cogflare 0.")
    assert cogflare("--version").stdout == cogflare("version").stdout
    assert json.loads(cogflare("version", "--json").stdout)["cogflare"].startswith("0.")


def test_a_mistyped_variable_is_told_and_other_commands_variables_are_not() -> None:
    done = cogflare("version", COGFLARE_JSN="1", COGFLARE_PORT="1", COGFLARE_SLOTS="2", COGFLARE_BIN="x")
    assert done.returncode == 0
    assert done.stderr == (
        "cogflare: COGFLARE_JSN is not a setting and is ignored (did you mean COGFLARE_JSON?)\n"
    )


def test_help_needs_no_library() -> None:
    probe = "import sys, edge.cli; edge.cli.main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"argparse", "asyncio", "msgspec", "sqlalchemy", "litestar", "uvicorn", "httpx"}


def test_a_missing_library_is_one_line_that_says_how_to_get_it() -> None:
    probe = "import sys; sys.modules['sqlalchemy'] = None; import edge.cli; sys.exit(edge.cli.main())"
    done = subprocess.run(
        [sys.executable, "-c", probe, "migrate", "--data", "/dev/null/none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 8
    assert done.stderr == (
        "cogflare: cogflare migrate needs sqlalchemy, which is not installed here "
        "(pip install 'cogflare[server]')\n"
    )
