import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import pytest

from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.adapters.recorder import BackgroundRecorder, Limits
from gateway.adapters.records_sqlite import SqliteRecords
from gateway.api.analytics import AnalyticsApi
from gateway.api.feedback import FeedbackApi
from gateway.api.log_exports import LogExportApi
from gateway.api.logs import LogApi
from gateway.api.routing import ApiRequest, ApiResponse, Router
from gateway.api.traces import TraceApi
from gateway.core.caller import ADMIN
from gateway.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from gateway.core.headers import RequestHeaders
from gateway.core.ids import record_id
from gateway.core.log_entry import Encoder
from gateway.core.record import Attempt, Record, Usage

NOON = 1_700_049_600.0  # 2023-11-15T12:00:00Z


@dataclass
class World:
    """The log's handlers over a real store, called as the app calls them."""

    router: Router
    records: SqliteRecords
    recorder: BackgroundRecorder
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        found = self.router.find(method, path)
        assert found is not None, path
        route, params = found
        raw = b"" if body is None else orjson.dumps(body)
        request = ApiRequest(
            method, path, params, urlencode(query), RequestHeaders([]), ADMIN, raw, "http://gw"
        )
        return await route.handler(request)

    def put(self, at: float = 0.0, **fields: Any) -> str:
        created_at = NOON + at
        id = record_id(created_at, next(self.numbers).to_bytes(10, "big"))
        base: dict[str, Any] = {
            "trace_id": f"t-{id}",
            "method": "POST",
            "path": "/v1/chat/completions",
            "status": 200,
        }
        base |= {
            "provider": "azure-openai",
            "model": "gpt-4o",
            "usage": Usage(10, 5, 15),
            "duration_ms": 100.0,
        }
        base |= {"request_body": b'{"q":1}', "response_body": [b'{"a":2}']}
        self.recorder.put(Record(id=id, created_at=created_at, **{**base, **fields}))
        return id

    async def written(self) -> None:
        assert await self.recorder.aclose()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    records, documents = SqliteRecords(tmp_path), SqliteDocuments(tmp_path, lambda: NOON)
    recorder = BackgroundRecorder(records, Encoder(price=lambda r, b: 0.5), "w", Limits(flush_seconds=3600))
    ids, tokens = itertools.count(), itertools.count()

    def clock() -> float:
        return NOON + 3600

    def new_id(at: float) -> str:
        return record_id(at, (10**6 + next(ids)).to_bytes(10, "big"))

    apis = [
        LogApi(records, recorder, clock, new_id),
        LogExportApi(records, documents, clock, lambda: f"token-{next(tokens)}-0123456789abcdef"),
        FeedbackApi(records, clock, lambda: f"fb-{next(ids)}"),
        TraceApi(records),
        AnalyticsApi(records, clock),
    ]
    yield World(Router([route for api in apis for route in api.routes()]), records, recorder)
    await recorder.aclose()
    await records.aclose()
    await documents.aclose()


async def test_the_list_pages_and_filters(world: World) -> None:
    ids = [world.put(at=n, status=429 if n % 2 else 200) for n in range(6)]
    await world.written()
    first = await world.call("GET", "/logs", page_size=4)
    assert [row["_id"] for row in first["data"]] == ids[:1:-1]
    rest = await world.call("GET", "/logs", page_size=4, cursor=first["next_cursor"])
    assert [row["_id"] for row in rest["data"]] == [ids[1], ids[0]]
    assert rest["next_cursor"] is None
    numbered = await world.call("GET", "/logs", page_size=4, current_page=1)
    assert numbered["data"] == rest["data"]
    assert (await world.call("GET", "/logs", page_size=4, current_page=9))["data"] == []
    limited = await world.call("GET", "/logs", status_code="429")
    assert {row["metrics"]["response_status_code"] for row in limited["data"]} == {429}
    with pytest.raises(InvalidRequest):
        await world.call("GET", "/logs", status_code="many")


async def test_the_recorder_tells_its_counters(world: World) -> None:
    world.put()
    await world.written()
    shown = await world.call("GET", "/logs/recorder")
    assert (shown["put"], shown["written"], shown["waiting"], shown["dropped_records"]) == (1, 1, 0, 0)


