"""One errand from its beginning at a provider to its end: begun, found or taken up, followed, canceled.

What it comes to is told by a ``Voice`` (``door.py``).
"""

import asyncio
import hashlib
import hmac
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Literal, Protocol

from msgspec import Raw

from coordinator.actor.clock import Clock, sleep
from coordinator.errors import Unavailable
from coordinator.overflow.breaker import Breaker
from coordinator.overflow.errand import Errand
from coordinator.overflow.job import Job, listed
from coordinator.overflow.provider import (
    BadKey,
    Gone,
    NoModel,
    NotReached,
    Provider,
    ProviderError,
    Rejected,
    Remote,
    Throttled,
    Unreachable,
    Wanted,
)
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits, WireLimits

log = logging.getLogger(__name__)

POLL_FIRST_S = 0.5
"""Time between two looks while something changes there; it grows while nothing does."""
POLL_GROWTH = 1.5
TROUBLE_S = 30.0
"""Longest time between two looks while the provider gives no good answer."""
LOOK_S = (0.0, 1.0, 2.0, 4.0)
"""Pauses before each look for a prediction that may have begun."""
SKEW_S = 5.0
"""How far the provider's clock may be behind ours."""
KEYLESS_S, MODELLESS_S = 60.0, 600.0
"""When to look again whether a token has a key, and the provider the model."""
FORGET_S = 600.0
"""How long after its limits one that does not end is still followed: its coordinator has given it up."""


class Files(Protocol):
    """What becomes of files on their way there and back."""

    async def fit(self, keys: Collection[str]) -> bool:
        """Whether a provider could have these. Raises BlobsUnavailable."""

    async def given(self, errand: Errand) -> bytes:
        """The input as the provider can use it, the same each time. Raises Unfit, BlobsUnavailable."""

    async def kept(
        self, errand: Errand, output: Raw, known: dict[str, wire.StoredFile]
    ) -> tuple[Raw, tuple[wire.StoredFile, ...]]:
        """The output with what it has at the provider stored here. ``known`` is what is stored already, by
        URL; it grows. Raises Unfit."""


class Caps(Protocol):
    """What a token may have of providers in a day, durably."""

    async def reserve(self, errand: Errand) -> float:
        """Count one; 0 when it may begin, else seconds until it may."""

    async def release(self, errand: Errand) -> None:
        """It has not begun."""

    async def settle(self, errand: Errand, remote: Remote) -> None:
        """It has ended, and cost what it says."""


class Unfit(Exception):
    """It cannot be done there, or its output cannot be kept. The text is fit for a client's eyes."""


class Voice(Protocol):
    """Who tells the coordinators."""

    def tell(self, number: int, message: wire.AgentMessage) -> None:
        """As an agent would."""

    def begun(self, job: Job) -> None:
        """It has a name there."""

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

    def left(self, job: Job) -> None:
        """Nobody goes on with it."""


