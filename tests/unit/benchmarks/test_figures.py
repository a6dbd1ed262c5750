"""How the benchmark judges what it measured, and writes it down."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("the benchmark runs on Linux")
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "benchmarks")


def _counted(per_s: int, p50_us: int) -> Any:
    from load import Counted

    return Counted(
        good=per_s, bad=0, socket_errors=0, duration_us=1_000_000, p50_us=p50_us, p99_us=9 * p50_us, sample=""
    )


def _report() -> Any:
    from report import Case, Echo, Report

    many, one = _counted(10_000, 6000), _counted(6000, 150)
    return Report(
        connections=64,
        generator=_counted(90_000, 500),
        echo=Echo(many=(many, many), one=(one, one)),
        cases=(Case(1, 0.0, _counted(2500, 30_000), _counted(700, 1500), 300.0, 3200, 3210),),
        syncs=Counter(objects=1400, control=20),
        synced_predictions=600,
        filesystem="ext4",
        tool="wrk 4.1.0",
        command="make bench",
    )


def test_a_run_is_void_when_the_generator_is_slow_or_commits_are_not_synced() -> None:
    report = _report()
    assert report.void == ""
    assert "1.9 times" in replace(report, generator=_counted(19_000, 500)).void
    assert "1100 fsyncs for 600" in replace(report, syncs=Counter(objects=1100)).void


def test_figures_are_ratios_to_the_echo_and_replace_the_marked_part_of_a_page(tmp_path: Path) -> None:
    from report import BEGIN, END, write_into

    figures = _report().markdown()
    assert "0.25 of the echo's rate (aim 0.2: met)" in figures
    assert "10.0 times the echo's (aim 12: met)" in figures
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(page, figures)
    assert page.read_text() == f"before\n{BEGIN}\n{figures}\n{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no"):
        write_into(page, figures)


def test_syncs_are_counted_by_kind_of_file(tmp_path: Path) -> None:
    from durability import _SYNC

    trace = (
        "77 fdatasync(12</data/objects/1.db-wal>) = 0\n"
        "78 fsync(9</data/control.db-wal> <unfinished ...>\n"
        "77 <... fdatasync resumed>) = 0\n"
    )
    assert _SYNC.findall(trace) == ["/data/objects/1.db-wal", "/data/control.db-wal"]
