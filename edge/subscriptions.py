"""Waiting for predictions and listening to them: one subscription per prediction, however many listeners."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from coordinator import calls
from coordinator.errors import Unavailable
from coordinator.history import Recent
from coordinator.prediction import Document
from coordinator.projector import Projector
from coordinator.store.errors import StoreError
from coordinator.store.index import Index
from coordinator.stub import Models

POLL_S = 25.0
"""Length of one wait at the coordinator; a listener that is gone costs at most that."""
RETRY_S = 0.2
RETRIES = 100
RECALL_S = 2.0
"""How long an agent has to send again what the coordinator has forgotten,"""
RECALL_AGAIN_S = 1.0
"""and after what time it is asked again when it could not."""
BATCH_BYTES = 64 * 1024
"""About how much a listener gets at once: what a slow one holds."""


class NotFound(Exception):
    """There is no such prediction in this account."""


@dataclass(slots=True, eq=False)
class _Feed:
    """What one prediction has said, as far as this process has asked. Its task writes, listeners read."""

    history: Recent
    attempt: int = 0
    document: Document | None = None
    more: asyncio.Event = field(default_factory=asyncio.Event)
    listeners: int = 0
    task: asyncio.Task[None] | None = None
    error: Exception | None = None

    def wake(self) -> None:
        self.more.set()
        self.more = asyncio.Event()

    def after(self, attempt: int, seq: int, status: str) -> calls.Events | None:
        """What a listener at this place gets next; None while there is nothing."""
        if self.document is None:
            return None
        replaced = attempt not in (0, self.attempt)
        events, lost = ((), False) if replaced else self.history.after(seq, BATCH_BYTES)
        changed = status not in ("", self.document.status)
        if not (events or replaced or changed or self.document.status.terminal):
            return None
        last = events[-1].seq if events else seq
        return calls.Events(
            attempt=self.attempt,
            events=events,
            cursor=f"{self.attempt}:{last}",
            document=self.document,
            replaced=replaced,
            lost=lost,
        )


class Subscriptions:
    """``stop`` ends all of them."""

    def __init__(self, models: Models, index: Index, projector: Projector, history_bytes: int) -> None:
        self._models = models
        self._index = index
        self._projector = projector
        self._history_bytes = history_bytes
        self._feeds: dict[str, _Feed] = {}

    async def wait_terminal(
        self, number: int, prediction: str, account: str, timeout_s: float
    ) -> Document | None:
        """The document once it is terminal, or as it is when the time is over. None: there is none.

        Raises Unavailable when its coordinator cannot answer for longer than that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            left_s = deadline - loop.time()
            call = calls.EventsAfter(
                id=prediction, account=account, only_terminal=True, timeout_s=max(0.0, min(left_s, POLL_S))
            )
            try:
                reply = await self._models.stub(number).events_after(call)
            except Unavailable:
                if left_s <= 0:
                    raise
                await asyncio.sleep(min(RETRY_S, left_s))
                continue
            if isinstance(reply, calls.Unknown):
                return await self.ended(prediction, account)
            if reply.document.status.terminal or left_s <= 0:
                return reply.document

    async def ended(self, prediction: str, account: str) -> Document | None:
        """A prediction that its coordinator has handed over to the index."""
        recent = self._projector.recent(prediction)
        if recent is not None:
            return recent if recent.account == account else None
        return await self._index.get(prediction, account)

    async def listen(
        self,
        number: int,
        prediction: str,
        account: str,
        cursor: str = "",
        *,
        status: str = "",
        idle_s: float = POLL_S,
    ) -> AsyncGenerator[calls.Events | None, None]:
        """What the prediction says after ``cursor``, as it comes; None each time that ``idle_s`` went by
        without anything. With ``status`` also that its status is another one than this.

        The last one is of a terminal document, or says that the attempt was replaced. What a listener is too
        far behind for is had from the agent; ``lost`` means that it ended before that could be done. With
        attempt 0 the document is terminal and all there is: replay from it.
        Raises NotFound, and Unavailable when the coordinator stays away. Close the iterator after use.
        """
        feed = self._feeds.get(prediction)
        if feed is None:
            feed = self._feeds[prediction] = _Feed(Recent(self._history_bytes))
            feed.task = asyncio.create_task(self._follow(feed, number, prediction, account))
        feed.listeners += 1
        attempt, seq = calls.read_cursor(cursor)
        loop = asyncio.get_running_loop()
        idle_at = loop.time() + idle_s
        try:
            while True:
                more = feed.more
                batch = feed.after(attempt, seq, status)
                if batch is not None and batch.lost and not batch.document.status.terminal:
                    batch = await self._recalled(number, prediction, account, f"{batch.attempt}:{seq}")
                    if batch is None:
                        await asyncio.sleep(RECALL_AGAIN_S)
                        if loop.time() >= idle_at:
                            yield None
                            idle_at = loop.time() + idle_s
                        continue
                if batch is not None:
                    if batch.document.account != account:
                        raise NotFound(prediction)
                    yield batch
                    if batch.document.status.terminal or batch.replaced:
                        return
                    attempt, seq = calls.read_cursor(batch.cursor)
                    status = status and batch.document.status.value
                    idle_at = loop.time() + idle_s
                elif feed.error is not None:
                    raise feed.error
                else:
                    try:
                        async with asyncio.timeout_at(idle_at):
                            await more.wait()
                    except TimeoutError:
                        yield None
                        idle_at = loop.time() + idle_s
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                self._drop(prediction, feed)

    async def _recalled(self, number: int, prediction: str, account: str, cursor: str) -> calls.Events | None:
        """What came after a place that is no longer in memory; None when it cannot be had now."""
        call = calls.EventsAfter(
            id=prediction, account=account, cursor=cursor, timeout_s=RECALL_S, recall=True
        )
        try:
            reply = await self._models.stub(number).events_after(call)
        except Unavailable:
            return None
        if isinstance(reply, calls.Unknown) or reply.replaced:
            return None
        return None if reply.lost and not reply.document.status.terminal else reply

    def _drop(self, prediction: str, feed: _Feed) -> None:
        if self._feeds.get(prediction) is feed:
            del self._feeds[prediction]
        if feed.task is not None:
            feed.task.cancel()

    async def stop(self) -> None:
        tasks = [feed.task for feed in self._feeds.values() if feed.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, feed: _Feed, number: int, prediction: str, account: str) -> None:
        """Ask the coordinator how it stands, and then for what comes next until the prediction has ended."""
        stub = self._models.stub(number)
        cursor, failures = "", 0
        try:
            while feed.document is None or not feed.document.status.terminal:
                call = calls.EventsAfter(
                    id=prediction,
                    account=account,
                    cursor=cursor,
                    timeout_s=0.0 if feed.document is None else POLL_S,
                    status="" if feed.document is None else feed.document.status.value,
                )
                try:
                    reply = await stub.events_after(call)
                except Unavailable:
                    failures += 1
                    if failures > RETRIES:
                        raise
                    await asyncio.sleep(RETRY_S)
                    continue
                failures = 0
                cursor = await self._take(feed, reply, prediction, account, cursor)
                feed.wake()
        except (Unavailable, NotFound, StoreError) as error:
            feed.error = error
            feed.wake()

    async def _take(
        self, feed: _Feed, reply: calls.Events | calls.Unknown, prediction: str, account: str, cursor: str
    ) -> str:
        """Take an answer into the feed; gives the next cursor."""
        if isinstance(reply, calls.Unknown):
            document = await self.ended(prediction, account)
            if document is None:
                raise NotFound(prediction)
            feed.attempt, feed.history, feed.document = 0, Recent(self._history_bytes), document
            return cursor
        if reply.attempt != feed.attempt or reply.lost:  # a gap would not show between old and new events
            feed.attempt, feed.history = reply.attempt, Recent(self._history_bytes)
        for event in reply.events:
            feed.history.add(event)
        feed.document = reply.document
        return reply.cursor
