"""OpenTelemetry: each stored record as a span with its tries beneath it, and as measurements.

Spans are made of records once they are whole, in the recorder's thread: a request's path pays nothing,
and what goes out is masked as the log is. Imported only where an exporter is configured.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson

from gateway.core import otel
from gateway.core.log_entry import unpack
from gateway.core.ports import LogEntry

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_SERVICE = "llm-gateway"
_OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
_AZURE = "APPLICATIONINSIGHTS_CONNECTION_STRING"
_LONGEST_CONTENT = 32_000  # characters of a body in a span's attribute
# The convention's boundaries: seconds, tokens.
_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304]


def telemetry(environ: Mapping[str, str], capture_content: bool = False) -> "Telemetry | None":
    """What exports, by the standard variables and Azure's; None when nothing is configured."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    names = (_OTLP, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", _AZURE)
    if not any(environ.get(name) for name in names):
        return None
    return Telemetry(lambda: exporters(environ), capture_content)


Exporters = list[tuple["SpanExporter | None", "MetricExporter | None"]]


def exporters(environ: Mapping[str, str]) -> Exporters:
    """Pairs for spans and metrics: OTLP over HTTP, Azure Monitor, or both."""
    found: Exporters = []
    traces = environ.get(_OTLP) or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    metrics = environ.get(_OTLP) or environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    if traces or metrics:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        found.append((OTLPSpanExporter() if traces else None, OTLPMetricExporter() if metrics else None))
    if connection := environ.get(_AZURE):
        found.append(_azure_monitor(connection, environ))
    return found


def _azure_monitor(connection: str, environ: Mapping[str, str]) -> tuple["SpanExporter", "MetricExporter"]:
    from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter

    # No copies of spans in temporary files. The exporter's reports about itself to Microsoft stay off too.
    options: dict[str, Any] = {"connection_string": connection, "disable_offline_storage": True}
    for name in ("STATSBEAT_DISABLED_ALL", "SDKSTATS_DISABLED", "CONTROLPLANE_DISABLED"):
        os.environ.setdefault(f"APPLICATIONINSIGHTS_{name}", "true")
    # What the Functions host reads too: "ClientId=...;Authorization=AAD".
    parts = environ.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "").split(";")
    sign_in = dict(part.split("=", 1) for part in parts if "=" in part)
    if sign_in.get("Authorization") == "AAD":
        from azure.identity import ManagedIdentityCredential

        options["credential"] = ManagedIdentityCredential(client_id=sign_in.get("ClientId"))
    return AzureMonitorTraceExporter(**options), AzureMonitorMetricExporter(**options)


