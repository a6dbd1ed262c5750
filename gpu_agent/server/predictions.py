"""The predictions, or the trainings, of one model: which run, which wait."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from gpu_agent.server.engine import Engine
from gpu_agent.server.feed import Feed
from gpu_agent.server.history import Book
from gpu_agent.server.http import Refused
from gpu_agent.server.input_files import InputFiles
from gpu_agent.server.orders import Ajar, Door, Order, inspected, late_problems, shown
from gpu_agent.server.output_files import OutputFiles
from gpu_agent.server.prediction import Prediction
from gpu_agent.server.runs import Run
from gpu_agent.server.settings import CogServerLimits
from gpu_agent.server.webhooks import Webhooks

LEAVING = 8
"""Predictions whose files may be under way while others have their slots already; more keep theirs."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every run of a server uses."""

    limits: CogServerLimits
    webhooks: Webhooks
    outputs: Callable[[Order], OutputFiles]
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is set up: what runs its predictions, and what its document says of them."""

    engine: Engine
    door: Door
    input_names: Collection[str]
    inputs: InputFiles
    slots: int


class Predictions:
    """Admits, queues, runs. A slot is free again before whoever waits hears of the end.

    Until ``open`` says what runs them, all wait.
    """

    def __init__(self, noun: str, *, book: Book, tools: Tools) -> None:
        """``noun`` is what one is called in messages."""
        self.noun = noun
        self.door: Door = Ajar()
        self.input_names: Collection[str] = ()
        self.slots = 0
        self.known = asyncio.Event()
        """There is a model, or there will be none."""
        self.most_waiting = tools.limits.queue_size
        """In the whole book. Written by whoever knows that there is room for more."""
        self.on_idle: Callable[[], None] = _nothing
        """Called when the last of them has ended, its files included."""
        self._served: Served | None = None
        self._tools = tools
        self._limits = tools.limits
        self._book = book
        self._open = book.open
        self._waiting: deque[Prediction] = deque()
        self._running = 0
        self._hopes: deque[asyncio.Future[bool]] = deque()
        """Requests that would be refused, and still may get a slot."""
        self._reserved = 0
        """Slots that are given to such requests."""
        self._leaving = 0
        """Those that the model is done with, and that have not ended."""
        self._turns: int | None = None
        """How many of those that wait may still begin; None when all may."""
        self._keys = itertools.count(1)
        self._runs: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> int:
        """Slots that are taken."""
        return min(self.slots, self._running + self._reserved + max(0, self._leaving - LEAVING))

    @property
    def busy(self) -> bool:
        return self.current >= self.slots or self._turns is not None

    @property
    def idle(self) -> bool:
        """None is left that may run, not even of its files, and no request still hopes."""
        if self._running or self._leaving or self._reserved or (self._waiting and self._turns != 0):
            return False
        return all(hope.done() for hope in self._hopes)

    @property
    def waiting(self) -> int:
        """Those that have no slot."""
        return len(self._waiting)

    @property
    def standing_back(self) -> bool:
        return self._turns is not None

    def stand_back(self) -> None:
        """Begin those that wait already, and no more: another model is to run next. Until ``go_on``, or until
        another takes over what waits."""
        if self._turns is None:
            self._turns = len(self._waiting)

    def go_on(self) -> None:
        self._turns = None
        self._next()

    def take_over(self, other: "Predictions") -> None:
        """Let those that wait there wait here."""
        while other._waiting:
            prediction = other._waiting[0]
            other._take_out(prediction)
            self._enqueue(prediction)

    def open(self, served: Served) -> None:
        """Run what waits, now that the model is known. Inputs that it does not take end as failed."""
        self._served = served
        self.door = served.door
        self.input_names = served.input_names
        self.slots = served.slots
        self.most_waiting = self._limits.queue_size
        for prediction in tuple(self._waiting):
            self._inspect(prediction)
        self.known.set()
        self._next()

    def _inspect(self, prediction: Prediction) -> None:
        """Of one that was taken on unseen."""
        problems = late_problems(prediction.order, self.door)
        prediction.order = shown(prediction.order, self.door)
        if problems:
            prediction.problems = problems
            self._take_out(prediction)
            prediction.end("failed", error="; ".join(problem.msg for problem in problems))
        elif prediction.feed is not None and not self.door.streams and not prediction.feed.streams:
            prediction.feed = None

    def fail(self, error: str, logs: str) -> None:
        """There is no model: all that wait end as failed."""
        for prediction in tuple(self._waiting):
            self._take_out(prediction)
            prediction.end("failed", error=error, logs=logs)
        while self._hopes:
            _resolve(self._hopes.popleft(), False)
        self.known.set()

    async def create(self, order: Order) -> Prediction:
        """Take an order on; ``launch`` or ``attend`` it at once. Raises ``Refused`` when there is no room.

        While all slots are taken and the queue is full, it waits for a moment before it refuses: many
        predictions are about to end, and clients that are refused at once ask again and again.
        """
        self._check_id(order.id)
        if self._full:
            door = self.door
            if not await self._slot_soon():
                raise Refused(409, self._no_room())
            try:
                self._check_id(order.id)
                if door is not self.door:  # the model has become known meanwhile
                    order = inspected(order, self.door)
            except Refused:
                self._next()  # the slot is for somebody else
                raise
        return self._take_on(order)

    def _check_id(self, id: str) -> None:
        if id in self._open:
            raise Refused(409, f"a {self.noun} with this id has not ended yet")

    @property
    def _full(self) -> bool:
        return self.busy and self._book.waiting >= self.most_waiting

    async def _slot_soon(self) -> bool:
        """Whether a slot is free now, for whoever asked: nobody has got in between."""
        loop = asyncio.get_running_loop()
        hope = loop.create_future()
        self._hopes.append(hope)
        timer = loop.call_later(self._limits.refuse_after_s, _resolve, hope, False)
        try:
            found: bool = await hope
        except asyncio.CancelledError:
            if hope.done() and not hope.cancelled() and hope.result():
                self._reserved -= 1
                self._next()
            raise
        finally:
            timer.cancel()
        self._reserved -= found
        return found

    def _take_on(self, order: Order) -> Prediction:
        feed = Feed(self._limits.stream_history) if self.door.streams else None
        prediction = Prediction(order, feed=feed, log_bytes=self._limits.log_bytes, on_end=self._book.close)
        if order.webhook:
            prediction.on_change = self._tools.webhooks.follow(order, prediction.document)
        self._open[order.id] = prediction
        if self.busy:
            self._enqueue(prediction)
        else:
            self._begin(prediction)
        return prediction

    def launch(self, prediction: Prediction) -> None:
        """Have it run by itself, now or when it has a slot."""
        if prediction.position is None:
            run = asyncio.create_task(self._run(prediction), name=self.noun)
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    async def attend(self, prediction: Prediction) -> None:
        """Run it in this very task, which is faster than being told by another; or wait with it for a slot.

        Returns when it has ended. Cancelling cuts it off.
        """
        if prediction.position is None:
            await self._run(prediction)
        else:
            await prediction.until_ended()

    async def stop(self) -> None:
        """Cut off what still runs."""
        for run in self._runs:
            run.cancel()
        if self._runs:
            await asyncio.wait(self._runs)

    def _no_room(self) -> str:
        if not self.most_waiting:
            return f"Already running a {self.noun}"
        return f"{self._book.waiting} {self.noun}s wait already, the most that may (--queue-size)"

    def _enqueue(self, prediction: Prediction) -> None:
        self._waiting.append(prediction)
        self._book.waiting += 1
        prediction.position = lambda: self._waiting.index(prediction) + 1
        prediction.on_cancel = lambda: self._withdraw(prediction)

    def _withdraw(self, prediction: Prediction) -> None:
        self._take_out(prediction)
        prediction.end("canceled")
        self._rest()

    def _take_out(self, prediction: Prediction) -> None:
        if self._turns is not None and self._waiting.index(prediction) < self._turns:
            self._turns -= 1
        self._waiting.remove(prediction)
        self._book.waiting -= 1

    def _begin(self, prediction: Prediction) -> None:
        self._running += 1
        prediction.begin()

    async def _run(self, prediction: Prediction) -> None:
        served = self._served
        assert served is not None
        run = Run(
            str(next(self._keys)),
            prediction,
            engine=served.engine,
            inputs=served.inputs,
            outputs=self._tools.outputs,
            timeout_s=self._limits.run_s or None,
            cancel_grace_s=self._limits.cancel_grace_s,
            say=self._tools.say,
        )
        try:
            await run.run(self._free)
        finally:
            if not prediction.ended:  # cut off
                prediction.end("canceled")
            self._leaving -= 1
            self._next()

    def _free(self) -> None:
        self._running -= 1
        self._leaving += 1
        self._next()

    def _next(self) -> None:
        while self._waiting and self.current < self.slots and self._turns != 0:
            prediction = self._waiting[0]
            self._take_out(prediction)
            self._begin(prediction)
            self.launch(prediction)
        while self._hopes and not self.busy:
            hope = self._hopes.popleft()
            if not hope.done():
                self._reserved += 1
                hope.set_result(True)
        self._rest()

    def _rest(self) -> None:
        if self.idle:
            self.on_idle()


def _resolve(hope: "asyncio.Future[bool]", result: bool) -> None:
    if not hope.done():
        hope.set_result(result)


def _nothing() -> None:
    pass
