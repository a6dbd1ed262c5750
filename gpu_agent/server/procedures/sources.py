"""Where procedures come from: a folder of this machine, or an archive anywhere.

The source is copied or unpacked by a process of its own that has the procedure's rights, so nothing is
written to the original, and nothing is read that the procedure may not read.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from coordinator.protocol.addresses import AddressRules, UrlRefused, check_url
from gpu_agent.log_pipe import Lines
from gpu_agent.server.http import Problem, Refused
from gpu_agent.server.procedures.cells import Lodging
from gpu_agent.server.settings import ProcedureLimits

KEY = "procedure_source_url"
"""In a request's ``context``, as in Cog's second generation."""
LONGEST_URL = 4096
SCRIPT = Path(__file__).with_name("unpack.py")
STOP_S = 5.0

Say = Callable[[str], None]


class SourceFailed(Exception):
    """There is no source; the text says why and is fit for the client's eyes."""


def source_url(context: Mapping[str, str]) -> str:
    """The URL that names a request's procedure. Raises ``Refused`` with 422."""
    url = context.get(KEY)
    if url is None:
        raise _refused("Field required", "value_error.missing")
    if problem := _problem(url):
        raise _refused(problem, "value_error.url")
    return url


def _refused(message: str, kind: str) -> Refused:
    return Refused(422, [Problem(("body", "context", KEY), message, kind)])


def _problem(url: str) -> str:
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return f"a URL has at most {LONGEST_URL} characters, and no spaces"
    try:
        parts = urlsplit(url)
        if parts.scheme == "file":
            path = unquote(parts.path)
            if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
                return "a folder of the server's machine is named as file:///path/to/folder"
            return "" if not parts.query and not parts.fragment else "a file URL has no query: escape ? and #"
        if parts.scheme not in ("http", "https"):
            return "expected file:///folder, or http(s)://… of a .tar.gz, .tgz or .zip"
        check_url(url)
        if parts.username is not None:
            return "a user name and password in a URL are not supported"
    except (UrlRefused, ValueError) as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Puts sources into cells."""

    rules: AddressRules
    limits: ProcedureLimits
    folder: Path
    """For archives on their way."""

    async def bring(self, url: str, lodging: Lodging, say: Say) -> Path:
        """The folder in the cell that holds the model. Raises ``SourceFailed``. Cancelling is safe."""
        if url.startswith("file:"):
            await self._unpack(lodging, say, folder=unquote(urlsplit(url).path))
        else:
            place = self.folder / lodging.path.name
            await asyncio.to_thread(place.mkdir, mode=0o700, parents=True)
            try:
                await self._unpack(lodging, say, archive=await self._fetch(url, place))
            finally:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        with lodging.cell.acting():
            return _model_in(lodging.source)

    async def _fetch(self, url: str, place: Path) -> Path:
        from gpu_agent.fetch import Fetcher, FetchFailed
        from gpu_agent.tls import client_context

        limits = self.limits
        tls = await asyncio.to_thread(client_context)
        fetcher = Fetcher(self.rules, tls, limit_bytes=limits.source_bytes, limit_s=limits.source_s)
        try:
            return await fetcher.fetch(url, place)
        except FetchFailed as error:
            raise SourceFailed(f"{error} (--source-bytes, --source-s)") from None
        finally:
            await fetcher.close()

    async def _unpack(
        self, lodging: Lodging, say: Say, *, archive: Path | None = None, folder: str | None = None
    ) -> None:
        user = lodging.cell.user
        uid, gid = (-1, -1) if user is None else (user.uid, user.gid)
        command = [sys.executable, "-I", "-S", str(SCRIPT), str(lodging.source), str(uid), str(gid)]
        command += [str(self.limits.unpacked_bytes), str(self.limits.source_files)]
        with (archive or Path(os.devnull)).open("rb") as given:
            said: list[str] = []
            try:
                async with asyncio.timeout(self.limits.source_s):
                    code = await run(
                        [*command, *([] if folder is None else [folder])],
                        stdin=given.fileno(),
                        cwd=lodging.path.parent,
                        environment={},
                        say=said.append,
                    )
            except TimeoutError:
                limit_s = self.limits.source_s
                raise SourceFailed(f"the source was not there within {limit_s:g} s (--source-s)") from None
        if code:
            for line in said[:-1]:
                say(line)
            raise SourceFailed(f"the source is refused: {said[-1] if said else f'exit code {code}'}")


def _model_in(source: Path) -> Path:
    """The folder itself, or the one folder in it, as archives often have it."""
    entries = list(source.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0]
    return source


async def run(command: Sequence[str], *, stdin: int, cwd: Path, environment: dict[str, str], say: Say) -> int:
    """Run a program that ends by itself; ``say`` gets each line that it prints. Its exit code.

    When this is cancelled the program and what it started in its group are ended.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines = Lines(say)
    try:
        while piece := await process.stdout.read(1 << 16):
            lines.add(piece)
        lines.flush()
        return await process.wait()
    except asyncio.CancelledError:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
        raise
