"""What is looked at: a data directory, a server, models; and what several checks ask of them, asked once."""

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from coordinator.protocol.addresses import http_url
from edge.commands.doctoring.settings import DoctorSettings
from edge.exits import CommandFailed, ExitCode
from edge.where import DEFAULT_DATA
from gpu_agent.tls import client_context

if TYPE_CHECKING:
    from edge.data_dir import DataDir

ANSWER_S = 10.0
"""How long any server is waited for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server said, and how far this machine's clock was ahead of its ``Date``."""

    status: int
    headers: httpx.Headers
    body: bytes
    ahead_s: float | None


class Subject:
    """See the module. Raises CommandFailed for what no server and no token can be."""

    def __init__(self, settings: DoctorSettings) -> None:
        self._settings = settings
        self.token = settings.token
        self.models = settings.models
        self.python = settings.python
        self.state = settings.state
        if settings.dir and settings.data and settings.dir.absolute() != settings.data.absolute():
            raise CommandFailed(
                f"{settings.dir} and {settings.data} are two data directories", ExitCode.USAGE, "give one"
            )
        given = settings.dir or settings.data
        default = DEFAULT_DATA.expanduser()
        self.folder: Path | None = given or (default if default.is_dir() else None)
        if settings.server and http_url(settings.server) is None:
            raise CommandFailed(
                f"--server {settings.server!r}: expected http://HOST[:PORT] or https://HOST", ExitCode.USAGE
            )
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise CommandFailed("--token has characters that no token has", ExitCode.USAGE)

    @cached_property
    def data(self) -> "DataDir | None":
        """The data directory, if there is one that this process may use."""
        from edge.data_dir import DataDir

        # Not Path's own, which raises where nobody may look.
        if self.folder is None or not os.path.isdir(self.folder):  # noqa: PTH112
            return None
        return DataDir(self.folder)

    @cached_property
    def running(self) -> dict[str, Any] | None:
        """What the server that runs on the directory says of itself."""
        from edge.control import AskStatus, Done, ask

        if self.data is None:
            return None
        try:
            answer = ask(self.data.control_socket, AskStatus())
        except OSError:
            return None
        return answer.result if isinstance(answer, Done) else None

    @property
    def storage(self) -> str:
        """The URL of ``--storage``; empty for the folder in the data directory."""
        return self._settings.storage or (self.running or {}).get("storage", "")

    @property
    def url(self) -> str:
        """Of the server, without a slash at its end; empty when nobody has said it."""
        url = self._settings.server or (self.running or {}).get("public_url", "")
        return url.rstrip("/").removesuffix("/v1")

    @cached_property
    def health(self) -> Answer | Exception:
        """What the server answers at ``/healthz``, or why it cannot be had."""
        try:
            return get(f"{self.url}/healthz")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return error


def get(url: str, token: str = "") -> Answer:
    """One request, no redirects. Raises what httpx raises."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(verify=client_context(), timeout=ANSWER_S) as client:
        began = time.time()
        found = client.get(url, headers=headers)
        ended = time.time()
    return Answer(
        found.status_code, found.headers, found.content, ahead_s(found.headers.get("date"), began, ended)
    )


def ahead_s(date: str | None, began: float, ended: float) -> float | None:
    """How far this machine's clock is ahead of an answer's ``Date``, which counts whole seconds and was made
    between the two times; negative when it is behind, 0 when they may be the same."""
    from email.utils import parsedate_to_datetime

    try:
        there = parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError):
        return None
    # A Date may be a second older than its answer: servers make it anew each second.
    earliest, latest = began - (there + 2.0), ended - there
    return earliest if earliest > 0 else latest if latest < 0 else 0.0
