"""A disk that gave back something else than it was given: the server says so, and does not guess."""

from collections.abc import Callable
from pathlib import Path

from tests.conftest import Trace
from tests.support.commands import Agent, Command, Server

PAGE_BYTES = 4096


def damage(database: Path) -> bytes:
    """Overwrite every page but the first; gives what was there."""
    before = database.read_bytes()
    database.write_bytes(before[:PAGE_BYTES] + b"\xff" * (len(before) - PAGE_BYTES))
    return before


def test_a_server_with_a_damaged_control_store_ends_and_says_why(
    serve: Callable[..., Server], work: Callable[..., Agent], trace: Trace
) -> None:
    """Nothing is answered from a damaged database, and nothing is lost once the file is as it was."""
    server = serve()
    work(server).ready()
    calls = server.calls()
    id = calls.create("test/waiter", trace.input("one", wait=False), Prefer="wait")["id"]
    assert server.stop() == 0
    before = damage(server.data / "control.db")
    refused = Command("serve", "--data", str(server.data), "--port", "0")
    try:
        said = refused.line("the database is damaged")
        assert refused.process.wait(20) != 0
    finally:
        refused.close()
    assert "restore a backup" in said.string
    (server.data / "control.db").write_bytes(before)
    server.start()
    assert calls.get(id)["output"] == "done one"
