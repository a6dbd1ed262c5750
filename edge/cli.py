"""The ``cogflare`` command: finds the command, reads its settings, runs it, and turns errors into one line.

Each command is a module under ``edge/commands`` with ``SETTINGS`` (a settings dataclass), ``ABOUT`` and
``run(settings) -> int``; it is imported only when it is asked for, so that ``--help`` starts at once and an
agent's environment needs none of the server's libraries.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.exits import CommandFailed, ExitCode

READ_BY_OTHERS = ("COGFLARE_BIN", "COGFLARE_UNPACK")
"""Read by Cog's launch names (``gpu_agent/runtime/cog/server``), which say by it where this command is;
and by the single file (``infra/binary``), which unpacks there."""


@dataclass(frozen=True)
class Command:
    """What ``cogflare --help`` says of a command, and where its code is."""

    module: str
    summary: str


COMMANDS: Mapping[str, Command] = {
    "serve": Command("edge.commands.serve", "run the server: HTTP API, queue and storage in one process"),
    "agent": Command("edge.commands.agent", "serve models of this machine to a server"),
    "predict": Command(
        "edge.commands.predict", "run one prediction: of a model's folder here, or on a server"
    ),
    "cog-server": Command("edge.commands.cog_server", "serve one model behind Cog's own HTTP API"),
    "token create": Command("edge.commands.token_create", "make a token; it is shown once"),
    "token import": Command(
        "edge.commands.token_import", "take over the tokens of a Cogflare of 2022, clients' and workers'"
    ),
    "token set": Command("edge.commands.token_set", "change what a token may do, and how often"),
    "token rotate": Command("edge.commands.token_rotate", "give a token another secret"),
    "token list": Command("edge.commands.token_list", "list the tokens, without their secrets"),
    "token revoke": Command("edge.commands.token_revoke", "end a token; takes effect within a second"),
    "account set": Command(
        "edge.commands.account_set", "change an account's share, or what its files may take"
    ),
    "account rotate-webhook-secret": Command(
        "edge.commands.account_rotate_webhook_secret",
        "give an account another secret for its webhooks; for a day both sign",
    ),
    "account list": Command("edge.commands.account_list", "list the accounts and their shares"),
    "model set": Command("edge.commands.model_set", "change how a model's predictions are treated"),
    "model pause": Command("edge.commands.model_pause", "let nothing of a model begin until it is resumed"),
    "model resume": Command("edge.commands.model_resume", "let a paused model's predictions begin again"),
    "model list": Command("edge.commands.model_list", "list the models"),
    "model show": Command("edge.commands.model_show", "show one model and its settings"),
    "worker list": Command("edge.commands.worker_list", "list the workers, and why any gets no work"),
    "queue list": Command("edge.commands.queue_list", "list what waits and runs of each model"),
    "worker quarantine": Command(
        "edge.commands.worker_quarantine", "try a worker only now and then, until it is well or released"
    ),
    "worker release": Command("edge.commands.worker_release", "end a worker's quarantine or distrust"),
    "worker drain": Command("edge.commands.worker_drain", "give a worker nothing new until it is resumed"),
    "worker resume": Command("edge.commands.worker_resume", "give a drained worker work again"),
    "prediction cancel": Command(
        "edge.commands.prediction_cancel", "cancel what waits and runs, by account, model, token or user"
    ),
    "dead list": Command("edge.commands.dead_list", "list predictions that workers failed, not their model"),
    "dead redrive": Command("edge.commands.dead_redrive", "try dead letters again from their kept input"),
    "audit list": Command("edge.commands.audit_list", "list what administrators have done"),
    "status": Command(
        "edge.commands.status", "show what a server is doing: models, queues, workers, failures"
    ),
    "doctor": Command(
        "edge.commands.doctor", "look at a server or a machine with models, and say what to do"
    ),
    "logs": Command("edge.commands.logs", "print what a prediction has said, in each of its attempts"),
    "usage": Command("edge.commands.usage", "say what predictions came to, and cost"),
    "backup": Command("edge.commands.backup", "copy all of a server's data while it runs, or check a copy"),
    "restore": Command("edge.commands.restore", "make a data directory of a backup"),
    "schema": Command("edge.commands.schema", "print a model's OpenAPI document"),
    "install": Command("edge.commands.install", "make a model's environment ahead of its use"),
    "migrate": Command("edge.commands.migrate", "create a data directory, or bring it up to date"),
    "version": Command("edge.commands.version", "print the version"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Everything a person must know is on stderr by then."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except CommandFailed as failure:
        print(f"cogflare: {failure.line()}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (``cogflare token list | head``): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED


def _run(words: Sequence[str]) -> int:
    if words and words[0] == "--version":
        words = ["version", *words[1:]]
    name, rest = _split(words)
    if name is None:
        return _no_command(rest)
    from edge.arguments import parse

    try:
        module = importlib.import_module(COMMANDS[name].module)
        settings = parse(module.SETTINGS, f"cogflare {name}", module.ABOUT, rest, os.environ)
        _warn_of_unknown_variables(module.SETTINGS)
        code: int = module.run(settings)
    except ModuleNotFoundError as error:
        raise _not_installed(name, error) from error
    return code


def overview() -> str:
    """What ``cogflare --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: cogflare COMMAND [options]",
            "",
            "Self-hosted inference API: Replicate's HTTP API in front of your own GPU machines.",
            "",
            "Commands:",
            *lines,
            "",
            "cogflare COMMAND --help shows every option, its default and its environment variable.",
        ]
    )


