"""Creations whose answers may not have arrived, so that a client that sends one again does not get a second.

The official clients repeat a POST by themselves: one of them marks that (``x-stainless-retry-count``), one
does not (replicate-api.md, 7.2). So a creation is taken for a repeat of an identical one of the same token in
two cases only: it is marked as one, or the connection of that one was closed before its answer. All of it is
memory of this process, bounded and short; ``aliases.py`` has what is durable.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from types import TracebackType

TOKENS = 1000
"""How many tokens something is remembered of; the one that was used longest ago gives way."""
RETRY_COUNT = b"x-stainless-retry-count"


class _Entry:
    """One creation. ``gone`` says of one that is being answered whether its client has left."""

    __slots__ = ("at", "digest", "gone", "id", "taken")

    def __init__(self, digest: bytes, id: str, at: float, gone: Callable[[], bool] | None) -> None:
        self.digest = digest
        self.id = id
        self.at = at
        self.gone = gone
        self.taken = False


class Unanswered:
    """``keep_s`` is how long each is remembered, 0 for not at all, ``most`` how many of one token."""

    def __init__(self, keep_s: float, most: int, monotonic: Callable[[], float]) -> None:
        self._keep_s = keep_s
        self._most = most
        self._monotonic = monotonic
        self._tokens: OrderedDict[str, deque[_Entry]] = OrderedDict()

    def asking(
        self,
        token: str,
        digest: Callable[[], bytes],
        headers: Iterable[tuple[bytes, bytes]],
        gone: Callable[[], bool],
        *,
        waits: bool,
    ) -> "Asking":
        """A request to create something; enter it, and leave it when its answer is about to be sent.

        ``digest`` is what identical requests have in common; it is made only when it is needed.
        """
        count = next((value for name, value in headers if name == RETRY_COUNT), None)
        return Asking(self, token, digest, gone, marks=count is not None, waits=waits, again=_positive(count))

    def take(self, token: str, digest: Callable[[], bytes], *, again: bool) -> str | None:
        """The prediction that this request repeats; only one may. None when it is a new one."""
        entries = self._tokens.get(token)
        if entries is None:
            return None
        self._drop_old(token, entries)
        candidates = [entry for entry in reversed(entries) if entry.gone is not None and entry.gone()]
        if again:
            candidates += reversed(entries)
        wanted = digest() if candidates else b""
        entry = next((entry for entry in candidates if entry.digest == wanted), None)
        if entry is None:
            return None
        entry.taken = True
        self.remove(token, entry)
        return entry.id

    def put(self, token: str, entry: _Entry) -> None:
        entries = self._tokens.setdefault(token, deque())
        self._tokens.move_to_end(token)
        entries.append(entry)
        if len(entries) > self._most:
            entries.popleft()
        while len(self._tokens) > TOKENS:
            self._tokens.popitem(last=False)

    def remove(self, token: str, entry: _Entry) -> None:
        entries = self._tokens.get(token)
        if entries is not None and entry in entries:
            entries.remove(entry)
            if not entries:
                del self._tokens[token]

    def new(self, digest: bytes, id: str, gone: Callable[[], bool] | None) -> _Entry | None:
        return _Entry(digest, id, self._monotonic(), gone) if self._keep_s else None

    def _drop_old(self, token: str, entries: deque[_Entry]) -> None:
        oldest = self._monotonic() - self._keep_s
        while entries and entries[0].at <= oldest:
            entries.popleft()
        if not entries:
            del self._tokens[token]


class Asking:
    """One request while it is answered. Made by ``Unanswered.asking``."""

    def __init__(
        self,
        memory: Unanswered,
        token: str,
        digest: Callable[[], bytes],
        gone: Callable[[], bool],
        *,
        marks: bool,
        waits: bool,
        again: bool,
    ) -> None:
        self._memory = memory
        self._token = token
        self._digest = digest
        self._gone = gone
        self._marks = marks
        self._waits = waits
        self._again = again
        self._id = ""
        self._entry: _Entry | None = None

    def predecessor(self) -> str | None:
        """The id of what this request repeats; None when it is a new one."""
        return self._memory.take(self._token, self._digest, again=self._again)

    def creates(self, id: str) -> None:
        """This is the prediction that will be answered with; it is about to be created, or there already."""
        self._id = id
        # What is answered at once need not be known before: its client can hardly be back by then.
        if (self._marks or self._waits) and self._entry is None:
            self._entry = self._memory.new(self._digest(), id, self._gone)
            if self._entry is not None:
                self._memory.put(self._token, self._entry)

    def forget(self) -> None:
        """There is nothing to come back for: it was refused, or canceled."""
        self._id = ""

    def __enter__(self) -> "Asking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        entry, self._entry = self._entry, None
        gone = bool(self._id) and self._gone()
        if entry is not None and (entry.taken or not self._id or not (gone or self._marks)):
            self._memory.remove(self._token, entry)
        elif entry is not None:
            entry.gone = _yes if gone else None
        elif gone and (late := self._memory.new(self._digest(), self._id, _yes)) is not None:
            self._memory.put(self._token, late)


def _yes() -> bool:
    return True


def _positive(count: bytes | None) -> bool:
    return count is not None and count.isdigit() and int(count) > 0
