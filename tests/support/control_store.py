"""Fresh control stores for tests: migrated once in a process, copied for each test."""

import tempfile
from functools import cache
from pathlib import Path

from coordinator.store.database import Store, migrate


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "control.db"
        migrate(url_of(path))
        return path.read_bytes()


async def open_store(path: Path) -> Store:
    """Open the control store at ``path``; a new one when there is none."""
    if not path.exists():  # noqa: ASYNC240 - a test's folder
        path.write_bytes(_migrated())  # noqa: ASYNC240
    return await Store.open(url_of(path))
