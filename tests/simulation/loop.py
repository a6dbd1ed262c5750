"""An event loop on a clock of its own, and the processes that live on it.

Time passes only when nobody has anything to do, and then at once to the next timer: an hour of waiting costs
nothing, and the same seed gives the same order of everything. What a thread would do is done on the loop, a
moment later.

Every callback belongs to the process in whose context it was made. One that was killed does nothing more from
that moment on, not even in its ``finally``; one that was stopped does later what has come to be done.
"""

import asyncio
import contextvars
import heapq
import inspect
import random
import selectors
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH_S = 1_700_000_000
THREAD_S = (0.0001, 0.002)
"""What a thread takes for its work."""

MOST_STEPS = 1_000_000
"""Callbacks in one simulation, of which most have some ten thousand: what goes on for ever is found."""

MOST_S = 4 * 3600.0
"""Virtual time that one simulation may take; most are over within minutes."""

PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)


class Stuck(Exception):
    """Nothing is left that could happen, and the simulation is not over."""


class Endless(Exception):
    """Far more happens than should."""


class SimLoop(asyncio.SelectorEventLoop):
    """``chance`` decides what threads take. Raises Stuck and Endless out of ``run_until_complete``."""

    def __init__(self, chance: random.Random) -> None:
        self._elapsed_s = 0.0
        self._steps = 0
        self._due: deque[_Owned] = deque()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._timers_made = 0
        super().__init__(_NoFiles())
        self.chance = chance
        self.disk_s: Callable[[Process], float] = lambda process: 0.0
        """What a process's disk takes beside that."""
        self.set_task_factory(_task)

    def time(self) -> float:
        return self._elapsed_s

    def _run_once(self) -> None:
        """In the place of asyncio's, which asks a selector each time and compares its timers in Python."""
        due, timers = self._due, self._timers
        if not due:
            self._pass_to_next_timer()
        now = self._elapsed_s
        while timers and timers[0][0] <= now:
            due.append(heapq.heappop(timers)[2])
        self._steps += len(due)
        if self._steps > MOST_STEPS:
            raise Endless(f"more than {MOST_STEPS:,} things have happened")
        for _ in range(len(due)):
            step = due.popleft()
            if not step._cancelled:  # type: ignore[attr-defined]
                step._run()

    def _pass_to_next_timer(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(timers)
        if not timers:
            raise Stuck
        self._elapsed_s = max(self._elapsed_s, timers[0][0])
        if self._elapsed_s > MOST_S:
            raise Endless(f"it is not over after {MOST_S:,.0f} s")

    def close(self) -> None:
        super().close()
        self._due.clear()
        self._timers.clear()

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        handle = _Owned(callback, args, self, context)
        self._due.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        self._timers_made += 1  # those of one moment run in the order in which they were made
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._elapsed_s + delay, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """In two moments: the work is done, its caller hears of it. A process may be killed before each."""
        future: asyncio.Future[T] = self.create_future()
        process = PROCESS.get()
        slow_s = self.disk_s(process) if process is not None else 0.0

        def work() -> None:
            try:
                result, error = func(*args), None
            except Exception as raised:
                result, error = None, raised
            self.call_later(self.chance.uniform(*THREAD_S), tell, result, error)

        def tell(result: Any, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self.chance.uniform(*THREAD_S) + slow_s, work)
        return future


class Process:
    """What would be a process of an operating system: code that is killed, or stopped, at once."""

    def __init__(self, loop: SimLoop, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.wall_ahead_s = 0.0
        """How wrong its wall clock is."""
        self.at_end: list[Callable[[], object]] = []
        """What the operating system does when it has been killed."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self._loop = loop
        self._held: list[Callable[[], None]] = []
        self._context = contextvars.Context()
        self._context.run(PROCESS.set, self)

    def spawn(self, life: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in it."""
        if not self.alive:
            life.close()
            raise ProcessLookupError(self.name)
        return self._loop.create_task(life, context=self._context.copy())

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in it, now."""
        return self._context.copy().run(function, *args)

    def kill(self) -> None:
        """It ends with no word. Safe to repeat."""
        if not self.alive:
            return
        self.alive = False
        self._held.clear()
        for end in reversed(self.at_end):
            end()

    def stop(self) -> None:
        """It stands still, as by SIGSTOP."""
        self.stopped = True

    def go_on(self) -> None:
        self.stopped = False
        held, self._held = self._held, []
        for work in held:
            self._loop.call_soon(work, context=contextvars.Context())

    def runs(self, work: Callable[[], None]) -> bool:
        """Whether it can do something now; while it is stopped, it is kept for later."""
        if not self.alive:
            return False
        if self.stopped:
            self._held.append(work)
            return False
        return True

    def bury(self) -> None:
        """Let go of what it was doing, with the loop closed."""
        for task in list(self.tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            lives: list[Any] = [task.get_coro()]
            while inspect.iscoroutine(lives[-1].cr_await):
                lives.append(lives[-1].cr_await)
            for life in reversed(lives):
                _end(life)


def _end(life: Any) -> None:
    """Close a coroutine, however often it waits for something as it is closed."""
    while life.cr_frame is not None:
        with suppress(BaseException):
            life.close()


class _Owned(events.Handle):
    """Runs if its process can."""

    def _run(self) -> None:
        context: contextvars.Context = self._context  # type: ignore[attr-defined]
        process = context.get(PROCESS)
        if process is None or process.runs(self._again):
            super()._run()  # type: ignore[misc]

    def _again(self) -> None:
        if not self.cancelled():
            super()._run()  # type: ignore[misc]


class _Timer(_Owned, asyncio.TimerHandle):
    pass


def _task(
    loop: asyncio.AbstractEventLoop,
    life: Coroutine[Any, Any, Any],
    context: contextvars.Context | None = None,
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(life, loop=loop, context=context)
    process = PROCESS.get() if context is None else context.get(PROCESS)
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task


class _NoFiles(selectors.BaseSelector):
    """Takes files, and selects nothing."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


class ProcessClock:
    """What a process reads of the time: ``actor.clock.Clock``, and the module ``time`` of an agent."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now(self) -> int:
        process = PROCESS.get()
        ahead_s = 0.0 if process is None else process.wall_ahead_s
        return round((EPOCH_S + ahead_s + self._loop.time()) * 1e6)

    def monotonic(self) -> float:
        return self._loop.time()

    def call_at(self, monotonic: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at(monotonic, callback)

    def time(self) -> float:
        return self.now() / 1e6

    def time_ns(self) -> int:
        return self.now() * 1000

    perf_counter = monotonic