class Telemetry:
    """Called with each entry, by one thread; starts at the first."""

    def __init__(self, exporters: Callable[[], Exporters], capture_content: bool = False) -> None:
        self._exporters, self._capture = exporters, capture_content
        self._started: _Started | None = None

    def __call__(self, entry: LogEntry) -> None:
        if self._started is None:
            self._started = _Started(self._exporters())
        self._started.span(entry, self._capture)
        self._started.measure(entry.doc)

    async def aclose(self) -> None:
        """Send what is left, in a thread: a collector that is away takes its time-out."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="telemetry-close")
        await asyncio.get_running_loop().run_in_executor(pool, self.close)
        pool.shutdown(wait=False)

    def close(self) -> None:
        """The same. Blocks."""
        if self._started is not None:
            self._started.close()
            self._started = None


class _Ids:
    """Gives spans the ids that their records have."""

    def __init__(self) -> None:
        self.trace_id = 1
        self.span_id: int | None = None

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        chosen, self.span_id = self.span_id, None
        return chosen or int.from_bytes(os.urandom(8), "big") or 1

    def is_trace_id_random(self) -> bool:
        return False


class _Started:
    def __init__(self, exporters: Exporters) -> None:
        from opentelemetry.sdk.resources import Resource

        self._ids = _Ids()
        resource = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _SERVICE})
        self._tracers = self._tracer_provider(exporters, resource)
        self._tracer = self._tracers.get_tracer(_SERVICE)
        self._meters = self._meter_provider(exporters, resource)
        self._instruments()

    def _tracer_provider(self, exporters: Exporters, resource: Any) -> "TracerProvider":
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        ids: Any = self._ids
        provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
        for exporter, _ in exporters:
            if exporter is not None:
                provider.add_span_processor(BatchSpanProcessor(exporter))
        return provider

    def _meter_provider(self, exporters: Exporters, resource: Any) -> "MeterProvider":
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        readers = [
            PeriodicExportingMetricReader(exporter) for _, exporter in exporters if exporter is not None
        ]
        return MeterProvider(readers, resource=resource, shutdown_on_exit=False)

    def _instruments(self) -> None:
        meter = self._meters.get_meter(_SERVICE)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", explicit_bucket_boundaries_advisory=_TOKENS
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._first = meter.create_histogram(
            "gen_ai.server.time_to_first_token", "s", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._errors = meter.create_counter("gateway.errors", "{error}", "failed requests by class")
        self._throttles = meter.create_counter("gateway.throttles", "{try}", "tries answered with 429")
        self._cost = meter.create_counter(
            "gateway.cost", "{cent}", "US cents, of requests with a known price"
        )

    def span(self, entry: LogEntry, capture: bool) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        doc = entry.doc
        attributes = otel.request_attributes(doc) | (_content(entry) if capture else {})
        self._ids.trace_id = otel.trace_id_of(doc)
        self._ids.span_id = otel.span_id_of(doc["span_id"]) if doc.get("span_id") else None
        start = int(doc["created_at"] * 1e9)
        span = self._tracer.start_span(
            otel.span_name(doc), self._parent(doc), SpanKind.CLIENT, attributes, start_time=start
        )
        if (failure := otel.error_of(doc)) is not None:
            span.set_status(Status(StatusCode.ERROR, failure))
        context = set_span_in_context(span)
        for number, attempt in enumerate(doc.get("attempts", ())):
            begun = int((attempt.get("started_at") or doc["created_at"]) * 1e9)
            child = self._tracer.start_span(
                f"try {number}", context, SpanKind.CLIENT, otel.try_attributes(doc, attempt), start_time=begun
            )
            if attempt.get("error") or attempt.get("status", 0) >= 400:
                child.set_status(Status(StatusCode.ERROR))
            child.end(begun + int(attempt.get("duration_ms", 0.0) * 1e6))
        span.end(start + int(doc.get("duration_ms", 0.0) * 1e6))

    def measure(self, doc: Mapping[str, Any]) -> None:
        common = otel.common(doc)
        self._duration.record(doc.get("duration_ms", 0.0) / 1000, common)
        for kind, name in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            if name in doc:
                self._tokens.record(doc[name], common | {"gen_ai.token.type": kind})
        if doc.get("stream") and "ttfb_ms" in doc:
            self._first.record(doc["ttfb_ms"] / 1000, common)
        if "error.type" in common:
            self._errors.add(1, common)
        if throttled := sum(attempt.get("status") == 429 for attempt in doc.get("attempts", ())):
            self._throttles.add(throttled, common)
        if doc.get("cost"):
            self._cost.add(doc["cost"], common)

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()

    def _parent(self, doc: Mapping[str, Any]) -> Any:
        """The caller's span, where it named one; the root of a new trace else."""
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        parent = otel.parent_span_id_of(doc)
        if parent is None:
            return Context()
        span = SpanContext(
            self._ids.trace_id, parent, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )
        return set_span_in_context(NonRecordingSpan(span), Context())


def _content(entry: LogEntry) -> dict[str, Any]:
    bodies = unpack(entry.bodies)
    found = {}
    for name, side in (("gen_ai.input.messages", "request"), ("gen_ai.output.messages", "response")):
        body = bodies.get(side, {}).get("body")
        if body is not None:
            found[name] = orjson.dumps(body).decode()[:_LONGEST_CONTENT]
    return found
