"""Who is asking: tokens to principals, trusted for a moment, and told when they are revoked."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any

from coordinator.actor.clock import Clock, Timer
from coordinator.errors import Unavailable
from coordinator.letters import REPLICATE
from coordinator.store.daily_limits import NO_LIMITS, DailyLimits
from coordinator.store.errors import NotAllowed
from coordinator.store.models import check_allowed
from coordinator.store.tokens import Token, Tokens
from edge.client_address import ClientAddresses, counted_as
from edge.errors import Problem, unauthenticated
from edge.fresh import Fresh
from edge.rates import Buckets

log = logging.getLogger(__name__)

NO_TOKEN = "You did not pass an authentication token"  # noqa: S105
BAD_TOKEN = "Invalid or expired API token."  # noqa: S105
_CACHED_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request acts for, and what it may do."""

    token: str
    """Id of the token, never its secret."""
    account: str
    scopes: frozenset[str]
    pools: tuple[str, ...]
    models: tuple[str, ...]
    """Patterns of the model names that it may use and register; empty for all."""
    name: str
    share: float = 1.0
    account_share: float = 1.0
    """Weights beside other tokens of the account, and of the account beside others."""
    storage_at_most: int | None = None
    """Bytes that the files of its account may take."""
    max_running: int = 0
    """How many predictions of it may run at once on each model; 0 is no limit."""
    creations_per_min: int | None = None
    requests_per_min: int | None = None
    """How often it may create, and ask for anything else; 0 is no limit, None the server's."""
    replicate: bool = False
    """It has a key of Replicate's, so that its predictions may run there."""
    retention_s: float | None = None
    """How long what it makes is kept after its end; None leaves it to the model."""
    daily: DailyLimits = NO_LIMITS
    account_daily: DailyLimits = NO_LIMITS
    """What it, and its account, may have in a day."""
    api: str = REPLICATE
    """The dialect that its client speaks (``coordinator/letters.py``)."""
    generation: int = 1
    """Which of the token's secrets was shown."""
    maker: "Principal | None" = None
    """Of a key that an account's token made for a user: that token, whose limits hold, too."""

    @property
    def counts_as(self) -> str:
        """The token that what it creates counts as: the keys of one share what that one has."""
        return self.token if self.maker is None else self.maker.token

    def require_model(self, model: str) -> None:
        """Raises Problem ``not_allowed`` unless the token, and the one whose key it is, may use the model."""
        for each in (self, self.maker):
            if each is not None and each.models:
                try:
                    check_allowed(model, each.models, "use")
                except NotAllowed as error:
                    raise Problem("not_allowed", f"{error}: {error.hint}.") from None

    def require(self, scope: str) -> None:
        """Raises Problem ``missing_scope`` unless the token has the scope, or ``admin``."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Problem("missing_scope", f"This token lacks the scope '{scope}'.")


class Watch:
    """One listener for the revocation of a token. Close it, or use it as a context manager."""

    __slots__ = ("_authenticator", "called", "generation", "on_revoked", "token")

    def __init__(
        self,
        authenticator: "Authenticator",
        token: str,
        on_revoked: Callable[[], object],
        generation: int | None,
    ) -> None:
        self._authenticator = authenticator
        self.token = token
        self.on_revoked = on_revoked
        self.generation = generation
        self.called = False
        """Whether the token was found revoked."""

    def close(self) -> None:
        self._authenticator._unwatch(self)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


class Authenticator:
    """Turns request headers into principals.

    A token is trusted for at most ``recheck_s`` without looking again. Tokens that are being watched are
    looked at by a sweep of that period; nothing runs while nobody watches. ``stop()`` ends the sweep.
    """

    def __init__(
        self,
        tokens: Tokens,
        recheck_s: float,
        clock: Clock,
        *,
        failures_per_min: int = 0,
        clients: ClientAddresses | None = None,
        on_use: Callable[[str, int], object] | None = None,
    ) -> None:
        """An address may try ``failures_per_min`` wrong tokens; 0 is no limit. ``on_use`` is told the id of
        each token that is used, and when, in microseconds since the epoch."""
        self._tokens = tokens
        self._recheck_s = recheck_s
        self._clock = clock
        self._records: Fresh[bytes, tuple[Token, Principal] | None] = Fresh(
            ttl_s=recheck_s, size=_CACHED_TOKENS, monotonic=clock.monotonic
        )
        self._failures_per_min = failures_per_min
        self._failures = Buckets(clock.monotonic)
        self._clients = clients or ClientAddresses()
        self._on_use = on_use
        self._watches: dict[str, set[Watch]] = {}
        self._timer: Timer | None = None
        self._sweep: asyncio.Task[None] | None = None
        self._stopped = False

    async def principal(self, scope: Mapping[str, Any]) -> Principal:
        """The principal of a request's ASGI scope.

        Raises Problem ``unauthenticated``, ``throttled``, and Unavailable when the token cannot be looked up
        now.
        """
        secrets = tokens_of(scope["headers"])
        if not secrets:
            raise unauthenticated(NO_TOKEN)
        return await self.owner(secrets, scope)

    def address(self, scope: Mapping[str, Any]) -> str:
        """What limits by address count a request under."""
        return counted_as(self._clients.of(scope))

    async def owner(self, secrets: Iterable[str], scope: Mapping[str, Any]) -> Principal:
        """Whose the first good one of these secrets is. Raises as ``principal`` does."""
        for secret in secrets:
            digest = _digest(secret)
            if self._records.last(digest) is None:
                # Nobody's, as far as we remember. What is somebody's is never refused for its address: others
                # behind the same one may have tried wrong tokens.
                self._refuse_guessing(scope)
            principal = await self._of_digest(digest, secret)
            if principal is not None:
                return principal
        if self._failures_per_min:
            self._failures.take(counted_as(self._clients.of(scope)), self._failures_per_min)
        raise unauthenticated(BAD_TOKEN)

    async def of_secret(self, secret: str) -> Principal | None:
        """Whose secret it is; None when it is nobody's, or of no use now. Raises Unavailable."""
        return await self._of_digest(_digest(secret), secret)

    async def _of_digest(self, digest: bytes, secret: str) -> Principal | None:
        found, now = await self._records.get(digest, partial(self._look_up, secret)), self._clock.now()
        if found is None or not found[0].usable(now):
            return None
        if self._on_use is not None:
            self._on_use(found[0].id, now)
        return found[1]

    def watch(self, token: str, on_revoked: Callable[[], object], generation: int | None = None) -> Watch:
        """Call ``on_revoked`` once, from the loop, soon after the token with this id stopped being usable, or
        that one of its secrets which was shown."""
        watch = Watch(self, token, on_revoked, generation)
        self._watches.setdefault(token, set()).add(watch)
        self._arm()
        return watch

    async def usable(self, token: str) -> bool:
        """Whether the token with this id may be used now. One look into the store."""
        return await self._usable(await self._tokens.by_id(token))

    def forget(self, token: str) -> None:
        """The token with this id has been revoked: trust it no longer, and tell those who watch it."""
        self._trust_no_longer(token)
        self._tell(token, lambda watch: True)

    def changed(self, token: str) -> None:
        """The token with this id has another secret, or other rights: look at it again, and at its keys."""
        self._trust_no_longer(token)
        if self._watches and self._sweep is None and not self._stopped:
            if self._timer is not None:
                self._timer.cancel()
            self._start_sweep()

    async def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sweep is not None:
            self._sweep.cancel()
            await asyncio.wait((self._sweep,))
            self._sweep = None
        await self._records.stop()

    async def _look_up(self, secret: str) -> tuple[Token, Principal] | None:
        record = await self._tokens.by_secret(secret)
        if record is None:
            return None
        principal = _principal(record)
        if record.parent is None:
            return record, principal
        maker = await self._tokens.by_id(record.parent)
        if maker is None or not maker.usable(self._clock.now()):
            return None
        return record, _key_of(principal, _principal(maker))

    async def _usable(self, record: Token | None) -> bool:
        if record is None or not record.usable(self._clock.now()):
            return False
        return record.parent is None or await self._usable(await self._tokens.by_id(record.parent))

    def _trust_no_longer(self, token: str) -> None:
        self._records.forget(lambda found: found is not None and token in (found[0].id, found[0].parent))

    def _tell(self, token: str, over: Callable[[Watch], bool]) -> None:
        """Those of the token's watches that are over."""
        watches = self._watches.get(token, set())
        for watch in [watch for watch in watches if over(watch)]:
            self._unwatch(watch)
            watch.called = True
            watch.on_revoked()

    async def _look_at(self, token: str) -> None:
        record = await self._tokens.by_id(token)
        if record is None or not await self._usable(record):
            self.forget(token)
            return
        before = record.previous_until is not None and self._clock.now() < record.previous_until
        oldest = record.generation - before
        self._tell(token, lambda watch: watch.generation is not None and watch.generation < oldest)

    def _refuse_guessing(self, scope: Mapping[str, Any]) -> None:
        if not self._failures_per_min:
            return
        wait_s = self._failures.wait_s(counted_as(self._clients.of(scope)), self._failures_per_min)
        if wait_s:
            limit = f"{self._failures_per_min} a minute (failed_logins_per_min)"
            detail = f"Too many wrong tokens came from your address: it may try {limit}."
            raise Problem("throttled", detail, retry_after_s=wait_s)

    def _unwatch(self, watch: Watch) -> None:
        watches = self._watches.get(watch.token)
        if watches is not None:
            watches.discard(watch)
            if not watches:
                del self._watches[watch.token]

    def _arm(self) -> None:
        if self._timer is None and self._sweep is None and not self._stopped:
            self._timer = self._clock.call_at(self._clock.monotonic() + self._recheck_s, self._start_sweep)

    def _start_sweep(self) -> None:
        self._timer = None
        if self._watches and not self._stopped:
            self._sweep = asyncio.ensure_future(self._look_at_watched())
            self._sweep.add_done_callback(self._swept)

    async def _look_at_watched(self) -> None:
        for token in tuple(self._watches):
            await self._look_at(token)

    def _swept(self, sweep: asyncio.Task[None]) -> None:
        self._sweep = None
        if not sweep.cancelled() and (error := sweep.exception()) is not None:
            # A store that is away for a moment must not cost every agent its socket: look again next time.
            if isinstance(error, Unavailable):
                log.warning("watched tokens could not be looked at: %s", error)
            else:
                log.error("watched tokens could not be looked at", exc_info=error)
        if self._watches:
            self._arm()


