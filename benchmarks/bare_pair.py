"""The floor: a bare pair of processes that exchange one file and one signal each way.

    python bare_pair.py DIR ROUNDS

Prints the microseconds of each round trip as JSON. No model, no log, no event loop: what a file that appears
by a rename and the signal for it cost in Python on this machine.
"""

# Plain strings, as pathlib objects would be a good part of what is measured.
# ruff: noqa: PTH102, PTH104, PTH108, PTH208

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time

DEADLINE_S = 30.0


def parent(folder: str, rounds: int) -> list[float]:
    """Microseconds of each round trip. Raises ``TimeoutError`` when an answer does not come."""
    for name in ("tmp", "answers"):
        os.mkdir(f"{folder}/{name}")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    child = subprocess.Popen([sys.executable, "-S", __file__, folder])
    times = []
    try:
        _await_signal()
        for number in range(rounds):
            began = time.perf_counter_ns()
            _put(f"{folder}/tmp/request", f"{folder}/request-{number}", b'{"input":{"n":%d}}' % number)
            _await_signal()
            if _take(f"{folder}/answers/{number}") != b'{"input":{"n":%d}}' % number:
                raise RuntimeError("the answer is not what was asked")
            times.append((time.perf_counter_ns() - began) / 1000)
    finally:
        child.kill()
        child.wait()
    return times


def _await_signal() -> None:
    if signal.sigtimedwait({signal.SIGHUP}, DEADLINE_S) is None:
        raise TimeoutError("no answer came")


def child(folder: str) -> None:
    """Answer each request with its own text, until killed."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGIO, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watched = os.open(folder, os.O_RDONLY)
    fcntl.fcntl(watched, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_MULTISHOT)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    to = os.getppid()
    os.kill(to, signal.SIGHUP)
    while True:
        requests = [name for name in os.listdir(folder) if name.startswith("request-")]
        for name in requests:
            data = _take(f"{folder}/{name}")
            _put(f"{folder}/tmp/answer", f"{folder}/answers/{name.removeprefix('request-')}", data)
            os.kill(to, signal.SIGHUP)
        if not requests:
            poll.poll()
            os.read(reader, 512)


def _put(draft: str, path: str, data: bytes) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, data)
    os.close(descriptor)
    os.rename(draft, path)


def _take(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    data = os.read(descriptor, 1 << 16)
    os.close(descriptor)
    os.unlink(path)
    return data


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(parent(sys.argv[1], int(sys.argv[2]))))
    else:
        child(sys.argv[1])
