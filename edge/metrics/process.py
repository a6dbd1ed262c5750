"""What the system says of this process, under the names that Prometheus' own clients use."""

import os
import resource
import sys
from pathlib import Path

from edge.metrics.exposition import Page

_STATM, _FILES = Path("/proc/self/statm"), Path("/proc/self/fd")


def write_process(page: Page, started_at: int) -> None:
    """``started_at`` in microseconds since the epoch. Without /proc the memory is the most that there was."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    page.family("process_start_time_seconds", "gauge", "When the process began, since the epoch.")
    page.sample(started_at / 1_000_000)
    page.family("process_cpu_seconds_total", "counter", "Processor time used, of user and system.")
    page.sample(used.ru_utime + used.ru_stime)
    page.family("process_resident_memory_bytes", "gauge", "Resident memory.")
    page.sample(_resident(used.ru_maxrss))
    if _FILES.exists():
        page.family("process_open_fds", "gauge", "Open file descriptors.")
        page.sample(sum(1 for _ in _FILES.iterdir()))


def _resident(most: int) -> int:
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return most if sys.platform == "darwin" else most * 1024
