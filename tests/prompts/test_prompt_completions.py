"""`POST /v1/prompts/{id}/completions`: from the wire to the upstream, and into the record."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.records_sqlite import SqliteRecords
from gateway.core.log_query import LogQuery
from gateway.core.log_view import log_object

CHAT = '[{"role":"user","content":"Hi {{name}}"}]'
ADA = {"variables": {"name": "Ada"}}


def make(stage: Any, string: str = CHAT, **fields: Any) -> str:
    body = {"name": "HR Bot", "string": string, "virtual_key": "azure-1", **fields}
    response = stage.call("POST", "/prompts", body)
    assert response.status_code == 200, response.text
    return str(response.json()["slug"])


def test_completion_is_a_chat_completion(stage: Any) -> None:
    slug = make(stage, parameters={"max_tokens": 50, "temperature": 1}, model="chat")
    response = stage.call("POST", f"/prompts/{slug}/completions", {**ADA, "max_tokens": 5, "stream": False})
    assert response.status_code == 200, response.text
    assert response.json()["object"] == "chat.completion"
    assert response.headers["x-portkey-trace-id"]
    received = stage.azure.log.entries()[-1]
    assert received.path == "/openai/deployments/chat/chat/completions"
    assert received.header("api-key") == "key-of-azure-1"
    assert stage.last() == {
        "max_tokens": 5,
        "temperature": 1,
        "model": "chat",
        "messages": [{"role": "user", "content": "Hi Ada"}],
        "stream": False,
    }


def test_text_prompt_is_a_text_completion(stage: Any) -> None:
    slug = make(stage, "Hi {{name}}", model="text")
    response = stage.call("POST", f"/prompts/{slug}/completions", ADA)
    assert response.json()["object"] == "text_completion"
    assert stage.azure.log.entries()[-1].path == "/openai/deployments/text/completions"
    assert stage.last() == {"model": "text", "prompt": "Hi Ada"}


def test_stream(stage: Any) -> None:
    slug = make(stage)
    response = stage.call("POST", f"/prompts/{slug}/completions", {**ADA, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize("selector", ["@2", "%402", "@latest", "@staging"])
def test_versions_in_the_path(stage: Any, selector: str) -> None:
    slug = make(stage)
    stage.call("PUT", f"/prompts/{slug}", {"string": CHAT.replace("Hi", "Ho")})
    stage.call("PUT", f"/prompts/{slug}/versions/2", {"label_id": "staging"})
    stage.call("POST", f"/prompts/{slug}{selector}/completions", ADA)
    assert stage.last()["messages"][0]["content"] == "Ho Ada"


@pytest.mark.parametrize(
    ("headers", "body", "key"),
    [
        ({}, {}, "key-of-azure-1"),
        ({"x_portkey_virtual_key": "azure-2"}, {}, "key-of-azure-2"),
        ({"x_portkey_provider": "@azure-2"}, {}, "key-of-azure-2"),
        ({"x_portkey_config": '{"virtual_key":"azure-2"}'}, {}, "key-of-azure-2"),
        ({"x_portkey_config": '{"retry":{"attempts":1}}'}, {}, "key-of-azure-1"),
        ({}, {"model": "@azure-2/chat"}, "key-of-azure-2"),
    ],
)
def test_the_call_decides_before_the_prompt_who_serves(
    stage: Any, headers: dict[str, str], body: dict[str, Any], key: str
) -> None:
    slug = make(stage)
    response = stage.call("POST", f"/prompts/{slug}/completions", {**ADA, **body}, **headers)
    assert response.status_code == 200, response.text
    assert stage.azure.log.entries()[-1].header("api-key") == key


def test_targets_run_prompts_of_their_own(stage: Any) -> None:
    first = make(stage)
    second = make(stage, CHAT.replace("Hi", "Ho"), virtual_key="azure-2")
    targets = [{"prompt_id": "pp-none"}, {"prompt_id": f"{second}@1"}]
    config = json.dumps({"strategy": {"mode": "fallback"}, "targets": targets})
    response = stage.call("POST", f"/prompts/{first}/completions", ADA, x_portkey_config=config)
    assert response.status_code == 200, response.text
    assert response.headers["x-portkey-last-used-option-index"] == "config.targets[1]"
    assert stage.azure.log.entries()[-1].header("api-key") == "key-of-azure-2"
    assert stage.last()["messages"][0]["content"] == "Ho Ada"


def test_prompt_targets_need_a_prompt_call(stage: Any) -> None:
    body = {"messages": [{"role": "user", "content": "x"}]}
    response = stage.call("POST", "/chat/completions", body, x_portkey_config='{"prompt_id":"pp-x"}')
    assert response.status_code == 400
    assert "prompt_id" in response.json()["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/prompts/pp-none/completions", ADA, 404, 'there is no prompt "pp-none"'),
        ("/prompts/{slug}@9/completions", ADA, 404, "has no version 9"),
        ("/prompts/{slug}@canary/completions", ADA, 404, 'there is no label "canary"'),
        ("/prompts/{slug}@a b/completions", ADA, 400, "after the @"),
        ("/prompts/{slug}/completions", {"variables": 3}, 400, "variables: must be an object"),
        ("/prompts/{slug}/completions", {"model": 3}, 400, "model: must be a text"),
        ("/prompts/{slug}/render", {"variables": []}, 400, "variables: must be an object"),
    ],
)
def test_faults(stage: Any, path: str, body: Any, status: int, message: str) -> None:
    slug = make(stage)
    response = stage.call("POST", path.replace("{slug}", slug), body)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    assert message in response.json()["message"]
    assert response.json()["error"]["message"] == response.json()["message"]


def test_wrong_verb(stage: Any) -> None:
    response = stage.call("GET", "/prompts/pp-x/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_render_asks_no_upstream(stage: Any) -> None:
    slug = make(stage)
    response = stage.call("POST", f"/prompts/{slug}/render", {**ADA, "stream": False})
    assert response.json()["data"]["messages"] == [{"role": "user", "content": "Hi Ada"}]
    assert stage.azure.log.entries() == []


def test_stale_update_says_the_current_version(stage: Any) -> None:
    slug = make(stage)
    stage.call("PUT", f"/prompts/{slug}", {"string": "x"}, if_match='"1"')
    response = stage.call("PUT", f"/prompts/{slug}", {"string": "y"}, if_match='"1"')
    assert (response.status_code, response.headers["etag"]) == (409, '"2"')
    assert response.json()["error"]["code"] == "version_conflict"


async def test_record_names_the_prompt_and_render_leaves_none(open_stage: Any, tmp_path: Path) -> None:
    with open_stage(tmp_path) as stage:
        slug = make(stage)
        made = stage.call("GET", f"/prompts/{slug}").json()
        stage.call("POST", f"/prompts/{slug}/render", ADA)
        stage.call("POST", f"/prompts/{slug}/completions", ADA, x_portkey_trace_id="t-1")
    records = SqliteRecords(tmp_path)
    (row,) = (await records.page(LogQuery())).rows
    entry = await records.get(str(row["id"]))
    await records.aclose()
    assert entry is not None
    request = log_object(entry)["request"]
    assert request["prompt_variables"] == ADA["variables"]
    assert request["body"]["messages"] == [{"role": "user", "content": "Hi Ada"}]
    assert (row["prompt"], row["prompt_slug"], row["prompt_version"]) == (slug, slug, 1)
    assert (row["prompt_id"], row["trace_id"]) == (made["id"], "t-1")
    assert (row["operation"], row["path"]) == ("chat/completions", f"/v1/prompts/{slug}/completions")


@pytest.mark.parametrize(
    ("scopes", "method", "path", "allowed"),
    [
        (["completions.write"], "POST", "/prompts/{slug}/completions", True),
        (["prompts.read"], "POST", "/prompts/{slug}/completions", False),
        (["prompts.render"], "POST", "/prompts/{slug}/render", True),
        (["completions.write"], "POST", "/prompts/{slug}/render", False),
        (["prompts.read"], "GET", "/prompts/{slug}", True),
        (["prompts.list"], "GET", "/prompts/{slug}", False),
        (["prompts.update"], "PUT", "/prompts/{slug}", True),
        (["prompts.update"], "PUT", "/prompts/{slug}/makeDefault", False),
        (["prompts.update"], "PUT", "/prompts/{slug}/versions/1", False),
        (["prompts.publish"], "PUT", "/prompts/{slug}/versions/1", True),
    ],
)
def test_scopes(stage: Any, scopes: list[str], method: str, path: str, allowed: bool) -> None:
    slug = make(stage)
    given = stage.call("POST", "/api-keys/workspace/service", {"name": "app", "scopes": scopes})
    assert given.status_code == 200, given.text
    body = {"label_id": "production", "version": 1, "name": "Other", **ADA} if method != "GET" else None
    key = given.json()["key"]
    response = stage.call(method, path.replace("{slug}", slug), body, x_portkey_api_key=key)
    assert response.status_code == (200 if allowed else 403), response.text
