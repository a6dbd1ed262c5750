"""Ctrl-C and SIGTERM while a prediction runs: the first asks for its end, the second ends the command."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Use from the main thread, on the running loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """The first one came."""
        self.count = 0
        self.code = 0
        """The exit code that the last one stands for; 0 when none came."""

    @contextmanager
    def watch(self, on_first: Callable[[], object]) -> Iterator[None]:
        """``on_first`` is called on the loop; the second one cancels the task that watches."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        # Not the loop's own way: the third one is heard whatever holds the loop, a full pipe for example.
        def received(number: int, _frame: FrameType | None) -> None:
            self.count += 1
            self.code = 128 + number
            if self.count == 1:
                loop.call_soon_threadsafe(self.asked.set)
                loop.call_soon_threadsafe(on_first)
            elif self.count == 2:
                loop.call_soon_threadsafe(task.cancel)
            else:
                os._exit(self.code)

        before = {number: signal.signal(number, received) for number in NUMBERS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
