"""What every control store must do with the names that clients give. ``store`` is the implementation's."""

import asyncio

from msgspec.structs import replace

from coordinator.store.aliases import Alias
from coordinator.store.database import Store


def alias(name: str = "order-7", ids: tuple[str, ...] = ("p1",), **fields: object) -> Alias:
    given = {"account": "acme", "kind": "key", "digest": b"d", "created_at": 10, "expires_at": 20}
    return Alias(name=name, ids=ids, **(given | fields))  # type: ignore[arg-type]


class AliasesContract:
    async def test_whoever_is_first_has_it(self, store: Store) -> None:
        wanted = [alias(ids=(f"p{n}",), digest=b"%d" % n) for n in range(5)]
        got = await asyncio.gather(*map(store.aliases.reserve, wanted))
        assert set(map(type, got)) == {Alias}
        (winner,) = {one.ids for one in got}
        assert await store.aliases.get("acme", "key", "order-7", 11) == wanted[int(winner[0][1:])]

    async def test_accounts_and_kinds_are_apart(self, store: Store) -> None:
        ones = [alias(), alias(account="other", ids=("p2",)), alias(kind="id", ids=("p3",), expires_at=None)]
        for one in ones:
            assert await store.aliases.reserve(one) == one
        assert await store.aliases.get("acme", "key", "order-7", 11) == ones[0]
        assert await store.aliases.get("other", "key", "order-7", 11) == ones[1]
        assert await store.aliases.get("acme", "id", "order-7", 11) == ones[2]
        assert await store.aliases.get("acme", "key", "order-8", 11) is None

    async def test_many_ids_of_which_some_are_empty(self, store: Store) -> None:
        many = alias(ids=("", "p1", "", "p2", ""))
        await store.aliases.reserve(many)
        assert await store.aliases.get("acme", "key", "order-7", 11) == many

    async def test_one_whose_time_is_over_is_nobodys(self, store: Store) -> None:
        await store.aliases.reserve(alias())
        assert await store.aliases.get("acme", "key", "order-7", 19) is not None
        assert await store.aliases.get("acme", "key", "order-7", 20) is None
        later = alias(ids=("p2",), created_at=20, expires_at=30)
        assert await store.aliases.reserve(replace(later, created_at=19)) == alias()
        assert await store.aliases.reserve(later) == later

    async def test_they_are_forgotten_some_at_a_time_and_own_ids_never(self, store: Store) -> None:
        for number in range(5):
            await store.aliases.reserve(alias(f"k{number}", expires_at=20 + number))
        await store.aliases.reserve(alias(kind="id", expires_at=None))
        assert await store.aliases.forget(23, limit=3) == 3
        assert await store.aliases.forget(23, limit=3) == 1
        assert await store.aliases.forget(23, limit=3) == 0
        assert await store.aliases.get("acme", "key", "k4", 0) is not None
        assert await store.aliases.get("acme", "key", "k3", 0) is None
        assert await store.aliases.get("acme", "id", "order-7", 1 << 60) is not None
