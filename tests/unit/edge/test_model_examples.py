"""Examples of a model: which predictions may be chosen, who sees them, and what of them."""

from typing import Any

import httpx
import msgspec
import pytest

from coordinator.letters import COGFLARE
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import MODEL_EXAMPLES, ServerLimits
from coordinator.store.errors import Invalid, NotFound
from edge.control import SetModel
from edge.records import Records
from tests.support.edge import BASE, MODEL, TestServer, register

PATH = f"/v1/models/{MODEL}"
OTHER = "acme/other"


@pytest.fixture
def limits() -> ServerLimits:
    return ServerLimits(retention_s=1000.0)


async def ran(server: TestServer, text: str = "hi", **body: Any) -> dict[str, Any]:
    """A prediction that has succeeded and is in the index."""
    answer = await server.http.post(f"{PATH}/predictions", json={"input": {"text": text}, **body})
    assert answer.status_code == 201, answer.text
    server.agent.finish(await server.agent.start(), [text])
    server.agent.offer()
    shown = await server.ended(answer.json()["id"])
    await server.indexed((await _document(server, shown["id"])).id)
    return shown


async def _document(server: TestServer, id: str) -> Any:
    recent = server.services.projector.recent(id)
    if recent is not None:
        return recent
    alias = await server.services.store.aliases.get("default", "id", id, server.services.clock.now())
    assert alias is not None
    return server.services.projector.recent(alias.ids[0])


async def choose(server: TestServer, *ids: str, **headers: str) -> httpx.Response:
    return await server.http.patch(PATH, json={"examples": list(ids)}, headers=headers)


async def examples(server: TestServer, **headers: str) -> list[dict[str, Any]]:
    answer = await server.http.get(f"{PATH}/examples", headers=headers)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["next"], answer.json()["previous"]) == (None, None)
    return list(answer.json()["results"])


async def ids(server: TestServer, **headers: str) -> list[str]:
    return [one["id"] for one in await examples(server, **headers)]


