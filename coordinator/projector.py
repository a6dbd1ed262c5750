"""Carries predictions from their coordinators into the control index: in batches, at least once, in order.

While a backup is made, coordinators must not remove rows that its copy of the index lacks: from ``hold_rows``
on they hear that the index has a prediction, but not that it has its last state, until ``let_rows_go``.

Until the index has acknowledged a document it is ``pending`` here, so that lists can merge it; ended ones are
kept for a while as ``recent``, so that reading a prediction that has just ended costs no database trip.
"""

import asyncio
import logging
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.prediction import Document
from coordinator.store.errors import StoreError
from coordinator.store.index import Index
from coordinator.stub import Models

log = logging.getLogger(__name__)

GATHER_S = 0.05
"""How long a batch gathers: it is a transaction for many, and short predictions are written once, ended."""
BATCH = 1000
RETRY_S = (0.1, 0.5, 2.0, 5.0)
RECENT_BYTES = 16 * 1024 * 1024
KEEP_ROW = -1
"""A sequence that is below that of every document."""
COUNT_S = 5.0
"""How often the models' run counts are written: they are for people, and need not be exact after a crash."""

CountRuns = Callable[[Mapping[str, int]], Awaitable[None]]
"""(model name -> ended predictions since the last time)."""


class Projector:
    """One for each process. ``add`` is called by coordinators once the document is durable with them."""

    def __init__(self, index: Index, models: Models, count_runs: CountRuns) -> None:
        self._index = index
        self._models = models
        self._count_runs = count_runs
        self._runs: Counter[str] = Counter()
        self._counted_at = 0.0
        self._pending: dict[str, tuple[int, Document]] = {}
        self._held: defaultdict[int, dict[str, int]] | None = None
        self._let_go: set[int] = set()
        self._by_account: defaultdict[str, set[str]] = defaultdict(set)
        self._recent: OrderedDict[str, Document] = OrderedDict()
        self._recent_bytes = 0
        self._work = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, number: int, document: Document, *, recent: bool = True) -> None:
        """Take a document of object ``number``; of several of one prediction only the last is written. What
        has become of one since that is not recent, the index knows."""
        known = self._pending.get(document.id)
        if known is not None and known[1].sequence >= document.sequence:
            return
        self._pending[document.id] = (number, document)
        self._by_account[document.account].add(document.id)
        if recent and document.status.terminal:
            self._remember(document)
        self._work.set()

    def pending(self, account: str) -> list[Document]:
        """The account's documents that the index does not have yet, in no order."""
        return [self._pending[id][1] for id in self._by_account.get(account, ())]

    def all_pending(self) -> list[Document]:
        """Those of all accounts."""
        return [document for _, document in self._pending.values()]

    @property
    def behind(self) -> int:
        """How many documents the index does not have yet."""
        return len(self._pending)

    def recent(self, prediction: str) -> Document | None:
        """The ended prediction, if it ended here lately."""
        return self._recent.get(prediction)

    def expired(self, prediction: str, at: int) -> None:
        """Its data is not to be shown from then on."""
        recent = self._recent.get(prediction)
        if recent is not None:
            self._recent[prediction] = replace(recent, expires_at=at)

    def hold_rows(self) -> None:
        """From now on coordinators keep the row of every prediction that they have."""
        self._held, self._let_go = defaultdict(dict), set()

    async def let_rows_go(self, number: int | None = None) -> None:
        """This coordinator, or all, may remove what the index has. Does nothing when no rows are held."""
        if self._held is None:
            return
        if number is None:
            held, self._held = self._held, None
        else:
            self._let_go.add(number)
            held = defaultdict(dict, {number: self._held.pop(number, {})})
        for each, sequences in held.items():
            if sequences:
                await self._acknowledge(each, sequences)

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what is pending, if the index takes it, and end. What is left comes again after a start."""
        self._stopping.set()
        self._work.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        failures = 0
        while self._pending or not self._stopping.is_set():
            if not self._pending:
                self._work.clear()
                await self._work.wait()
            if len(self._pending) < BATCH:
                await self._pause(GATHER_S)
            try:
                await self._write()
                failures = 0
            except Exception as error:
                told = None if isinstance(error, StoreError) else error
                log.error("the control index cannot be written, trying again: %s", error, exc_info=told)  # noqa: TRY400
                if self._stopping.is_set():
                    return
                await self._pause(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _write(self) -> None:
        batch = [item for item, _ in zip(self._pending.values(), range(BATCH), strict=False)]
        await self._index.upsert([document for _, document in batch])
        written: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for number, document in batch:
            written[number][document.id] = document.sequence
            self._runs[document.model] += document.status.terminal and not document.destination
            if self._pending[document.id][1].sequence == document.sequence:
                self._forget(document)
        # Together: each answers only when all of its own is durable.
        await asyncio.gather(*(self._acknowledge(*acknowledged) for acknowledged in written.items()))
        now = asyncio.get_running_loop().time()
        if self._stopping.is_set() or now - self._counted_at >= COUNT_S:
            self._counted_at = now
            runs, self._runs = self._runs, Counter()
            await self._count_runs(+runs)

    async def _acknowledge(self, number: int, sequences: dict[str, int]) -> None:
        """Tell the coordinator. One that cannot be told now sends its documents again when it is back."""
        if self._held is not None and number not in self._let_go:
            self._held[number].update(sequences)
            sequences = dict.fromkeys(sequences, KEEP_ROW)
        if not self._models.live(number):
            return
        try:
            await self._models.stub(number).indexed(calls.Indexed(sequences=sequences))
        except Unavailable as error:
            log.warning("object %d was not told what the index has: %s", number, error)

    def _forget(self, document: Document) -> None:
        del self._pending[document.id]
        ids = self._by_account[document.account]
        ids.discard(document.id)
        if not ids:
            del self._by_account[document.account]

    def _remember(self, document: Document) -> None:
        if document.id in self._recent:
            return
        self._recent[document.id] = document
        self._recent_bytes += _size(document)
        while self._recent_bytes > RECENT_BYTES:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= _size(oldest)


def _size(document: Document) -> int:
    return 1000 + len(document.input) + len(document.output or b"") + len(document.logs)
