"""``make binary``: write ``dist/cogflare``, one file that runs on a machine without Python packages.

It runs where the C library is as new as this machine's, on the same kind of processor.
"""

import hashlib
import json
import os
import platform
import sqlite3
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from collect import REPOSITORY, collect, packages_of

HERE = Path(__file__).parent
TARGET = REPOSITORY / "dist" / "cogflare"
LIMIT_BYTES = 60_000_000


def main() -> int:
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tree, archive = Path(folder, "tree"), Path(folder, "archive")
        program = collect(tree)
        name = f"cogflare-{version('cogflare')}.dist-info"
        (packages_of(program) / name / "build.json").write_text(json.dumps(_build()))
        archive.write_bytes(zlib.compress(b"".join(_entries(tree)), 9))
        _link(archive)
    size = TARGET.stat().st_size
    print(f"{TARGET.relative_to(REPOSITORY)}: {size / 1e6:.1f} MB in {time.monotonic() - started_at:.0f} s")
    if size > LIMIT_BYTES:
        raise SystemExit(
            f"that is more than {LIMIT_BYTES / 1e6:.0f} MB: see UNUSED in infra/binary/collect.py"
        )
    return 0


def _build() -> dict[str, str]:
    """What ``cogflare version`` says of the file."""
    return {
        "commit": _git("describe", "--always", "--dirty", "--abbrev=12") or "unknown",
        "machine": f"{platform.machine()} {platform.system()}",
        "glibc": platform.libc_ver()[1],
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
    }


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _entries(tree: Path) -> Iterator[bytes]:
    """As ``unpack.c`` reads them. In order of the paths: the same files are the same archive."""
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        name, content = os.fsencode(path.relative_to(tree)), path.read_bytes()
        kind = b"x" if os.access(path, os.X_OK) and path.parent.name == "bin" else b"f"
        yield struct.pack("<cHI", kind, len(name), len(content)) + name + content
    yield struct.pack("<cHI", b"e", 0, 0)


def _link(archive: Path) -> None:
    TARGET.parent.mkdir(exist_ok=True)
    build = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    new = TARGET.with_name("cogflare.new")
    command = [
        *(os.environ.get("CC", "cc"), "-static", "-O2", "-s", "-std=gnu11", "-Wall", "-Wextra", "-Werror"),
        *(f'-DARCHIVE="{archive}"', f'-DBUILD="{build}"'),
        *("-o", new, HERE / "unpack.c", "-lz"),
    ]
    subprocess.run(command, check=True)
    new.replace(TARGET)


if __name__ == "__main__":
    sys.exit(main())
