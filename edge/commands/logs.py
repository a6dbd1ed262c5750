"""``cogflare logs``: what a prediction has said."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.exits import CommandFailed, ExitCode
from edge.where import DATA, DEFAULT_DATA


@dataclass(frozen=True)
class LogsSettings:
    """``cogflare logs``."""

    id: str = field(metadata={"help": "the prediction", "positional": True, "metavar": "ID"})
    follow: bool = field(
        default=False,
        metadata={"help": "go on until it has ended", "short": "f", "variable": "LOGS_FOLLOW"},
    )
    data: Path = field(default=DEFAULT_DATA, metadata=DATA)
    server: str = field(
        default="", metadata={"help": "URL of the server, instead of --data", "metavar": "URL"}
    )
    token: str = field(default="", metadata={"help": "token of that server, of scope read"})
    json: bool = field(default=False, metadata={"help": "print JSON"})


SETTINGS = LogsSettings
ABOUT = (
    "Print the logs of a prediction on stdout, those of the attempts before it came to its last worker, too; "
    "which attempt it is and what became of it is told on stderr. Through the data directory of the running "
    "server, of whatever account; with --server the predictions of the token's account."
)
POLL_S = 0.5
TERMINAL = ("succeeded", "failed", "canceled", "aborted")


def run(settings: LogsSettings) -> int:
    from edge.commands.predicting.screen import as_text
    from edge.commands.watching.log_reader import LogReader

    reader = LogReader()
    while True:
        found = _found(settings)
        if settings.json and (not settings.follow or found["status"] in TERMINAL):
            print(as_text({name: found.get(name) for name in ("id", "status", "logs", "attempts")}))
            return ExitCode.DONE
        if not settings.json:
            _show(reader, found)
        if not settings.follow or found["status"] in TERMINAL:
            _tell_end(found)
            return ExitCode.DONE
        time.sleep(POLL_S)


def _show(reader: Any, found: dict[str, Any]) -> None:
    for part in reader.news(found):
        if part.heading:
            sys.stdout.flush()
            print(f"== {part.heading}", file=sys.stderr, flush=True)
        sys.stdout.write(part.text)
    sys.stdout.flush()


def _tell_end(found: dict[str, Any]) -> None:
    if found.get("data_removed"):
        print("cogflare: its logs have been removed: the time that they are kept is over", file=sys.stderr)
    elif found["status"] not in TERMINAL and not found["logs"]:
        print(f"cogflare: it is {found['status']}, and has said nothing yet", file=sys.stderr)


def _found(settings: LogsSettings) -> dict[str, Any]:
    """The prediction as it is now. Raises CommandFailed."""
    from edge.administration import carry_out
    from edge.control import ReadLogs
    from edge.data_dir import DataDir

    if settings.server:
        return _from_afar(settings)
    found: dict[str, Any] = carry_out(DataDir(settings.data), ReadLogs(id=settings.id), "logs")
    return found


def _from_afar(settings: LogsSettings) -> dict[str, Any]:
    import asyncio
    from urllib.parse import quote

    from edge.commands.predicting.api import Api, Refused

    async def ask() -> dict[str, Any]:
        async with Api(settings.server, settings.token) as api:
            path = f"/v1/predictions/{quote(settings.id, safe='')}"
            return await api.patiently(lambda: api.call("GET", path))

    try:
        return asyncio.run(ask())
    except Refused as refusal:
        if refusal.status != 404:
            raise
        raise CommandFailed(
            f"{settings.server} has no prediction {settings.id} of this token's account", ExitCode.NOT_FOUND
        ) from None
