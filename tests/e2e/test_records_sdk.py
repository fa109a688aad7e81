"""The log as Portkey's Python SDK and the command line see it, over a running gateway."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from portkey_ai import Portkey

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server
from gateway.__main__ import main
from gateway.front_door import FrontDoor

ADMIN = "gw-" + "b" * 43
MESSAGES = [{"role": "user", "content": "hi"}]
RANGE = {"time_of_generation_min": "2020-01-01T00:00:00Z", "time_of_generation_max": "2100-01-01T00:00:00Z"}


@dataclass(frozen=True, slots=True)
class World:
    url: str
    portkey: Portkey
    http: httpx.Client

    def get(self, path: str, **query: Any) -> Any:
        response = self.http.get(f"{self.url}/v1{path}", params=query, headers={"x-portkey-api-key": ADMIN})
        assert response.status_code == 200, response.text
        return response.json()

    def until(self, what: Callable[[], Any]) -> Any:
        """What is written within a second shows up; a minute would be a fault."""
        for _ in range(1200):
            if found := what():
                return found
            threading.Event().wait(0.05)
        pytest.fail("nothing was written")

    def logged(self, number: int) -> list[Any]:
        rows: list[Any] = self.until(lambda: (d := self.get("/logs")["data"]) and len(d) >= number and d)
        return rows


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    upstream = Server(AzureOpenAI(keys={"azure-key"})).start()
    environ = {
        "GATEWAY_ADMIN_KEY": ADMIN,
        "GATEWAY_DATA_DIR": str(tmp_path),
        "GATEWAY_TRUSTED_HOSTS": f"127.0.0.1:{upstream.port}",
    }
    gateway = Server(FrontDoor(environ)).start()
    with httpx.Client(base_url=f"{gateway.url}/v1", timeout=20) as http:
        key = {
            "name": "azure",
            "slug": "azure",
            "provider": "azure-openai",
            "key": "azure-key",
            "customHost": f"{upstream.url}/openai",
            "deploymentConfig": [{"deploymentName": "chat", "apiVersion": "2024-10-21", "is_default": True}],
        }
        made = http.post(f"{gateway.url}/v1/virtual-keys", json=key, headers={"x-portkey-api-key": ADMIN})
        assert made.status_code == 200, made.text
        portkey = Portkey(
            api_key=ADMIN, base_url=f"{gateway.url}/v1", virtual_key="azure", trace_id="T", metadata={"_user": "u1"},
            max_retries=0, http_client=http,
        )  # fmt: skip
        yield World(gateway.url, portkey, http)
    gateway.stop()
    upstream.stop()


def chat(world: World, **options: Any) -> Any:
    return world.portkey.chat.completions.create(model="chat", messages=MESSAGES, **options)


def test_a_chat_and_a_stream_are_logged_alike(world: World) -> None:
    whole = chat(world)
    streamed = "".join(c.choices[0].delta.content or "" for c in chat(world, stream=True) if c.choices)
    rows = world.logged(2)
    for row in rows:
        assert row["trace_id"] == "T"
        assert row["metadata"] == {"_user": "u1"}
        assert row["metrics"]["total_units"] > 0
        assert row["metrics"]["virtual_key"] == "azure"
        assert len(row["metrics"]["attempts"]) == 1
    answers = [world.get(f"/logs/{row['_id']}")["response"]["body"] for row in rows]
    assert answers[0]["choices"][0]["message"]["content"] == streamed
    assert answers[1]["choices"][0]["message"]["content"] == whole.choices[0].message.content
    detail = json.dumps(world.get(f"/logs/{rows[0]['_id']}"))
    assert ADMIN not in detail
    assert "azure-key" not in detail


def test_the_sdks_methods_for_logs_work(world: World) -> None:
    chat(world)
    world.logged(1)
    done = world.portkey.logs.create(
        request={"url": "https://tool.example", "method": "GET"},
        response={"status": 200},
        metadata={"trace_id": "T"},
    )
    assert done.json()["status"] == "success"
    world.logged(2)
    exports = world.portkey.logs.exports
    made = exports.create(
        filters={"trace_id": "T"}, requested_data=["id", "cost"], workspace_id="w", description="d"
    )
    assert made.total == 2
    assert exports.list(workspace_id="w").total == 1
    assert exports.update(export_id=made.id, workspace_id="w", filters={}, requested_data=["id"]).total == 2
    assert exports.start(export_id=made.id).message
    assert exports.retrieve(export_id=made.id).status == "success"
    link = exports.download(export_id=made.id).signed_url
    lines = httpx.get(link).text.splitlines()
    assert [list(json.loads(line)) for line in lines] == [["id"], ["id"]]
    assert exports.cancel(export_id=made.id).message


def test_the_sdks_methods_for_feedback_and_analytics_work(world: World) -> None:
    chat(world)
    world.logged(1)
    feedback = world.portkey.feedback
    first = feedback.create(trace_id="T", value=5, weight=0.5, metadata={"by": "test"})
    assert first.status == "success"
    feedback.update(feedback_id=first.feedback_ids[0], value=7)
    assert len(feedback.bulk_create(feedbacks=[{"trace_id": "T", "value": 1}]).feedback_ids) == 2 - 1
    graphs = world.portkey.analytics.graphs
    assert world.until(lambda: graphs.requests(**RANGE).summary["total"] == 1)
    for name in ["cost", "latency", "tokens", "users", "errors", "feedbacks"]:
        assert getattr(graphs, name)(**RANGE).object == "analytics-graph"
    groups = world.portkey.analytics.groups
    assert groups.users(**RANGE).data[0]["user"] == "u1"
    assert groups.ai_models(**RANGE).total == 1
    assert groups.metadata(metadata_key="_user", **RANGE).data[0]["avg_weighted_feedback"] == 2.25
    assert world.portkey.analytics.summary.cache(**RANGE).data["total_requests"] == 1


def test_the_trace_has_its_span_tree(world: World) -> None:
    root = world.portkey.with_options(span_id="root", span_name="agent")
    root.chat.completions.create(model="chat", messages=MESSAGES)
    child = world.portkey.with_options(span_id="child", parent_span_id="root")
    child.chat.completions.create(model="chat", messages=MESSAGES)
    world.logged(2)
    trace = world.get("/traces/T")
    assert [(s["span_name"], [c["span_id"] for c in s["children"]]) for s in trace["spans"]] == [
        ("agent", ["child"])
    ]


def test_the_command_line_lists_shows_and_follows(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    chat(world)
    (row,) = world.logged(1)
    common = ["--url", world.url, "--key", ADMIN]
    assert main(["logs", *common]) == 0
    assert row["_id"] in capsys.readouterr().out
    assert main(["logs", *common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["_id"] == row["_id"]
    assert main(["logs", *common, "--trace", "T"]) == 0
    assert "trace T: 1 spans" in capsys.readouterr().out
    assert main(["logs", *common, row["_id"]]) == 0
    assert json.loads(capsys.readouterr().out)["request"]["body"]["messages"] == MESSAGES
    assert main(["logs", *common, "--status", "429"]) == 0
    assert row["_id"] not in capsys.readouterr().out
    assert main(["logs", *common, "--trace", "unknown"]) == 1
    assert "no trace" in capsys.readouterr().err


def test_the_tail_shows_each_new_request_once(world: World) -> None:
    import argparse

    from gateway.cli import logs
    from gateway.cli.client import connect

    chat(world)
    (old,) = world.logged(1)
    parser = argparse.ArgumentParser()
    logs.add_parser(parser.add_subparsers())
    options = parser.parse_args(["logs", "--url", world.url, "--key", ADMIN, "--follow"])
    polls = 0

    def sleep(seconds: float) -> None:
        nonlocal polls
        polls += 1
        if polls == 2:
            chat(world)
            world.logged(2)

    with connect(options) as client:
        tail = logs.rows(client, options, sleep)
        shown = [next(tail)["_id"], next(tail)["_id"]]
    assert shown[0] == old["_id"]
    assert polls == 2
    assert len(set(shown)) == 2
