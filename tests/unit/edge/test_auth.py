"""Tokens, on a real store: how long one is trusted, and who hears of its end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.actor.clock import SystemClock
from coordinator.store.database import Store, migrate
from coordinator.store.tokens import Token, Tokens
from edge.auth import Authenticator, tokens_of
from edge.client_address import ClientAddresses
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


def asked(secret: str) -> dict[str, Any]:
    return {"headers": [(b"host", b"x"), (b"authorization", f"Bearer {secret}".encode())]}


def authenticator(tokens: Counting | Tokens, recheck_s: float = 60.0, **more: Any) -> Authenticator:
    return Authenticator(tokens, recheck_s, SystemClock(), **more)  # type: ignore[arg-type]


async def test_a_principal_is_what_the_record_says(store: Store) -> None:
    token, secret = await store.tokens.create(
        name="n", account="a", scopes=("submit",), pools=("x", "y"), models=("me/*",)
    )
    principal = await authenticator(store.tokens).principal(asked(secret))
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
    await asyncio.gather(*(auth.principal(asked(secret)) for _ in range(50)))
    await auth.principal(asked(secret))
    assert tokens.looks == 1


async def test_an_asker_that_goes_away_does_not_fail_the_others(store: Store) -> None:
    _, secret = await store.tokens.create(name="n")
    auth = authenticator(store.tokens)
    first = asyncio.ensure_future(auth.principal(asked(secret)))
    second = asyncio.ensure_future(auth.principal(asked(secret)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).account == "default"


async def test_trust_ends_after_the_recheck_time(store: Store) -> None:
    _, secret = await store.tokens.create(name="n")
    auth = authenticator(store.tokens, SHORT_S)
    await auth.principal(asked(secret))
    await store.tokens.revoke("n")
    with pytest.raises(Problem):
        async with asyncio.timeout(5):
            while True:
                await auth.principal(asked(secret))
                await asyncio.sleep(0.005)


async def test_a_forgotten_token_is_refused_at_once(store: Store) -> None:
    token, secret = await store.tokens.create(name="n")
    auth = authenticator(store.tokens)
    await auth.principal(asked(secret))
    told: list[str] = []
    with (
        auth.watch(token.id, lambda: told.append("me")) as watch,
        auth.watch("other", lambda: told.append("x")),
    ):
        await store.tokens.revoke("n")
        auth.forget(token.id)
        assert (told, watch.called) == (["me"], True)
    with pytest.raises(Problem):
        await auth.principal(asked(secret))
    await auth.stop()


async def test_expiry_needs_no_look(store: Store) -> None:
    _, secret = await store.tokens.create(name="n", expires_at=SystemClock().now() + 30_000)
    auth = authenticator(store.tokens)
    with pytest.raises(Problem):
        async with asyncio.timeout(5):
            while True:
                await auth.principal(asked(secret))
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
    ("headers", "secrets"),
    [
        ([(b"authorization", b"Bearer x")], ("x",)),
        ([(b"authorization", b"tOKEN  x ")], ("x",)),
        ([(b"authorization", b"Basic x")], ()),
        ([(b"authorization", b"Bearer")], ()),
        ([(b"x-cogflare-token", b"y")], ("y",)),
        ([(b"x-cogflare-token", b"y"), (b"authorization", b"Bearer x")], ("x", "y")),
        ([(b"x-cogflare-token", b"y"), (b"authorization", b"Token x")], ("x",)),
        ([(b"authorization", b"Basic x"), (b"x-cogflare-token", b"y")], ("y",)),
        ([(b"x-cogflare-token", b" ")], ()),
    ],
)
def test_where_the_token_is(headers: list[tuple[bytes, bytes]], secrets: tuple[str, ...]) -> None:
    assert tokens_of(headers) == secrets


async def test_an_address_may_try_only_so_many_wrong_tokens(store: Store) -> None:
    _, known = await store.tokens.create(name="known")
    _, unseen = await store.tokens.create(name="unseen")
    tokens = Counting(store.tokens)
    auth = authenticator(tokens, failures_per_min=2, clients=ClientAddresses(("127.0.0.1/32",)))

    async def refused(secret: str, address: str = "192.0.2.1", *more: tuple[bytes, bytes]) -> str:
        scope = asked(secret)
        with pytest.raises(Problem) as caught:
            await auth.principal({"headers": [*scope["headers"], *more], "client": (address, 5000)})
        return caught.value.code

    await auth.principal(asked(known) | {"client": ("192.0.2.1", 1)})
    assert [await refused("x"), await refused("y")] == ["unauthenticated"] * 2
    looks = tokens.looks
    assert [await refused("z"), await refused(unseen)] == ["throttled"] * 2
    assert tokens.looks == looks  # what is refused for its address costs no look into the store
    assert (await auth.principal(asked(known) | {"client": ("192.0.2.1", 2)})).name == "known"
    assert (await auth.principal(asked(unseen) | {"client": ("192.0.2.2", 2)})).name == "unseen"

    behind = (b"x-forwarded-for", b"10.9.9.9, 192.0.2.1")
    assert await refused("z", "127.0.0.1", behind) == "throttled"
    assert await refused("z", "192.0.2.3", behind) == "unauthenticated"


async def test_no_token_is_no_wrong_token(store: Store) -> None:
    auth = authenticator(store.tokens, failures_per_min=1)
    for _ in range(3):
        with pytest.raises(Problem) as caught:
            await auth.principal({"headers": [], "client": ("192.0.2.1", 1)})
        assert caught.value.code == "unauthenticated"
