"""A runner in front of a Cog server, against servers with the manners of each generation."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gpu_agent.runner_types import NotTaken
from tests.support.cog_shapes import FIRST, SECOND, SHAPES, THIRD, Shape, as_json, as_text
from tests.support.http_server import Answer

On = Callable[[Shape], Awaitable[Any]]

each_generation = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@each_generation
async def test_a_prediction(on: On, shape: Shape) -> None:
    rig = await on(shape)
    loaded = await rig.start()
    assert (loaded.schema, loaded.concurrency, loaded.is_async) == ({}, 1, True)
    assert len(loaded.version) == 64
    metrics = {"predict_time": 2.5, "n": 3}
    rig.cog.end = {"status": "succeeded", "output": {"a": 1}, "logs": "x\n", "metrics": metrics}
    result = await rig.predict(text="hello")
    assert (result.status, result.output, result.logs) == ("succeeded", {"a": 1}, "x\n")
    assert result.metrics == metrics
    assert result.completed_at - result.started_at == 2_500_000
    assert rig.cog.orders[-1]["input"] == {"text": "hello"}
    assert rig.cog.orders[-1]["id"] == "p-1"


@each_generation
async def test_what_is_yielded_and_logged_is_told_meanwhile(on: On, shape: Shape) -> None:
    rig = await on(shape)
    await rig.start()
    rig.cog.hold = True
    rig.cog.steps = [
        {"status": "processing", "output": ["a"], "logs": "1\n"},
        {"status": "processing", "output": ["a", "b"], "logs": "1\n2\n"},
    ]
    rig.cog.end = {"status": "succeeded", "output": ["a", "b", "c"], "logs": "1\n2\n3\n"}
    task = rig.begin()
    await rig.until(lambda: rig.items == ["a", "b"])
    assert rig.logs == "1\n2\n"
    rig.cog.go.set()
    result = await asyncio.wait_for(task, 10)
    assert rig.items == result.output == ["a", "b", "c"]
    assert rig.logs == result.logs == "1\n2\n3\n"


async def test_webhooks_out_of_order(on: On) -> None:
    rig = await on(THIRD)
    await rig.start()
    rig.cog.steps = [
        {"status": "processing", "output": ["a", "b"], "logs": "1\n2\n"},
        {"status": "processing", "output": ["a"], "logs": "1\n"},
    ]
    error = "Prediction failed: Prediction failed: ValueError: no"
    rig.cog.end = {"status": "failed", "error": error, "logs": ""}
    result = await rig.predict()
    assert rig.items == ["a", "b"]
    assert (result.status, result.error, result.error_code) == ("failed", "ValueError: no", "model_error")
    assert result.logs == "1\n2\n", "which that generation blanks when it failed"


async def test_logs_that_are_lines_and_fields_that_are_missing(on: On) -> None:
    rig = await on(FIRST)
    await rig.start()
    rig.cog.end = {"status": "succeeded", "logs": ["one", "two"]}
    result = await rig.predict()
    assert (result.output, result.logs, result.metrics) == (None, "one\ntwo\n", {})


# --- how it is asked for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [FIRST, THIRD], ids=["first", "third"])
async def test_the_request_is_held_and_names_a_webhook_for_progress(on: On, shape: Shape) -> None:
    rig = await on(shape)
    await rig.start()
    await rig.predict()
    assert rig.cog.prefer == [""]
    assert rig.cog.orders[0]["webhook_events_filter"] == ["start", "output", "logs"]
    await rig.told("a held request, progress by webhooks")


async def test_where_webhooks_need_respond_async(on: On) -> None:
    rig = await on(SECOND)
    await rig.start()
    await rig.predict("p-1")
    await rig.predict("p-2")
    assert rig.cog.prefer == ["", "respond-async", "respond-async"]
    assert "completed" in rig.cog.orders[-1]["webhook_events_filter"]


@each_generation
async def test_where_no_webhook_arrives(on: On, shape: Shape) -> None:
    rig = await on(shape)
    await rig.start()
    rig.cog.webhooks_arrive = False
    rig.cog.hold = True
    task = rig.begin()
    await rig.told("--cog-callback-url")
    rig.cog.hold = False
    rig.cog.go.set()
    assert (await asyncio.wait_for(task, 10)).output == "done"
    assert (await rig.predict("p-2")).output == "done"
    assert rig.cog.prefer[-1] == ""
    assert "webhook" not in rig.cog.orders[-1]


# --- busy, refused, away ----------------------------------------------------------------------------------


@each_generation
async def test_a_busy_server_is_no_failure(on: On, shape: Shape) -> None:
    rig = await on(shape)
    await rig.start()
    rig.cog.running.add("of somebody else")
    with pytest.raises(NotTaken) as caught:
        await rig.predict()
    assert caught.value.reason == "busy"
    assert not rig.runner.ready.is_set()
    rig.cog.running.clear()
    await rig.until(rig.runner.ready.is_set)
    assert (await rig.predict("p-2")).status == "succeeded"


@each_generation
async def test_a_server_that_calls_itself_busy_for_a_moment_is_asked_again(on: On, shape: Shape) -> None:
    rig = await on(shape)
    await rig.start()
    rig.cog.answers = [shape.busy, shape.busy]
    assert (await rig.predict()).status == "succeeded"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (as_text("runner not ready", 500), "busy"),
        (as_json({"error": "Setup has not finished yet", "status": "failed"}, 503), "unavailable"),
    ],
)
async def test_refusals_that_are_no_failures(on: On, answer: Answer, reason: str) -> None:
    rig = await on(SECOND)
    await rig.start()
    rig.cog.answers = [answer] * 20
    with pytest.raises(NotTaken) as caught:
        await rig.predict()
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            as_json({"detail": [{"loc": ["body", "input", "n"], "msg": "too small"}]}, 422),
            "input.n: too small",
        ),
        (as_text("Failed to deserialize the JSON body", 422), "Failed to deserialize the JSON body"),
        (as_json({"detail": "no"}, 404), "no"),
        (as_text("", 415), "no reason given"),
    ],
)
async def test_an_input_that_is_refused(on: On, answer: Answer, said: str) -> None:
    rig = await on(THIRD)
    await rig.start()
    rig.cog.answers = [answer]
    result = await rig.predict()
    assert (result.status, result.error_code) == ("failed", "invalid_input")
    assert result.error == f"the model refused its input: {said}"


async def test_an_input_that_the_second_generation_refuses(on: On) -> None:
    rig = await on(SECOND)
    await rig.start()
    rig.cog.answers = [as_text("bad", 400), as_text("bad", 400)]
    assert (await rig.predict()).error_code == "invalid_input"
    assert (await rig.predict("p-2")).status == "succeeded"


@pytest.mark.parametrize(
    ("health", "code"),
    [
        ({"status": "DEFUNCT"}, "runner_crashed"),
        ({"status": "UNHEALTHY", "user_healthcheck_error": "healthcheck channel closed"}, "runner_crashed"),
        ({"status": "UNHEALTHY", "user_healthcheck_error": "no disk"}, "model_error"),
        ({"status": "READY"}, "model_error"),
    ],
)
async def test_a_failure_that_took_the_models_process_with_it(
    on: On, health: dict[str, str], code: str
) -> None:
    rig = await on(THIRD)
    await rig.start()
    rig.cog.health_more = health
    rig.cog.answers = [as_json({"id": "p-1", "status": "failed", "error": "Worker crashed"})]
    assert (await rig.predict()).error_code == code


async def test_a_connection_that_is_cut_is_the_death_of_the_process(on: On) -> None:
    rig = await on(FIRST)
    await rig.start()
    rig.cog.answers = [Answer(cut=True)]
    result = await rig.predict()
    assert (result.status, result.error_code) == ("failed", "runner_crashed")
    assert f"the Cog server at {rig.cog.url} went away" in str(result.error)


async def test_a_server_that_was_started_again_has_lost_what_it_was_to_tell(on: On) -> None:
    rig = await on(SECOND)
    await rig.start()
    rig.cog.hold = True
    task = rig.begin()
    await asyncio.wait_for(rig.cog.started.wait(), 10)
    rig.cog.began = "2026-01-02T00:00:00+00:00"
    assert (await asyncio.wait_for(task, 10)).error_code == "runner_crashed"


# --- how it ends ------------------------------------------------------------------------------------------


@each_generation
async def test_cancel(on: On, shape: Shape) -> None:
    rig = await on(shape)
    await rig.start()
    rig.cog.hold = True
    task = rig.begin()
    await asyncio.wait_for(rig.cog.started.wait(), 10)
    rig.runner.cancel("p-1", 5.0)
    assert (await asyncio.wait_for(task, 10)).status == "canceled"
    assert rig.cog.canceled[0] == "p-1"


async def test_a_cancel_that_the_server_does_not_heed_ends_with_its_grace(on: On) -> None:
    rig = await on(FIRST)
    await rig.start()
    rig.cog.hold = rig.cog.stubborn = True
    task = rig.begin()
    await asyncio.wait_for(rig.cog.started.wait(), 10)
    rig.runner.cancel("p-1", 0.05)
    assert (await asyncio.wait_for(task, 10)).status == "canceled"
    assert not rig.runner.ready.is_set(), "its slot is still taken there"
    rig.cog.go.set()
    await rig.until(rig.runner.ready.is_set)


@each_generation
async def test_a_prediction_that_takes_too_long(on: On, shape: Shape) -> None:
    rig = await on(shape)
    await rig.start()
    rig.cog.hold = True
    result = await asyncio.wait_for(rig.begin(timeout_s=0.2), 10)
    assert (result.status, result.error_code) == ("failed", "timeout")
    assert rig.cog.canceled


async def test_stop_ends_what_runs_and_leaves_the_server_alone(on: On) -> None:
    rig = await on(FIRST)
    await rig.start()
    rig.cog.hold = True
    task = rig.begin()
    await asyncio.wait_for(rig.cog.started.wait(), 10)
    await rig.runner.stop(1.0)
    assert (await asyncio.wait_for(task, 10)).error_code == "runner_stopped"
    assert "p-1" in rig.cog.canceled
    assert not any(request.path == "/shutdown" for request in rig.cog.server.requests)


# --- waiting for it ---------------------------------------------------------------------------------------


async def test_it_waits_until_the_server_is_ready(on: On) -> None:
    rig = await on(FIRST)
    rig.cog.status = "STARTING"
    task = asyncio.create_task(rig.start())
    await rig.told("is setting up its model")
    rig.cog.status = "READY"
    await task
    assert rig.said[-1] == f"the Cog server at {rig.cog.url} is ready"
    assert sum("setting up" in line for line in rig.said) == 1


async def test_a_setup_that_failed_is_told_with_its_logs_and_waited_for(on: On) -> None:
    rig = await on(THIRD)
    rig.cog.status = "SETUP_FAILED"
    rig.cog.health_more = {"setup": {"started_at": "t", "logs": "loading\nno such file\n"}}
    task = asyncio.create_task(rig.start())
    await rig.told("setup: no such file")
    rig.cog.status, rig.cog.health_more = "READY", {}
    await task
    assert rig.said.count("setup: no such file") == 1


async def test_something_else_at_that_url(on: On) -> None:
    rig = await on(FIRST)
    rig.cog.server.handler = lambda request: as_json({"detail": "Not Found"}, 404)
    task = asyncio.create_task(rig.runner.start())
    await rig.told("this is no Cog server: GET /health-check answers 404")
    task.cancel()
    await asyncio.wait({task})


async def test_an_unhealthy_server_gets_no_work(on: On) -> None:
    rig = await on(FIRST)
    await rig.start()
    rig.cog.health_more = {"status": "UNHEALTHY", "user_healthcheck_error": "the card fell off"}
    await rig.until(lambda: not rig.runner.ready.is_set())
    await rig.told("it is UNHEALTHY: the card fell off")
    rig.cog.health_more = {}
    await rig.until(rig.runner.ready.is_set)


async def test_another_model_in_its_place(on: On) -> None:
    rig = await on(FIRST)
    rig.cog.document = {"components": {"schemas": {"Output": {"type": "string"}}}}
    first = await rig.start()
    rig.cog.document = {"components": {"schemas": {"Output": {"type": "integer"}}}}
    rig.cog.began = "2026-01-02T00:00:00+00:00"
    await rig.until(lambda: bool(rig.reloaded))
    assert rig.reloaded[0].schema["components"] == rig.cog.document["components"]
    assert rig.reloaded[0].version != first.version
    await rig.until(rig.runner.ready.is_set)
