"""Runs the load generator, Debian's wrk, and reads what it counted."""

import shutil
import subprocess
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("post.lua")
ECHOED = '"prompt":"a lighthouse'
SUCCEEDED = '"status":"succeeded"'


class Counted(msgspec.Struct, frozen=True):
    """One run of the generator. ``good`` answers were 201 and held the expected text; the times are theirs
    and all others' alike."""

    good: int
    bad: int
    socket_errors: int
    duration_us: int
    p50_us: int
    p99_us: int
    sample: str

    @property
    def per_s(self) -> float:
        return self.good / (self.duration_us / 1e6)


class LoadError(RuntimeError):
    """The generator could not run, or not everything that it got was good."""


def wrk_version() -> str:
    """Name and version of the installed generator. Raises LoadError when there is none."""
    if shutil.which("wrk") is None:
        raise LoadError("wrk is not installed: apt-get install wrk")
    text = subprocess.run(["wrk", "-v"], capture_output=True, text=True, timeout=10).stdout
    return " ".join(text.split()[:2])


def load(
    url: str, *, connections: int, seconds: float, expect: str, token: str = "none", models: int = 1
) -> Counted:
    """POST as fast as answers come, over kept-alive connections. Raises LoadError on any bad answer."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["-s", str(SCRIPT), url, "--", token, str(models), expect]
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    lines = [line for line in run.stderr.splitlines() if line.startswith('{"good"')]
    if run.returncode or not lines:
        raise LoadError(f"wrk failed: {(run.stderr or run.stdout).strip()[-500:]}")
    counted = msgspec.json.decode(lines[-1], type=Counted)
    if counted.bad or counted.socket_errors or not counted.good:
        raise LoadError(
            f"{counted.bad} bad answers and {counted.socket_errors} socket errors"
            f" beside {counted.good} good ones; the first bad one: {counted.sample}"
        )
    return counted
