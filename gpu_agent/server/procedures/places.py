"""Which procedures are set up: as many as there are places, the least recently used one gives way.

An order for a procedure that is not set up has it set up, in a free place or in that of one that nobody needs
now. When there is none, its procedure waits for one, in turn, if orders may wait at all (``queue_size``);
then one of those that are set up takes no orders that came later, so that its place is free some time.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from gpu_agent.server.http import Refused
from gpu_agent.server.orders import Door, Order, inspected
from gpu_agent.server.prediction import Prediction
from gpu_agent.server.predictions import Predictions
from gpu_agent.server.procedures.procedure import Procedure
from gpu_agent.server.settings import CogServerLimits

Make = Callable[[str], Procedure]


class Places:
    """Lives on one event loop. ``close`` it at the end."""

    def __init__(self, count: int, *, limits: CogServerLimits, make: Make) -> None:
        self.count = count
        self._limits = limits
        self._make = make
        self._procedures: OrderedDict[str, Procedure] = OrderedDict()
        """By URL, the least recently used one first."""
        self._waiting: deque[Procedure] = deque()
        """Those without a place."""
        self._hopes: deque[tuple[str, asyncio.Future[bool]]] = deque()
        """Requests that would be refused, and still may get a place."""
        self._leaving: set[asyncio.Task[None]] = set()
        """Those that are on their way out, and whose places nobody has yet."""
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, url: str) -> Procedure | None:
        return self._procedures.get(url)

    def all(self) -> list[Procedure]:
        """The least recently used one first."""
        return list(self._procedures.values())

    @property
    def taken(self) -> int:
        """Places of procedures that somebody needs now."""
        return len(self._leaving) + sum(each.placed and not each.spare for each in self.all())

    async def create(self, url: str, order: Order, door: Door) -> tuple[Prediction, Predictions]:
        """Take on an order that was read by this door.

        Raises ``Refused``: 409 when there is no room for it, 422 when its model is known by now, and does not
        take it.
        """
        procedure = self._procedures.get(url)
        if procedure is not None and procedure.defunct and procedure.spare and not procedure.line.waiting:
            procedure = self._begin(self._make(url), self._evict(procedure))
        while procedure is None:
            procedure = self._procedures.get(url) or self._admit(url)
            if procedure is None and not await self._place_soon(url):
                raise Refused(409, f"all {self.count} procedures that may be set up (--max-runners) are busy")
        self._procedures.move_to_end(url)
        self._make_way()
        if door is not procedure.line.door:
            order = inspected(order, procedure.line.door)
        try:
            prediction = await procedure.line.create(order)
        finally:
            if procedure.line.idle:  # refused, and perhaps nobody else waits
                self._withdraw(procedure)
        procedure.uses += 1
        return prediction, procedure.line

    def _admit(self, url: str) -> Procedure | None:
        """A procedure that is new here; None when it can neither be set up nor wait."""
        free, after = self._free_place()
        if free:
            return self._begin(self._make(url), after)
        return self._have_wait(self._make(url)) if self._limits.queue_size else None

    def _have_wait(self, procedure: Procedure) -> Procedure:
        self._procedures[procedure.url] = procedure
        procedure.line.on_idle = lambda: self._withdraw(procedure)
        self._waiting.append(procedure)
        return procedure

    def _make_way(self) -> None:
        """See that for each that waits for a place one will be free, whoever else asks."""
        wanted = len(self._waiting) - sum(each.line.standing_back for each in self.all())
        for each in self.all():
            if wanted > 0 and each.line.slots and not each.line.standing_back:
                each.line.stand_back()
                wanted -= 1

    def _nobody_waits(self) -> None:
        for each in self.all():
            if each.line.standing_back:
                each.line.go_on()

    def _free_place(self) -> tuple[bool, "asyncio.Task[None] | None"]:
        """Whether there is a place, and what has to end before it is."""
        if len(self._leaving) + sum(each.placed for each in self.all()) < self.count:
            return True, None
        for each in self.all():
            if each.spare:
                return True, self._evict(each)
        return False, None

    def _begin(self, procedure: Procedure, after: "asyncio.Task[None] | None") -> Procedure:
        self._procedures[procedure.url] = procedure
        line = procedure.line
        line.on_idle = self._give
        # How many may run at a time is not known yet: nobody who may be among them is refused.
        line.most_waiting = self._limits.queue_size + self.count
        procedure.begin(after, self._failed)
        for url, hope in self._hopes:
            if url == procedure.url and not hope.done():
                hope.set_result(True)
        return procedure

    def _evict(self, procedure: Procedure) -> "asyncio.Task[None]":
        """Its end, which whoever gets its place waits for. Orders that it had to leave wait for another."""
        closing = self._close(procedure)
        if procedure.line.waiting:
            self._have_wait(self._make(procedure.url)).line.take_over(procedure.line)
        return closing

    def _close(self, procedure: Procedure) -> "asyncio.Task[None]":
        del self._procedures[procedure.url]
        closing = asyncio.create_task(procedure.close(), name="evict")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing

    def _failed(self, procedure: Procedure) -> None:
        leaving = self._close(procedure)
        self._leaving.add(leaving)
        leaving.add_done_callback(self._left)

    def _left(self, leaving: "asyncio.Task[None]") -> None:
        self._leaving.discard(leaving)
        self._give()

    def _withdraw(self, procedure: Procedure) -> None:
        """Nobody waits for it any more."""
        if not procedure.placed and self._procedures.get(procedure.url) is procedure:
            self._waiting.remove(procedure)
            del self._procedures[procedure.url]
            if not self._waiting:
                self._nobody_waits()

    def _give(self) -> None:
        """Give places that are free, or that nobody needs, to those that wait for one."""
        while self._waiting:
            free, after = self._free_place()
            if not free:
                return
            self._begin(self._waiting.popleft(), after)
            if not self._waiting:
                self._nobody_waits()
        while self._hopes and self.taken < self.count:
            _, hope = self._hopes.popleft()
            if not hope.done():
                hope.set_result(True)
                return

    async def _place_soon(self, url: str) -> bool:
        """Whether there is one now, or another request has had one for the same procedure: many predictions
        are about to end, and clients that are refused at once ask again and again."""
        loop = asyncio.get_running_loop()
        hope: asyncio.Future[bool] = loop.create_future()
        self._hopes.append((url, hope))
        timer = loop.call_later(self._limits.refuse_after_s, _give_up, hope)
        try:
            return await hope
        finally:
            timer.cancel()

    async def close(self) -> None:
        """End all of them; what still runs is cut off."""
        self._waiting.clear()
        while self._hopes:
            _give_up(self._hopes.popleft()[1])
        for procedure in self.all():
            self._close(procedure)
        while self._closing:
            await asyncio.wait(self._closing)


def _give_up(hope: "asyncio.Future[bool]") -> None:
    if not hope.done():
        hope.set_result(False)
