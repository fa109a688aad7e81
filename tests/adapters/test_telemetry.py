import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.adapters.telemetry import telemetry
from gateway.core.log_entry import pack
from gateway.core.ports import LogEntry
from tests.support.process import ROOT

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
DOC: dict[str, Any] = {
    "id": "r1",
    "trace_id": TRACE,
    "span_id": "00f067aa0ba902b7",
    "parent_span_id": "53995c3f42cd8ad8",
    "created_at": 1_700_000_000.0,
    "duration_ms": 1500.0,
    "operation": "chat/completions",
    "provider": "azure-openai",
    "model": "gpt-4o-2024-08-06",
    "asked_model": "gpt-4o",
    "deployment": "chat-eu",
    "status": 200,
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "cost": 50.0,
    "stream": True,
    "ttfb_ms": 200.0,
    "attempts": [
        {"target": "config.targets[0]", "status": 429, "started_at": 1_700_000_000.0, "duration_ms": 300.0},
        {"target": "config.targets[1]", "status": 200, "started_at": 1_700_000_000.5, "duration_ms": 900.0},
    ],
}


@dataclass
class Collector:
    """An OTLP receiver on loopback."""

    url: str
    spans: list[Any] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
                    found.spans += [span for scope in resource.scope_spans for span in scope.spans]
            else:
                for metrics in ExportMetricsServiceRequest.FromString(raw).resource_metrics:
                    found.metrics |= {m.name: m for scope in metrics.scope_metrics for m in scope.metrics}
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found
        server.shutdown()
        thread.join()


def export(collector: Collector, *entries: LogEntry, capture: bool = False) -> None:
    sender = telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, capture)
    assert sender is not None
    for entry in entries:
        sender(entry)
    sender.close()


