"""What every control store must do with models that clients change, and with deployments. The fixture
``store`` is the store's own."""

import asyncio

import msgspec
import pytest

from coordinator.store.config import ModelConfig
from coordinator.store.database import Store
from coordinator.store.deployments import Deployment
from coordinator.store.errors import InUse, Invalid, NameTaken, NotFound
from tests.contract.suites.store_models import V1, V2, register

MODEL = "acme/hello"


async def create(store: Store, model: str = MODEL, account: str = "acme") -> None:
    await store.model_edits.create(
        account=account,
        model=model,
        visibility="private",
        config=ModelConfig(gpu="T4"),
        description="Says hello",
        links={"github_url": "https://example.test"},
        now=7,
    )


def deployment(name: str = "front", *, account: str = "acme", created_at: int = 1) -> Deployment:
    return Deployment(
        account=account,
        name=name,
        created_at=created_at,
        number=1,
        released_at=created_at,
        model=MODEL,
        version=V1,
        gpu="",
        min_instances=0,
        max_instances=1,
    )


class ModelEditsContract:
    async def test_a_model_without_versions(self, store: Store) -> None:
        await create(store)
        row = await store.models.get("acme", MODEL)
        assert row is not None
        assert (row.latest_version, row.pools, row.created_at, row.config.gpu) == (None, (), 7, "T4")
        assert (row.description, row.readme, row.links) == (
            "Says hello",
            "",
            {"github_url": "https://example.test"},
        )
        assert await store.models.get("acme", MODEL, ("default",)) is None
        assert await store.models.get("bob", MODEL) is None
        assert (await store.models.list("acme", None, 9))[0] == [row]
        assert await register(store, V1, now=9)
        later = await store.models.get("acme", MODEL)
        assert later is not None
        assert later.latest_version is not None
        assert (later.description, later.config.gpu) == ("Says hello", "T4")

    async def test_a_name_has_one_owner(self, store: Store) -> None:
        await create(store)
        for account in ("acme", "bob"):
            with pytest.raises(NameTaken):
                await create(store, account=account)
        await register(store, model="acme/registered")
        with pytest.raises(NameTaken):
            await create(store, "acme/registered", "bob")
        with pytest.raises(Invalid):
            await create(store, "nothing")

    async def test_at_once_one_gets_the_name(self, store: Store) -> None:
        made = await asyncio.gather(
            *(create(store, account=f"a{number}") for number in range(5)), return_exceptions=True
        )
        assert sum(result is None for result in made) == 1
        assert sum(isinstance(result, NameTaken) for result in made) == 4

    async def test_changes_are_of_what_is_said(self, store: Store) -> None:
        await create(store)
        await store.model_edits.update("acme", MODEL, {"readme": "# Hi", "paper_url": "https://p.test"})
        await store.model_edits.update("acme", MODEL, {"description": None, "github_url": None})
        await store.model_edits.update("acme", MODEL, {"visibility": "public"})
        row = await store.models.any(MODEL)
        assert (row.description, row.readme, row.visibility) == ("", "# Hi", "public")
        assert row.links == {"paper_url": "https://p.test"}
        for account, model in (("bob", MODEL), ("acme", "acme/none")):
            with pytest.raises(NotFound):
                await store.model_edits.update(account, model, {"readme": "x"})

    async def test_a_deleted_version_leaves_its_schema(self, store: Store) -> None:
        await register(store, V1)
        await register(store, V1, pool="second")
        await register(store, V2, now=2)
        await store.model_edits.delete_version("acme", MODEL, V1)
        assert [row.id for row in await store.models.versions("acme", MODEL)] == [V2]
        assert await store.models.version("acme", MODEL, V1) is None
        assert await store.models.version("acme", None, V1) is None
        assert await store.models.schema(MODEL, V1) == b'{"openapi":"3.0.2"}'
        assert await store.models.schema(MODEL, "3" * 64) is None
        for account, version in (("acme", V1), ("bob", V2)):
            with pytest.raises(NotFound):
                await store.model_edits.delete_version(account, MODEL, version)
        assert await register(store, V1, now=3)
        assert [row.id for row in await store.models.versions("acme", MODEL)] == [V2, V1]

    async def test_a_model_is_deleted_when_nothing_needs_it(self, store: Store) -> None:
        await register(store, V1)
        number = await store.objects.number("default", MODEL)
        with pytest.raises(NotFound):
            await store.model_edits.delete("bob", MODEL)
        with pytest.raises(InUse, match="versions"):
            await store.model_edits.delete("acme", MODEL)
        await store.model_edits.delete_version("acme", MODEL, V1)
        await store.models.set_visibility("acme", MODEL, "public")
        with pytest.raises(InUse, match="public"):
            await store.model_edits.delete("acme", MODEL)
        await store.models.set_visibility("acme", MODEL, "private")
        await store.objects.activate(number)
        with pytest.raises(InUse, match="predictions"):
            await store.model_edits.delete("acme", MODEL)
        await store.objects.deactivate(number, 5)
        with pytest.raises(InUse, match="predictions"):
            await store.model_edits.delete("acme", MODEL)
        await store.objects.deactivate(number, None)
        await store.model_edits.delete("acme", MODEL)
        assert await store.models.get("acme", MODEL) is None
        assert await store.models.schema(MODEL, V1) is None
        await create(store, account="bob")

    async def test_words_are_looked_for_as_they_are(self, store: Store) -> None:
        await register(store, model="acme/one")
        await register(store, model="acme/two", now=2)
        await store.model_edits.update("acme", "acme/two", {"readme": "100% Ünder_score"})

        async def found(words: str) -> list[str]:
            return [row.model for row in (await store.models.list("acme", None, 9, words))[0]]

        assert await found("ACME") == ["acme/two", "acme/one"]
        assert await found("Ünder") == ["acme/two"]
        assert await found("one") == ["acme/one"]
        assert (
            await found("acme two")
            == await found("100%")
            == await found("%")
            == await found("r_s")
            == ["acme/two"]
        )
        assert await found("1_0") == await found("one two") == await found("'") == []


