"""Runs predictions on a Cog server that somebody else has started: a runner whose process is a container.

It waits until the server is ready, gives it predictions, and looks after its health. The server is never
started, stopped or killed. A server that is busy gets its time; one that goes away with predictions has
failed them as a model's process that died, and is waited for.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpu_agent.container.answers import Health, Snapshot, version_of
from gpu_agent.container.api import Answer, AnswerTooLarge, CogApi, Cut, NotReached, snapshot_of
from gpu_agent.container.exchange import Exchange, Way
from gpu_agent.container.input_files import InputFiles
from gpu_agent.container.output_files import OutputFiles, OutputRules
from gpu_agent.container.receiver import Receiver
from gpu_agent.container.watch import LAST_LOOKS, Watch
from gpu_agent.fetch import Fetcher
from gpu_agent.runner_types import Loaded, NotTaken, Result, Update
from gpu_agent.running import now_us
from gpu_agent.source import Listener

BUSY_PAUSES_S = (0.02, 0.04, 0.08, 0.16, 0.2)
"""A server may call itself busy for a moment after its answer: the newest generation does, 1 in 20 times."""
WEBHOOK_S = 5.0
"""The start is told by a webhook within this time, or webhooks do not arrive."""
ASYNC_LOOK_S = 2.0
"""How often a server is looked at whose answer comes by webhook."""
FORGOTTEN_S = 60.0
"""An idle server whose last webhook has not come for this long has lost the prediction, or the webhook."""
CANCEL_AGAIN_S = 0.1
KILL_GRACE_S = 5.0
GOODBYE_S = 2.0


class _Crashed(Exception):
    """The server went away in the middle of a prediction; the text says how."""


class _Again(Exception):
    """The prediction must be asked for in another way."""


class ContainerRunner:
    """A ``ModelRunner``; ``slots`` is how many predictions the server is given at the same time."""

    def __init__(
        self,
        *,
        name: str,
        api: CogApi,
        receiver: Receiver,
        fetcher: Fetcher,
        scratch: Path,
        work_dir: Path,
        slots: int,
        listener: Listener,
    ) -> None:
        """``scratch`` holds the folders, by prediction, that input files are in."""
        self._name = name
        self._api = api
        self._receiver = receiver
        self._receiver_open = False
        self._fetcher = fetcher
        self._scratch = scratch
        self._work_dir = work_dir
        self._slots = slots
        self._listener = listener
        self._document: dict[str, Any] = {}
        self._rules = OutputRules({})
        self._loaded_once = False
        self._way = Way.HELD_WITH_WEBHOOKS
        self._reached = False
        """A webhook has arrived: the server can reach us."""
        self._exchanges: dict[str, Exchange] = {}
        self._goodbyes: set[asyncio.Task[Any]] = set()
        self._watch = Watch(api, listener, loaded=self._load, works=lambda: bool(self._exchanges))
        self.ready = self._watch.ready
        self._watcher: asyncio.Task[None] | None = None

    # --- its life -----------------------------------------------------------------------------------------

    async def start(self) -> Loaded:
        """Return once the server is ready, however long that takes. Raises ``OSError``."""
        if not self._receiver_open:
            await self._receiver.open()
            self._receiver_open = True
        await self._watch.begin()
        self._watcher = asyncio.create_task(self._watch.run(), name="container")
        return self._loaded()

    async def stop(self, grace_s: float) -> None:
        self.ready.clear()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
        for exchange in self._exchanges.values():
            exchange.stopped = True
            exchange.given_up.set()
            self._say_goodbye(exchange)
        if self._goodbyes:
            await asyncio.wait(self._goodbyes, timeout=min(grace_s, GOODBYE_S))
        for goodbye in tuple(self._goodbyes):
            goodbye.cancel()
        if self._receiver_open:
            self._receiver_open = False
            await self._receiver.close()
        await self._api.close()
        await asyncio.to_thread(shutil.rmtree, self._work_dir, ignore_errors=True)

    async def check_health(self) -> str | None:
        return None if self.ready.is_set() else self._watch.health.reason or self._watch.health.status

    # --- predictions --------------------------------------------------------------------------------------

    async def predict(
        self,
        id: str,
        input: dict[str, Any],
        on_update: Callable[[Update], None],
        *,
        timeout_s: float | None = None,
        context: Mapping[str, str] | None = None,
    ) -> Result:
        if id in self._exchanges:
            raise ValueError(f"the prediction {id} is running already")
        exchange = Exchange(
            id,
            inputs=InputFiles(self._receiver, self._scratch / id),
            outputs=OutputFiles(self._rules, self._api, self._fetcher, self._work_dir / id),
            rules=self._rules,
            on_update=on_update,
        )
        exchange.webhook = self._receiver.hook(lambda body: self._on_webhook(exchange, body))
        self._exchanges[id] = exchange
        loop = asyncio.get_running_loop()
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._timed_out, exchange)
        task = asyncio.create_task(self._run(exchange, input, context), name=f"container {id}")
        giving_up = asyncio.create_task(exchange.given_up.wait())
        try:
            await asyncio.wait((task, giving_up), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            self._watch.note_busy()  # with what we do not wait for any longer
            return exchange.failed("the Cog server did not stop in time", "runner_crashed")
        finally:
            if timer is not None:
                timer.cancel()
            if not task.done() and not exchange.stopped:
                self._say_goodbye(exchange)
            for each in (task, giving_up, exchange.canceler):
                if each is not None:
                    each.cancel()
            del self._exchanges[id]
            exchange.inputs.close()
            self._receiver.forget(exchange.webhook)
            self._watch.note_ended()

    def cancel(self, id: str, grace_s: float) -> None:
        exchange = self._exchanges.get(id)
        if exchange is None:
            return
        exchange.cancel_asked = True
        self._end(exchange, grace_s)

    def _end(self, exchange: Exchange, grace_s: float) -> None:
        if exchange.canceler is not None:
            exchange.canceler.cancel()
        exchange.canceler = asyncio.create_task(self._cancel(exchange, grace_s))

    def release(self, id: str) -> None:
        shutil.rmtree(self._work_dir / id, ignore_errors=True)

    def _timed_out(self, exchange: Exchange) -> None:
        if not exchange.cancel_asked:
            exchange.timed_out = True
        self._end(exchange, KILL_GRACE_S)

    async def _cancel(self, exchange: Exchange, grace_s: float) -> None:
        """Cancel it on the server, also when the request is still under way; give up after the grace."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while True:
                    canceled = await self._api.cancel(exchange.id)
                    await asyncio.sleep(grace_s if canceled else CANCEL_AGAIN_S)
        exchange.given_up.set()

    def _say_goodbye(self, exchange: Exchange) -> None:
        """Have the server stop what nobody waits for."""
        task = asyncio.create_task(self._api.cancel(exchange.id))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    async def _run(
        self, exchange: Exchange, input: dict[str, Any], context: Mapping[str, str] | None
    ) -> Result:
        try:
            given = await exchange.inputs.place(input, reachable=self._reached)
        except OSError as error:
            return exchange.failed(f"an input file cannot be read: {error.strerror}", "runner_stopped")
        try:
            last = await self._until_end(exchange, given, context)
        except _Crashed as error:
            self._watch.note_away()
            text = f"the Cog server at {self._api.url} went away: {error}"
            return exchange.failed(text, "runner_crashed")
        if isinstance(last, Result):
            return last
        crashed = last.end == "failed" and await self._watch.crashed()
        return await exchange.result(last, crashed=crashed)

    async def _until_end(
        self, exchange: Exchange, given: dict[str, Any], context: Mapping[str, str] | None
    ) -> Snapshot | Result:
        """The last word on it, in whichever way the server gives one. Raises ``NotTaken``, ``_Crashed``."""
        while True:
            way = self._way
            try:
                return await self._ask(exchange, exchange.order(given, context, way.events), way)
            except _Again:
                continue

    async def _ask(self, exchange: Exchange, order: dict[str, Any], way: Way) -> Snapshot | Result:
        doubt = asyncio.get_running_loop().call_later(WEBHOOK_S, self._doubt_webhooks, exchange, way)
        process = self._watch.process
        try:
            answer = await self._taken(exchange, order, way)
            if answer.prediction is not None and answer.prediction.end:
                return answer.prediction
            if answer.prediction is None:
                return await self._refused(exchange, answer, way)
            if way is Way.ASYNC:
                return await self._until_told(exchange, process)
        finally:
            doubt.cancel()
        if way is Way.HELD_WITH_WEBHOOKS:
            # It runs, and its end will be told to nobody.
            await self._withdraw(exchange)
            self._use(Way.ASYNC)
            raise _Again
        return exchange.failed("the Cog server answered before the prediction had ended", "model_error")

    async def _taken(self, exchange: Exchange, order: dict[str, Any], way: Way) -> Answer:
        """The answer of a server that was not busy."""
        for pause_s in (*BUSY_PAUSES_S, None):
            try:
                answer = await self._api.predict(exchange.id, order, respond_async=way is Way.ASYNC)
            except NotReached as error:
                self._watch.note_away()
                raise NotTaken("unavailable", str(error)) from None
            except Cut as error:
                raise _Crashed(str(error)) from None
            except AnswerTooLarge as error:
                return Answer(413, None, f"{error} (--cog-answer-bytes)")
            if answer.code == 503:
                self._watch.note_away()
                raise NotTaken("unavailable", answer.problem)
            if answer.code != 409 and not (answer.code == 500 and "not ready" in answer.problem):
                self._watch.note_taken()
                return answer
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        self._watch.note_busy()
        raise NotTaken("busy", answer.problem)

    async def _refused(self, exchange: Exchange, answer: Answer, way: Way) -> Result:
        if answer.code == 400 and way is Way.HELD_WITH_WEBHOOKS:
            # The second generation takes a webhook only together with respond-async.
            self._use(Way.ASYNC)
            raise _Again
        if answer.code == 400 and way is Way.ASYNC and not self._reached:
            self._use(Way.HELD_WITH_WEBHOOKS, said=False)  # the input was the matter, not the way
        if answer.code == 413 and "--cog-answer-bytes" in answer.problem:
            return exchange.failed(answer.problem, "output_too_large")
        if answer.code < 500:
            return exchange.failed(f"the model refused its input: {answer.problem}", "invalid_input")
        crashed = await self._watch.crashed(looks=len(LAST_LOOKS))
        said = f"the Cog server answered {answer.code}: {answer.problem}"
        if crashed:
            return exchange.failed(f"the model's process died; {said}", "runner_crashed")
        return exchange.failed(said, "model_error")

    async def _until_told(self, exchange: Exchange, process: str) -> Snapshot:
        """The end of a prediction that was answered at once. Raises ``_Crashed`` and ``_Again``."""
        clock = asyncio.get_running_loop().time
        began = idle_since = clock()
        while True:
            await asyncio.wait((exchange.told_end,), timeout=ASYNC_LOOK_S)
            if exchange.told_end.done():
                return exchange.told_end.result()
            if not (exchange.heard or self._reached) and clock() - began > WEBHOOK_S:
                await self._withdraw(exchange)
                self._use(Way.HELD)
                raise _Again
            health = await self._api.health()
            if health.lost or (health.started_at and health.started_at != process):
                raise _Crashed(health.reason or "it was started again")
            if health.status != "READY":
                idle_since = clock()
            elif self._slots == 1 and clock() - idle_since > FORGOTTEN_S:
                raise _Crashed("it is idle, and has not told how the prediction ended")

    async def _withdraw(self, exchange: Exchange) -> None:
        """Stop what runs there, as it must be asked for in another way."""
        await self._api.cancel(exchange.id)
        for _ in range(int(KILL_GRACE_S / CANCEL_AGAIN_S)):
            if (await self._api.health()).status != "BUSY":
                return
            await asyncio.sleep(CANCEL_AGAIN_S)

    # --- webhooks -----------------------------------------------------------------------------------------

    async def _on_webhook(self, exchange: Exchange, body: bytes) -> None:
        try:
            snapshot = await snapshot_of(body)
        except ValueError:
            return
        exchange.heard = True
        if not self._reached:
            self._reached = True
            self._listener.say(
                f"the Cog server at {self._api.url} reaches us by {self._receiver.base}: {self._way}"
            )
        if snapshot.end is None:
            await exchange.take(snapshot)
            if exchange.problem and exchange.canceler is None:
                self._end(exchange, KILL_GRACE_S)
        elif not exchange.told_end.done():
            exchange.told_end.set_result(snapshot)

    def _doubt_webhooks(self, exchange: Exchange, way: Way) -> None:
        """It has been running for so long that its start should have been told."""
        if way is Way.HELD_WITH_WEBHOOKS and not self._reached and way is self._way:
            self._use(Way.HELD)

    def _use(self, way: Way, *, said: bool = True) -> None:
        self._way = way
        if not said:
            return
        hint = ""
        if way is Way.HELD:
            hint = (
                f" (no webhook arrives at {self._receiver.base}: --cog-callback-url names this machine as "
                "the server can reach it)"
            )
        self._listener.say(f"predictions on {self._api.url}: {way}{hint}")

    # --- what it serves -----------------------------------------------------------------------------------

    async def _load(self, health: Health) -> None:
        """A new process of the server: read what it serves; tell when that has become something else."""
        document = await self._api.document()
        self._way, self._reached = Way.HELD_WITH_WEBHOOKS, False  # perhaps it is in another network now
        changed, first = document != self._document, not self._loaded_once
        self._document, self._rules, self._loaded_once = document, OutputRules(document), True
        if changed and not first:
            self._listener.say(f"the Cog server at {self._api.url} serves another model now")
            self._listener.reloaded(self._loaded())

    def _loaded(self) -> Loaded:
        return Loaded(
            schema=self._document,
            concurrency=self._slots,
            is_async=True,
            healthcheck=False,
            setup_logs=self._watch.health.logs,
            started_at=now_us(),
            completed_at=now_us(),
            version=version_of(self._document, self._name),
        )
