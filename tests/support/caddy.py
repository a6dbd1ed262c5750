"""Caddy, the proxy of infra/compose: the Debian package, unpacked by the Makefile, or an installed one."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY, until

_UNPACKED = REPOSITORY / "build" / "caddy" / "usr" / "bin" / "caddy"
CADDY = str(_UNPACKED) if _UNPACKED.is_file() else shutil.which("caddy") or ""
needs_caddy = pytest.mark.skipif(
    not CADDY and shutil.which("apt-get") is None, reason="there is no Caddy, and no Debian to have it from"
)


@contextmanager
def caddy(config: Path, environment: Mapping[str, str], port: int, home: Path) -> Iterator[None]:
    """Run it with this file until the block ends; it answers at the port then."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home), **environment}
    text = config.read_text("utf-8")
    own = home / "Caddyfile"
    # Its own administration would be at one port for all that run here.
    own.write_text("{\n\tadmin off\n}\n\n" + text)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [CADDY, "run", "--adapter", "caddyfile", "--config", own],
            env=variables,
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: _answers(port), "Caddy answers")
        yield
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
