"""How far two clocks may be apart. Pure."""

from edge.commands.doctoring.findings import Finding, fail, ok, skip, warn

NOTICED_S, TOO_FAR_S = 3.0, 60.0
"""Receivers of webhooks allow 5 minutes, and so do stores: beyond the second it will soon be too much."""
SYNCHRONIZE = "synchronize the clock: timedatectl set-ntp true, or install chrony; in WSL2: wsl --shutdown"


def judged(ahead_s: float | None, where: str) -> Finding:
    """What to say of a clock that is so far ahead of another one's; None when that did not say its time."""
    if ahead_s is None:
        return skip(f"{where} does not say what time it is")
    off_s = abs(ahead_s)
    if off_s <= NOTICED_S:
        return ok(f"as that of {where}")
    detail = f"{off_s:.0f} s {'ahead of' if ahead_s > 0 else 'behind'} {where}"
    return fail(detail, SYNCHRONIZE) if off_s > TOO_FAR_S else warn(detail, SYNCHRONIZE)
