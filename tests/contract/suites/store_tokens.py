"""What every control store must do with tokens and objects. The fixtures ``store`` and ``clock`` are the
implementation's."""

import asyncio

import pytest

from coordinator.store.database import Store
from coordinator.store.errors import Ambiguous, Invalid, NameTaken, NotFound, ObjectNotFound
from coordinator.store.objects import ObjectRow


class StoreClock:
    """The store's time in microseconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


class TokensContract:
    async def test_a_token_is_found_by_its_secret(self, store: Store, clock: StoreClock) -> None:
        token, secret = await store.tokens.create(
            name="bot",
            account="acme",
            scopes=("worker", "read"),
            pools=("fast", "default"),
            models=("acme/*",),
            expires_at=clock.now + 10,
            api="cogflare",
            worker="pool-1",
        )
        assert secret.startswith("cf_")
        assert len(secret) == 46
        assert token.prefix == secret[:8]
        assert token.id.startswith("tok_")
        assert token.created_at == clock.now
        assert token.scopes == {"read", "worker"}
        assert token.pools == ("fast", "default")
        assert await store.tokens.by_secret(secret) == token
        assert await store.tokens.by_id(token.id) == token
        assert await store.tokens.list() == [token]
        assert token.usable(clock.now + 9)
        assert not token.usable(clock.now + 10)

    async def test_defaults(self, store: Store) -> None:
        token, _ = await store.tokens.create(name="x")
        assert token.account == "default"
        assert token.scopes == {"submit", "read"}
        assert token.pools == ("default",)
        assert token.models == ()
        assert token.api == "replicate"
        assert token.usable(1 << 60)

    async def test_what_is_no_secret_finds_nothing(self, store: Store) -> None:
        token, secret = await store.tokens.create(name="x")
        for wrong in ("", secret[:-1], secret + "x", token.id, "\udc80", "x" * 100_000):
            assert await store.tokens.by_secret(wrong) is None
        assert await store.tokens.by_id("tok_unknown") is None

    async def test_names_are_unique_among_the_living(self, store: Store, clock: StoreClock) -> None:
        first, _ = await store.tokens.create(name="bot")
        with pytest.raises(NameTaken):
            await store.tokens.create(name="bot")
        await store.tokens.create(name="bot", account="other")
        await store.tokens.revoke(first.id)
        clock.now += 1
        second, _ = await store.tokens.create(name="bot")
        assert [token.id for token in await store.tokens.list("default")] == [first.id, second.id]
        assert await store.tokens.count() == 3

    async def test_of_two_at_once_with_one_name_one_is_made(self, store: Store) -> None:
        made = await asyncio.gather(
            *(store.tokens.create(name="bot") for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(outcome, NameTaken) for outcome in made) == 4
        assert await store.tokens.count() == 1

    async def test_a_revoked_token_is_not_usable(self, store: Store, clock: StoreClock) -> None:
        token, secret = await store.tokens.create(name="bot")
        clock.now += 5
        revoked = await store.tokens.revoke("bot")
        assert revoked.id == token.id
        assert revoked.revoked_at == clock.now
        assert not revoked.usable(clock.now)
        assert await store.tokens.by_secret(secret) == revoked
        clock.now += 5
        assert await store.tokens.revoke("bot") == revoked
        assert await store.tokens.revoke(token.id) == revoked

    async def test_shares_of_a_token_and_of_its_account(self, store: Store, clock: StoreClock) -> None:
        token, secret = await store.tokens.create(name="bot", account="acme", share=0.5, max_running=3)
        assert (token.share, token.max_running, token.account_share) == (0.5, 3, 1.0)
        account = await store.accounts.set_share("acme", 4.0)
        assert (account.name, account.share) == ("acme", 4.0)
        known = await store.tokens.by_secret(secret)
        assert known is not None
        assert (known.share, known.max_running, known.account_share) == (0.5, 3, 4.0)
        assert [account.name for account in await store.accounts.list()] == ["acme"]
        with pytest.raises(NotFound):
            await store.accounts.set_share("nobody", 1.0)
        for share in (0.0, -1.0, 1e9, float("nan")):
            with pytest.raises(Invalid):
                await store.accounts.set_share("acme", share)
            with pytest.raises(Invalid):
                await store.tokens.create(name="other", share=share)

    async def test_rates_of_a_token(self, store: Store) -> None:
        _, secret = await store.tokens.create(name="bot", creations_per_min=0, requests_per_min=90)
        known = await store.tokens.by_secret(secret)
        assert known is not None
        assert (known.creations_per_min, known.requests_per_min) == (0, 90)
        _, secret = await store.tokens.create(name="plain")
        known = await store.tokens.by_secret(secret)
        assert known is not None
        assert (known.creations_per_min, known.requests_per_min) == (None, None)
        for rate in (-1, 1 << 31):
            with pytest.raises(Invalid):
                await store.tokens.create(name="other", requests_per_min=rate)

    async def test_a_name_must_be_clear(self, store: Store) -> None:
        await store.tokens.create(name="bot", account="a")
        await store.tokens.create(name="bot", account="b")
        with pytest.raises(Ambiguous, match="a, b"):
            await store.tokens.revoke("bot")
        assert (await store.tokens.revoke("bot", account="b")).account == "b"
        assert (await store.tokens.revoke("bot")).account == "a"

    async def test_unknown_tokens_and_foreign_ones(self, store: Store) -> None:
        token, _ = await store.tokens.create(name="bot")
        with pytest.raises(NotFound):
            await store.tokens.revoke("robot")
        with pytest.raises(NotFound):
            await store.tokens.revoke(token.id, account="other")
        assert await store.tokens.list("other") == []

    @pytest.mark.parametrize(
        "bad",
        [
            {"name": ""},
            {"name": "tok_x"},
            {"name": "a b"},
            {"account": ""},
            {"account": "ü"},
            {"scopes": ()},
            {"scopes": ("root",)},
            {"pools": ()},
            {"pools": ("a b",)},
        ],
    )
    async def test_bad_values_are_refused(self, store: Store, bad: dict[str, object]) -> None:
        with pytest.raises(Invalid):
            await store.tokens.create(**({"name": "bot"} | bad))  # type: ignore[arg-type]
        assert await store.tokens.count() == 0


class ObjectsContract:
    async def test_an_object_keeps_its_number(self, store: Store) -> None:
        assert await store.objects.find("default", "acme/hello") is None
        number = await store.objects.number("default", "acme/hello")
        assert number >= 1
        assert await store.objects.number("default", "acme/hello") == number
        assert await store.objects.find("default", "acme/hello") == number
        assert await store.objects.number("fast", "acme/hello") != number
        assert await store.objects.describe(number) == ObjectRow(
            number=number, pool="default", model="acme/hello", active=False
        )
        assert await store.objects.describe(number + 100) is None

    async def test_who_asks_at_once_gets_one_number(self, store: Store) -> None:
        numbers = await asyncio.gather(*(store.objects.number("default", "acme/hello") for _ in range(20)))
        assert len(set(numbers)) == 1

    async def test_active_and_due_objects_wake(self, store: Store) -> None:
        one, two, three = [await store.objects.number("default", f"acme/m{i}") for i in range(3)]
        assert await store.objects.to_wake(1 << 60) == []
        assert await store.objects.next_alarm() is None
        await store.objects.activate(one)
        await store.objects.deactivate(two, 500)
        await store.objects.deactivate(three, 700)
        assert await store.objects.to_wake(499) == [one]
        assert await store.objects.to_wake(500) == [one, two]
        assert await store.objects.next_alarm() == 500
        await store.objects.activate(two)
        assert await store.objects.next_alarm() == 700
        await store.objects.deactivate(one, None)
        await store.objects.deactivate(two, None)
        assert await store.objects.to_wake(600) == []
        assert (await store.objects.describe(three)) == ObjectRow(
            number=three, pool="default", model="acme/m2", active=False, alarm_at=700
        )

    async def test_unknown_objects_are_not_made(self, store: Store) -> None:
        with pytest.raises(ObjectNotFound):
            await store.objects.activate(7)
        with pytest.raises(ObjectNotFound):
            await store.objects.deactivate(7, None)
