"""How much of a queue is in memory: what leaves it, and what is read back. Pure.

Everything that waits is on disk; memory holds the heads of lines. Over the limit the longest line gives up
its tail. When there are more lines than that, whole ones leave, of the token that has most of them: of
those only their number is known, and they come back by sequence; or when nothing that is in memory could run
and they could (``rotation.py``).
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from operator import itemgetter

from coordinator.scheduling.flow import Flow, Offer, Waiting
from coordinator.scheduling.line import Line
from coordinator.scheduling.order import Order
from coordinator.scheduling.rotation import Owner, Rotation, Search
from coordinator.scheduling.shares import Owners
from coordinator.scheduling.shelf import Shelf, Want

ALL_BYTES = 1 << 62
_RESTORED = 16
"""Of the window, the part of lines that a load opens: each is read by itself."""


@dataclass(slots=True)
class _Call:
    """A flow that is called from its token's shelf."""

    want: Want
    gone: set[str] = field(default_factory=set)
    """What has left it since."""


class Window:
    """The lines that are in memory, and the shelves of what is on disk only.

    What lies on a line's own shelf stands behind what it has in memory; what lies on its token's shelf (then
    the line is ``behind``) stands behind both.
    """

    def __init__(self, size: int, size_bytes: int, owners: Owners, order: Order) -> None:
        self.waiting: dict[str, Waiting] = {}
        """What is in memory."""
        self.lines: dict[Flow, Line] = {}
        self.evicted: list[str] = []
        self.on_disk = 0
        self.input_bytes = 0
        """Of all, on disk, too."""
        self.held_bytes = 0
        """Of those in memory."""
        self._size = size
        self._size_bytes = size_bytes
        self._tight_at = ALL_BYTES
        """To how much it has shrunk because of bytes: what was read then would only leave again."""
        self._owners = owners
        self._order = order
        self._tokens: defaultdict[Owner, dict[Line, None]] = defaultdict(dict)
        self._shared: dict[Owner, Shelf] = {}
        """Of tokens that have lines for which there was no memory."""
        self._held: Counter[Owner] = Counter()
        """What each token has in memory."""
        self._bare: dict[Owner, None] = {}
        """Those of which all is on a shelf of theirs that nobody reads; longest first."""
        self._wide: dict[Owner, None] = {}
        """Tokens with more than one line."""
        self._reading = 0
        """Reads of tokens' shelves that have not been answered."""
        self._low: dict[Line, None] = {}
        """Lines of which more should be read."""
        self._rotation = Rotation(self._is_held, self.lines.__contains__)
        self._calls: dict[Flow, _Call] = {}
        self._kept: set[Flow] = set()
        """Flows that were called, and stay until it is seen whether they could run."""

    @property
    def shelved(self) -> bool:
        """Whether something left memory just now, or is to be read. A shelf of which all that was counted is
        gone is read, too: its line goes when it is known to be empty."""
        return bool(self.evicted or self._low or self._shared)

    # --- what comes and goes ------------------------------------------------------------------------------

    def add(self, waiting: Waiting) -> None:
        """Into memory, or to those of its flow that are on disk."""
        shelf = self._shelf_at(waiting.flow, waiting.sequence)
        if shelf is None:
            self._hold(waiting, behind=_owner(waiting.flow) in self._shared)
            self._shrink()
            return
        if waiting.id in shelf.gone:
            shelf.wanted = None  # what is being read of it may be from before it went and came back
        if (call := self._calls.get(waiting.flow)) is not None and waiting.id in call.gone:
            del self._calls[waiting.flow]
        self._shelve(waiting.flow, shelf, waiting.sequence, 1, waiting.input_bytes)
        self._owners.agree(*self._owners.upper(*_owner(waiting.flow)), waiting.terms, waiting.sequence)
        self.evicted.append(waiting.id)

    def discard(self, waiting: Waiting) -> None:
        """Out of memory, for good."""
        line = self.lines[waiting.flow]
        line.discard(waiting)
        if not line:
            self._order.place(line)
        self._release(waiting)
        shared = self._shared.get(_owner(waiting.flow))
        if shared is not None and shared.wanted is not None:
            shared.gone.add(waiting.id)  # what is being read may be from before
        self._went(waiting)
        self._settle(line)

    def left_disk(self, waiting: Waiting) -> None:
        """One that was not in memory waits no longer."""
        shelf = self._shelf_at(waiting.flow, waiting.sequence)
        if shelf is not None:
            self._unshelve(waiting.flow, shelf, waiting.input_bytes)
            shelf.gone.add(waiting.id)
            self._went(waiting)
            self._owners.path(waiting.flow)[-1].forget()

    def _went(self, waiting: Waiting) -> None:
        if (call := self._calls.get(waiting.flow)) is not None:
            call.gone.add(waiting.id)

    def restore(self, flow: Flow, count: int, input_bytes: int, first: int) -> None:
        """Those of a flow that a load left on disk."""
        owner = _owner(flow)
        if owner in self._shared or len(self.lines) > self._size // _RESTORED:
            shelf = self._shared_of(owner)
        else:
            line = self._line(flow)
            shelf = line.shelf
            self._low[line] = None
        self._shelve(flow, shelf, first, count, input_bytes)

    # --- lines --------------------------------------------------------------------------------------------

    def _line(self, flow: Flow, *, behind: bool = False) -> Line:
        line = self.lines.get(flow)
        if line is None:
            line = self.lines[flow] = Line(flow, self._owners.path(flow))
            line.behind = behind
            lines = self._tokens[owner := _owner(flow)]
            lines[line] = None
            if len(lines) == 2:
                self._wide[owner] = None
            for share in line.path:
                share.lines += 1
            self._order.open(line)
        return line

    def _close(self, line: Line) -> None:
        """Nothing of it waits, unless on its token's shelf."""
        owner = _owner(line.flow)
        del self.lines[line.flow]
        self._low.pop(line, None)
        del self._tokens[owner][line]
        if len(self._tokens[owner]) == 1:
            self._wide.pop(owner, None)
        if not self._tokens[owner]:
            del self._tokens[owner]
        self._order.close(line)
        for share in line.path:
            share.lines -= 1
        line.path[-1].forget()
        self._kept.discard(line.flow)
        if line.behind:
            self._rotation.put(line.flow)

    def _settle(self, line: Line) -> None:
        """After something left it or came to it."""
        if not line and not line.shelf:
            self._close(line)
            return
        self._order.place(line)
        if not line.shelf:
            return
        fits = line.input_bytes + line.shelf.next_bytes <= self._part_bytes
        if not line or (len(line) <= self._part // 2 and fits):
            self._low[line] = None

    @property
    def _part(self) -> int:
        """What each line may have in memory when all want as much as they can get."""
        return max(1, self._size // (2 * max(1, len(self.lines))))

    @property
    def _part_bytes(self) -> int:
        return self._size_bytes // (2 * max(1, len(self.lines)))

    def _hold(self, waiting: Waiting, *, behind: bool = False) -> None:
        self.waiting[waiting.id] = waiting
        self.input_bytes += waiting.input_bytes
        self.held_bytes += waiting.input_bytes
        self._held[owner := _owner(waiting.flow)] += 1
        self._bare.pop(owner, None)
        line = self._line(waiting.flow, behind=behind)
        self._owners.wait(line.path, 1)
        self._owners.agree(*line.path[:2], waiting.terms, waiting.sequence)
        line.add(waiting)
        self._settle(line)

    def _release(self, waiting: Waiting) -> None:
        del self.waiting[waiting.id]
        self.input_bytes -= waiting.input_bytes
        self.held_bytes -= waiting.input_bytes
        self._held[owner := _owner(waiting.flow)] -= 1
        self._see_whether_bare(owner)
        self._owners.wait(self.lines[waiting.flow].path, -1)

    # --- shelves ------------------------------------------------------------------------------------------

    def _shared_of(self, owner: Owner) -> Shelf:
        shelf = self._shared.get(owner)
        if shelf is None:
            shelf = self._shared[owner] = Shelf()
            self._see_whether_bare(owner)
        return shelf

    def _see_whether_bare(self, owner: Owner) -> None:
        if self._held[owner]:
            return
        del self._held[owner]
        if (shelf := self._shared.get(owner)) is not None and shelf.wanted is None:
            self._bare[owner] = None

    def _shelf_at(self, flow: Flow, sequence: int) -> Shelf | None:
        """Where one of this place lies when it is not in memory; None when memory is its place."""
        shared, line = self._shared.get(_owner(flow)), self.lines.get(flow)
        if shared is not None and (line is None or line.behind) and sequence >= shared.first:
            return shared
        return line.shelf if line is not None and sequence >= line.shelf.first else None

    def _shelve(self, flow: Flow, shelf: Shelf, first: float, count: int, input_bytes: int) -> None:
        shelf.put(first, count, input_bytes)
        self._count(flow, shelf, count, input_bytes)
        if shelf is self._shared.get(_owner(flow)):
            self._rotation.put(flow)

    def _unshelve(self, flow: Flow, shelf: Shelf, input_bytes: int) -> None:
        count, counted_bytes = shelf.take(input_bytes)
        self._count(flow, shelf, -count, -counted_bytes)

    def _clear(self, flow: Flow, shelf: Shelf) -> None:
        """Nothing is there any more, whatever was counted."""
        self._count(flow, shelf, -shelf.count, -shelf.input_bytes)
        shelf.clear()

    def _count(self, flow: Flow, shelf: Shelf, count: int, input_bytes: int) -> None:
        """Nobody knows of which users those on a token's shelf are."""
        self.on_disk += count
        self.input_bytes += input_bytes
        of_token = shelf is self._shared.get(owner := _owner(flow))
        self._owners.wait(self._owners.upper(*owner) if of_token else self._owners.path(flow), count)

    def before(self, waiting: Waiting) -> tuple[Line, int]:
        """The line of one that waits, and how many stand before it there; of one on disk about how many."""
        line = self.lines.get(waiting.flow)
        if line is not None and waiting.id in self.waiting:
            return line, line.before(waiting.id)
        shelf = self._shelf_at(waiting.flow, waiting.sequence)
        on_shelf = 0 if shelf is None else shelf.before(waiting.sequence)
        if line is not None:
            return line, len(line) + on_shelf
        return Line(waiting.flow, self._owners.path(waiting.flow)), on_shelf

    # --- out of memory ------------------------------------------------------------------------------------

    def _shrink(self) -> None:
        """Give up more than needs be: to go through all lines is paid for by those that come after."""
        if not self._too_much:
            return
        by_bytes = self.held_bytes > self._size_bytes
        least, part = self._size - self._size // 16, self._part
        least_bytes, part_bytes = self._size_bytes - self._size_bytes // 16, self._part_bytes
        if len(self.waiting) > self._size:
            for line in sorted(self.lines.values(), key=len, reverse=True):
                excess, spare = len(self.waiting) - least, len(line) - part
                if excess <= 0 or spare <= 0:
                    break
                self._cut(line, min(spare, excess))
        if by_bytes:
            for line in sorted(filter(None, self.lines.values()), key=_bytes, reverse=True):
                excess = self.held_bytes - least_bytes
                if excess <= 0 or line.input_bytes <= part_bytes:
                    break
                self._cut(line, 0, min(excess, line.input_bytes - max(part_bytes, line.head.input_bytes)))
        excess, excess_bytes = len(self.waiting) - least, self.held_bytes - least_bytes
        if excess > 0 or (by_bytes and excess_bytes > 0):
            self._let_go(excess, excess_bytes if by_bytes else 0)
        if self._too_much:
            self._kept.clear()
            self._let_go(len(self.waiting) - least, self.held_bytes - least_bytes)
        if by_bytes:
            self._tight_at = self.held_bytes

    @property
    def _too_much(self) -> bool:
        """One may always be in memory, however large it is."""
        count = len(self.waiting)
        return count > self._size or (self.held_bytes > self._size_bytes and count > 1)

    def _cut(self, line: Line, count: int, input_bytes: int = 0) -> None:
        """Its tail leaves memory."""
        shared = self._shared.get(_owner(line.flow)) if line.behind else None
        for waiting in line.cut(count, input_bytes):
            self._evict(waiting)
            beyond = shared is not None and waiting.sequence >= shared.first
            shelf = shared if shared is not None and beyond else line.shelf
            self._shelve(line.flow, shelf, waiting.sequence, 1, waiting.input_bytes)
        self._settle(line)

    def _let_go(self, excess: int, excess_bytes: int) -> None:
        """Whole lines leave memory, but one: the youngest of the token that has most of them; when each has
        only one, those of the youngest tokens."""
        of_token = {}
        for owner, every in self._tokens.items():
            if lines := [line for line in every if line and line.flow not in self._kept]:
                of_token[owner] = sorted(lines, key=_head)
        leaving: defaultdict[Owner, list[Line]] = defaultdict(list)
        left = len(self.waiting)
        for owner, line in _widest_first(of_token):
            if (excess <= 0 and excess_bytes <= 0) or left == len(line):
                break
            leaving[owner].append(line)
            left -= len(line)
            excess -= len(line)
            excess_bytes -= line.input_bytes
        for owner, lines in leaving.items():
            self._let_lines_go(owner, lines)

    def _let_lines_go(self, owner: Owner, lines: list[Line]) -> None:
        shared = self._shared_of(owner)
        for line in lines:
            line.behind = True
            for waiting in line.cut(len(line)):
                self._evict(waiting)
                self._shelve(line.flow, shared, waiting.sequence, 1, waiting.input_bytes)
        # What is on a line's own shelf stands before what is on its token's, which begins earlier now.
        for line in [line for line in self._tokens[owner] if line.behind]:
            first, behind, input_bytes = line.shelf.first, line.shelf.count, line.shelf.input_bytes
            self._clear(line.flow, line.shelf)
            self._shelve(line.flow, shared, first, behind, input_bytes)
            self._settle(line)

    def _evict(self, waiting: Waiting) -> None:
        self._release(waiting)
        self.evicted.append(waiting.id)

    # --- back into memory ---------------------------------------------------------------------------------

    def hungry(self, offers: Iterable[Offer]) -> None:
        """Nothing in memory could be given to any of these."""
        if self._shared:
            self._kept.clear()
            self._rotation.hungry({(offer.version, offer.gpus) for offer in offers})

    def _is_held(self, owner: Owner) -> bool:
        return owner in self._shared and self._owners.upper(*owner)[1].held

    def wants(self) -> Iterator[Want | Search]:
        """What to read now. Each is to be answered once."""
        yield from self._wants_of_lines()
        if self._shared:
            yield from self._wants_of_tokens()
            for flow in self._rotation.take_found():
                if (shelf := self._shared.get(_owner(flow))) and flow not in self.lines:
                    want = Want(*_owner(flow), flow, int(shelf.first) - 1, self._part, self._part_bytes)
                    self._calls[flow] = _Call(want)
                    yield want
            if (search := self._rotation.ask()) is not None:
                yield search

    def looked(self, search: Search, flows: Sequence[str]) -> None:
        """The texts that were read for a search."""
        self._rotation.looked(search, flows)

    def _wants_of_lines(self) -> Iterator[Want]:
        part, part_bytes = self._part, self._part_bytes
        for line in [line for line in self._low if line.shelf.wanted is None]:
            del self._low[line]
            if line.shelf:
                limit, most_bytes = max(1, part - len(line)), part_bytes - line.input_bytes
                yield line.shelf.ask(*_owner(line.flow), line.flow, limit, most_bytes)

    def _wants_of_tokens(self) -> Iterator[Want]:
        free, free_bytes = self._size - len(self.waiting), self._size_bytes - self.held_bytes
        if self.held_bytes <= max(0, self._tight_at - self._size_bytes // 16):
            self._tight_at = ALL_BYTES
        roomy = self._tight_at == ALL_BYTES and free_bytes > self._size_bytes // 4
        if free > self._size // 4 and roomy:
            limit = max(1, free // (2 * len(self._shared)))
            owners = [owner for owner, shelf in self._shared.items() if shelf.wanted is None]
            spare = count = free // limit
        else:
            # One of each token that has nothing in memory, but not of those that have just left it.
            limit, spare = 1, free - self._size // 16 if free_bytes > self._size_bytes // 16 else 0
            count = max(spare, int(bool(self._wide) and not self._kept))
            owners = list(islice(self._bare, max(0, count - self._reading)))
        usual_bytes = 1 + self.input_bytes // (1 + len(self.waiting) + self.on_disk)
        count = min(count, max(1, free_bytes // usual_bytes)) - self._reading
        for owner in owners[: max(0, count)]:
            shelf = self._shared[owner]
            if spare > 0 and shelf.next_bytes > free_bytes:
                continue  # it would only make another one leave
            self._bare.pop(owner, None)
            self._reading += 1
            yield shelf.ask(*owner, None, limit, free_bytes // max(1, count))

    def refilled(self, want: Want, waitings: Sequence[Waiting], *, exhausted: bool, through: int) -> None:
        """What was read, up to a sequence; ``exhausted`` when there are no more after these."""
        if want.flow is None:
            self._refill_token(want, waitings, exhausted, through)
        elif (call := self._calls.get(want.flow)) is not None and call.want is want:
            del self._calls[want.flow]
            self._refill_called(call, want.flow, waitings, exhausted)
        else:
            self._refill_line(want, waitings, exhausted, through)
        self._shrink()

    def _refill_called(self, call: _Call, flow: Flow, waitings: Sequence[Waiting], exhausted: bool) -> None:
        shelf = self._shared.get(_owner(flow))
        if shelf is None or flow in self.lines:
            return
        for waiting in waitings:
            if waiting.id not in call.gone and waiting.id not in self.waiting:
                self._unshelve(flow, shelf, waiting.input_bytes)
                self._hold(waiting, behind=True)
        self._kept.add(flow)
        if not exhausted:
            self._rotation.put(flow)

    def _refill_line(self, want: Want, waitings: Sequence[Waiting], exhausted: bool, through: int) -> None:
        line = None if want.flow is None else self.lines.get(want.flow)
        if line is None:
            return
        shelf, shared = line.shelf, self._shared.get(_owner(line.flow)) if line.behind else None
        if shelf.wanted is want:
            shelf.wanted = None
            end = inf if shared is None else shared.first
            known = want.after == shelf.first - 1
            for waiting in waitings if known else ():
                if waiting.sequence >= end:
                    exhausted = True
                    break
                shelf.passed(waiting.sequence)
                if waiting.id not in shelf.gone and waiting.id not in self.waiting:
                    self._unshelve(line.flow, shelf, waiting.input_bytes)
                    self._hold(waiting)
            if known and shelf:
                shelf.passed(min(through, end - 1))
            if known and exhausted and not shelf.grown:
                self._clear(line.flow, shelf)
        self._settle(line)

    def _refill_token(self, want: Want, waitings: Sequence[Waiting], exhausted: bool, through: int) -> None:
        owner = want.account, want.token
        self._reading -= 1
        shelf = self._shared.get(owner)
        if shelf is not None and shelf.wanted is want:
            shelf.wanted = None
            self._take_from(owner, shelf, want, waitings, exhausted, through)
        self._see_whether_bare(owner)

    def _take_from(
        self,
        owner: Owner,
        shelf: Shelf,
        want: Want,
        waitings: Sequence[Waiting],
        exhausted: bool,
        through: int,
    ) -> None:
        if want.after != shelf.first - 1:
            return
        part = self._part
        for waiting in waitings:
            shelf.passed(waiting.sequence)
            line = self.lines.get(waiting.flow)
            if waiting.id in shelf.gone or waiting.id in self.waiting:
                continue
            if line is not None and not line.behind:
                continue  # all of its own is known
            self._unshelve(waiting.flow, shelf, waiting.input_bytes)
            if line is not None and (line.shelf or len(line) >= part):
                self._shelve(waiting.flow, line.shelf, waiting.sequence, 1, waiting.input_bytes)
            else:
                self._hold(waiting, behind=True)
        shelf.passed(through)
        if exhausted and not shelf.grown:
            self._forget_shelf(owner, shelf)

    def _forget_shelf(self, owner: Owner, shelf: Shelf) -> None:
        """Nothing is on a token's shelf any more: all of its lines are known again."""
        some = Flow(0, *owner)
        self._clear(some, shelf)
        del self._shared[owner]
        self._bare.pop(owner, None)
        for line in self._tokens.get(owner, ()):
            line.behind = False
        self._owners.path(some)[-1].forget()


def _owner(flow: Flow) -> Owner:
    return flow.account, flow.token


def _head(line: Line) -> int:
    return line.head.sequence


def _bytes(line: Line) -> int:
    return line.input_bytes


def _widest_first(of_token: dict[Owner, list[Line]]) -> Iterator[tuple[Owner, Line]]:
    """All lines, in the order in which they leave; those of each token are given with the youngest last."""
    widest = [(-len(lines), lines[-1].head.sequence, owner) for owner, lines in of_token.items()]
    heapq.heapify(widest)
    while widest and widest[0][0] < -1:
        _, _, owner = heapq.heappop(widest)
        lines = of_token[owner]
        for _ in range(len(lines) // 2):
            yield owner, lines.pop()
        heapq.heappush(widest, (-len(lines), lines[-1].head.sequence, owner))
    for _, _, owner in sorted(widest, key=itemgetter(1), reverse=True):
        yield owner, of_token[owner].pop()