class Carrier:
    """``keys`` gives a token's key of a provider; ``awake`` is set once all coordinators that were at work
    before a restart are back. ``public_url`` is where the provider can tell of an end; empty when it cannot
    reach us."""

    def __init__(
        self,
        voice: Voice,
        *,
        providers: Mapping[str, Provider],
        keys: Callable[[str, str], Awaitable[str | None]],
        files: Files,
        caps: Caps,
        awake: asyncio.Event,
        clock: Clock,
        limits: ServerLimits,
        wire_limits: WireLimits,
        public_url: str = "",
    ) -> None:
        self._voice = voice
        self._providers = providers
        self._keys = keys
        self._files = files
        self._caps = caps
        self._awake = awake
        self._clock = clock
        self._limits = limits
        self._wire_limits = wire_limits
        self._public_url = public_url
        self._breakers: defaultdict[tuple[str, bytes], Breaker] = defaultdict(Breaker)
        self._taken: dict[str, None] = {}
        """Names at providers that belong to jobs, the last ones."""

    async def close(self) -> None:
        for provider in self._providers.values():
            await provider.close()

    async def takes_files(self, keys: Collection[str]) -> bool:
        """Whether a provider could have these stored files. Raises BlobsUnavailable."""
        return await self._files.fit(keys)

    async def carry(self, job: Job) -> None:
        runner = job.errand.target.provider
        try:
            remote = await self._begun(job)
            if remote is not None:
                await self._follow(job, remote)
        except Unfit as error:
            code = "output_lost" if job.remote else None
            self._finish(job, job.failed(str(error), code, runner=runner))
        except Unavailable as error:  # of what is asked before it begins
            doubtful = bool(job.errand.since)
            self._voice.held(job, "overflow_paused", str(error), error.retry_after_s, doubtful=doubtful)
        except Exception:
            log.exception("overflow: %s broke", job.errand.prediction)
            text = "the server could not go on with it at the provider"
            # What has a name there is not begun again: it would break again, and cost as much.
            code = "output_lost" if job.remote else "provider_lost"
            self._finish(job, job.failed(text, code, runner=runner))

    async def _begun(self, job: Job) -> Remote | None:
        """It as the provider has it: found, or begun now, or only its name. None when it has not begun."""
        errand = job.errand
        if errand.remote:
            return Remote(id=errand.remote, status="starting")
        provider, key = await self.access(errand.token, errand.target.provider)
        if provider is None or key is None:
            detail = f"its token has no key of {errand.target.provider}"
            self._voice.held(job, "overflow_paused", detail, KEYLESS_S, doubtful=bool(errand.since))
            return None
        wanted = await self._wanted(errand)
        if errand.since:
            await self._awake.wait()  # until then it is not known which ones belong to others
            try:
                found = await self._look(job, provider, key, wanted, errand.since)
            except ProviderError as error:
                self._voice.held(job, "overflow_paused", str(error), TROUBLE_S, doubtful=True)
                return None
            if found is not None:
                return self._named(job, found)
        if job.canceled.is_set():
            self._finish(job, job.withdrawn())
            return None
        return await self._begin(job, provider, key, wanted)

    async def _begin(self, job: Job, provider: Provider, key: str, wanted: Wanted) -> Remote | None:
        breaker = self._breaker(provider, key)
        if (wait_s := breaker.wait_s(self._clock.monotonic())) > 0:
            self._voice.held(job, "overflow_paused", breaker.said or "one is being tried", wait_s)
            return None
        try:
            return await self._asked(job, provider, key, wanted, breaker)
        except BaseException:
            breaker.unused()
            raise

    async def _asked(
        self, job: Job, provider: Provider, key: str, wanted: Wanted, breaker: Breaker
    ) -> Remote | None:
        errand = job.errand
        if (wait_s := await self._caps.reserve(errand)) > 0:
            breaker.unused()
            detail = f"its token has had what it may of {provider.name} today"
            self._voice.held(job, "overflow_cap", detail, wait_s)
            return None
        try:
            remote = await provider.create(key, wanted)
        except Rejected as error:
            breaker.passed()
            await self._caps.release(errand)
            self._finish(job, job.failed(str(error), runner=provider.name))
            return None
        except NoModel as error:  # it need not fail for that: an own worker may come
            breaker.passed()
            await self._caps.release(errand)
            self._voice.held(job, "overflow_paused", str(error), MODELLESS_S, version_only=True)
            return None
        except Unreachable as error:
            return await self._doubted(job, provider, key, wanted, error)
        except ProviderError as error:
            wait_s = breaker.failed(error, self._clock.monotonic())
            await self._caps.release(errand)
            self._voice.held(job, "overflow_paused", str(error), wait_s)
            return None
        breaker.passed()
        return self._named(job, remote)

    async def _doubted(
        self, job: Job, provider: Provider, key: str, wanted: Wanted, error: Unreachable
    ) -> Remote | None:
        """No good answer came: perhaps it has begun. What is not found now is looked for by the next
        attempt."""
        breaker = self._breaker(provider, key)
        wait_s = breaker.failed(error, self._clock.monotonic())
        doubtful = not isinstance(error, NotReached)
        if doubtful:
            with suppress(ProviderError):
                found = await self._look(job, provider, key, wanted, job.errand.dispatched_at)
                if found is not None:
                    breaker.passed()
                    return self._named(job, found)
        await self._caps.release(job.errand)
        self._voice.held(job, "overflow_paused", str(error), wait_s, doubtful=doubtful)
        return None

    async def _look(
        self, job: Job, provider: Provider, key: str, wanted: Wanted, since: int
    ) -> Remote | None:
        """The one that has begun under a name that nobody knows. Raises ProviderError when that cannot be
        said."""
        trouble: ProviderError = Unreachable("")
        for pause_s in LOOK_S:
            await sleep(self._clock, pause_s)
            try:
                if job.named:
                    return await provider.get(key, job.named)
                return await provider.find(key, wanted, since - int(SKEW_S * 1e6), frozenset(self._taken))
            except (Unreachable, Throttled) as error:
                trouble = error
        raise trouble

    async def _follow(self, job: Job, remote: Remote) -> None:
        """Until it has ended, or everybody has given it up."""
        errand = job.errand
        known: dict[str, wire.StoredFile] = {}
        give_up = self._clock.monotonic() + errand.run_s + self._limits.cancel_grace_s + FORGET_S
        wait_s = 0.0 if errand.remote else POLL_FIRST_S
        provider, key = None, None
        asked = False
        while not remote.ended:
            await self._said(job, remote, known)
            await self._pause(job, wait_s)
            if self._clock.monotonic() > give_up:
                log.warning("overflow: %s does not end at %s", errand.prediction, errand.target.provider)
                self._voice.left(job)
                return
            if key is None:
                provider, key = await self._access_or_none(errand)
            if provider is None or key is None:
                wait_s = min(max(2 * wait_s, POLL_FIRST_S), TROUBLE_S)
                continue
            try:
                if job.canceled.is_set() and not asked:
                    await provider.cancel(key, job.remote)
                    asked, wait_s = True, POLL_FIRST_S
                before, remote = remote, await provider.get(key, job.remote)
            except Gone as error:
                self._finish(job, job.failed(str(error), "provider_lost", runner=provider.name))
                return
            except ProviderError as error:
                log.warning("overflow: %s cannot be looked at: %s", errand.prediction, error)
                wait_s = _patience_s(error, wait_s)
                if isinstance(error, BadKey):
                    key = None  # perhaps the token has another one by now
            else:
                longest_s = self._longest_s(errand, provider)
                wait_s = POLL_FIRST_S if _changed(before, remote) else min(wait_s * POLL_GROWTH, longest_s)
        await self._ended(job, remote, known)

    async def _said(self, job: Job, remote: Remote, known: dict[str, wire.StoredFile]) -> None:
        """Tell what is new in a state that is not the last."""
        try:
            output, files = await self._files.kept(job.errand, remote.output, known)
        except Unfit as error:  # at its end that decides
            log.warning("overflow: %s: %s", job.errand.prediction, error)
            return
        by_key = {file.key: file for file in files}
        for message in job.said(remote, listed(output), by_key, self._clock.now()):
            self._voice.tell(job.errand.number, message)

    async def _ended(self, job: Job, remote: Remote, known: dict[str, wire.StoredFile]) -> None:
        errand, runner = job.errand, job.errand.target.provider
        await self._caps.settle(errand, remote)
        output, files = NOTHING, NO_FILES
        if remote.status == "succeeded":
            output, files = await self._files.kept(errand, remote.output, known)
        if len(bytes(output)) > self._wire_limits.result_bytes:
            text = f"the output is larger than {self._wire_limits.result_bytes} bytes"
            self._finish(job, job.failed(text, "invalid_output", runner=runner, logs=remote.logs))
            return
        log_bytes = self._wire_limits.log_bytes
        ended = job.ended(remote, output, files, runner=runner, log_bytes=log_bytes)
        if remote.status == "canceled" and not job.canceled.is_set():
            ended = job.cut_off(ended, self._clock.now())
        self._finish(job, ended)

    async def _pause(self, job: Job, seconds: float) -> None:
        """That long, or until there is a reason to look."""
        timer = self._clock.call_at(self._clock.monotonic() + seconds, job.hint.set)
        try:
            await job.hint.wait()
            job.hint.clear()
        finally:
            timer.cancel()

    def _longest_s(self, errand: Errand, provider: Provider) -> float:
        """Where the provider tells of the end, and nobody reads meanwhile, few looks are enough."""
        told = self._public_url and provider.tells and not errand.streams
        return TROUBLE_S if told else self._limits.overflow_poll_s

    # --- what jobs need -----------------------------------------------------------------------------------

    async def access(self, token: str, provider: str) -> tuple[Provider | None, str | None]:
        """The provider, and the token's key for it; None for what there is not."""
        return self._providers.get(provider), await self._keys(token, provider)

    async def _access_or_none(self, errand: Errand) -> tuple[Provider | None, str | None]:
        try:
            return await self.access(errand.token, errand.target.provider)
        except Unavailable as error:
            log.warning("overflow: the key of %s cannot be looked up: %s", errand.token, error)
            return None, None

    async def _wanted(self, errand: Errand) -> Wanted:
        target = errand.target
        return Wanted(
            model=target.model,
            version=target.version,
            input=await self._files.given(errand),
            webhook=webhook_url(self._public_url, errand) if self._public_url else "",
            run_s=errand.run_s,
        )

    def _breaker(self, provider: Provider, key: str) -> Breaker:
        return self._breakers[provider.name, hashlib.sha256(key.encode()).digest()]

    def _named(self, job: Job, remote: Remote) -> Remote:
        job.remote = remote.id
        self.knows(remote.id)
        self._voice.begun(job)
        return remote

    def knows(self, remote: str) -> None:
        """That name is taken: no other job is looked for under it."""
        self._taken[remote] = None
        while len(self._taken) > REMEMBERED:
            del self._taken[next(iter(self._taken))]

    def _finish(self, job: Job, finished: wire.Finished) -> None:
        self._voice.tell(job.errand.number, finished)


def _changed(before: Remote, now: Remote) -> bool:
    return (now.status, now.logs, bytes(now.output)) != (before.status, before.logs, bytes(before.output))


def _patience_s(error: ProviderError, waited_s: float) -> float:
    """When to look again after no good answer."""
    if isinstance(error, BadKey):
        return TROUBLE_S
    least_s = error.retry_after_s if isinstance(error, Throttled) else 0.0
    return min(max(2 * waited_s, POLL_FIRST_S, least_s), TROUBLE_S)


NOTHING = Raw(b"null")
NO_FILES: tuple[wire.StoredFile, ...] = ()
REMEMBERED = 10_000
"""Names at providers that are known to be taken."""
WEBHOOK_PATH = "/v1/overflow"


def mark_of(errand: Errand) -> str:
    """What a provider proves with that it speaks of this attempt."""
    return hmac.new(errand.secret.encode(), b"overflow webhook", hashlib.sha256).hexdigest()[:32]


def webhook_url(public_url: str, errand: Errand) -> str:
    """Where the provider tells of its end: the same each time."""
    return f"{public_url}{WEBHOOK_PATH}/{errand.prediction}/{errand.attempt}/{mark_of(errand)}"
