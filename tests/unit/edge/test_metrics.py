"""``/metrics`` and the scale hint, read by Prometheus' own parser."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from coordinator.protocol.limits import ServerLimits
from coordinator.tally import Histogram
from edge.exits import CommandFailed
from edge.metrics.door import metrics_address
from edge.metrics.exposition import Page
from tests.support.edge import MODEL, TestServer, register

HERE = {"model": MODEL, "pool": "default"}


class Read:
    """A parsed page."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._samples.get((name, frozenset(labels.items())))

    def here(self, name: str, **labels: str) -> float | None:
        """Of the model that the test server has."""
        return self(name, **HERE, **labels)


async def read(server: TestServer) -> Read:
    answer = await server.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Read(answer.text)


async def until(server: TestServer, holds: Callable[[Read], Any]) -> Read:
    """The first page of which that holds."""
    async with asyncio.timeout(5):
        while True:
            if holds(page := await read(server)):
                return page
            await asyncio.sleep(0.01)


async def scale(server: TestServer, **asked: str) -> list[dict[str, Any]]:
    answer = await server.http.get("/v1/admin/scale", params=asked)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["models"])


async def test_what_waits_and_runs_is_shown_as_it_is(server: TestServer) -> None:
    await server.create()
    dispatch = await server.agent.start()
    for _ in range(3):
        await server.create()

    page = await read(server)

    assert page.here("cogflare_queue_depth") == 3
    assert page.here("cogflare_queue_held") == 0
    assert 0 < (page.here("cogflare_queue_oldest_age_seconds") or 0) < 60
    assert page.here("cogflare_predictions_running", place="own") == 1
    assert page.here("cogflare_predictions_running", place="provider") == 0
    assert page.here("cogflare_sessions", state="ready") == 1
    assert page.here("cogflare_slots", state="busy") == 1
    assert page.here("cogflare_slots", state="free") == 0
    assert page.here("cogflare_predictions_created_total") == 4
    assert page.here("cogflare_wait_seconds_count") == 1
    # Nothing has run: each is taken to need a minute, so each of the three needs a slot of its own.
    assert page.here("cogflare_queue_backlog_seconds") == 180
    assert page.here("cogflare_desired_workers") == 4
    (one,) = await scale(server, model=MODEL)
    assert (one["desired_workers"], one["workers"], one["queued"], one["running"]) == (4, 1, 3, 1)
    assert one["backlog_s"] == 180

    server.agent.finish(dispatch, ["done"])
    await server.ended(dispatch.prediction)
    assert (await read(server)).here("cogflare_predictions_running", place="own") == 0


async def test_what_has_ended_is_counted(server: TestServer) -> None:
    await server.run(["hi"], started_at=1_000_000, completed_at=4_000_000)
    server.agent.offer()
    await server.run(None, status="failed", error="no")

    page = await read(server)

    assert page.here("cogflare_predictions_ended_total", status="succeeded") == 1
    assert page.here("cogflare_predictions_ended_total", status="failed") == 1
    assert page.here("cogflare_predictions_ended_total", status="canceled") == 0
    assert page.here("cogflare_attempts_total", outcome="finished", place="own") == 2
    assert page.here("cogflare_run_seconds_count") == 2
    assert page.here("cogflare_wait_seconds_count") == 2
    assert page.here("cogflare_queue_depth") == 0
    assert page.here("cogflare_queue_oldest_age_seconds") == 0
    assert page.here("cogflare_desired_workers") == 0
    assert (page("cogflare_commit_seconds_count") or 0) > 0
    assert page("cogflare_commit_seconds_count") == page("cogflare_commit_rows_count")
    assert (page("cogflare_http_requests_total", operation="create_model_prediction", status="201")) == 2
    assert (page("cogflare_http_request_seconds_count", operation="create_model_prediction")) == 2
    assert (page("process_resident_memory_bytes") or 0) > 1_000_000


async def test_webhooks_that_are_not_delivered_are_counted(server: TestServer) -> None:
    made = await server.http.post(
        f"/v1/models/{MODEL}/predictions",
        json={
            "input": {"text": "hi"},
            "webhook": "http://127.0.0.1:1024/",  # where nobody listens
            "webhook_events_filter": ["completed"],
        },
    )
    server.agent.finish(await server.agent.start(), ["hi"])
    await server.ended(made.json()["id"])
    page = await until(server, lambda page: page.here("cogflare_webhook_tries_total", result="failed"))
    assert page.here("cogflare_webhooks_due") == 1
    assert page.here("cogflare_webhook_tries_total", result="delivered") == 0


