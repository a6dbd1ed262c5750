"""Webhooks: each prediction has one sender, which has one request out at a time, so that nothing overtakes.

    start ──▶ output, logs (the newest state, at most every ``interval_s``) ──▶ completed, retried

Progress is best effort. The terminal one is tried up to 12 times, as Cog does, and waits for a progress
request that is still out, which has a short limit of its own.
"""

import asyncio
import logging
from collections.abc import Callable

from gpu_agent.server.orders import Order
from gpu_agent.server.outgoing import Headers, Outgoing, SendFailed, SendRefused

log = logging.getLogger("cogflare.cog_server")

PROGRESS_S = 5.0
"""Limit of one request for progress: a receiver that hangs delays the terminal one by this much at most."""
TERMINAL_S = 30.0
TERMINAL_TRIES = 12
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 60.0


class Webhooks:
    """What the webhooks of all predictions share."""

    def __init__(self, sender: Outgoing, *, token: str, user_agent: str, interval_s: float) -> None:
        self._sender = sender
        bearer = (("Authorization", f"Bearer {token}"),) if token else ()
        self._headers = (("Content-Type", "application/json"), ("User-Agent", user_agent), *bearer)
        self._interval_s = interval_s
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, order: Order, document: Callable[[], bytes]) -> Callable[[str], None]:
        """Send what the order asks for. The function that comes back is told of each event, as it happens;
        ``document`` gives the payload of that moment."""
        hook = _Webhook(self._sender, order, (*self._headers, *order.trace), document, self._interval_s)
        task = asyncio.create_task(hook.run(), name="webhooks")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return hook.happened

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    async def finish(self, limit_s: float | None = None) -> None:
        """Wait for what is still to be sent; after the limit give up the rest."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limit_s)
            for task in late:
                task.cancel()


class _Webhook:
    def __init__(
        self,
        sender: Outgoing,
        order: Order,
        headers: Headers,
        document: Callable[[], bytes],
        interval_s: float,
    ) -> None:
        self._sender = sender
        self._url = order.webhook
        self._events = order.events
        self._id = order.id
        self._headers = headers
        self._document = document
        self._interval_s = interval_s
        self._start: bytes | None = None
        self._changed = False
        self._ended = False
        self._last_at = float("-inf")
        self._news = asyncio.Event()

    def happened(self, event: str) -> None:
        if event == "completed":
            self._ended = True
        elif event not in self._events:
            return
        elif event == "start":
            # Its payload is that of the start, however soon the rest follows.
            self._start = self._document()
        else:
            self._changed = True
        self._news.set()

    async def run(self) -> None:
        while not self._ended:
            await self._news.wait()
            self._news.clear()
            if self._start is not None:
                start, self._start = self._start, None
                await self._progress(start)
            if self._changed:
                await self._until_due()
            if self._changed and not self._ended:
                self._changed = False
                self._last_at = asyncio.get_running_loop().time()
                await self._progress(self._document())
        if self._start is not None:
            await self._progress(self._start)
        if "completed" in self._events:
            await self._terminal(self._document())

    async def _until_due(self) -> None:
        """Wait until another webhook may be sent. Only the end cuts that short."""
        try:
            async with asyncio.timeout_at(self._last_at + self._interval_s):
                while not self._ended:
                    await self._news.wait()
                    self._news.clear()
        except TimeoutError:
            pass

    async def _progress(self, body: bytes) -> None:
        try:
            answer = await self._sender.send("POST", self._url, self._headers, body, timeout_s=PROGRESS_S)
        except (SendFailed, SendRefused) as error:
            self._say(logging.WARNING, f"was not delivered: {error}")
            return
        if not answer.ok:
            self._say(logging.WARNING, f"was answered {answer.status}")

    async def _terminal(self, body: bytes) -> None:
        problem = ""
        for number in range(TERMINAL_TRIES):
            if number:
                await asyncio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 1)))
            try:
                answer = await self._sender.send("POST", self._url, self._headers, body, timeout_s=TERMINAL_S)
            except SendFailed as error:
                problem = str(error)
                continue
            except SendRefused as error:
                problem = str(error)
                break
            if answer.ok:
                return
            problem = f"the answer was {answer.status}"
            if not answer.passing:
                break
        self._say(logging.ERROR, f"was not delivered, and it was the last one: {problem}")

    def _say(self, level: int, what: str) -> None:
        from gpu_agent.fetch import shown_url

        log.log(level, "%s: a webhook to %s %s", self._id, shown_url(self._url), what)
