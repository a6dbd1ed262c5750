"""Many creations in one request: each stands for itself, and all of a model are one commit."""

import asyncio
from typing import Any

import httpx
import pytest

from coordinator import calls
from coordinator.errors import Unavailable
from tests.support.edge import MODEL, VERSION, TestServer

KEY = {"idempotency-key": "batch 7"}


def whole(text: str = "x", n: Any = 2, **more: Any) -> dict[str, Any]:
    return {"version": VERSION, "input": {"text": text, "n": n}, **more}


async def post(server: TestServer, *bodies: Any, **headers: str) -> httpx.Response:
    return await server.http.post(
        "/v1/predictions/batch", json={"predictions": list(bodies)}, headers=headers
    )


async def post_inputs(server: TestServer, template: Any, *inputs: Any) -> httpx.Response:
    body = {"template": template, "inputs": list(inputs)}
    return await server.http.post("/v1/predictions/batch", json=body)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["prediction"]["id"] for each in answer.json()["results"] if each["status"] == 201]


class TestEach:
    async def test_all_are_created_and_run_in_their_order(self, server: TestServer) -> None:
        answer = await post(server, *(whole(f"{n}") for n in range(5)))
        assert (answer.json()["created"], answer.json()["refused"]) == (5, 0)
        shown = [each["prediction"]["input"]["text"] for each in answer.json()["results"]]
        assert shown == ["0", "1", "2", "3", "4"]
        for id in ids(answer):
            dispatch = await server.agent.start()
            assert dispatch.prediction == id
            server.agent.finish(dispatch, ["done"])
            server.agent.offer()
        assert (await server.http.get(f"/v1/predictions/{ids(answer)[-1]}")).status_code == 200

    async def test_they_are_one_call_of_their_coordinator(
        self, server: TestServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[Any] = []
        call = server.services.coordinators.namespace.call

        async def watched(number: int, what: Any, deadline_s: float) -> Any:
            seen.append(what)
            return await call(number, what, deadline_s)

        monkeypatch.setattr(server.services.coordinators.namespace, "call", watched)
        await post(server, *(whole(f"{n}") for n in range(20)))
        (many,) = seen
        assert isinstance(many, calls.CreateMany)
        assert len(many.creates) == 20

    async def test_one_that_is_refused_leaves_the_others_alone(self, server: TestServer) -> None:
        wrong = [whole(n=99), whole(id="mine"), {"version": "0" * 64, "input": {}}, {"input": {}}, 7]
        answer = await post(server, whole("first"), *wrong, whole("last"))
        results = answer.json()["results"]
        assert [each["status"] for each in results] == [201, 422, 422, 422, 422, 422, 201]
        assert (answer.json()["created"], answer.json()["refused"]) == (2, 5)
        assert results[1]["error"]["invalid_fields"][0]["field"] == "input.n"
        assert results[3]["error"]["code"] == "invalid_version"
        assert all("prediction" not in each for each in results[1:6])

    async def test_each_may_say_its_own(self, server: TestServer) -> None:
        answer = await post(
            server, whole(metadata={"n": 1}, priority="batch"), whole(end_user="ann", metadata={"n": 2})
        )
        first, second = (each["prediction"] for each in answer.json()["results"])
        assert (first["metadata"], second["metadata"]) == ({"n": 1}, {"n": 2})


class TestTemplate:
    async def test_inputs_go_with_a_template(self, server: TestServer) -> None:
        template = {"version": VERSION, "input": {"n": 1}, "metadata": {"job": 4}}
        answer = await post_inputs(server, template, {"text": "a"}, {"text": "b", "n": 3})
        first, second = (each["prediction"] for each in answer.json()["results"])
        assert first["input"] == {"n": 1, "text": "a"}
        assert second["input"] == {"n": 3, "text": "b"}
        assert first["metadata"] == second["metadata"] == {"job": 4}

    async def test_a_template_whose_input_is_no_object_is_refused(self, server: TestServer) -> None:
        answer = await post_inputs(server, {"version": VERSION, "input": 3}, {"text": "a"})
        assert answer.status_code == 422
        assert answer.json()["invalid_fields"][0]["field"] == "template.input"


class TestWhole:
    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"predictions": []},
            {"predictions": [], "inputs": []},
            {"template": {}},
            {"inputs": []},
            {"inputs": [1]},
            {"predictions": [{}] * 501},
            {"predictions": {}},
            [],
            {"predictions": [{}], "more": 1},
        ],
    )
    async def test_what_is_no_batch_is_refused(self, server: TestServer, body: Any) -> None:
        answer = await server.http.post("/v1/predictions/batch", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["invalid_fields"][0]["description"]

    async def test_what_is_no_json_is_refused(self, server: TestServer) -> None:
        answer = await server.http.post("/v1/predictions/batch", content=b'{"predictions": [')
        assert answer.status_code == 400

    async def test_it_needs_the_scope_to_submit(self, server: TestServer) -> None:
        reader = await server.secret("reader", scopes=("read",))
        answer = await post(server, whole(), authorization=f"Bearer {reader}")
        assert answer.status_code == 403

    async def test_each_counts_for_the_rate_of_its_token(self, server: TestServer) -> None:
        token = await server.secret("small", creations_per_min=3)
        bearer = {"authorization": f"Bearer {token}"}
        assert len(ids(await post(server, whole("a"), whole("b"), **bearer))) == 2
        assert (await post(server, whole("c"), whole("d"), **bearer)).status_code == 429


class TestKey:
    async def test_the_same_batch_again_creates_nothing(self, server: TestServer) -> None:
        first, second = [await post(server, whole("a"), whole(n=99), whole("b"), **KEY) for _ in range(2)]
        assert ids(first) == ids(second)
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        assert second.json()["results"][1]["status"] == 422

    async def test_many_at_once_are_one(self, server: TestServer) -> None:
        answers = await asyncio.gather(*(post(server, whole("a"), whole("b"), **KEY) for _ in range(6)))
        assert len({tuple(ids(answer)) for answer in answers}) == 1

    async def test_another_batch_under_it_is_refused(self, server: TestServer) -> None:
        await post(server, whole("a"), **KEY)
        other = await post(server, whole("b"), **KEY)
        assert (other.status_code, other.json()["code"]) == (422, "key_reused")

    async def test_what_was_refused_stays_so(self, server: TestServer) -> None:
        """Its place in the batch has no id: it cannot be created later by the same words."""
        absent = {"version": "e" * 64, "input": {"text": "x", "n": 1}}
        await post(server, whole("a"), absent, **KEY)
        await server.services.store.models.register(
            account="default",
            pool="default",
            model=MODEL,
            version="e" * 64,
            openapi_schema=b"{}",
            cog_version="",
            allowed=(),
            now=server.services.clock.now(),
        )
        again = await post(server, whole("a"), absent, **KEY)
        assert again.json()["results"][1]["status"] == 422

    async def test_what_was_lost_between_is_created_then(
        self, server: TestServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key is on disk, and the coordinator was never asked: the same batch again uses the same ids."""
        call = server.services.coordinators.namespace.call

        async def away(number: int, what: Any, deadline_s: float) -> Any:
            if isinstance(what, calls.CreateMany):
                raise Unavailable("the coordinator was restarted")
            return await call(number, what, deadline_s)

        with monkeypatch.context() as patch:
            patch.setattr(server.services.coordinators.namespace, "call", away)
            lost = await post(server, whole("a"), whole("b"), **KEY)
            assert [each["status"] for each in lost.json()["results"]] == [503, 503]
            assert all(each["error"]["retry_after"] for each in lost.json()["results"])
        again = await post(server, whole("a"), whole("b"), **KEY)
        assert len(ids(again)) == 2
        assert ids(await post(server, whole("a"), whole("b"), **KEY)) == ids(again)

    async def test_what_has_ended_is_not_run_again(self, server: TestServer) -> None:
        first = await post(server, whole("a"), **KEY)
        server.agent.finish(await server.agent.start(), ["done"])
        await server.indexed(ids(first)[0])
        again = (await post(server, whole("a"), **KEY)).json()["results"][0]["prediction"]
        assert (again["id"], again["status"]) == (ids(first)[0], "succeeded")
