"""The door to providers: one more kind of worker, inside the process of its coordinators.

Each coordinator that calls for it gets a session, over which the door speaks as an agent does. It keeps
nothing on disk. What it is given again under the same attempt, after a restart, it goes on with: by the name
that the provider has for it or, where the process ended between the provider's answer and the row with that
name, by what the provider lists.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Collection
from typing import Any, Literal

from coordinator import calls
from coordinator.actor.clock import Clock, sleep
from coordinator.errors import Unavailable
from coordinator.overflow.carrier import Carrier, Voice, mark_of
from coordinator.overflow.errand import Errand, address_of
from coordinator.overflow.job import CHANNEL, Job
from coordinator.overflow.provider import Provider
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from coordinator.stub import Models

log = logging.getLogger(__name__)

NO_LIMIT = 2**53 - 1
"""What the door takes: the coordinator knows how much each token may have there."""
ATTACH_RETRY_S = (0.05, 0.2, 0.5, 1.0, 2.0)


class Door:
    """See the module. ``carrier`` makes what carries jobs, and speaks through the voice it is given."""

    def __init__(
        self, *, models: Models, carrier: Callable[[Voice], Carrier], clock: Clock, limits: ServerLimits
    ) -> None:
        self._models = models
        self._clock = clock
        self._carrier = carrier(self)
        self._jobs: dict[tuple[str, int], Job] = {}
        self._attached: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._attaching: set[int] = set()
        self._open_at = clock.monotonic() + limits.overflow_settle_s
        self._opening = False

    async def stop(self) -> None:
        """Leave everything as it is: the next process goes on with it. Safe twice."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._carrier.close()

    # --- OverflowDoor: what coordinators say --------------------------------------------------------------

    def called(self, number: int) -> None:
        if number not in self._attaching:
            self._attaching.add(number)
            self._spawn(self._attach(number))

    def deliver(self, address: calls.SocketAddress, message: wire.ServerMessage | Errand) -> None:
        number = int(address.session)
        if isinstance(message, Errand):
            self._take(message)
        elif isinstance(message, wire.Cancel):
            if job := self._jobs.get((message.prediction, message.attempt)):
                job.canceled.set()
                job.hint.set()
        elif isinstance(message, wire.Ack):
            self._settled(message.prediction, message.attempt)
        elif isinstance(message, wire.Attached):
            for verdict in message.verdicts:
                self._judged(number, verdict)
        elif isinstance(message, wire.Reattach):
            self.called(number)

    def hint(self, prediction: str, attempt: int, mark: str, remote: str) -> bool:
        """The provider says that one has ended, and how it calls it. False when nobody knows of it here."""
        job = self._jobs.get((prediction, attempt))
        if job is None or not hmac.compare_digest(mark_of(job.errand).encode(), mark.encode()):
            return False
        job.named = job.named or remote
        job.hint.set()
        return True

    async def access(self, token: str, provider: str) -> tuple[Provider | None, str | None]:
        """The provider, and the token's key for it; None for what there is not."""
        return await self._carrier.access(token, provider)

    async def takes_files(self, keys: Collection[str]) -> bool:
        """Whether a provider could have these stored files. Raises BlobsUnavailable."""
        return await self._carrier.takes_files(keys)

    # --- sessions -----------------------------------------------------------------------------------------

    async def _attach(self, number: int) -> None:
        tries = 0
        while True:
            held = tuple(job.held() for job in self._jobs.values() if job.errand.number == number)
            self._attached.add(number)
            granted = NO_LIMIT if self._is_open else 0
            call = calls.AttachOverflow(address=address_of(number), granted=granted, held=held)
            self._attaching.discard(number)  # who calls from now on has not seen this one
            try:
                await self._models.stub(number).attach_overflow(call)
            except Unavailable as error:
                log.warning("overflow: a coordinator cannot be reached, trying again: %s", error)
                self._attaching.add(number)
                await sleep(self._clock, ATTACH_RETRY_S[min(tries, len(ATTACH_RETRY_S) - 1)])
                tries += 1
            else:
                return

    @property
    def _is_open(self) -> bool:
        """Whether own workers have had the time to come back after a start."""
        if self._clock.monotonic() >= self._open_at:
            return True
        if not self._opening:
            self._opening = True
            self._spawn(self._open())
        return False

    async def _open(self) -> None:
        await sleep(self._clock, self._open_at - self._clock.monotonic())
        for number in self._attached:
            self.tell(number, wire.Credit(channel=CHANNEL, granted=NO_LIMIT))

    def _judged(self, number: int, verdict: wire.Verdict) -> None:
        job = self._jobs.get((verdict.prediction, verdict.attempt))
        if job is None:
            if verdict.verdict == "keep":
                self.called(number)  # it went while that was decided
        elif verdict.verdict == "drop":
            self._settled(verdict.prediction, verdict.attempt)
        elif verdict.verdict == "cancel":
            job.canceled.set()
            job.hint.set()
        else:
            self._retell(job, anew=verdict.from_seq == 1)

    def _take(self, errand: Errand) -> None:
        known = self._jobs.get((errand.prediction, errand.attempt))
        if known is not None:
            self._retell(known, anew=True)
            return
        job = self._jobs[errand.prediction, errand.attempt] = Job(errand)
        if errand.remote:
            self._carrier.knows(errand.remote)
        self._spawn(self._carrier.carry(job))

    def _retell(self, job: Job, *, anew: bool) -> None:
        if job.remote:
            self.begun(job)
        if job.finished is not None:
            self.tell(job.errand.number, job.finished)
        elif anew:
            job.rewind()

    def _settled(self, prediction: str, attempt: int) -> None:
        """Its result is durable, or nobody wants it."""
        job = self._jobs.get((prediction, attempt))
        if job is not None and job.finished is not None:
            self.left(job)

    # --- Voice: what the carrier says ---------------------------------------------------------------------

    def left(self, job: Job) -> None:
        self._jobs.pop((job.errand.prediction, job.errand.attempt), None)

    def tell(self, number: int, message: wire.AgentMessage) -> None:
        """What no instance hears is told again when the next one calls."""
        self._models.stub(number).hand_over(calls.FromAgent(address=address_of(number), message=message))

    def begun(self, job: Job) -> None:
        errand = job.errand
        self._models.stub(errand.number).hand_over(
            calls.OverflowBegun(
                address=address_of(errand.number),
                prediction=errand.prediction,
                attempt=errand.attempt,
                remote=job.remote,
            )
        )

    def held(
        self,
        job: Job,
        reason: Literal["overflow_cap", "overflow_paused"],
        detail: str,
        seconds: float,
        *,
        doubtful: bool = False,
        version_only: bool = False,
    ) -> None:
        """It has not begun, as far as anybody knows, and nothing of its token is to be tried for a time."""
        errand = job.errand
        held = calls.OverflowHeld(
            address=address_of(errand.number),
            prediction=errand.prediction,
            attempt=errand.attempt,
            reason=reason,
            detail=detail,
            until=self._clock.now() + int(seconds * 1e6),
            doubtful=doubtful,
            version_only=version_only,
        )
        self._models.stub(errand.number).hand_over(held)
        self.left(job)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
