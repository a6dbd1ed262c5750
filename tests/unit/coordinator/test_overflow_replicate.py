"""Replicate's API as a provider, against a loopback that speaks it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec.structs import replace

from coordinator.overflow.provider import (
    BadKey,
    Gone,
    NoModel,
    NotReached,
    OutOfCredit,
    ProviderError,
    Rejected,
    Throttled,
    Unreachable,
    Wanted,
)
from coordinator.overflow.replicate import Replicate as Client
from tests.support import replicate as loopback
from tests.support.replicate import KEY, VERSION, Refusal, Replicate, Silence

WANTED = Wanted(model="acme/elsewhere", input=b'{"text":"hi","n":1}', run_s=90.0)
NOBODY: frozenset[str] = frozenset()


@pytest.fixture
def there() -> Iterator[Replicate]:
    with loopback.replicate() as found:
        yield found


@pytest.fixture
async def client(there: Replicate) -> AsyncIterator[Client]:
    client = Client(there.url)
    yield client
    await client.close()


async def test_begins_the_newest_version_and_follows_it(there: Replicate, client: Client) -> None:
    remote = await client.create(KEY, WANTED)
    (record,) = there.begun
    assert (remote.id, remote.status, remote.ended) == (record["id"], "starting", False)
    assert (record["version"], record["input"]) == (VERSION, {"text": "hi", "n": 1})
    assert record["cancel_after"] == "90"
    there.becomes(remote.id, "processing", ["a"], logs="one\n")
    remote = await client.get(KEY, remote.id)
    assert (remote.status, bytes(remote.output), remote.logs) == ("processing", b'["a"]', "one\n")
    assert abs((remote.started_at or 0) - time.time() * 1e6) < 60e6
    there.becomes(remote.id, "succeeded", ["a", "b"])
    remote = await client.get(KEY, remote.id)
    assert remote.ended
    assert bytes(remote.metrics["predict_time"]) == b"0.5"


async def test_an_official_model_is_asked_for_by_its_name(there: Replicate, client: Client) -> None:
    there.models["meta/llama"] = ""
    await client.create(KEY, replace(WANTED, model="meta/llama"))
    assert (there.begun[0]["model"], there.begun[0]["version"]) == ("meta/llama", "hidden")


async def test_a_version_that_is_named_is_taken(there: Replicate, client: Client) -> None:
    there.models["acme/other"] = "d" * 64
    await client.create(KEY, replace(WANTED, version="d" * 64))
    assert there.begun[0]["version"] == "d" * 64


async def test_a_webhook_is_for_the_end_only(there: Replicate, client: Client) -> None:
    remote = await client.create(KEY, replace(WANTED, webhook="https://here.example/x"))
    assert there.webhooks[remote.id] == "https://here.example/x"


async def test_who_takes_no_webhook_is_asked_without_from_then_on(there: Replicate, client: Client) -> None:
    there.script.append(Refusal(422, "- webhook: the address is not public"))
    remote = await client.create(KEY, replace(WANTED, webhook="https://here.example/x"))
    assert not there.webhooks[remote.id]
    assert not client.tells
    await client.create(KEY, replace(WANTED, webhook="https://here.example/x"))
    assert there.creations == 3


async def test_what_is_refused_with_and_without_a_webhook_says_nothing_of_webhooks(
    there: Replicate, client: Client
) -> None:
    there.script += [Refusal(422, "- input.webhook is required")] * 2
    with pytest.raises(Rejected, match="is required"):
        await client.create(KEY, replace(WANTED, webhook="https://here.example/x"))
    assert client.tells
    assert not there.begun


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal(402, "Insufficient credit"), OutOfCredit),
        (Refusal(429, "Request was throttled.", {"Retry-After": "7"}), Throttled),
        (Refusal(422, "input.text is required"), Rejected),
        (Refusal(403, "not yours"), BadKey),
        (Refusal(500, "oops"), Unreachable),
        (Refusal(503, "oops"), Unreachable),
    ],
)
async def test_refusals(
    there: Replicate, client: Client, refusal: Refusal, kind: type[ProviderError]
) -> None:
    there.script = [refusal]
    with pytest.raises(kind, match=refusal.detail) as caught:
        await client.create(KEY, WANTED)
    assert str(caught.value).startswith("replicate says: ")
    assert not isinstance(caught.value, NotReached)
    if isinstance(caught.value, Throttled):
        assert caught.value.retry_after_s == 7


async def test_a_wrong_key(client: Client) -> None:
    with pytest.raises(BadKey, match="authentication token"):
        await client.create("r8_wrong", WANTED)


async def test_a_model_that_is_not_there(client: Client) -> None:
    with pytest.raises(NoModel, match="has no model acme/none"):
        await client.create(KEY, replace(WANTED, model="acme/none"))
    with pytest.raises(NoModel, match="Invalid version"):
        await client.create(KEY, replace(WANTED, version="0" * 64))


async def test_nobody_is_there() -> None:
    client = Client("http://127.0.0.1:9")
    with pytest.raises(NotReached):
        await client.create(KEY, replace(WANTED, version=VERSION))
    with pytest.raises(NotReached):
        await client.create(KEY, WANTED)
    await client.close()


async def test_no_answer_in_time(there: Replicate) -> None:
    quick, silence = Client(there.url, answer_s=0.2), Silence()
    there.script = [silence]
    with pytest.raises(Unreachable, match="in time") as caught:
        await quick.create(KEY, WANTED)
    assert not isinstance(caught.value, NotReached)
    assert len(there.begun) == 1, "it has begun all the same"
    silence.over.set()
    await quick.close()


async def test_cancel(there: Replicate, client: Client) -> None:
    remote = await client.create(KEY, WANTED)
    await client.cancel(KEY, remote.id)
    assert (await client.get(KEY, remote.id)).status == "canceled"
    with pytest.raises(Gone):
        await client.cancel(KEY, "nothing")
    with pytest.raises(Gone):
        await client.get(KEY, "nothing")


class TestFind:
    async def test_the_oldest_of_the_same_input_that_nobody_has(
        self, there: Replicate, client: Client
    ) -> None:
        before = await client.create(KEY, WANTED)
        await asyncio.sleep(0.002)
        since = int(time.time() * 1e6)
        other = await client.create(KEY, replace(WANTED, input=b'{"text":"other"}'))
        # The same in other words: what counts is the value.
        first = await client.create(KEY, replace(WANTED, input=b'{"n": 1, "text": "hi"}'))
        second = await client.create(KEY, WANTED)
        found = await client.find(KEY, WANTED, since, NOBODY)
        assert found is not None and found.id == first.id
        found = await client.find(KEY, WANTED, since, frozenset({first.id}))
        assert found is not None and found.id == second.id
        taken = frozenset({first.id, second.id})
        assert await client.find(KEY, WANTED, since, taken) is None
        assert before.id and other.id

    @pytest.mark.parametrize("shown", ["**********", "[REDACTED]"])
    async def test_what_it_does_not_show_may_be_the_secret(
        self, there: Replicate, client: Client, shown: str
    ) -> None:
        wanted = replace(WANTED, input=b'{"text": "hi", "key": "of mine"}')
        made = await client.create(KEY, wanted)
        there.begun[0]["input"]["key"] = shown
        found = await client.find(KEY, wanted, 0, NOBODY)
        assert found is not None and found.id == made.id
        assert await client.find(KEY, replace(wanted, input=b'{"text": "hi"}'), 0, NOBODY) is None
        assert await client.find(KEY, replace(wanted, input=b'{"text": "", "key": "x"}'), 0, NOBODY) is None

    async def test_over_pages(self, there: Replicate, client: Client) -> None:
        since = int(time.time() * 1e6) - 1_000_000
        first = await client.create(KEY, WANTED)
        for count in range(120):
            await client.create(KEY, replace(WANTED, input=b'{"count":%d}' % count))
        found = await client.find(KEY, WANTED, since, NOBODY)
        assert found is not None and found.id == first.id

    async def test_of_another_version_it_is_another(self, there: Replicate, client: Client) -> None:
        there.models["acme/other"] = "d" * 64
        await client.create(KEY, WANTED)
        assert await client.find(KEY, replace(WANTED, version="d" * 64), 0, NOBODY) is None


async def test_looks_a_model_up(client: Client) -> None:
    found = await client.model(KEY, "acme/elsewhere")
    assert found is not None
    assert (found.name, found.version, found.description) == (
        "acme/elsewhere",
        VERSION,
        "It runs elsewhere.",
    )
    assert found.latest is not None and b'"Input"' in found.latest.openapi_schema
    assert found.links == {"github_url": "https://github.com/acme/elsewhere"}
    assert await client.model(KEY, "acme/none") is None


async def test_looks_versions_up(there: Replicate, client: Client) -> None:
    there.older["acme/elsewhere"] = "d" * 64
    found = await client.versions(KEY, "acme/elsewhere")
    assert [version.id for version in found] == [VERSION, "d" * 64]
    assert found[0].created_at > found[1].created_at
    assert await client.version(KEY, "acme/elsewhere", "d" * 64) == found[1]
    assert await client.version(KEY, "acme/elsewhere", "c" * 64) is None
    assert await client.versions(KEY, "acme/none") == []


async def test_an_official_model_has_no_version_to_ask_for(there: Replicate, client: Client) -> None:
    there.models["meta/llama"] = ""
    found = await client.model(KEY, "meta/llama")
    assert found is not None and found.version == ""
    assert found.latest is not None and b'"Input"' in found.latest.openapi_schema
    assert await client.versions(KEY, "meta/llama") == []


async def test_whose_version_it_is_the_last_predictions_of_the_key_say(client: Client) -> None:
    assert await client.model_of(KEY, VERSION) is None
    await client.create(KEY, WANTED)
    assert await client.model_of(KEY, VERSION) == "acme/elsewhere"
    assert await client.model_of(KEY, "d" * 64) is None
