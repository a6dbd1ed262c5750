"""Writes the reference pages that are made from the code: the command line, the limits, the errors.

``make docs`` runs it; a test compares its result with the files, so that they cannot go stale.
"""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from coordinator.protocol.limits import LEGACY_INPUT_BYTES, DoorLimits, ServerLimits, WireLimits
from coordinator.store.accounts import LARGEST_SHARE, SMALLEST_SHARE
from coordinator.store.tokens import MAX_SECRET_LENGTH
from edge.aliases import LONGEST_ID as LONGEST_ID_OF_OWN
from edge.aliases import LONGEST_KEY
from edge.cli import COMMANDS
from edge.errors import CODES
from edge.exits import MEANINGS
from edge.options import Option, options_of
from edge.prefer import SHORTEST_WAIT_S
from edge.quantities import format_duration, format_size
from edge.settings import ServeSettings
from edge.wishes import LONGEST_TOTAL_S, LONGEST_USER, LONGEST_WAIT_S, SHORTEST_TOTAL_S
from edge.wishes import SHORTEST_WAIT_S as SHORTEST_WAITING_S
from gpu_agent.container.input_files import MOST_INLINE_BYTES
from gpu_agent.server.orders import LONGEST_ID
from gpu_agent.server.settings import CogServerSettings
from gpu_agent.settings import AgentSettings

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py from the code: change it there, then run `make docs`. -->"


def pages() -> dict[str, str]:
    """File name below ``docs/reference`` -> what it must hold."""
    return {"cli.md": command_line(), "limits.md": limits(), "errors.md": errors()}


def command_line() -> str:
    """Every command with its options."""
    parts = [
        "# Command line",
        NOTE,
        "Every option is also an environment variable; the command line wins over the variable, which wins over "
        "the default. Times are read as `90` (seconds), `5m`, `2h` or `250ms`; sizes as `1048576` (bytes), `8MiB` "
        "or `8MB`. An option that may be repeated takes several values separated by commas in its variable. "
        "A `COGFLARE_` variable that no command knows is told on stderr and ignored.",
    ]
    for name, command in COMMANDS.items():
        module = importlib.import_module(command.module)
        options = [option for option in options_of(module.SETTINGS) if not option.hidden]
        arguments = "".join(f" {option.usage}" for option in options if option.positional)
        parts += [f"## cogflare {name}", f"    cogflare {name}{arguments} [options]", module.ABOUT]
        if name == "serve":
            options = [option for option in options if not option.group]
            parts += [
                _options(options),
                "Each line of [limits](limits.md) is an option of this command, too.",
            ]
        else:
            parts.append(_options(options))
    rows = [(str(int(code)), meaning) for code, meaning in MEANINGS.items()]
    parts += [
        "## Exit codes",
        "A command that fails says why in one line on stderr.",
        _table(("code", "meaning"), rows),
        "A second SIGTERM or SIGINT ends the server with 143 or 130.",
    ]
    return "\n\n".join(parts) + "\n"


def limits() -> str:
    """Every limit with its default and how it is set."""
    options = {option.path[-1]: option for option in options_of(ServeSettings)}
    parts = [
        "# Limits",
        NOTE,
        "Everything that a client, an agent or an operator can run into has a limit, and each limit is an option. "
        "What is refused names the limit. The first three tables are options of `cogflare serve`.",
    ]
    for title, settings in (
        ("The server", ServerLimits),
        ("Connections and requests", DoorLimits),
        ("Agents' connections", WireLimits),
    ):
        parts += _limits(title, [options[field.name] for field in fields(settings)])
    parts += _limits("`cogflare agent`", [each for each in options_of(AgentSettings) if _is_limit(each)])
    parts += _limits("`cogflare cog-server`", [each for each in options_of(CogServerSettings) if each.group])
    parts += ["## Fixed", "They have no option.", _table(("what", "limit"), _fixed())]
    return "\n\n".join(parts) + "\n"


def _fixed() -> list[tuple[str, str]]:
    return [
        ("`Cancel-After`", f"{format_duration(SHORTEST_TOTAL_S)} to {LONGEST_TOTAL_S / 3600:g}h"),
        (
            "`Prefer: wait=N`",
            f"{format_duration(SHORTEST_WAIT_S)} to `--wait-s`; others are taken for the nearest",
        ),
        ("`Idempotency-Key`", f"{LONGEST_KEY} characters"),
        ("id of a prediction of your own (`PUT`)", f"{LONGEST_ID_OF_OWN} characters"),
        ("`max_wait`", f"{format_duration(SHORTEST_WAITING_S)} to {LONGEST_WAIT_S / 3600:g}h"),
        ("`end_user`", f"{LONGEST_USER} characters"),
        ("`--share` of a token or an account", f"{SMALLEST_SHARE:g} to {LARGEST_SHARE:g}"),
        ("a token, as a request brings it", f"{MAX_SECRET_LENGTH} characters"),
        ("input of a worker of 2022", format_size(LEGACY_INPUT_BYTES)),
        ("input file as a data URL, for a Cog server that cannot fetch it", format_size(MOST_INLINE_BYTES)),
        ("id of a prediction at cog-server", f"{LONGEST_ID} characters"),
    ]


def _is_limit(option: Option) -> bool:
    return option.kind in ("size", "duration")


def _limits(title: str, options: Iterable[Option]) -> list[str]:
    rows = [
        (f"`--{option.name}`", f"`{option.environment}`", option.default_text, option.help)
        for option in options
    ]
    return [f"## {title}", _table(("option", "variable", "default", "what it limits"), rows)]


def errors() -> str:
    """The HTTP API's error codes."""
    rows = [(f"`{code}`", str(kind.status), kind.meaning) for code, kind in CODES.items()]
    return (
        "\n\n".join(
            [
                "# Errors of the HTTP API",
                NOTE,
                "A refusal is a problem document (`application/problem+json`) with Replicate's members: `title`, "
                "`detail` and `status`, and `invalid_fields` for a 422 about fields. `code` is ours: it is stable, "
                "and what a program should look at. 429 means that you asked for too much, 503 that we cannot now; "
                "both carry `Retry-After`. A 503 on creation means that the answer is unknown: ask again.",
                _table(("code", "status", "when"), rows),
            ]
        )
        + "\n"
    )


def _options(options: Iterable[Option]) -> str:
    rows = []
    for option in options:
        flag = f"`{option.metavar}`" if option.positional else ", ".join(f"`{each}`" for each in option.flags)
        if option.kind == "flag" and option.default:
            flag = f"`--no-{option.name}`"
        default = "needed" if option.required else option.default_text
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        repeat = "; may be repeated" if option.kind == "list" else ""
        variable = ", ".join(f"`{variable}`" for variable in option.variables)
        rows.append((flag, variable, default, f"{option.help}{choices}{repeat}"))
    return _table(("option", "variable", "default", "what it does"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