async def test_the_detail_shows_bodies_and_feedback(world: World) -> None:
    id = world.put(trace_id="t1")
    await world.written()
    await world.call("POST", "/feedback", {"trace_id": "t1", "value": 5})
    shown = await world.call("GET", f"/logs/{id}")
    assert (shown["request"]["body"], shown["response"]["body"]) == ({"q": 1}, {"a": 2})
    assert shown["feedback"][0]["value"] == 5
    with pytest.raises(NotFound):
        await world.call("GET", "/logs/unknown")


async def test_a_generated_image_can_be_fetched_and_nothing_runs(world: World) -> None:
    image, page = bytes(600), b"<script>alert(1)</script>" * 40
    headers = [(b"content-type", b"image/png")]
    shown = world.put(response_headers=headers, response_body=[image])
    hostile = world.put(response_headers=[(b"content-type", b"image/svg+xml")], response_body=[page])
    await world.written()
    found: ApiResponse = await world.call("GET", f"/logs/{shown}/files/response-0.png")
    assert (found.body, found.content_type) == (image, "image/png")
    served: ApiResponse = await world.call("GET", f"/logs/{hostile}/files/response-0.svg")
    assert served.content_type == "application/octet-stream"
    assert served.headers["content-disposition"].startswith("attachment")
    with pytest.raises(NotFound):
        await world.call("GET", f"/logs/{shown}/files/none")


async def test_clients_write_logs_one_or_many_in_either_casing(world: World) -> None:
    one = {
        "request": {"url": "https://tool.example/search", "method": "POST", "body": {"model": "m", "q": "x"}},
        "response": {
            "status": 200,
            "body": {"usage": {"prompt_tokens": 3, "total_tokens": 3}},
            "response_time": 250,
        },
        "metadata": {"traceId": "T", "spanId": "s1", "spanName": "search", "_user": "u1", "n": 5},
    }
    two = {**one, "metadata": {"trace_id": "T", "span_id": "s2", "parent_span_id": "s1"}}
    single = await world.call("POST", "/logs", one)
    both = await world.call("POST", "/logs", [two, two])
    assert (single["status"], len(both["ids"])) == ("success", 2)
    await world.written()
    shown = await world.call("GET", f"/logs/{single['ids'][0]}")
    assert shown["metrics"]["span_name"] == "search"
    assert shown["metadata"] == {"_user": "u1", "n": "5"}
    assert shown["metrics"]["total_units"] == 3
    assert shown["request"]["body"] == {"model": "m", "q": "x"}
    for wrong in [
        [],
        [1],
        {"request": 5},
        {"response": {"status": "x"}},
        {"response": {"response_time": -1}},
    ]:
        with pytest.raises(InvalidRequest):
            await world.call("POST", "/logs", wrong)


async def test_a_trace_is_a_tree_of_spans_with_tries(world: World) -> None:
    world.put(at=1, trace_id="T", span_id="child", parent_span_id="root", duration_ms=500.0)
    tries = [
        Attempt("config.targets[0]", status=429, started_at=NOON),
        Attempt("config.targets[1]", status=200),
    ]
    world.put(at=0, trace_id="T", span_id="root", attempts=tries)
    world.put(at=2, trace_id="T", span_id="lost", parent_span_id="nowhere")
    world.put(at=3, trace_id="T", span_id="a", parent_span_id="b")
    world.put(at=4, trace_id="T", span_id="b", parent_span_id="a")
    await world.written()
    trace = await world.call("GET", "/traces/T")
    assert [span["span_id"] for span in trace["spans"]] == ["root", "lost", "a", "b"]
    root = trace["spans"][0]
    assert [child["span_id"] for child in root["children"]] == ["child"]
    assert [attempt["status"] for attempt in root["attempts"]] == [429, 200]
    assert trace["total_units"] == 75
    assert trace["cost"] == 2.5
    with pytest.raises(NotFound):
        await world.call("GET", "/traces/unknown")


