"""Proof that the figures are of durable work: rows that are there, and fsyncs that the kernel saw."""

import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTLE_S = 30.0
_SYNC = re.compile(r"\bf(?:data)?sync\(\d+<([^>]*)>")


class NotDurable(RuntimeError):
    """Answers without rows, or rows without fsyncs."""


def terminal_rows(data: Path) -> Counter[str]:
    """How many predictions the control index holds, by status."""
    database = sqlite3.connect(f"file:{data / 'control.db'}?mode=ro", uri=True, timeout=10)
    try:
        return Counter(dict(database.execute("SELECT status, count(*) FROM predictions GROUP BY status")))
    finally:
        database.close()


class Ledger:
    """Good answers that clients counted, against the rows that a fresh data directory holds."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.answers = 0
        self._uncounted = 0

    def add(self, answers: int, connections: int) -> None:
        """A run has ended. Each of its connections may have left one answer that nobody counted."""
        self.answers += answers
        self._uncounted += connections

    def settle(self) -> int:
        """Wait until each answer's prediction is terminal in the index; returns the rows, or NotDurable."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            rows = terminal_rows(self._data)
            enough = self.answers <= rows["succeeded"] <= self.answers + self._uncounted
            if enough and rows.total() == rows["succeeded"]:
                return rows["succeeded"]
            if time.monotonic() > deadline:
                raise NotDurable(f"{self.answers} answers, but rows by status are {dict(rows)}")
            time.sleep(0.1)


def check_tracer() -> None:
    """Raise NotDurable when system calls cannot be counted here."""
    if shutil.which("strace") is None:
        raise NotDurable("strace is not installed: apt-get install strace")


@contextmanager
def syncs_of(pid: int, report: Path) -> Iterator[Counter[str]]:
    """Counts the fsync and fdatasync calls of a process during the block, by the kind of file.

    Kinds are ``objects`` (coordinators' own storage), ``control`` and ``other``, filled in when the block
    has ended. Raises NotDurable when the process cannot be traced.
    """
    check_tracer()
    command = ["strace", "-f", "-q", "-y", "-e", "trace=fsync,fdatasync", "-o", str(report), "-p", str(pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    kinds: Counter[str] = Counter()
    try:
        deadline = time.monotonic() + 10
        while not _traced(pid):
            if tracer.poll() is not None or time.monotonic() > deadline:
                raise NotDurable("strace cannot attach to the server")
            time.sleep(0.02)
        yield kinds
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=20)
    for path in _SYNC.findall(report.read_text(errors="replace")):
        kinds["objects" if "/objects/" in path else "control" if "/control.db" in path else "other"] += 1


def _traced(pid: int) -> bool:
    threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return all("TracerPid:\t0\n" not in text for text in threads)
