"""The predictions, or the trainings, of one model: which run, which wait, which have ended."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from gpu_agent.server.engine import Engine
from gpu_agent.server.feed import Feed
from gpu_agent.server.history import History
from gpu_agent.server.http import Refused
from gpu_agent.server.input_files import InputFiles
from gpu_agent.server.orders import Door, Order
from gpu_agent.server.output_files import OutputFiles
from gpu_agent.server.prediction import Past, Prediction
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


class Predictions:
    """Admits, queues, runs, remembers. A slot is free again before whoever waits hears of the end."""

    def __init__(
        self,
        noun: str,
        *,
        engine: Engine,
        door: Door,
        input_names: Collection[str],
        inputs: InputFiles,
        slots: int,
        tools: Tools,
    ) -> None:
        """``noun`` is what one is called in messages; its plural is in the paths."""
        self.noun = noun
        self.door = door
        self.input_names = input_names
        self._inputs = inputs
        self.slots = slots
        self._engine = engine
        self._tools = tools
        self._limits = tools.limits
        self._open: dict[str, Prediction] = {}
        """Not yet ended, by id."""
        self._waiting: deque[Prediction] = deque()
        self._running = 0
        self._hopes: deque[asyncio.Future[bool]] = deque()
        """Requests that would be refused, and still may get a slot."""
        self._reserved = 0
        """Slots that are given to such requests."""
        self._leaving = 0
        """Those that the model is done with, and that have not ended."""
        self._history = History(tools.limits)
        self._keys = itertools.count(1)
        self._runs: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> int:
        """Slots that are taken."""
        return min(self.slots, self._running + self._reserved + max(0, self._leaving - LEAVING))

    @property
    def busy(self) -> bool:
        return self.current >= self.slots

    @property
    def idle(self) -> bool:
        """None is left that has not ended."""
        return not self._open

    def get(self, id: str) -> Prediction | Past | None:
        """One that has not ended, or that has lately."""
        return self._open.get(id) or self._history.get(id)

    def running(self, id: str) -> Prediction | None:
        return self._open.get(id)

    async def create(self, order: Order) -> Prediction:
        """Take an order on; ``launch`` or ``attend`` it at once. Raises ``Refused`` when there is no room.

        While all slots are taken and the queue is full, it waits for a moment before it refuses: many
        predictions are about to end, and clients that are refused at once ask again and again.
        """
        self._check_id(order.id)
        if self._full:
            if not await self._slot_soon():
                raise Refused(409, self._no_room())
            self._check_id(order.id)
        return self._take_on(order)

    def _check_id(self, id: str) -> None:
        if id in self._open:
            raise Refused(409, f"a {self.noun} with this id has not ended yet")

    @property
    def _full(self) -> bool:
        return self.busy and len(self._waiting) >= self._limits.queue_size

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
        prediction = Prediction(order, feed=feed, log_bytes=self._limits.log_bytes, on_end=self._forget)
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

    def cancel_all(self) -> None:
        for prediction in tuple(self._open.values()):
            prediction.cancel()

    async def finish(self) -> None:
        """Wait until each has ended."""
        while self._open:
            await next(iter(self._open.values())).until_ended()

    async def stop(self) -> None:
        """Cut off what still runs."""
        for run in self._runs:
            run.cancel()
        if self._runs:
            await asyncio.wait(self._runs)

    def _no_room(self) -> str:
        if not self._limits.queue_size:
            return f"Already running a {self.noun}"
        return f"{len(self._waiting)} {self.noun}s wait already, the most that may (--queue-size)"

    def _enqueue(self, prediction: Prediction) -> None:
        self._waiting.append(prediction)
        prediction.position = lambda: self._waiting.index(prediction) + 1
        prediction.on_cancel = lambda: self._withdraw(prediction)

    def _withdraw(self, prediction: Prediction) -> None:
        self._waiting.remove(prediction)
        prediction.end("canceled")

    def _begin(self, prediction: Prediction) -> None:
        self._running += 1
        prediction.begin()

    async def _run(self, prediction: Prediction) -> None:
        run = Run(
            str(next(self._keys)),
            prediction,
            engine=self._engine,
            inputs=self._inputs,
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
        while self._waiting and not self.busy:
            prediction = self._waiting.popleft()
            self._begin(prediction)
            self.launch(prediction)
        while self._hopes and not self.busy:
            hope = self._hopes.popleft()
            if not hope.done():
                self._reserved += 1
                hope.set_result(True)

    def _forget(self, prediction: Prediction) -> None:
        del self._open[prediction.id]
        self._history.add(prediction.past())


def _resolve(hope: "asyncio.Future[bool]", result: bool) -> None:
    if not hope.done():
        hope.set_result(result)
