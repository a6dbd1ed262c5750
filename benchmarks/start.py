"""How long ``cogflare`` takes to start: ``version`` to its end, ``serve`` on new data until it is ready.

    python benchmarks/start.py [PROGRAM ...]    those named, or dist/cogflare and this environment's command

"first" is on a machine that has not run this build: the single file unpacks. Figures are medians of five.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

RUNS = 5
DEADLINE_S = 60.0


def main(programs: list[str]) -> int:
    print("| program | MB | `version`, first | `version` | `serve`, first | `serve` |")
    print("|---|---|---|---|---|---|")
    for program in programs or ["dist/cogflare", str(Path(sys.executable).with_name("cogflare"))]:
        cells = [
            f"{figure(program, measure, first=first):.2f} s"
            for measure in (version_s, serve_s)
            for first in (True, False)
        ]
        size = Path(program).stat().st_size / 1e6
        print(f"| {Path(program).name} | {size:.1f} | {' | '.join(cells)} |", flush=True)
    return 0


def figure(program: str, measure: Callable[[str, Path], float], *, first: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if not first:
            version_s(program, place)
        taken = []
        for run in range(RUNS):
            if first:  # nothing is removed meanwhile: ext4 is slow where that has just happened
                place = Path(folder, str(run))
                place.mkdir()
            taken.append(measure(program, place))
            shutil.rmtree(place / "data", ignore_errors=True)
        return statistics.median(taken)


def version_s(program: str, place: Path) -> float:
    started_at = time.monotonic()
    subprocess.run([program, "version"], env=_environment(place), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started_at


def serve_s(program: str, place: Path) -> float:
    """From the start of the process until /readyz says yes."""
    started_at = time.monotonic()
    command = [program, "serve", "--data", str(place / "data"), "--port", "0", "--replicate-url", ""]
    server = subprocess.Popen(
        command, env=_environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
        while not _ready(url):
            time.sleep(0.005)
        return time.monotonic() - started_at
    finally:
        server.terminate()
        server.communicate()


def _ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=DEADLINE_S) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except HTTPError:
        return False  # it listens, and is not ready yet


def _environment(place: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(place)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