async def bearer(server: TestServer, name: str, **options: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {await server.secret(name, **options)}"}


def why(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    (field,) = answer.json()["invalid_fields"]
    assert field["field"] == "examples"
    return str(field["description"])


class TestChoosing:
    async def test_they_are_listed_in_their_order_and_the_first_stands_in_the_model(
        self, server: TestServer
    ) -> None:
        assert (await server.http.get(PATH)).json()["default_example"] is None
        one, two = await ran(server, "one"), await ran(server, "two")
        changed = await choose(server, two["id"], one["id"], two["id"])
        assert changed.status_code == 200, changed.text
        listed = await examples(server)
        assert [each["id"] for each in listed] == [two["id"], one["id"]]
        assert (listed[0]["input"], listed[0]["output"]) == ({"text": "two"}, ["two"])
        found = (await server.http.get("/v1/search", params={"query": "greeter"})).json()["models"]
        (in_list,) = (await server.http.get("/v1/models")).json()["results"]
        for model in (changed.json(), (await server.http.get(PATH)).json(), in_list, found[0]["model"]):
            assert model["default_example"] == listed[0]

    async def test_others_take_their_place_and_null_takes_them_away(self, server: TestServer) -> None:
        one, two = await ran(server), await ran(server)
        await choose(server, one["id"])
        await server.http.patch(PATH, json={"description": "says it"})
        assert await ids(server) == [one["id"]]
        await choose(server, two["id"])
        assert await ids(server) == [two["id"]]
        gone = await server.http.patch(PATH, json={"examples": None})
        assert (gone.status_code, gone.json()["default_example"]) == (200, None)
        assert await ids(server) == []

    async def test_one_that_has_just_ended_and_one_by_its_clients_own_id(self, server: TestServer) -> None:
        made = await server.run(["done"])
        assert (await choose(server, made["id"])).status_code == 200
        assert await ids(server) == [made["id"]]
        server.agent.offer()
        await server.http.put("/v1/predictions/mine", json={"version": "a" * 64, "input": {"text": "x"}})
        server.agent.finish(await server.agent.start(), ["x"])
        await server.ended("mine")
        assert (await choose(server, "mine")).status_code == 200
        (shown,) = await examples(server)
        assert shown["id"] != "mine"
        assert shown["output"] == ["x"]

    async def test_what_may_not_be_chosen_is_said(self, server: TestServer) -> None:
        good = await ran(server)
        failed = await server.run(None, status="failed", error="no")
        server.agent.offer()
        removed = await ran(server)
        await server.http.delete(f"/v1/predictions/{removed['id']}")
        too_many = await choose(server, *[good["id"]] * (MODEL_EXAMPLES + 1))
        assert f"<= {MODEL_EXAMPLES}" in why(too_many)
        for id, said in (
            ("nothing", "there is no prediction nothing of account default"),
            (failed["id"], "is failed: choose predictions that have succeeded"),
            (removed["id"], "were removed: run it again with retention: forever"),
        ):
            assert said in why(await choose(server, good["id"], id))
        assert await ids(server) == []

    async def test_neither_what_runs_nor_what_is_too_long(self, server: TestServer) -> None:
        runs = await server.create()
        assert "is starting: choose" in why(await choose(server, runs["id"]))
        server.agent.finish(await server.agent.start(), ["x" * 1024 * 1024])
        await server.ended(runs["id"])
        assert "are longer than 1MiB: give files by URL" in why(await choose(server, runs["id"]))

    async def test_none_of_another_model_nor_of_another_account(self, server: TestServer) -> None:
        await register(server.services.store, OTHER, "b" * 64)
        good = await ran(server)
        answer = await server.http.patch(f"/v1/models/{OTHER}", json={"examples": [good["id"]]})
        assert f"is one of {MODEL}: choose predictions of {OTHER}" in why(answer)
        document = await _document(server, good["id"])
        others = msgspec.structs.replace(document, id="o" * 26, account="other")
        await server.services.store.index.upsert([others])
        assert "there is no prediction" in why(await choose(server, others.id))
        stranger = await bearer(server, "o", account="other", scopes=("admin",))
        assert (await choose(server, good["id"], **stranger)).status_code == 404
        await server.services.store.models.set_visibility("default", MODEL, "public")
        assert (await choose(server, good["id"], **stranger)).status_code == 404
        assert await ids(server) == []

    async def test_none_whose_id_is_the_right_to_read_it(self, server: TestServer) -> None:
        made = await ran(server)
        document = await _document(server, made["id"])
        old = msgspec.structs.replace(document, dialect=COGFLARE, sequence=document.sequence + 1)
        await server.services.store.index.upsert([old])
        with pytest.raises(Invalid, match="token of 2022"):
            await ordered(server, [made["id"]])

    async def test_it_needs_the_scope_admin(self, server: TestServer) -> None:
        made = await ran(server)
        machine = await bearer(server, "w", scopes=("worker", "submit", "read"))
        answer = await choose(server, made["id"], **machine)
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
        assert await ids(server) == []


class TestSeeing:
    async def test_whoever_may_see_the_model_without_what_is_its_clients(self, server: TestServer) -> None:
        made = await server.http.put(
            "/v1/predictions/mine",
            json={
                "version": "a" * 64,
                "input": {"text": "seen", "key": "hush-hush"},
                "webhook": "https://hook.example.test/told",
                "webhook_events_filter": ["start"],
                "metadata": {"customer": "Jo"},
                "end_user": "jo@example.test",
            },
        )
        assert made.status_code == 201, made.text
        dispatch = await server.agent.start()
        file = await server.upload(dispatch, "a.png", b"picture", "image/png")
        output = [f"{wire.BLOB_REFERENCE}{file.key}"]
        server.agent.finish(dispatch, output, files=(file,), logs="a line\n")
        await server.ended("mine")
        await choose(server, "mine")
        stranger = await bearer(server, "o", account="other")
        assert (await server.http.get(f"{PATH}/examples", headers=stranger)).status_code == 404
        await server.http.patch(PATH, json={"visibility": "public"})
        (shown,) = await examples(server, **stranger)
        assert shown["input"]["text"] == "seen"
        text = msgspec.json.encode(shown).decode()
        for hidden in ("hush-hush", "told", "customer", "jo@", "mine", "a line", "metadata", "box"):
            assert hidden not in text
        assert "stream" not in shown["urls"]
        (url,) = shown["output"]
        assert url.startswith(BASE)
        fetched = await server.http.get(url.removeprefix(BASE), headers={"authorization": ""})
        assert fetched.content == b"picture"
        # It says where the prediction is; that is its account's alone, as before.
        there = shown["urls"]["get"].removeprefix(BASE)
        assert (await server.http.get(there, headers=stranger)).status_code == 404
        model = (await server.http.get(PATH, headers=stranger)).json()
        assert model["default_example"]["id"] == shown["id"]

    async def test_one_whose_data_was_removed_is_left_out(self, server: TestServer) -> None:
        one, two = await ran(server), await ran(server)
        await choose(server, one["id"], two["id"])
        assert (await server.http.delete(f"/v1/predictions/{one['id']}")).status_code == 204
        assert await ids(server) == [two["id"]]
        assert (await server.http.get(PATH)).json()["default_example"]["id"] == two["id"]

    async def test_one_whose_time_is_over_is_left_out(self, server: TestServer) -> None:
        short, long = await ran(server, retention=1), await ran(server, retention="forever")
        await choose(server, short["id"], long["id"])
        assert "expires_at" not in (await examples(server))[-1]
        document = await _document(server, short["id"])
        server.services.projector.expired(document.id, server.services.clock.now())
        assert await ids(server) == [long["id"]]


async def ordered(server: TestServer, chosen: list[str]) -> dict[str, Any]:
    records = Records(server.services.store, server.services.webhooks.secrets)
    return dict(await records.carry_out(SetModel(model=MODEL, changes={"examples": chosen})))


class TestByOrder:
    async def test_an_operator_chooses_by_either_id(self, server: TestServer) -> None:
        one = await ran(server)
        await server.http.put("/v1/predictions/mine", json={"version": "a" * 64, "input": {"text": "x"}})
        server.agent.finish(await server.agent.start(), ["x"])
        await server.ended("mine")
        ours = (await _document(server, "mine")).id
        await server.indexed(ours)
        model = await ordered(server, ["mine", one["id"]])
        assert model["settings"]["examples"] == (ours, one["id"])
        assert await ids(server) == [ours, one["id"]]
        assert "examples" not in (await ordered(server, []))["settings"]

    async def test_what_may_not_be_chosen_is_refused(self, server: TestServer) -> None:
        with pytest.raises(Invalid, match="there is no prediction nothing of account default"):
            await ordered(server, ["nothing"])
        one = await ran(server)
        with pytest.raises(Invalid, match="26 examples are too many"):
            await ordered(server, [one["id"]] * 26)
        records = Records(server.services.store, server.services.webhooks.secrets)
        with pytest.raises(NotFound):
            await records.carry_out(SetModel(model="acme/none", changes={"examples": ["x"]}))
