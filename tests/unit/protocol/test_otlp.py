import sys

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from coordinator.protocol.otlp import NoTelemetry, Otlp
from coordinator.protocol.traces import Span
from tests.support.receiver import receiver

SPAN = Span(
    name="run",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    span_id="b7ad6b7169203331",
    parent_id="c" * 16,
    began_at=1_750_000_000_000_001,
    ended_at=1_750_000_000_000_003,
    attributes={"cogflare.attempt": 2, "cogflare.model": "a/b"},
    error="model_error",
)


def test_a_span_arrives_as_it_was_told_and_the_last_ones_at_the_end() -> None:
    with receiver() as collector:
        otlp = Otlp(collector.url + "/", "cogflare-agent", "1.2.3")
        otlp.tell(SPAN)
        otlp.close()
        (request,) = collector.received
    assert request.path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(request.body).resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (named["service.name"], named["service.version"]) == ("cogflare-agent", "1.2.3")
    (span,) = resource.scope_spans[0].spans
    assert (span.trace_id.hex(), span.span_id.hex()) == (SPAN.trace_id, SPAN.span_id)
    assert (span.name, span.parent_span_id.hex()) == ("run", SPAN.parent_id)
    assert span.start_time_unix_nano == 1_750_000_000_000_001_000
    assert span.end_time_unix_nano == 1_750_000_000_000_003_000
    assert span.status.message == "model_error"


def test_the_operator_may_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with receiver() as collector:
        otlp = Otlp(collector.url, "cogflare-agent", "1.2.3")
        otlp.tell(SPAN)
        otlp.close()
        (request,) = collector.received
    (resource,) = ExportTraceServiceRequest.FromString(request.body).resource_spans
    assert {each.key: each.value.string_value for each in resource.resource.attributes}[
        "service.name"
    ] == "mine"


def test_it_says_so_when_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(NoTelemetry):
        Otlp("http://127.0.0.1:4318", "cogflare-agent", "1.2.3")
