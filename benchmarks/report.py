"""What a run found, and how it is written down."""

import os
import platform
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from load import Counted

AIM_THROUGHPUT = 0.2
AIM_P50 = 12.0
PACKAGES = (
    "cogflare",
    "litestar",
    "uvicorn",
    "uvloop",
    "httptools",
    "msgspec",
    "sqlalchemy",
    "websockets",
)
BEGIN, END = "<!-- figures: made by make bench -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Echo:
    """The reference: a bare echo, before and after everything else."""

    many: tuple[Counted, Counted]
    one: tuple[Counted, Counted]

    @property
    def per_s(self) -> float:
        return sum(run.per_s for run in self.many) / 2

    @property
    def p50_us(self) -> float:
        return sum(run.p50_us for run in self.one) / 2

    @property
    def p99_us(self) -> float:
        return sum(run.p99_us for run in self.one) / 2


@dataclass(frozen=True)
class Case:
    """One set-up of the server. ``many`` and ``one`` are runs with many clients and with one."""

    models: int
    commit_delay_s: float
    many: Counted
    one: Counted | None
    server_cpu_us: float
    """Processor time of the server for one prediction, with many clients."""
    answers: int
    """Good answers of all runs, the warm-up included."""
    rows: int
    """Succeeded predictions in the index afterwards."""


@dataclass(frozen=True)
class Report:
    """Everything that one run found."""

    connections: int
    generator: Counted
    echo: Echo
    cases: tuple[Case, ...]
    syncs: Counter[str]
    synced_predictions: int
    filesystem: str
    tool: str
    """Name and version of the generator."""
    command: str

    @property
    def void(self) -> str:
        """Why the figures mean nothing; empty when they do."""
        if self.generator.per_s < 2 * self.echo.per_s:
            times = self.generator.per_s / self.echo.per_s
            return f"the generator alone reaches only {times:.1f} times the echo's rate"
        if self.syncs["objects"] < 2 * self.synced_predictions:
            syncs = self.syncs["objects"]
            return f"{syncs} fsyncs for {self.synced_predictions} predictions: they were not durable"
        return ""

    def markdown(self) -> str:
        """The section of docs/benchmarks.md."""
        base = self.cases[0]
        assert base.one is not None
        share, times = base.many.per_s / self.echo.per_s, base.one.p50_us / self.echo.p50_us
        lines = [
            f"**{base.many.per_s:,.0f} predictions/s** end to end with {self.connections} clients:"
            f" {share:.2f} of the echo's rate (aim {AIM_THROUGHPUT:g}: {met(share >= AIM_THROUGHPUT)})."
            f" **p50 {base.one.p50_us / 1000:.2f} ms** for one client:"
            f" {times:.1f} times the echo's (aim {AIM_P50:g}: {met(times <= AIM_P50)}).",
            "",
            f"| | {self.connections} clients, /s | of echo | 1 client, p50 ms | times echo | p99 ms"
            " | times echo | server CPU µs each | answers | rows |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
            f"| generator alone | {self.generator.per_s:,.0f}"
            f" | {self.generator.per_s / self.echo.per_s:.1f} | | | | | | | |",
            f"| bare Litestar echo | {self.echo.per_s:,.0f} | 1 | {self.echo.p50_us / 1000:.2f} | 1"
            f" | {self.echo.p99_us / 1000:.2f} | 1 | | | |",
            *(self._line(case) for case in self.cases),
            "",
            f"Durability: the kernel saw {self.syncs['objects']:,} fsyncs of coordinators' storage"
            f" ({self.syncs['control']:,} of the control database) for {self.synced_predictions:,}"
            " predictions of one client. Every counted answer was 201 with a succeeded prediction, and every"
            " row of the index is terminal; there are at least as many rows as answers, and at most one more"
            " per connection of each run, cut off at its end.",
            "",
            *machine(self.filesystem, "server, agent and generator", PACKAGES, self.tool),
            f"- repeat with `{self.command}`",
        ]
        return "\n".join(lines)

    def _line(self, case: Case) -> str:
        name = f"{case.models} model{'s' if case.models > 1 else ''}"
        if case.commit_delay_s:
            name += f", +{case.commit_delay_s * 1000:g} ms a commit"
        cells = [name, f"{case.many.per_s:,.0f}", f"{case.many.per_s / self.echo.per_s:.2f}"]
        if case.one:
            for value, echo in ((case.one.p50_us, self.echo.p50_us), (case.one.p99_us, self.echo.p99_us)):
                cells += [f"{value / 1000:.2f}", f"{value / echo:.1f}"]
        else:
            cells += [""] * 4
        return (
            "| "
            + " | ".join([*cells, f"{case.server_cpu_us:,.0f}", f"{case.answers:,}", f"{case.rows:,}"])
            + " |"
        )


def machine(filesystem: str, used_by: str, packages: Sequence[str], *tools: str) -> list[str]:
    """Date, processor and versions, as a list in markdown."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", info)
    system = [
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        *tools,
    ]
    return [
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {model[1] if model else platform.processor()},"
        f" {len(os.sched_getaffinity(0))} cores for {used_by}; {filesystem}",
        "- " + ", ".join(system),
        "- " + ", ".join(f"{package} {version(package)}" for package in packages),
    ]


def filesystem_of(path: Path) -> str:
    """Kind of the filesystem that holds ``path``."""
    best, kind = "", "unknown filesystem"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, name = line.split()[:3]
        if path.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def write_into(document: Path, figures: str, begin_mark: str = BEGIN, end_mark: str = END) -> None:
    """Replace what stands between the marks of ``document``. Raises ValueError when they are missing."""
    text = document.read_text()
    before, begin, rest = text.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        raise ValueError(f"{document} has no {begin_mark!r} … {end_mark!r}")
    document.write_text(f"{before}{begin}\n{figures}\n{end}{after}")


def met(yes: bool) -> str:
    return "met" if yes else "missed"
