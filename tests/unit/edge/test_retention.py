"""What a prediction leaves is kept for its time and then gone, for everybody and everywhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.blobs.keys import prediction_prefix
from coordinator.protocol import messages as wire
from coordinator.protocol.limits import ServerLimits
from coordinator.store.errors import Invalid
from edge.control import ListDead, Redrive
from edge.fleet import Fleet
from edge.times import parse_rfc3339
from tests.support.edge import BASE, MODEL, TestServer, running
from tests.support.waiting import until
from tests.unit.edge.test_inline_files import inline

DAY_S = 86_400.0
PATH = f"/v1/models/{MODEL}/predictions"
PICTURE = b"picture" * 100
LARGE = inline(b"x" * 100_000)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with running(tmp_path, ServerLimits(retention_at_most_s=30 * DAY_S)) as server:
        yield server


async def post(server: TestServer, text: str = "x", image: str | None = None, **body: Any) -> Any:
    given = {"text": text} | ({} if image is None else {"image": image})
    return await server.http.post(PATH, json={"input": given, **body})


async def with_file(server: TestServer, **body: Any) -> dict[str, Any]:
    """A prediction that has ended with a file as its output, and is in the index."""
    made = (await post(server, "a secret", **body)).json()
    dispatch = await server.agent.start()
    file = await server.upload(dispatch, "a.png", PICTURE, "image/png")
    server.agent.finish(dispatch, [f"{wire.BLOB_REFERENCE}{file.key}"], files=(file,), logs="a line\n")
    server.agent.offer()
    shown = await server.ended(made["id"])
    await server.indexed(made["id"])
    return shown


async def get(server: TestServer, id: str) -> dict[str, Any]:
    return dict((await server.http.get(f"/v1/predictions/{id}")).json())


def kept_s(shown: dict[str, Any]) -> float:
    return ((parse_rfc3339(shown["expires_at"]) or 0) - (parse_rfc3339(shown["completed_at"]) or 0)) / 1e6


class TestHowLong:
    async def test_a_week_from_its_end_and_the_object_says_so(self, server: TestServer) -> None:
        made = await server.create()
        assert "expires_at" not in made
        server.agent.finish(await server.agent.start(), ["done"])
        shown = await server.ended(made["id"])
        assert kept_s(shown) == 7 * DAY_S
        assert shown["data_removed"] is False

    @pytest.mark.parametrize(
        ("given", "seconds"), [(90, 90), ("12h", 43_200), (0.5, 0.5), ("30d", 30 * DAY_S), (None, 7 * DAY_S)]
    )
    async def test_as_its_request_says(self, server: TestServer, given: Any, seconds: float) -> None:
        made = (await post(server, retention=given)).json()
        server.agent.finish(await server.agent.start(), ["done"])
        assert kept_s(await server.ended(made["id"])) == seconds

    @pytest.mark.parametrize("given", ["soon", -1, True, [], "", "31d", "forever", 1e300])
    async def test_what_is_no_time_or_longer_than_the_server_keeps_is_refused(
        self, server: TestServer, given: Any
    ) -> None:
        answer = await post(server, retention=given)
        assert answer.status_code == 422
        assert [wrong["field"] for wrong in answer.json()["invalid_fields"]] == ["retention"]

    async def test_the_request_goes_before_the_token_the_model_and_the_server(
        self, server: TestServer
    ) -> None:
        async def kept(**headers: str) -> float:
            made = (await server.http.post(PATH, json={"input": {"text": "x"}}, headers=headers)).json()
            server.agent.finish(await server.agent.start(), ["done"])
            server.agent.offer()
            return kept_s(await server.ended(made["id"]))

        await server.services.store.models.configure(MODEL, {"retention_s": 100.0})
        token = {"authorization": f"Bearer {await server.secret('short', retention_s=50.0)}"}
        assert await kept(**token) == 50.0
        long = {"authorization": f"Bearer {await server.secret('long', retention_s=1e9)}"}
        assert await kept(**long) == 30 * DAY_S
        assert await kept() == 100.0

    async def test_for_ever(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits()) as server:
            made = (await post(server, retention="forever")).json()
            server.agent.finish(await server.agent.start(), ["done"])
            assert "expires_at" not in await server.ended(made["id"])
            await server.indexed(made["id"])
            assert await server.services.store.expiry.next_at() is None

    async def test_an_older_request_is_the_same_under_its_key(self, server: TestServer) -> None:
        headers = {"idempotency-key": "k"}
        first = await server.http.post(PATH, json={"input": {"text": "x"}}, headers=headers)
        again = await server.http.post(
            PATH, json={"input": {"text": "x"}, "retention": None}, headers=headers
        )
        other = await server.http.post(PATH, json={"input": {"text": "x"}, "retention": 5}, headers=headers)
        assert (first.json()["id"], other.status_code) == (again.json()["id"], 422)


class TestAfterwards:
    async def test_the_object_says_that_its_data_is_removed_and_the_file_is_410(
        self, server: TestServer
    ) -> None:
        shown = await with_file(server, retention=0, metadata={"order": 7})
        # The sweep has not looked yet, or has.
        for _ in range(2):
            after = await get(server, shown["id"])
            assert after["data_removed"] is True
            assert (after["input"], after["output"], after["logs"]) == ({}, None, "")
            assert (after["status"], after["metadata"]) == ("succeeded", {"order": 7})
            assert after["expires_at"] == after["completed_at"]
            (row,) = (await server.http.get("/v1/predictions")).json()["results"]
            assert (row["id"], row["data_removed"], row["output"]) == (shown["id"], True, None)
            assert "secret" not in json.dumps([after, row])
            await server.services.retention.sweep()

    async def test_its_urls_say_that_it_is_gone(self, server: TestServer) -> None:
        shown = await with_file(server)
        (url,) = shown["output"]
        assert (await server.http.get(url)).content == PICTURE
        assert (await server.http.delete(f"/v1/predictions/{shown['id']}")).status_code == 204
        for gone in (url, shown["urls"]["stream"]):
            answer = await server.http.get(gone, headers={"authorization": ""})
            assert (answer.status_code, answer.json()["code"]) == (410, "gone")
            assert "removed" in answer.json()["detail"]
        events = await server.http.get(shown["urls"]["get"], headers={"accept": "text/event-stream"})
        assert events.status_code == 410
        assert "stream" not in (await get(server, shown["id"]))["urls"]
        why = (await server.http.get(f"/v1/predictions/{shown['id']}/why")).json()["why"]
        assert why.startswith("It succeeded. Its input, output, logs and files were removed at ")

    async def test_a_waiting_client_still_gets_what_is_kept_no_longer(self, server: TestServer) -> None:
        headers = {"prefer": "wait=5"}
        body = {"input": {"text": "x"}, "retention": 0}
        asking = asyncio.create_task(server.http.post(PATH, json=body, headers=headers))
        server.agent.finish(await server.agent.start(), ["done"])
        answered = (await asking).json()
        assert answered["output"] == ["done"]
        assert (await get(server, answered["id"]))["output"] is None

    async def test_a_row_is_forgotten_later_and_so_is_the_clients_own_id(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits(forget_s=0.0, idempotency_s=0.0)) as server:
            body = {"version": "a" * 64, "input": {"text": "x"}, "retention": 0}
            assert (await server.http.put("/v1/predictions/mine", json=body)).status_code == 201
            dispatch = await server.agent.start()
            server.agent.finish(dispatch, ["done"])
            await server.indexed(dispatch.prediction)
            await server.services.retention.sweep()
            assert (await server.http.get("/v1/predictions/mine")).status_code == 404
            assert (await server.http.get("/v1/predictions")).json()["results"] == []


class TestDelete:
    async def test_everything_is_gone_at_once(self, server: TestServer) -> None:
        shown = await with_file(server)
        for _ in range(2):
            assert (await server.http.delete(f"/v1/predictions/{shown['id']}")).status_code == 204
            assert (await get(server, shown["id"]))["data_removed"] is True
        blobs = server.services.blobs._root  # type: ignore[attr-defined]
        assert not (blobs / prediction_prefix(shown["id"])).exists()
        row = await server.services.store.index.get(shown["id"], "default")
        assert row is not None
        assert (row.input, row.output, row.logs, row.files) == (b"{}", None, "", ())

    async def test_before_the_index_has_heard_of_its_end(self, server: TestServer) -> None:
        server.services.projector.hold_rows()
        shown = await server.run(["done"], "a secret")
        assert (await server.http.delete(f"/v1/predictions/{shown['id']}")).status_code == 204
        assert (await get(server, shown["id"]))["output"] is None
        # As after a restart: the coordinator still has it as it ended.
        server.services.projector._recent.clear()
        after = await get(server, shown["id"])
        assert (after["input"], after["output"]) == ({}, None)
        assert (await server.http.post(f"{shown['urls']['get']}/cancel")).json()["output"] is None
        await server.services.projector.let_rows_go()
        await server.indexed(shown["id"])
        row = await server.services.store.index.get(shown["id"], "default")
        assert row is not None
        assert (row.data_removed, row.output) == (True, None)

    async def test_what_has_not_ended_is_refused_with_what_to_do(self, server: TestServer) -> None:
        made = await server.create()
        answer = await server.http.delete(f"/v1/predictions/{made['id']}")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_ended")
        assert f"/v1/predictions/{made['id']}/cancel" in answer.json()["detail"]

    async def test_of_another_account_is_404_and_a_reader_may_not(self, server: TestServer) -> None:
        shown = await server.run(["done"])
        stranger = await server.secret("stranger", account="other")
        reader = await server.secret("reader", scopes=("read",))
        for secret, status in ((stranger, 404), (reader, 403)):
            headers = {"authorization": f"Bearer {secret}"}
            url = f"/v1/predictions/{shown['id']}"
            assert (await server.http.delete(url, headers=headers)).status_code == status
        assert (await get(server, shown["id"]))["output"] == ["done"]

    async def test_while_a_backup_is_made_it_is_gone_for_all_and_its_file_follows(
        self, server: TestServer
    ) -> None:
        shown = await with_file(server)
        blobs = server.services.blobs
        blobs.postpone_deletions()  # type: ignore[attr-defined]
        assert (await server.http.delete(f"/v1/predictions/{shown['id']}")).status_code == 204
        assert (await get(server, shown["id"]))["data_removed"] is True
        assert (await server.http.get(shown["output"][0])).content == PICTURE
        await blobs.catch_up()  # type: ignore[attr-defined]
        await server.services.retention.sweep()
        assert (await server.http.get(shown["output"][0])).status_code == 410


def fleet_of(server: TestServer) -> Fleet:
    services = server.services
    return Fleet(
        services.store,
        services.models,
        services.ids,
        services.clock.now,
        services.blobs,
        services.projector.all_pending,
    )


class TestDeadLetters:
    async def test_one_is_redriven_with_its_time_and_not_at_all_without_its_input(
        self, server: TestServer
    ) -> None:
        fleet = fleet_of(server)
        dead = []
        for _ in range(2):
            made = (await post(server, retention="1h")).json()
            lost = {"error": "gone", "error_code": "output_lost"}
            server.agent.finish(await server.agent.start(), status="failed", **lost)
            server.agent.offer()
            await server.indexed(made["id"])
            dead.append(made["id"])
        (again,) = await fleet.carry_out(Redrive(ids=(dead[0],)))
        server.agent.finish(await server.agent.start(), ["done"])
        assert kept_s(await server.ended(again["id"])) == 3600
        await server.http.delete(f"/v1/predictions/{dead[1]}")
        with pytest.raises(Invalid, match="has been removed"):
            await fleet.carry_out(Redrive(ids=(dead[1],)))
        assert [row["id"] for row in await fleet.carry_out(ListDead())] == [dead[0]]

    async def test_a_long_input_is_redriven_and_outlives_the_first_ones(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits(row_input_bytes=100)) as server:
            text = "x" * 1000
            made = (await post(server, text=text)).json()
            lost = {"error": "gone", "error_code": "output_lost"}
            server.agent.finish(await server.agent.start(), status="failed", **lost)
            server.agent.offer()
            await server.indexed(made["id"])
            (again,) = await fleet_of(server).carry_out(Redrive(ids=(made["id"],)))
            await server.http.delete(f"/v1/predictions/{made['id']}")
            dispatch = await server.agent.start()
            assert msgspec.json.decode(dispatch.input)["text"] == text
            assert (await get(server, again["id"]))["input"]["text"] == text


class TestInputs:
    async def test_a_file_that_stood_in_an_input_goes_with_its_prediction(self, server: TestServer) -> None:
        shown = await with_file(server, image=LARGE)
        url = shown["input"]["image"]
        assert (await server.http.get(url)).status_code == 200
        await server.http.delete(f"/v1/predictions/{shown['id']}")
        assert (await server.http.get(url)).status_code == 404
        await server.services.retention.sweep()
        assert await server.services.store.files.get(url.rpartition("/")[2], "default") is None

    async def test_one_that_two_use_lives_until_the_last(self, server: TestServer) -> None:
        first = await with_file(server, image=LARGE)
        url = first["input"]["image"]
        second = await with_file(server, image=url)
        await server.http.delete(f"/v1/predictions/{first['id']}")
        await server.services.retention.sweep()
        assert (await server.http.get(url)).status_code == 200
        await server.http.delete(f"/v1/predictions/{second['id']}")
        assert (await server.http.get(url)).status_code == 404

    async def test_an_uploaded_file_outlives_its_time_for_who_uses_it(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits(file_ttl_s=1.0)) as server:
            file = (await server.http.post("/v1/files", files={"content": ("a", b"x")})).json()
            made = (await post(server, image=file["urls"]["get"])).json()
            await until(lambda: not server.services.projector.pending("default"), "it is in the index")
            files, now = server.services.store.files, server.services.clock.now
            (row,) = await files.expired(now() + 2_000_000, 9)
            assert await files.unused([row]) == []
            dispatch = await server.agent.start()
            assert (await server.http.get(dispatch.files[file["urls"]["get"]])).content == b"x"
            assert (await server.http.get(file["urls"]["get"])).json()["expires_at"] is None
            server.agent.finish(dispatch, ["done"])
            await server.indexed(made["id"])
            await server.http.delete(f"/v1/predictions/{made['id']}")
            assert (await server.http.get(file["urls"]["get"])).status_code == 404

    async def test_an_output_stays_for_another_prediction_that_waits_for_it(self, server: TestServer) -> None:
        first = await with_file(server)
        (url,) = first["output"]
        second = (await post(server, image=url)).json()
        await until(lambda: not server.services.projector.pending("default"), "it is in the index")
        await server.http.delete(f"/v1/predictions/{first['id']}")
        assert (await get(server, first["id"]))["data_removed"] is True
        dispatch = await server.agent.start()
        assert (await server.http.get(dispatch.files[url])).content == PICTURE
        server.agent.finish(dispatch, ["done"])
        await server.ended(second["id"])
        await server.indexed(second["id"])
        (due,) = await server.services.store.expiry.due(server.services.clock.now() + 3_700_000_000, 9)
        assert due.document.id == first["id"]


class TestStorageUse:
    async def use(self, server: TestServer) -> tuple[int, int, int]:
        shown = (await server.http.get("/v1/account/storage")).json()
        assert shown["total_bytes"] == sum(
            shown[f"{kind}_bytes"] for kind in ("outputs", "inputs", "uploads")
        )
        return shown["outputs_bytes"], shown["inputs_bytes"], shown["uploads_bytes"]

    async def test_it_is_counted_as_things_come_and_go(self, server: TestServer) -> None:
        assert await self.use(server) == (0, 0, 0)
        file = (await server.http.post("/v1/files", files={"content": ("a", b"x" * 10)})).json()
        shown = await with_file(server, image=LARGE)
        assert await self.use(server) == (len(PICTURE), 100_000, 10)
        # What is counted anew is the same.
        await server.services.store.storage_use.recount()
        assert await self.use(server) == (len(PICTURE), 100_000, 10)
        await server.http.delete(f"/v1/predictions/{shown['id']}")
        await server.services.retention.sweep()
        assert await self.use(server) == (0, 0, 10)
        await server.http.delete(f"/v1/files/{file['id']}")
        assert await self.use(server) == (0, 0, 0)
        await server.services.store.storage_use.recount()
        assert await self.use(server) == (0, 0, 0)

    async def test_of_each_account_its_own(self, server: TestServer) -> None:
        await with_file(server)
        headers = {"authorization": f"Bearer {await server.secret('other', account='other')}"}
        shown = (await server.http.get("/v1/account/storage", headers=headers)).json()
        assert (shown["account"], shown["total_bytes"], shown["at_most_bytes"]) == ("other", 0, None)


class TestRoom:
    async def test_an_account_that_has_no_room_is_told_what_to_do(self, tmp_path: Path) -> None:
        async with running(tmp_path, ServerLimits(token_recheck_s=0.0)) as server:
            shown = await with_file(server)
            await server.services.store.accounts.set_storage("default", len(PICTURE) + 1000)
            upload = {"content": ("a", b"x" * 1000)}
            answers = [await server.http.post("/v1/files", files=upload)]
            await server.services.store.accounts.set_storage("default", len(PICTURE))
            answers += [
                await post(server),
                await server.http.post("/v1/files", files={"content": ("a", b"")}),
            ]
            for answer in answers:
                assert (answer.status_code, answer.json()["code"]) == (429, "storage_full")
                assert int(answer.headers["retry-after"]) == 60
                assert answer.headers["x-should-retry"] == "false"
                assert "Delete" in answer.json()["detail"]
            assert (await server.http.get(shown["urls"]["get"])).status_code == 200
            await server.http.delete(shown["urls"]["get"])
            assert (await post(server)).status_code == 201
            assert (await server.http.get("/v1/account/storage")).json()["at_most_bytes"] == len(PICTURE)


async def test_urls_of_a_removed_one_are_on_the_public_base(server: TestServer) -> None:
    shown = await with_file(server, retention=0)
    urls = (await get(server, shown["id"]))["urls"]
    assert urls == {
        "get": f"{BASE}/v1/predictions/{shown['id']}",
        "cancel": f"{BASE}/v1/predictions/{shown['id']}/cancel",
        "web": f"{BASE}/p/{shown['id']}",
    }
