"""What waits of one flow: its head in memory, the rest perhaps on disk. Pure."""

from collections import deque

from coordinator.scheduling.flow import Flow, Waiting
from coordinator.scheduling.shares import Share
from coordinator.scheduling.shelf import Shelf

_SLACK = 16


class Line:
    """By sequence. What is taken out of its middle stays in the row until it comes to an end of it."""

    __slots__ = ("_here", "_row", "ages_at", "behind", "flow", "input_bytes", "lane", "path", "shelf")

    def __init__(self, flow: Flow, path: tuple[Share, Share, Share]) -> None:
        self.flow = flow
        self.path = path
        """The account, the token and the end user."""
        self.lane: int | None = None
        """The class that it has by now; None while it takes no part."""
        self.ages_at = 0
        """When it gains a class."""
        self.shelf = Shelf()
        self.behind = False
        """Some of it may lie on the shelf of its token, behind what is on its own."""
        self.input_bytes = 0
        """Of what is in memory."""
        self._row: deque[Waiting] = deque()
        self._here: dict[str, Waiting] = {}

    def __len__(self) -> int:
        return len(self._here)

    @property
    def head(self) -> Waiting:
        """The next. There must be one."""
        row = self._row
        while self._here.get(row[0].id) is not row[0]:
            row.popleft()
        return row[0]

    def add(self, waiting: Waiting) -> None:
        self._here[waiting.id] = waiting
        self.input_bytes += waiting.input_bytes
        row = self._row
        if row and waiting.sequence < row[-1].sequence:
            place = 0
            while row[place].sequence < waiting.sequence:
                place += 1
            row.insert(place, waiting)
        else:
            row.append(waiting)

    def discard(self, waiting: Waiting) -> None:
        del self._here[waiting.id]
        self.input_bytes -= waiting.input_bytes
        if len(self._row) > 2 * len(self._here) + _SLACK:
            self._row = deque(w for w in self._row if self._here.get(w.id) is w)

    def cut(self, count: int, input_bytes: int = 0) -> list[Waiting]:
        """Take out the last ones: so many of them, and so many that they have so many bytes together."""
        taken: list[Waiting] = []
        left = self.input_bytes - input_bytes
        while len(taken) < count or self.input_bytes > left:
            last = self._row.pop()
            if self._here.get(last.id) is last:
                del self._here[last.id]
                self.input_bytes -= last.input_bytes
                taken.append(last)
        return taken

    def before(self, prediction: str) -> int:
        """How many stand before it in memory."""
        count = 0
        for waiting in self._row:
            if self._here.get(waiting.id) is waiting:
                if waiting.id == prediction:
                    break
                count += 1
        return count