async def test_feedback_is_given_and_changed(world: World) -> None:
    many = await world.call(
        "POST", "/feedback", [{"trace_id": "a", "value": "5"}, {"traceId": "b", "value": -10, "weight": 0.5}]
    )
    assert (many["status"], len(many["feedback_ids"])) == ("success", 2)
    await world.call("PUT", f"/feedback/{many['feedback_ids'][0]}", {"value": 1, "weight": 0})
    found = await world.records.feedback(trace_id="a")
    assert (found[0].value, found[0].weight) == (1, 0.0)
    with pytest.raises(NotFound):
        await world.call("PUT", "/feedback/none", {"value": 1})
    judged = {"trace_id": "a", "value": 1}
    bad = [{"value": 11}, {"value": 1.5}, {"value": True}, {"weight": 2}, {"trace_id": ""}, {"metadata": 1}]
    bad.append({"metadata": {"note": "x" * 20_000}})
    for wrong in [{}, {"trace_id": "a"}, [1], [], *({**judged, **fields} for fields in bad)]:
        with pytest.raises(InvalidRequest):
            await world.call("POST", "/feedback", wrong)


async def lines(world: World, id: str) -> list[dict[str, Any]]:
    link = await world.call("GET", f"/logs/exports/{id}/download")
    parts = urlsplit(link["signed_url"])
    assert parts.netloc == "gw"
    token = parts.query.removeprefix("token=")
    response = await world.call("GET", parts.path.removeprefix("/v1"), token=token)
    text = b"".join([part async for part in response.body_iterator])
    return [orjson.loads(line) for line in text.splitlines()]


async def test_an_export_goes_from_draft_to_lines(world: World) -> None:
    for n in range(5):
        world.put(at=n, status=500 if n == 3 else 200)
    await world.written()
    wanted = ["id", "trace_id", "request", "response", "cost", "response_status_code", "metadata"]
    made = await world.call(
        "POST", "/logs/exports", {"filters": {"status_code": "200"}, "requested_data": wanted}
    )
    assert (made["object"], made["total"], made["data"]["id"]) == ("export", 4, made["id"])
    with pytest.raises(Conflict):
        await world.call("GET", f"/logs/exports/{made['id']}/download")
    await world.call("PUT", f"/logs/exports/{made['id']}", {"filters": {"statusCode": "200", "page_size": 3}})
    await world.call("POST", f"/logs/exports/{made['id']}/start")
    rows = await lines(world, made["id"])
    assert len(rows) == 3
    assert list(rows[0]) == wanted
    assert rows[0]["request"]["body"] == {"q": 1}
    assert (rows[0]["cost"], rows[0]["response_status_code"]) == (0.5, 200)
    shown = await world.call("GET", f"/logs/exports/{made['id']}")
    assert shown["status"] == "success"
    assert "token" not in shown
    assert (await world.call("GET", "/logs/exports"))["total"] == 1
    await world.call("POST", f"/logs/exports/{made['id']}/cancel")
    with pytest.raises(Conflict):
        await world.call("GET", f"/logs/exports/{made['id']}/download")


async def test_a_download_needs_its_own_link(world: World) -> None:
    made = await world.call("POST", "/logs/exports", {})
    await world.call("POST", f"/logs/exports/{made['id']}/start")
    for token in ["", "wrong"]:
        with pytest.raises(Forbidden):
            await world.call("GET", f"/logs/exports/{made['id']}/data", token=token)
    with pytest.raises(Forbidden):
        await world.call("GET", "/logs/exports/unknown/data", token="x")
    with pytest.raises(InvalidRequest):
        await world.call("POST", "/logs/exports", {"requested_data": ["api_key"]})


RANGE = {"time_of_generation_min": "2023-11-15T12:00:00Z", "time_of_generation_max": "2023-11-15T12:59:59Z"}


def fill(world: World) -> None:
    usual = {"metadata": {"team": "red", "_user": "u1"}, "virtual_key": "vk-a"}
    world.put(at=1, **usual)
    world.put(at=2, **usual, duration_ms=300.0, cache_status="HIT")
    world.put(at=61, **usual, status=429, usage=Usage())
    retried = [Attempt("config.targets[0]", status=500), Attempt("config.targets[1]", status=200)]
    world.put(
        at=3000, metadata={"team": "blue", "_user": "u2"}, retry_count=2, attempts=retried, trace_id="T"
    )


