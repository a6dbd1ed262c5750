"""How many workers a model needs. Pure; a scaler's part is to wait before it follows the number down."""

from math import ceil

MOST = 1_000_000
"""No more are ever wanted: beyond all that a queue can hold."""


def desired_workers(queued: int, running: int, run_s: float, slots: int, wait_s: float) -> int:
    """Workers of so many ``slots`` each, for what runs and for so much more that what waits now has begun
    after about ``wait_s``, where each takes ``run_s``.

    0 only when nothing waits or runs; never more than a slot for each. With more waiting, running, or longer
    runs it never sinks; with more slots or patience it never rises.
    """
    if queued <= 0 and running <= 0:
        return 0
    backlog_s = max(0, queued) * max(0.0, run_s)
    # In other words than backlog / wait, which may be too large for a number, or have no divisor.
    for_backlog = queued if backlog_s >= queued * wait_s else ceil(backlog_s / wait_s)
    more = max(min(queued, for_backlog), 1 if queued > 0 else 0)
    return min(MOST, ceil((max(0, running) + more) / max(1, slots)))