def _warn_of_unknown_variables(settings: type[Any]) -> None:
    from edge.options import options_of, unknown_variables

    read = {*READ_BY_OTHERS, *(option.environment for option in options_of(settings))}
    if not unknown_variables(os.environ, read):
        return
    # One environment may serve several commands: a variable is unknown only when none of them reads it.
    modules = [importlib.import_module(command.module) for command in COMMANDS.values()]
    known = {option.environment for module in modules for option in options_of(module.SETTINGS)}
    known.update(READ_BY_OTHERS)
    for warning in unknown_variables(os.environ, known):
        print(f"cogflare: {warning}", file=sys.stderr)


def _split(words: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    for count in (2, 1):
        name = " ".join(words[:count])
        if len(words) >= count and name in COMMANDS:
            return name, words[count:]
    return None, words


def _no_command(words: Sequence[str]) -> int:
    word = words[0] if words else ""
    family = [name for name in COMMANDS if word and name.startswith(f"{word} ")]
    following = words[1] if len(words) > 1 else ""
    if word in ("-h", "--help", "help") or (family and following in ("-h", "--help")):
        print(overview() if not family else _family(word, family))
        return ExitCode.DONE
    if not word:
        print(overview(), file=sys.stderr)
        return ExitCode.USAGE
    from edge.options import nearest

    if word.startswith("-"):
        raise CommandFailed(f"there is no option {word}", ExitCode.USAGE, "see cogflare --help")
    if family and not following:
        print(_family(word, family), file=sys.stderr)
        return ExitCode.USAGE
    asked = f"{word} {following}" if family else word
    match = nearest(asked, family or {*COMMANDS, *(name.split()[0] for name in COMMANDS)})
    hint = f"did you mean cogflare {match}?" if match else "see cogflare --help"
    raise CommandFailed(f"there is no command {asked!r}", ExitCode.USAGE, hint)


def _family(word: str, names: Sequence[str]) -> str:
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {COMMANDS[name].summary}" for name in names]
    return "\n".join([f"usage: cogflare {word} COMMAND [options]", "", *lines])


def _not_installed(name: str, error: ModuleNotFoundError) -> Exception:
    missing = (error.name or "").split(".")[0]
    if missing in ("edge", "coordinator", "gpu_agent", "migrations", ""):
        return error
    if sys.platform == "win32":
        return CommandFailed(
            f"cogflare {name} does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    return CommandFailed(
        f"cogflare {name} needs {missing}, which is not installed here",
        ExitCode.NOT_INSTALLED,
        "pip install 'cogflare[server]'",
    )


if __name__ == "__main__":
    sys.exit(main())