GRAPHS = [
    ("requests", {"total": 4}),
    ("cost", {"total": 2.0, "avg": 0.5, "unpriced": 0}),
    ("tokens", {"total": 45, "avg": 11.25}),
    ("users", {"total": 2}),
    ("users/requests", {"total": 4, "unique": 2, "avg": 2.0}),
    ("errors", {"total": 1}),
    ("errors/rate", {"rate": 25.0}),
    ("errors/stacks", {"total": 1}),
    ("errors/status-codes", {"total_errors": 1, "unique_error_codes": 1}),
    ("requests/rescued", {"retry": 1, "fallback": 1}),
    ("cache/hit-rate", {"total": 1, "rate": 25.0}),
    ("cache/latency", {"avg": 300.0}),
]
NODE = {
    "users/requests": "users-requests",
    "errors/rate": "errors-rate",
    "errors/stacks": "errors-stack",
    "errors/status-codes": "errors-status-code",
    "requests/rescued": "requests-rescued",
    "cache/hit-rate": "cache-hit-rate",
    "cache/latency": "cache-latency",
}


@pytest.mark.parametrize(("path", "summary"), GRAPHS)
async def test_graphs_sum_up_the_same_from_totals_and_from_records(
    world: World, path: str, summary: dict[str, Any]
) -> None:
    fill(world)
    await world.written()
    graph = await world.call("GET", f"/analytics/graphs/{path}", **RANGE)
    assert graph["object"] == "analytics-graph"
    assert graph["summary"] == summary
    # A filter that totals do not know makes it read the records.
    by_records = await world.call("GET", f"/analytics/graphs/{path}", **RANGE, response_time_min=0)
    assert by_records == graph
    if path in NODE:
        assert await world.call("GET", f"/analytics/graphs/{NODE[path]}", **RANGE) == graph


async def test_points_cover_the_range_and_wide_ones_use_whole_hours(world: World) -> None:
    fill(world)
    await world.written()
    graph = await world.call("GET", "/analytics/graphs/requests", **RANGE)
    assert len(graph["data_points"]) == 60
    assert graph["data_points"][0] == {"timestamp": "2023-11-15T12:00:00.000Z", "total": 2}
    assert graph["data_points"][50]["total"] == 1
    wide = {"time_of_generation_min": NOON - 20 * 3600 - 90, "time_of_generation_max": NOON + 2 * 3600 + 90}
    day = await world.call("GET", "/analytics/graphs/requests", **wide)
    assert day["summary"] == {"total": 4}
    assert max(day["data_points"], key=lambda p: p["total"]) == {
        "timestamp": "2023-11-15T12:00:00.000Z",
        "total": 4,
    }
    stacks = await world.call("GET", "/analytics/graphs/errors/stacks", **RANGE)
    assert stacks["data_points"][1]["stats"] == [{"response_status_code": 429, "count": 1}]


async def test_filters_reach_analytics(world: World) -> None:
    fill(world)
    await world.written()

    async def total(**filters: Any) -> int:
        graph = await world.call("GET", "/analytics/graphs/requests", **RANGE, **filters)
        count: int = graph["summary"]["total"]
        return count

    assert await total(virtual_keys="vk-a") == 3
    assert await total(status_code="429,500") == 1
    assert await total(metadata='{"team":"blue"}') == 1
    assert await total(ai_org_model="azure-openai__gpt-4o") == 4
    assert await total(ai_org_model="azure-openai__o1") == 0
    assert await total(trace_id="T") == 1
    users = await world.call("GET", "/analytics/graphs/users", **RANGE, virtual_keys="vk-a")
    assert users["summary"] == {"total": 1}


async def test_latency_percentiles_are_near_the_truth(world: World) -> None:
    for n in range(100):
        world.put(at=n % 50, duration_ms=float(n + 1))
    await world.written()
    summary = (await world.call("GET", "/analytics/graphs/latency", **RANGE))["summary"]
    assert summary["avg"] == pytest.approx(50.5)
    for name, expected in {"p50": 50, "p90": 90, "p99": 99}.items():
        assert summary[name] == pytest.approx(expected, rel=0.06)