def attributes(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


def test_a_request_is_a_span_and_its_tries_are_children(collector: Collector) -> None:
    export(collector, LogEntry(DOC))
    request = next(span for span in collector.spans if span.name == "chat gpt-4o")
    tries = sorted((s for s in collector.spans if s.name.startswith("try")), key=lambda s: s.name)
    assert request.trace_id.hex() == TRACE
    assert (request.span_id.hex(), request.parent_span_id.hex()) == ("00f067aa0ba902b7", "53995c3f42cd8ad8")
    assert request.end_time_unix_nano - request.start_time_unix_nano == 1_500_000_000
    shown = attributes(request)
    assert shown["gen_ai.provider.name"] == "azure.ai.openai"
    assert (shown["gen_ai.usage.input_tokens"], shown["gen_ai.usage.output_tokens"]) == (7, 5)
    assert [attributes(span)["http.response.status_code"] for span in tries] == [429, 200]
    assert {span.parent_span_id for span in tries} == {request.span_id}
    assert len({span.span_id for span in collector.spans}) == 3


def test_ids_that_are_no_w3c_ids_are_made_into_some(collector: Collector) -> None:
    plain = {**DOC, "trace_id": "my-trace", "span_id": "s1", "attempts": []}
    del plain["parent_span_id"]
    export(collector, LogEntry(plain), LogEntry({**plain, "span_id": "s2", "parent_span_id": "s1"}))
    first, second = collector.spans
    assert first.trace_id == second.trace_id
    assert second.parent_span_id == first.span_id
    assert first.parent_span_id == b""
    assert attributes(first)["gateway.trace_id"] == "my-trace"


def test_metrics_are_measured(collector: Collector) -> None:
    failed = {**DOC, "status": 503, "error_class": "upstream_unreachable", "attempts": []}
    export(collector, LogEntry(DOC), LogEntry(failed))
    metrics = collector.metrics
    durations = metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert sum(point.count for point in durations) == 2
    tokens = metrics["gen_ai.client.token.usage"].histogram.data_points
    assert sorted(point.sum for point in tokens) == [5, 5, 7, 7]
    assert metrics["gen_ai.server.time_to_first_token"].histogram.data_points[0].sum == 0.2
    errors = metrics["gateway.errors"].sum.data_points
    assert [attributes(point)["error.type"] for point in errors] == ["upstream_unreachable"]
    assert metrics["gateway.throttles"].sum.data_points[0].as_int == 1
    assert sum(point.as_double for point in metrics["gateway.cost"].sum.data_points) == 2 * DOC["cost"]


def queries() -> dict[str, str]:
    items = json.loads((ROOT / "infra" / "workbook.json").read_text())["items"]
    return {item["name"]: item["content"]["query"] for item in items if item["type"] == 3}


def properties(query: str) -> set[str]:
    return set(re.findall(r'Properties\["([^"]+)"\]', query))


def test_metrics_have_the_names_that_the_workbook_reads(collector: Collector) -> None:
    export(collector, LogEntry(DOC))
    read = {name: query for name, query in queries().items() if query.startswith("AppMetrics")}
    assert set(read) == {"tokens", "cost"}
    for query in read.values():
        (name,) = re.findall(r'Name == "([^"]+)"', query)
        metric = collector.metrics[name]
        for point in getattr(metric, metric.WhichOneof("data")).data_points:
            assert properties(query) <= set(attributes(point))
    assert "round(sum(Sum) / 100" in read["cost"]  # cents
    assert collector.metrics["gateway.cost"].unit == "{cent}"


def test_the_workbook_counts_tries_and_not_the_requests_around_them(collector: Collector) -> None:
    passed_over = {"target": "config.targets[2]", "skipped": "open", "deployment": "chat-us"}
    tries = [{**attempt, "deployment": "chat-eu"} for attempt in DOC["attempts"]]
    export(collector, LogEntry({**DOC, "attempts": [*tries, passed_over]}))
    read = {name: query for name, query in queries().items() if query.startswith("AppDependencies")}
    assert set(read) == {"duration", "throttles", "table"}
    for query in read.values():
        (wanted,) = re.findall(r'isnotempty\(Properties\["([^"]+)"\]\)', query)
        (unwanted,) = re.findall(r'isempty\(Properties\["([^"]+)"\]\)', query.replace("isnotempty", ""))
        shown = [attributes(span) for span in collector.spans]
        counted = [one for one in shown if one.get(wanted) and not one.get(unwanted)]
        assert sorted(one["http.response.status_code"] for one in counted) == [200, 429]
        assert all(properties(query) - {unwanted} <= set(one) for one in counted)


def test_bodies_go_out_only_when_asked(collector: Collector) -> None:
    bodies = pack({"request": {"body": {"secret": "plan"}}, "response": {"body": {"a": 1}}})
    export(collector, LogEntry({**DOC, "attempts": []}, bodies))
    assert "gen_ai.input.messages" not in attributes(collector.spans[0])
    collector.spans.clear()
    export(collector, LogEntry({**DOC, "attempts": []}, bodies), capture=True)
    shown = attributes(collector.spans[0])
    assert (shown["gen_ai.input.messages"], shown["gen_ai.output.messages"]) == (
        '{"secret":"plan"}',
        '{"a":1}',
    )


@pytest.mark.parametrize(
    "environ", [{}, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}]
)
def test_nothing_is_sent_unless_configured(environ: dict[str, str]) -> None:
    assert telemetry(environ) is None


def test_nothing_is_imported_unless_used() -> None:
    code = (
        "import sys, gateway.adapters.telemetry as t; t.telemetry({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://x'});"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_azure_monitor_gets_requests_and_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            items = json.loads(gzip.decompress(raw) if self.headers["content-encoding"] == "gzip" else raw)
            received.extend(items)
            answer = json.dumps(
                {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    for name in ("STATSBEAT_DISABLED_ALL", "SDKSTATS_DISABLED", "CONTROLPLANE_DISABLED"):
        monkeypatch.setenv(
            f"APPLICATIONINSIGHTS_{name}", "true"
        )  # as the exporter is told; gone after the test
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        key = "00000000-0000-0000-0000-000000000001"
        endpoint = f"http://127.0.0.1:{server.server_port}/"
        sender = telemetry(
            {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={key};IngestionEndpoint={endpoint}"
            }
        )
        assert sender is not None
        sender(LogEntry(DOC))
        sender.close()
        server.shutdown()
        thread.join()
    names = {item["data"]["baseData"].get("name") for item in received}
    assert {"chat gpt-4o", "try 0", "try 1"} <= names
    assert {item["tags"]["ai.operation.id"] for item in received if "name" in item["data"]["baseData"]} == {
        TRACE
    }
