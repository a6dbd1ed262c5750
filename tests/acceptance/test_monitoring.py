"""One prediction as those see it who watch: its trace, the server's figures, the lines of both logs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.commands import Agent, Command, Server, run, until
from tests.support.receiver import Received, receiver

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Traced:
    """A span as a collector gets it."""

    def __init__(self, service: str, span: Any) -> None:
        self.service = service
        self.name = span.name
        self.trace_id = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.began, self.ended = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = {each.key: _value(each.value) for each in span.attributes}


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def spans(received: list[Received]) -> dict[str, Traced]:
    """By name; the names of one prediction's spans differ, where it has one attempt and no files."""
    found: dict[str, Traced] = {}
    for request in received:
        assert request.path == "/v1/traces"
        export = ExportTraceServiceRequest.FromString(request.body)
        for resource in export.resource_spans:
            named = {each.key: _value(each.value) for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found[span.name] = Traced(named["service.name"], span)
    return found


def lines(command: Command | None) -> list[dict[str, Any]]:
    assert command is not None
    return [json.loads(line) for line in list(command.lines) if line.startswith("{")]


def test_one_prediction_is_seen_in_traces_metrics_and_logs(
    serve: Callable[..., Server],
    work: Callable[..., Agent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with receiver() as collector:
        told = ("--otlp-endpoint", collector.url, "--log-format", "json")
        server = serve(
            *told, "--access-log", "all", "--log-level", "debug", "--metrics-address", "127.0.0.1:0"
        )
        assert server.command is not None
        metrics = server.command.line(r"metrics +(http://\S+)")[1]
        agent = work(server, options=told).ready()
        made = server.client().post(
            "/v1/models/test/waiter/predictions",
            json={"input": {"name": "one", "folder": str(tmp_path)}},
            headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "prefer": "wait", "x-request-id": "mine"},
        )
        assert made.status_code == 201, made.text
        id = made.json()["id"]

        wanted = {"POST /v1/models/{owner}/{name}/predictions", "queue", "attempt"}
        wanted |= {"agent", "files", "run", "predict"}
        collector.wait_for(lambda received: wanted <= spans(received).keys(), "all spans")
        found = spans(collector.received)

    assert {found[name].trace_id for name in wanted} == {TRACE}
    request = found["POST /v1/models/{owner}/{name}/predictions"]
    assert (request.parent, request.service) == (CALLER, "cogflare-server")
    assert request.attributes["cogflare.request_id"] == "mine"
    assert found["queue"].parent == found["attempt"].parent == request.id
    assert (found["agent"].parent, found["agent"].service) == (found["attempt"].id, "cogflare-agent")
    assert found["files"].parent == found["run"].parent == found["agent"].id
    assert found["predict"].parent == found["run"].id
    assert found["predict"].attributes["cogflare.metrics.predict_time"] >= 0
    assert found["queue"].ended == found["attempt"].began
    assert all(each.began <= each.ended for each in found.values())
    assert found["attempt"].attributes["cogflare.prediction"] == id

    page = httpx.get(metrics).text
    depth = {family.name: family for family in text_string_to_metric_families(page)}["cogflare_queue_depth"]
    assert [sample.labels for sample in depth.samples] == [{"model": "test/waiter", "pool": "default"}]
    hint = httpx.get(metrics.replace("/metrics", "/scale"), params={"model": "test/waiter"}).json()
    assert (hint["models"][0]["desired_workers"], hint["models"][0]["workers"]) == (0, 1)
    assert httpx.get(metrics.replace("/metrics", "/v1/predictions")).status_code == 404

    about = {"prediction": id, "model": "test/waiter", "trace_id": TRACE}
    created = next(line for line in lines(server.command) if line.get("request") == "mine")
    assert created.items() >= about.items()
    ended = next(
        line for line in lines(server.command) if line.get("message") == f"prediction {id}: succeeded"
    )
    assert ended.items() >= {**about, "attempt": 1}.items()
    said = until(
        lambda: [line for line in lines(agent.command) if line.get("prediction") == id][1:], "its lines"
    )
    assert said[-1].items() >= {**about, "attempt": 1, "level": "info"}.items()


def test_traces_cannot_be_sent_to_what_is_no_url() -> None:
    refused = run("serve", "--otlp-endpoint", "collector", "--data", "unused")
    assert (refused.returncode, "is not a URL such as" in refused.stderr) == (2, True)
