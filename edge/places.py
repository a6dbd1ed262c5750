"""Where a reader of an event stream is: the ids of events. Pure.

An id is ``attempt:seq``. What the reader has by then follows where that does not say it: ``.items`` when the
number of output items is not ``seq``, ``.items.characters`` when there were logs; ``/end`` after the last
event. So whoever comes back after the end, when the events are forgotten, gets exactly the rest.
"""

import re
from typing import NamedTuple

_ID = re.compile(r"([0-9]{1,9}):([0-9]{1,15})(?:\.([0-9]{1,15})(?:\.([0-9]{1,15}))?)?(/end)?")


class Place(NamedTuple):
    """What a reader has: everything of that attempt up to ``seq``, which was so many items and characters of
    logs. The default is the start."""

    attempt: int = 0
    seq: int = 0
    items: int = 0
    logs: int = 0
    ended: bool = False
    """It was told that the stream has ended."""

    @property
    def id(self) -> str:
        more = (
            f".{self.items}.{self.logs}" if self.logs else f".{self.items}" if self.items != self.seq else ""
        )
        return f"{self.attempt}:{self.seq}{more}{'/end' if self.ended else ''}"

    @property
    def cursor(self) -> str:
        """Where to listen from at the coordinator."""
        return f"{self.attempt}:{self.seq}" if self.attempt else ""


START = Place()


def read_place(id: str) -> Place | None:
    """The place behind an id; the start for an empty one, None for what is no id of ours."""
    if not id:
        return START
    match = _ID.fullmatch(id)
    if match is None:
        return None
    seq = int(match[2])
    items = seq if match[3] is None else int(match[3])
    return Place(int(match[1]), seq, items, int(match[4] or 0), ended=match[5] is not None)