def _principal(record: Token) -> Principal:
    return Principal(
        token=record.id,
        account=record.account,
        scopes=frozenset(record.scopes),
        pools=tuple(record.pools),
        models=tuple(record.models),
        name=record.name,
        share=record.share,
        account_share=record.account_share,
        storage_at_most=record.account_storage_at_most,
        max_running=record.max_running,
        creations_per_min=record.creations_per_min,
        retention_s=record.retention_s,
        requests_per_min=record.requests_per_min,
        daily=record.daily,
        account_daily=record.account_daily,
        replicate=record.replicate is not None,
        api=record.api,
        generation=record.generation,
    )


def _key_of(key: Principal, maker: Principal) -> Principal:
    """A key may do what it was made for as far as its maker may; what it creates is treated as that one's."""
    return replace(
        key,
        scopes=key.scopes if "admin" in maker.scopes else key.scopes & maker.scopes,
        pools=tuple(pool for pool in key.pools if pool in maker.pools),
        share=maker.share,
        max_running=maker.max_running,
        retention_s=maker.retention_s,
        daily=maker.daily,
        replicate=maker.replicate,
        maker=maker,
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def tokens_of(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """The secrets in ``Authorization: Bearer|Token X`` and ``X-Cogflare-Token: X``, in the order in which
    they count. Beside a wrong ``Token`` the other header means nothing; beside a ``Bearer``, which in 2022
    was for another server, it does."""
    first: bytes | None = None
    other: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.strip().partition(b" ")
            scheme = scheme.lower()
            if scheme in (b"bearer", b"token") and first is None and (secret := secret.strip()):
                if scheme == b"token":
                    return (secret.decode("latin-1"),)
                first = secret
        elif name == b"x-cogflare-token" and other is None:
            other = value.strip() or None
    return tuple(secret.decode("latin-1") for secret in (first, other) if secret is not None)