class DeploymentsContract:
    async def test_they_come_back_as_they_were(self, store: Store) -> None:
        await store.deployments.create(deployment())
        assert await store.deployments.get("acme", "front") == deployment()
        assert await store.deployments.get("bob", "front") is None
        with pytest.raises(NameTaken):
            await store.deployments.create(deployment(created_at=2))
        with pytest.raises(Invalid):
            await store.deployments.create(deployment("a/b"))
        await store.deployments.create(deployment(account="bob"))

    async def test_what_changes_is_a_release(self, store: Store) -> None:
        await store.deployments.create(deployment())
        assert await store.deployments.release("acme", "front", {}, 5) == deployment()
        assert await store.deployments.release("acme", "front", {"version": V1}, 5) == deployment()
        after = msgspec.structs.replace(deployment(), number=2, released_at=6, version=V2, gpu="T4")
        assert await store.deployments.release("acme", "front", {"version": V2, "gpu": "T4"}, 6) == after
        assert await store.deployments.get("acme", "front") == after
        assert await store.deployments.release("bob", "front", {"gpu": "x"}, 7) is None

    async def test_releases_at_once_are_counted(self, store: Store) -> None:
        await store.deployments.create(deployment())
        changes = ({"max_instances": number} for number in range(2, 7))
        made = await asyncio.gather(
            *(store.deployments.release("acme", "front", change, 5) for change in changes)
        )
        assert sorted(row.number for row in made if row) == [2, 3, 4, 5, 6]

    async def test_they_are_deleted_once(self, store: Store) -> None:
        await store.deployments.create(deployment())
        assert not await store.deployments.delete("bob", "front")
        assert await store.deployments.delete("acme", "front")
        assert not await store.deployments.delete("acme", "front")

    async def test_pages_are_newest_first(self, store: Store) -> None:
        for name, created_at in (("a", 1), ("b", 2), ("c", 2), ("d", 3)):
            await store.deployments.create(deployment(name, created_at=created_at))
        await store.deployments.create(deployment("other", account="bob"))
        first = await store.deployments.list("acme", limit=2)
        rest = await store.deployments.list("acme", before=(2, "c"), limit=9)
        assert [row.name for row in (*first, *rest)] == ["d", "c", "b", "a"]

    async def test_the_own_ones_keep_their_version(self, store: Store) -> None:
        await register(store, V1)
        await store.deployments.create(deployment(account="bob"))
        await store.deployments.create(deployment())
        with pytest.raises(InUse, match="acme/front"):
            await store.model_edits.delete_version("acme", MODEL, V1)
        await store.deployments.delete("acme", "front")
        await store.model_edits.delete_version("acme", MODEL, V1)
