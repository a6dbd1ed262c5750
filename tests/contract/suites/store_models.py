"""What every control store must do with models and versions. The fixture ``store`` is the store's own."""

import asyncio
from typing import Any

import pytest

from coordinator.store.database import Store
from coordinator.store.errors import Invalid, NotAllowed, NotFound

V1, V2, V3 = "1" * 64, "2" * 64, "3" * 64


async def register(
    store: Store,
    version: str = V1,
    *,
    now: int = 1,
    model: str = "acme/hello",
    account: str = "acme",
    pool: str = "default",
    schema: bytes = b'{"openapi":"3.0.2"}',
    allowed: tuple[str, ...] = (),
) -> bool:
    return await store.models.register(
        account=account,
        pool=pool,
        model=model,
        version=version,
        openapi_schema=schema,
        cog_version="0.16",
        allowed=allowed,
        now=now,
    )


class ModelsContract:
    async def test_a_registered_version_is_found(self, store: Store) -> None:
        assert await register(store, now=5)
        model = await store.models.get("acme", "acme/hello")
        assert model is not None
        assert (model.model, model.account, model.visibility) == ("acme/hello", "acme", "private")
        assert (model.created_at, model.run_count, model.pools) == (5, 0, ("default",))
        version = model.latest_version
        assert version is not None
        assert (version.id, version.model, version.account, version.created_at) == (
            V1,
            "acme/hello",
            "acme",
            5,
        )
        assert (version.cog_version, version.openapi_schema) == ("0.16", b'{"openapi":"3.0.2"}')
        assert version.pools == ("default",)
        assert await store.models.version("acme", "acme/hello", V1) == version
        assert await store.models.version("acme", None, V1) == version
        assert await store.models.versions("acme", "acme/hello") == [version]

    async def test_registering_again_changes_nothing(self, store: Store) -> None:
        assert await register(store, now=5)
        before = await store.models.get("acme", "acme/hello")
        assert not await register(store, now=9)
        assert await store.models.get("acme", "acme/hello") == before

    async def test_a_new_schema_of_the_same_version_is_taken(self, store: Store) -> None:
        await register(store, now=5)
        assert await register(store, now=9, schema=b"{}")
        version = await store.models.version("acme", None, V1)
        assert version is not None
        assert (version.openapi_schema, version.created_at) == (b"{}", 5)

    async def test_many_at_once_make_one(self, store: Store) -> None:
        made = await asyncio.gather(*(register(store, now=i) for i in range(8)))
        assert any(made)
        assert len(await store.models.versions("acme", "acme/hello")) == 1

    async def test_versions_come_newest_first(self, store: Store) -> None:
        for now, version in ((1, V2), (2, V1), (3, V3)):
            await register(store, version, now=now)
        assert [row.id for row in await store.models.versions("acme", "acme/hello")] == [V3, V1, V2]
        model = await store.models.get("acme", "acme/hello")
        assert model is not None
        assert model.latest_version is not None
        assert model.latest_version.id == V3

    async def test_a_version_is_registered_per_pool(self, store: Store) -> None:
        await register(store, V1, now=1, pool="default")
        await register(store, V2, now=2, pool="fast")
        assert await register(store, V1, now=3, pool="fast")
        model = await store.models.get("acme", "acme/hello", ("fast", "default"))
        assert model is not None
        assert model.pools == ("fast", "default")
        model = await store.models.get("acme", "acme/hello", ("default",))
        assert model is not None
        assert model.pools == ("default",)
        assert model.latest_version is not None
        assert model.latest_version.id == V1
        assert model.latest_version.pools == ("default", "fast")
        assert await store.models.get("acme", "acme/hello", ("slow",)) is None
        assert await store.models.get("acme", "acme/hello", ()) is None

    async def test_a_name_belongs_to_who_came_first(self, store: Store) -> None:
        await register(store)
        with pytest.raises(NotAllowed, match="another account"):
            await register(store, account="evil")
        with pytest.raises(NotAllowed):
            await register(store, V2, account="evil")
        assert [row.account for row in await store.models.versions("acme", "acme/hello")] == ["acme"]

    async def test_patterns_say_what_may_be_registered(self, store: Store) -> None:
        assert await register(store, allowed=("other/x", "acme/*"))
        for patterns in (("acme",), ("ACME/*",), ("other/*", "acme/hell")):
            with pytest.raises(NotAllowed, match="may not register"):
                await register(store, allowed=patterns)

    @pytest.mark.parametrize(
        "bad",
        [
            {"model": "hello"},
            {"model": "Acme/hello"},
            {"version": "1" * 63},
            {"version": "latest"},
            {"pool": ""},
            {"account": "a b"},
        ],
    )
    async def test_bad_names_are_refused(self, store: Store, bad: dict[str, str]) -> None:
        with pytest.raises(Invalid):
            await register(store, **bad)  # type: ignore[arg-type]

    async def test_private_models_are_unseen_by_others(self, store: Store) -> None:
        await register(store)
        assert await store.models.get("other", "acme/hello") is None
        assert await store.models.versions("other", "acme/hello") == []
        assert await store.models.version("other", "acme/hello", V1) is None
        assert await store.models.version("other", None, V1) is None
        assert await store.models.list("other", None, 10) == ([], None)
        await store.models.set_visibility("acme", "acme/hello", "public")
        assert await store.models.get("other", "acme/hello") is not None
        assert await store.models.version("other", None, V1) is not None
        assert len((await store.models.list("other", None, 10))[0]) == 1
        with pytest.raises(NotFound):
            await store.models.set_visibility("other", "acme/hello", "private")

    async def test_the_own_model_goes_before_public_ones(self, store: Store) -> None:
        await register(store, now=1, model="acme/hello", account="acme")
        await store.models.set_visibility("acme", "acme/hello", "public")
        await register(store, now=2, model="bob/hello", account="bob")
        found = [await store.models.version(who, None, V1) for who in ("acme", "bob", "carol")]
        assert [row and row.model for row in found] == ["acme/hello", "bob/hello", "acme/hello"]
        foreign = await store.models.version("bob", "acme/hello", V1)
        assert foreign is not None
        assert foreign.account == "acme"

    async def test_lists_come_in_pages_newest_version_first(self, store: Store) -> None:
        for i in range(5):
            await register(store, model=f"acme/m{i}", now=10)
        await register(store, V2, model="acme/m1", now=20)
        await register(store, V1, model="bob/private", account="bob", now=30)
        seen: list[tuple[str, str]] = []
        cursor: str | None = None
        sizes = []
        while True:
            page, cursor = await store.models.list("acme", cursor, 2)
            sizes.append(len(page))
            seen += [(row.model, row.latest_version.id) for row in page if row.latest_version]
            if cursor is None:
                break
        assert sizes == [2, 2, 1]
        assert seen == [("acme/m1", V2), *((f"acme/m{i}", V1) for i in (4, 3, 2, 0))]

    async def test_lists_are_sorted_by_either_time_either_way(self, store: Store) -> None:
        for i, name in enumerate("cab"):
            await register(store, model=f"acme/{name}", now=10 + i)
        await register(store, V2, model="acme/c", now=20)

        async def names(**sorting: Any) -> str:
            found, cursor = "", None
            while True:
                page, cursor = await store.models.list("acme", cursor, 1, **sorting)
                found += "".join(row.model[-1] for row in page)
                if cursor is None:
                    return found

        assert await names() == "cba"
        assert await names(ascending=True) == "abc"
        assert await names(by="created_at") == "bac"
        assert await names(by="created_at", ascending=True) == "cab"

    @pytest.mark.parametrize(
        "cursor", ["", "x", "!!!!", "ü", "bm8gbnVtYmVy", "LTEgYQ", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5IGE"]
    )
    async def test_made_up_cursors_are_refused(self, store: Store, cursor: str) -> None:
        with pytest.raises(Invalid):
            await store.models.list("acme", cursor, 2)

    async def test_runs_are_counted(self, store: Store) -> None:
        await register(store)
        await store.models.count_runs({"acme/hello": 2, "acme/unknown": 1})
        await store.models.count_runs({"acme/hello": 3})
        await store.models.count_runs({})
        model = await store.models.get("acme", "acme/hello")
        assert model is not None
        assert model.run_count == 5

    async def test_a_model_keeps_what_is_set(self, store: Store) -> None:
        await register(store)
        row = await store.models.configure(
            "acme/hello", {"run_s": 5.0, "gpu": "a100", "visibility": "public"}
        )
        assert (row.config.run_s, row.config.gpu, row.visibility) == (5.0, "a100", "public")
        row = await store.models.configure("acme/hello", {"run_s": None, "retries": 0})
        assert (row.config.run_s, row.config.gpu, row.config.retries) == (None, "a100", 0)
        version = await store.models.version("other", "acme/hello", V1)
        assert version is not None
        assert version.config == row.config
        assert await store.models.all() == [row]

    async def test_what_cannot_be_set_changes_nothing(self, store: Store) -> None:
        await register(store)
        with pytest.raises(Invalid):
            await store.models.configure("acme/hello", {"run_s": "long"})
        with pytest.raises(NotFound):
            await store.models.configure("acme/other", {"run_s": 5.0})
        with pytest.raises(NotFound):
            await store.models.any("acme/other")
        row = await store.models.any("acme/hello")
        assert row.config.run_s is None

    async def test_the_hardware_that_workers_had_is_remembered(self, store: Store) -> None:
        assert await store.models.gpus("default", "acme/hello") == []
        await store.models.seen("default", "acme/hello", [("T4", 16), ("T4", 16), ("A100", 80)], now=1)
        await store.models.seen("default", "acme/hello", [("T4", 16), ("A100", 40)], now=2)
        await store.models.seen("other", "acme/hello", [("H100", 80)], now=3)
        await store.models.seen("default", "acme/hello", [], now=4)
        found = await store.models.gpus("default", "acme/hello")
        assert found == [("A100", 40), ("A100", 80), ("T4", 16)]
