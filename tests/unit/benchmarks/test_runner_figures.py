"""How the runner's benchmark judges what it measured, and the two parents that it is measured with."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
ECHO = "class Predictor:\n    def predict(self, n: int) -> int:\n        return n\n"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("the benchmark runs on Linux")
    monkeypatch.syspath_prepend(BENCHMARKS)


def _figures() -> Any:
    from runner_report import Figures, Times

    return Figures(
        floor=(Times(900, 40.0, 90.0), Times(900, 100.0, 150.0), Times(900, 120.0, 500.0)),
        interpreter=Times(20, 8000.0, 9000.0),
        ready=Times(20, 27_000.0, 29_000.0),
        round_trip=Times(900, 190.0, 350.0),
        anybody=Times(900, 300.0, 700.0),
        many_per_s=7000.0,
        slots=32,
        items={100_000: Times(5, 400_000.0, 500_000.0)},
        files={1 << 20: (Times(30, 1300.0, 1900.0), Times(30, 200.0, 300.0))},
        rss_at_first_bytes=13_400_000,
        rss_after_bytes=13_500_000,
        filesystem="ext4",
    )


def test_percentiles() -> None:
    from runner_report import Times

    assert Times.of([float(n) for n in range(1000, 0, -1)]) == Times(1000, 501.0, 991.0)
    assert Times.of([7.0]) == Times(1, 7.0, 7.0)


def test_aims_are_judged_and_the_floor_is_the_middle_one() -> None:
    from runner_report import Times

    text = _figures().markdown()
    assert "p50 0.190 ms" in text
    assert "(aim 0.2: met), 1.9 times the floor" in text
    assert "(aim 60: met)" in text
    assert "13.5 MB** of memory (aim 20: met)" in text
    assert "| 100,000 yields | 400 |  | 5 | 4.0 µs each |" in text
    assert "| 1 MiB in and out | 1.30 |  | 30 | the model's copy alone: 0.200 ms |" in text
    slow = replace(_figures(), round_trip=Times(900, 201.0, 350.0), rss_after_bytes=20_100_000)
    assert "(aim 0.2: missed)" in slow.markdown()
    assert "(aim 20: missed)" in slow.markdown()


def test_its_figures_stand_beside_the_main_jobs(tmp_path: Path) -> None:
    import report
    from runner_report import BEGIN, END

    page = tmp_path / "benchmarks.md"
    page.write_text(f"{report.BEGIN}\nold\n{report.END}\n{BEGIN}\nold\n{END}\n")
    report.write_into(page, "new", BEGIN, END)
    report.write_into(page, "main")
    assert page.read_text() == f"{report.BEGIN}\nmain\n{report.END}\n{BEGIN}\nnew\n{END}\n"


def test_both_parents_count_every_round(tmp_path: Path) -> None:
    for name in ("bare", "any", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "predict.py").write_text(ECHO)
    for command in (
        ["bare_pair.py", str(tmp_path / "bare")],
        ["any_parent.py", str(tmp_path / "model"), str(tmp_path / "any")],
    ):
        script, *arguments = command
        run = subprocess.run(
            [sys.executable, str(BENCHMARKS / script), *arguments, "20"],
            stdout=subprocess.PIPE,
            timeout=30,
            check=True,
        )
        times = json.loads(run.stdout)
        assert len(times) == 20
        assert min(times) > 0
