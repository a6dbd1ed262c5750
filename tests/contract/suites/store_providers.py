"""What every control store must do with the versions of providers. ``store`` is the implementation's."""

from coordinator.store.database import Store

VERSION = "a" * 64


class ProviderVersionsContract:
    async def test_what_was_said_last_is_kept(self, store: Store) -> None:
        versions = store.provider_versions
        assert await versions.schema("acme/there", VERSION) is None
        for said in (b"1", b"1", b"2"):
            await versions.put("acme/there", VERSION, said)
            assert await versions.schema("acme/there", VERSION) == said

    async def test_what_has_no_version_is_apart_from_what_has_one(self, store: Store) -> None:
        versions = store.provider_versions
        await versions.put("acme/there", "", b"any")
        await versions.put("acme/there", VERSION, b"this")
        assert await versions.schema("acme/there", "") == b"any"
        assert await versions.schema("acme/there", VERSION) == b"this"
        assert await versions.schema("acme/other", VERSION) is None

    async def test_models_of_a_version(self, store: Store) -> None:
        versions = store.provider_versions
        for model in ("me/mine", "acme/there"):
            await versions.put(model, VERSION, b"this")
        await versions.put("acme/there", "", b"any")
        assert await versions.models(VERSION) == ["acme/there", "me/mine"]
        assert await versions.models("b" * 64) == []
