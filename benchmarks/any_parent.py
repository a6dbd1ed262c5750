"""Anybody's parent of coglet, written from docs/reference/coglet.md alone: files and three signals.

    python any_parent.py MODEL DIR ROUNDS

Runs MODEL's ``predict.py:Predictor`` in the cumulative form. Prints the microseconds of each round trip, from
the request to the last response, read and deleted, as JSON.
"""

# Plain strings, as pathlib objects would be a good part of what is measured.
# ruff: noqa: PTH104, PTH108, PTH123

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SIGNALS = {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
RUNTIME = Path(__file__).parents[1] / "gpu_agent" / "runtime"
DEADLINE_S = 30.0


def main(model: str, folder: str, rounds: int) -> list[float]:
    """Raises ``TimeoutError`` when an answer does not come."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    command = [sys.executable, "-m", "coglet", "--dir", folder, "--predictor", "predict.py:Predictor"]
    coglet = subprocess.Popen(
        command,
        cwd=model,
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        # What is blocked here would be blocked there.
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS),
    )
    try:
        _until(f"{folder}/setup-result.json")
        times = []
        for number in range(rounds):
            began = time.perf_counter_ns()
            with open(f"{folder}/tmp/mine", "w") as file:
                json.dump({"input": {"n": number}}, file)
            os.rename(f"{folder}/tmp/mine", f"{folder}/request-{number}.json")
            response = _until(f"{folder}/response-{number}.json")
            os.unlink(f"{folder}/response-{number}.json")
            if response["output"] != number:
                raise RuntimeError(f"not the answer: {response}")
            times.append((time.perf_counter_ns() - began) / 1000)
        return times
    finally:
        coglet.kill()
        coglet.wait()


def _until(path: str) -> dict[str, object]:
    """Look after each signal until the file is there, and its prediction not running any more."""
    while True:
        try:
            with open(path) as file:
                found: dict[str, object] = json.load(file)
            if found["status"] != "processing":
                return found
        except FileNotFoundError:
            pass
        if signal.sigtimedwait(SIGNALS, DEADLINE_S) is None:
            raise TimeoutError(f"{path} did not come")


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