async def test_refusals_are_counted_by_code(server: TestServer) -> None:
    await server.http.get("/v1/predictions/nothing")
    page = await read(server)
    assert page("cogflare_refusals_total", code="not_found") == 1
    assert page("cogflare_http_requests_total", operation="get_prediction", status="404") == 1


async def test_only_an_administrator_may_read_it(server: TestServer) -> None:
    reader = await server.secret("reader", scopes=("read",))
    for path in ("/metrics", "/v1/admin/scale"):
        nobody = await server.http.get(path, headers={"authorization": ""})
        assert nobody.status_code == 401
        some = await server.http.get(path, headers={"authorization": f"Bearer {reader}"})
        assert (some.status_code, some.json()["code"]) == (403, "missing_scope")


class TestManyModels:
    @pytest.fixture
    def limits(self) -> ServerLimits:
        return ServerLimits(metrics_models=1)

    async def test_those_beyond_the_limit_are_one(self, server: TestServer) -> None:
        for model in ("acme/second", "acme/third"):
            await register(server.services.store, model)
            made = await server.http.post(f"/v1/models/{model}/predictions", json={"input": {"text": "x"}})
            assert made.status_code == 201, made.text
        await server.create()

        page = await read(server)

        depth = page.families["cogflare_queue_depth"].samples
        assert {sample.labels["model"]: sample.value for sample in depth} == {MODEL: 0, "other": 2}
        assert page("cogflare_predictions_created_total", model="other", pool="other") == 2
        assert page("cogflare_desired_workers", model="other", pool="other") == 2
        asked = {each["model"]: each["desired_workers"] for each in await scale(server)}
        assert asked == {MODEL: 1, "acme/second": 1, "acme/third": 1}


class TestSleeping:
    @pytest.fixture
    def limits(self) -> ServerLimits:
        return ServerLimits(idle_s=0.05)

    async def test_what_waits_in_a_model_that_left_memory_still_counts(self, server: TestServer) -> None:
        await register(server.services.store, "acme/idle")
        await server.http.post("/v1/models/acme/idle/predictions", json={"input": {"text": "x"}})

        # The other one has an agent.
        page = await until(server, lambda page: page("cogflare_live_models") == 1)

        assert page("cogflare_queue_depth", model="acme/idle", pool="default") == 1
        assert page("cogflare_desired_workers", model="acme/idle", pool="default") == 1
        (one,) = await scale(server, model="acme/idle")
        assert one["oldest_age_s"] > 0


async def test_the_hint_of_one_model(server: TestServer) -> None:
    await register(server.services.store, "acme/unused")
    await server.services.store.objects.number("default", "acme/unused")
    (one,) = await scale(server, model="acme/unused")
    assert (one["desired_workers"], one["queued"]) == (0, 0)
    assert (await server.http.get("/v1/admin/scale", params={"model": "acme/none"})).status_code == 404
    assert (await server.http.get("/v1/admin/scale", params={"model": MODEL, "pool": "x"})).status_code == 404


def test_any_text_may_be_a_label() -> None:
    page = Page()
    page.family("a", "gauge", 'what "it"\nis \\ was')
    page.sample(1.5, label='"quoted" \\ back\nnext')
    seconds = Histogram((0.5, 1.0))
    for value in (0.5, 0.7, 7.0):
        seconds.add(value)
    page.family("b", "histogram", "steps")
    page.histogram(seconds, model="x")

    parsed = Read(page.text().decode())

    assert parsed("a", label='"quoted" \\ back\nnext') == 1.5
    assert parsed.families["a"].documentation == 'what "it"\nis \\ was'
    assert [parsed("b_bucket", model="x", le=le) for le in ("0.5", "1", "+Inf")] == [1, 2, 3]
    assert (parsed("b_sum", model="x"), parsed("b_count", model="x")) == (8.2, 3)


@pytest.mark.parametrize("given", ["9090", "host:", "host:x", "host:70000", "http://host:1"])
def test_an_address_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(CommandFailed, match="is not HOST:PORT"):
        metrics_address(given)


def test_addresses() -> None:
    assert metrics_address("") is None
    assert metrics_address("127.0.0.1:9090") == ("127.0.0.1", 9090)
    assert metrics_address("[::1]:0") == ("::1", 0)
    assert metrics_address(":9090") == ("0.0.0.0", 9090)
