"""``Prefer: wait`` and what bounds it."""

import pytest

from edge.prefer import Wait, wait_of


def wait(prefer: str | None, read_timeout: str | None = None) -> Wait | None:
    headers = [(b"accept", b"*/*")]
    if read_timeout is not None:
        headers.append((b"x-stainless-read-timeout", read_timeout.encode()))
    if prefer is not None:
        headers.append((b"prefer", prefer.encode()))
    return wait_of(headers, 55.0)


@pytest.mark.parametrize("prefer", [None, "", "respond-async", "waiting", "return=minimal; wait"])
def test_without_the_preference_there_is_no_wait(prefer: str | None) -> None:
    assert wait(prefer) is None


@pytest.mark.parametrize(
    ("prefer", "timeout_s", "applied"),
    [
        ("wait", 55.0, "wait"),
        ("wait=10", 10.0, "wait=10"),
        (" Wait = 10 ", 10.0, "wait=10"),
        ('wait="5"', 5.0, "wait=5"),
        ("respond-async, wait=5", 5.0, "wait=5"),
        ("wait=5; foo", 5.0, "wait=5"),
        ("wait=0", 1.0, "wait=1"),
        ("wait=60", 55.0, "wait=55"),
        ("wait=999", 55.0, "wait=55"),
        ("wait=soon", 55.0, "wait"),
        ("wait=nan", 55.0, "wait"),
        ("wait=-3", 55.0, "wait"),
    ],
)
def test_waits_are_clamped(prefer: str, timeout_s: float, applied: str) -> None:
    assert wait(prefer) == Wait(timeout_s, applied)


@pytest.mark.parametrize(
    ("prefer", "read_timeout", "timeout_s"),
    [
        ("wait", "60", 54.0),
        ("wait=5", "60", 5.0),
        ("wait", "5", 4.5),
        ("wait=5", "0.4", 0.0),
        ("wait=5", "x", 5.0),
    ],
)
def test_the_answer_comes_before_the_client_gives_up(
    prefer: str, read_timeout: str, timeout_s: float
) -> None:
    found = wait(prefer, read_timeout)
    assert found is not None
    assert found.timeout_s == pytest.approx(timeout_s)
