"""``python -m cog.server.http``: Cog's launch name, for ``cogflare cog-server`` in the current folder.

The options and variables are those of all three generations of Cog; what cannot be honoured is refused.
"""

import argparse
import os
import sys
from typing import Callable, Dict, List, NamedTuple, NoReturn, Optional, Sequence

from cog.server.installation import NotInstalled, become

PROGRAM = "python -m cog.server.http"
ABOUT = "Becomes cogflare cog-server for the model in the current folder, with the options of any Cog."
USAGE_EXIT, MISSING_EXIT = 2, 8
LEVELS = {"warn": "warning", "trace": "debug", "critical": "error", "fatal": "error"}
FORMATS = {"development": "console", "text": "console"}
KNOWN_VARIABLES = {
    "COG_EAGER_IMPORTS",
    "COG_GPU",
    "COG_LOG_LEVEL",
    "COG_MAX_CONCURRENCY",
    "COG_METRICS_ENDPOINT",
    "COG_PREDICT_TYPE_STUB",
    "COG_PYENV_PATH",
    "COG_QUEUE_SIZE",
    "COG_SETUP_TIMEOUT",
    "COG_STREAM_HISTORY_CAPACITY",
    "COG_THROTTLE_RESPONSE_INTERVAL",
    "COG_TRAIN_TYPE_STUB",
    "COG_USER_AGENT",
    "COG_WAIT_FILE",
    "COG_WEIGHTS",
}
"""Read by the server, or without a meaning here."""


class Refused(Exception):
    """An option or variable that cannot be used; the text is one line."""


def seconds(text: str) -> str:
    float(text.rstrip("hms") or "x")
    return text


def switch(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("1", "true", "yes", "on", "t"):
        return True
    if lowered in ("0", "false", "no", "off", "f", ""):
        return False
    raise ValueError(text)


VALUES = {int: "N", seconds: "TIME", switch: "true|false"}
"""How help writes what an option takes."""


class Option(NamedTuple):
    """One option of any generation. Where the second has a variable, it is ``COG_`` and the option's name."""

    name: str
    kind: Callable[[str], object]
    help: str
    becomes: str = ""
    """The option of ``cogflare cog-server``; empty when it is dealt with here."""
    variable: bool = False


OPTIONS = (
    Option("host", str, "address to listen on; default 0.0.0.0, as in Cog", "host", True),
    Option("port", int, "port to listen on; default PORT, or 5000", "port", True),
    Option("upload-url", str, "put output files below this URL", "upload-url", True),
    Option("await-explicit-shutdown", switch, "ignore SIGTERM: only POST /shutdown ends it", "", True),
    Option("x-mode", str, "predict, or train: POST /predictions runs the training function", "x-mode"),
    Option("working-directory", str, "the model's folder instead of the current one", "", True),
    Option("runner-shutdown-grace-period", seconds, "time for what runs at the end", "drain-s", True),
    Option("threads", int, "without effect: every generation of Cog but the first has none"),
    Option("cleanup-timeout", seconds, "without effect", "", True),
    Option("max-runners", int, "procedures that are set up at the same time", "max-runners", True),
    Option("use-procedure-mode", switch, "serve procedures instead of a model", "", True),
    Option("one-shot", switch, "refused: a server serves until it is told to leave", "", True),
)
NOT_SERVED = {
    "one-shot": "a server that ends after one prediction is `cogflare predict DIR`",
}


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Become the server. Returns an exit code only when that is not possible; the reason is on stderr."""
    environment = dict(os.environ)
    try:
        given = parse(sys.argv[1:] if arguments is None else arguments, environment)
        become(server_words(given), server_environment(environment))
    except Refused as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return USAGE_EXIT
    except NotInstalled as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return MISSING_EXIT


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(f"{message} (see {PROGRAM} --help)")


def parse(arguments: Sequence[str], environment: Dict[str, str]) -> Dict[str, object]:
    """Option name -> value, of those that are given. Raises ``Refused``; --help and --version exit."""
    parser = _Parser(
        prog=PROGRAM, usage=f"{PROGRAM} [options]", description=ABOUT, allow_abbrev=False, add_help=False
    )
    parser.add_argument("-h", "--help", action="help", help="show this text and exit")
    parser.add_argument("--version", action="version", version=_version(), help="show the version and exit")
    for option in OPTIONS:
        # A switch may stand alone, as in the first generation's help, or have a value, as in its code.
        alone = {"nargs": "?", "const": "true"} if option.kind is switch else {}
        value = VALUES.get(option.kind, "TEXT")
        parser.add_argument(f"--{option.name}", help=option.help, metavar=value, **alone)  # type: ignore[arg-type]
    found = vars(parser.parse_args(list(arguments)))
    given: Dict[str, object] = {}
    for option in OPTIONS:
        text, source = found[option.name.replace("-", "_")], f"--{option.name}"
        if text is None and option.variable:
            source = _variable(option)
            text = environment.get(source) or None
        if text is not None:
            try:
                given[option.name] = option.kind(text)
            except ValueError:
                raise Refused(f"{source}: {text!r} cannot be used: {option.help}") from None
    for name, reason in NOT_SERVED.items():
        if given.get(name):
            raise Refused(f"--{name}: {reason}")
    return given


def server_words(given: Dict[str, object]) -> List[str]:
    """The words of ``cogflare`` that stand for the options."""
    folder = str(given.get("working-directory", "."))
    words = ["cog-server", "--procedure-mode" if given.get("use-procedure-mode") else folder]
    words += ["--python", sys.executable]
    for option in OPTIONS:
        if option.becomes and option.name in given:
            words += [f"--{option.becomes}", str(given[option.name])]
    if given.get("await-explicit-shutdown"):
        words.append("--await-explicit-shutdown")
    return words


def server_environment(environment: Dict[str, str]) -> Dict[str, str]:
    """The variables in the words that ``cogflare`` knows; the unknown ones of Cog's are told."""
    ours = dict(environment)
    ours.setdefault("COGFLARE_HOST", "0.0.0.0")  # noqa: S104 - in a container, as Cog has it
    for name, words in (("COG_LOG_LEVEL", LEVELS), ("LOG_FORMAT", FORMATS)):
        if name in ours:
            ours[name] = words.get(ours[name].lower(), ours[name])
    known = KNOWN_VARIABLES.union(_variable(option) for option in OPTIONS)
    for name in sorted(ours):
        if name.startswith("COG_") and name not in known:
            print(f"{PROGRAM}: {name} is not a variable of Cog's and is ignored", file=sys.stderr)
    return ours


def _variable(option: Option) -> str:
    return "COG_" + option.name.upper().replace("-", "_")


def _version() -> str:
    import cog

    return f"cogflare {cog.__version__}, behind Cog's HTTP API"


if __name__ == "__main__":
    sys.exit(main())
