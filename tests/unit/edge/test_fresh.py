"""How long an answer from memory is good."""

import pytest

from edge.fresh import Fresh


class Source:
    def __init__(self) -> None:
        self.value: int | None = None
        self.asked = 0

    async def load(self) -> int | None:
        self.asked += 1
        return self.value


@pytest.mark.parametrize(("absent_s", "asked"), [(None, 1), (2.0, 2)])
async def test_absence_may_be_believed_for_a_shorter_time(absent_s: float | None, asked: int) -> None:
    now, source = [0.0], Source()
    cache: Fresh[str, int | None] = Fresh(ttl_s=10.0, size=2, monotonic=lambda: now[0], absent_s=absent_s)
    assert await cache.get("a", source.load) is None
    now[0] = 3.0
    await cache.get("a", source.load)
    assert source.asked == asked


async def test_presence_is_believed_for_all_of_it() -> None:
    now, source = [0.0], Source()
    source.value = 1
    cache: Fresh[str, int | None] = Fresh(ttl_s=10.0, size=2, monotonic=lambda: now[0], absent_s=2.0)
    for now[0], asked in ((0.0, 1), (9.0, 1), (11.0, 2)):
        assert await cache.get("a", source.load) == 1
        assert source.asked == asked
