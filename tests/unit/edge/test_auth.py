"""Tokens, on a real store: how long one is trusted, and who hears of its end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.actor.clock import SystemClock
from coordinator.store.database import Store, migrate
from coordinator.store.tokens import Token, Tokens
from edge.auth import Authenticator, token_of
from edge.errors import Problem

SHORT_S = 0.05


class Counting:
    """The store's tokens, and how often they were looked at."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.looks = 0

    async def looked(self, times: int) -> None:
        """Until the store has been asked so often."""
        async with asyncio.timeout(5):
            while True:
                if self.looks >= times:
                    return
                await asyncio.sleep(0.005)

    async def by_secret(self, secret: str) -> Token | None:
        self.looks += 1
        return await self.tokens.by_secret(secret)

    async def by_id(self, id: str) -> Token | None:
        self.looks += 1
        return await self.tokens.by_id(id)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite+aiosqlite:///{tmp_path}/control.db"
    await asyncio.to_thread(migrate, url)
    store = await Store.open(url)
    yield store
    await store.close()


def headers(secret: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", f"Bearer {secret}".encode())]


def authenticator(tokens: Counting | Tokens, recheck_s: float = 60.0) -> Authenticator:
    return Authenticator(tokens, recheck_s, SystemClock())  # type: ignore[arg-type]


async def test_a_principal_is_what_the_record_says(store: Store) -> None:
    token, secret = await store.tokens.create(
        name="n", account="a", scopes=("submit",), pools=("x", "y"), models=("me/*",)
    )
    principal = await authenticator(store.tokens).principal(headers(secret))
    assert (principal.token, principal.account, principal.pools) == (token.id, "a", ("x", "y"))
    assert (principal.models, principal.name) == (("me/*",), "n")
    principal.require("submit")
    with pytest.raises(Problem) as refused:
        principal.require("read")
    assert refused.value.code == "missing_scope"


async def test_many_askers_are_one_look_and_then_none(store: Store) -> None:
    _, secret = await store.tokens.create(name="n")
    tokens = Counting(store.tokens)
    auth = authenticator(tokens)
    await asyncio.gather(*(auth.principal(headers(secret)) for _ in range(50)))
    await auth.principal(headers(secret))
    assert tokens.looks == 1


async def test_an_asker_that_goes_away_does_not_fail_the_others(store: Store) -> None:
    _, secret = await store.tokens.create(name="n")
    auth = authenticator(store.tokens)
    first = asyncio.ensure_future(auth.principal(headers(secret)))
    second = asyncio.ensure_future(auth.principal(headers(secret)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).account == "default"


async def test_trust_ends_after_the_recheck_time(store: Store) -> None:
    _, secret = await store.tokens.create(name="n")
    auth = authenticator(store.tokens, SHORT_S)
    await auth.principal(headers(secret))
    await store.tokens.revoke("n")
    with pytest.raises(Problem):
        async with asyncio.timeout(5):
            while True:
                await auth.principal(headers(secret))
                await asyncio.sleep(0.005)


async def test_a_forgotten_token_is_refused_at_once(store: Store) -> None:
    token, secret = await store.tokens.create(name="n")
    auth = authenticator(store.tokens)
    await auth.principal(headers(secret))
    told: list[str] = []
    with (
        auth.watch(token.id, lambda: told.append("me")) as watch,
        auth.watch("other", lambda: told.append("x")),
    ):
        await store.tokens.revoke("n")
        auth.forget(token.id)
        assert (told, watch.called) == (["me"], True)
    with pytest.raises(Problem):
        await auth.principal(headers(secret))
    await auth.stop()


async def test_expiry_needs_no_look(store: Store) -> None:
    _, secret = await store.tokens.create(name="n", expires_at=SystemClock().now() + 30_000)
    auth = authenticator(store.tokens)
    with pytest.raises(Problem):
        async with asyncio.timeout(5):
            while True:
                await auth.principal(headers(secret))
                await asyncio.sleep(0.005)


async def test_watched_tokens_are_looked_at_and_others_are_not(store: Store) -> None:
    token, _ = await store.tokens.create(name="n")
    tokens = Counting(store.tokens)
    auth = authenticator(tokens, SHORT_S)
    revoked = asyncio.Event()
    with auth.watch(token.id, revoked.set):
        await tokens.looked(2)
        assert not revoked.is_set()
        await store.tokens.revoke("n")
        async with asyncio.timeout(5):
            await revoked.wait()
    await auth.stop()
    await auth.stop()


async def test_a_store_that_is_away_costs_nobody_the_connection(store: Store) -> None:
    token, _ = await store.tokens.create(name="n")
    tokens = Counting(store.tokens)
    auth = authenticator(tokens, SHORT_S)
    revoked = asyncio.Event()
    await store.close()
    with auth.watch(token.id, revoked.set):
        await tokens.looked(2)
        assert not revoked.is_set()
    await auth.stop()


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ([(b"authorization", b"Bearer x")], "x"),
        ([(b"authorization", b"tOKEN  x ")], "x"),
        ([(b"authorization", b"Basic x")], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"x-cogflare-token", b"y")], "y"),
        ([(b"x-cogflare-token", b"y"), (b"authorization", b"Bearer x")], "x"),
        ([(b"authorization", b"Basic x"), (b"x-cogflare-token", b"y")], "y"),
        ([(b"x-cogflare-token", b" ")], None),
    ],
)
def test_where_the_token_is(headers: list[tuple[bytes, bytes]], secret: str | None) -> None:
    assert token_of(headers) == secret
