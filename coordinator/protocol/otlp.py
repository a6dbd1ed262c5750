"""Sends spans to a collector by OpenTelemetry's own SDK, OTLP over HTTP: the extra ``cogflare[otel]``."""

from typing import Any

from coordinator.protocol.traces import Span

_EXPORT_S = 3.0
"""How long a batch is tried: as long may a collector that is away hold up who ends."""


class NoTelemetry(Exception):
    """The SDK is not installed."""


class Otlp:
    """``tell`` puts a span into a queue of the SDK, whose thread sends them in batches, again after failures,
    and drops what does not fit; ``close`` sends what is left, and blocks for as long."""

    def __init__(self, endpoint: str, service: str, version: str) -> None:
        """``endpoint`` is a collector's base URL, as http://127.0.0.1:4318. Raises NoTelemetry."""
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import ReadableSpan
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as error:
            raise NoTelemetry(str(error)) from None
        self._trace: Any = trace
        self._span = ReadableSpan
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over what we say of ourselves.
        given = Resource.create()
        ours = {"service.version": version}
        if str(given.attributes.get("service.name", "")).startswith("unknown_service"):
            ours["service.name"] = service
        self._resource = given.merge(Resource(ours))
        self._scope = InstrumentationScope("cogflare", version)
        self._kinds = {kind.name.lower(): kind for kind in trace.SpanKind}
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_S)
        self._processor: Any = BatchSpanProcessor(exporter)

    def tell(self, span: Span) -> None:
        self._processor.on_end(
            self._span(
                span.name,
                context=self._context(span.trace_id, span.span_id),
                parent=self._context(span.trace_id, span.parent_id) if span.parent_id else None,
                resource=self._resource,
                attributes=dict(span.attributes),
                kind=self._kinds[span.kind],
                status=self._status(span.error),
                start_time=span.began_at * 1000,
                end_time=max(span.began_at, span.ended_at) * 1000,
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        self._processor.shutdown()

    def _context(self, trace_id: str, span_id: str) -> Any:
        sampled = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        return self._trace.SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=sampled
        )

    def _status(self, error: str) -> Any:
        if not error:
            return self._trace.Status(self._trace.StatusCode.UNSET)
        return self._trace.Status(self._trace.StatusCode.ERROR, error)