async def test_groups_list_the_busiest_first(world: World) -> None:
    fill(world)
    await world.written()
    await world.call("POST", "/feedback", {"trace_id": "T", "value": 8, "weight": 0.5})
    teams = await world.call("GET", "/analytics/groups/metadata/team", **RANGE)
    assert [(row["metadata_value"], row["requests"]) for row in teams["data"]] == [("red", 3), ("blue", 1)]
    blue = teams["data"][1]
    assert (blue["avg_weighted_feedback"], blue["requests_with_feedback"]) == (4.0, 1)
    assert blue["last_seen"] == "2023-11-15T12:50:00.000Z"
    models = await world.call("GET", "/analytics/groups/ai-models", **RANGE)
    assert [(row["ai_model"], row["requests"], row["cost"]) for row in models["data"]] == [("gpt-4o", 4, 2.0)]
    for name, requests in {
        "users": 4,
        "workspaces": 4,
        "provider": 4,
        "virtual-keys": 3,
        "status-codes": 4,
    }.items():
        group = await world.call("GET", f"/analytics/groups/{name}", **RANGE)
        assert group["object"] == "list"
        assert sum(row["requests"] for row in group["data"]) == requests, name
    second = await world.call("GET", "/analytics/groups/users", **RANGE, page_size=1, current_page=1)
    assert (second["total"], [row["user"] for row in second["data"]]) == (2, ["u2"])
    with pytest.raises(NotFound):
        await world.call("GET", "/analytics/groups/nothing", **RANGE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ai_service", "azure-openai"),
        ("model", "gpt-4o"),
        ("status_code", 200),
        ("api_key", "k1"),
        ("config", "pc-1"),
        ("workspace", "default"),
        ("provider", "azure-openai"),
        ("prompt", "pp-1"),
    ],
)
async def test_groups_have_the_names_and_columns_that_the_sdks_ask_for(
    world: World, name: str, value: Any
) -> None:
    world.put(usage=Usage(10, 5, 15), caller_id="k1", config_slug="pc-1", prompt_slug="pp-1")
    await world.written()
    (row,) = (await world.call("GET", f"/analytics/groups/{name}", **RANGE))["data"]
    assert (row[name], row["requests"], row["avg_input_tokens"], row["avg_output_tokens"]) == (
        value,
        1,
        10,
        5,
    )
    assert (row["success_rate"], row["error_count"], row["cache_hit_rate"]) == (100, 0, 0)
    asked = {"columns": "requests, p95_latency", "order_by": "cost"}
    (row,) = (await world.call("GET", f"/analytics/groups/{name}", **RANGE, **asked))["data"]
    assert set(row) == {name, "requests", "p95_latency", "object"}


async def test_groups_are_ordered_as_asked(world: World) -> None:
    for model, status in [("a", 200), ("a", 500), ("b", 200), ("c", 500)]:
        world.put(model=model, status=status)
    await world.written()

    async def names(**more: Any) -> list[Any]:
        rows = (await world.call("GET", "/analytics/groups/model", **RANGE, **more))["data"]
        return [row["model"] for row in rows]

    assert await names(order_by="success_rate") == ["b", "a", "c"]
    assert await names(order_by="model", order_by_type="asc") == ["a", "b", "c"]
    for wrong in ({"order_by": "colour"}, {"order_by": "cost", "order_by_type": "up"}):
        with pytest.raises(InvalidRequest):
            await names(**wrong)


async def test_feedback_has_graphs_of_its_own(world: World) -> None:
    world.put(trace_id="T")
    await world.written()
    await world.call(
        "POST", "/feedback", [{"trace_id": "T", "value": 10, "weight": 0.5}, {"trace_id": "U", "value": 1}]
    )

    async def later(path: str, **more: Any) -> Any:
        return await world.call("GET", f"/analytics/graphs/{path}", **more)

    assert (await later("feedbacks"))["summary"] == {"total": 2}
    assert (await later("feedbacks/scores"))["data_points"] == [
        {"score": 1, "total": 1},
        {"score": 10, "total": 1},
    ]
    assert await later("feedbacks/score") == await later("feedbacks/scores")
    assert (await later("feedbacks/weighted"))["summary"] == {"avg": 3.0}
    models = (await later("feedbacks/ai-models"))["data_points"]
    assert {"ai_model": "gpt-4o", "total": 1, "avg_weighted_feedback": 5.0} in models
    assert (await later("feedbacks", weighted_feedback_min=4))["summary"] == {"total": 1}
    assert (await later("feedbacks", trace_id="U"))["summary"] == {"total": 0}  # no record, so no filter fits


async def test_the_cache_summary_is_under_both_names(world: World) -> None:
    world.put(at=1, cache_status="HIT", duration_ms=20.0)
    world.put(at=2, cache_status="MISS", duration_ms=100.0)
    await world.written()
    found = await world.call("GET", "/analytics/summary/cache", **RANGE)
    expected = {"hits": 1, "avg_latency": 20.0, "total_requests": 2, "cache_speedup": 80.0}
    assert (found["summary"], found["data"]) == (expected, expected)
