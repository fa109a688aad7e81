"""API keys by Portkey's Python SDK and by HTTP, against a whole gateway."""

import json
from typing import Any

import pytest

ADMIN = "gw-" + "a" * 43


def test_the_sdk_makes_reads_changes_and_deletes_a_key(world: Any) -> None:
    keys = world.portkey().api_keys
    made = keys.create(
        type="workspace", sub_type="service", name="app", scopes=["completions.write"], description="d"
    )
    assert made.key.startswith("gw-")
    assert len(made.key) == 46
    assert made.object == "api-key"
    found = keys.retrieve(id=made.id)
    assert (found.name, found.description, found.status) == ("app", "d", "active")
    assert found.key == "gw-********" + made.key[-4:]
    listed = keys.list(page_size=10)
    assert (listed.total, listed.data[0]["id"]) == (1, made.id)
    keys.update(id=made.id, name="renamed", rate_limits=[{"type": "requests", "unit": "rpm", "value": 9}])
    found = keys.retrieve(id=made.id)
    assert found.name == "renamed"
    assert found.rate_limits == [{"type": "requests", "unit": "rpm", "value": 9}]
    assert found.scopes == ["completions.write"]
    keys.delete(id=made.id)
    assert keys.list().total == 0
    assert world.chat(made.key).status_code == 401


def test_a_key_calls_until_it_is_revoked(world: Any) -> None:
    made = world.make_key()
    assert world.chat(made["key"]).status_code == 200
    assert world.call("DELETE", f"/api-keys/{made['id']}").json() == {}
    answer = world.chat(made["key"])
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_openais_client_needs_nothing_but_the_key(world: Any) -> None:
    import openai

    made = world.make_key()
    client = openai.OpenAI(api_key=made["key"], base_url=f"{world.url}/v1", http_client=world.http)
    answer = client.chat.completions.create(model="@up/chat", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content
    assert "authorization" not in {name.lower() for name, _ in world.upstream.requests[-1].headers}


def test_a_key_without_the_scope_is_forbidden(world: Any) -> None:
    made = world.make_key(scopes=["configs.list"])
    answer = world.chat(made["key"])
    assert answer.status_code == 403
    assert "completions.write" in answer.json()["message"]
    assert world.call("GET", "/configs", key=made["key"]).status_code == 200
    assert world.call("GET", "/virtual-keys", key=made["key"]).status_code == 403


def test_an_unknown_scope_is_refused(world: Any) -> None:
    answer = world.call("POST", "/api-keys/workspace/service", json={"name": "x", "scopes": ["all.things"]})
    assert answer.status_code == 400
    assert "all.things" in answer.json()["message"]


def test_a_key_expires(world: Any) -> None:
    assert world.chat(world.make_key(expires_at="2001-01-01T00:00:00Z")["key"]).status_code == 401
    assert world.chat(world.make_key(expires_at="2991-01-01T00:00:00Z")["key"]).status_code == 200


def test_a_rotated_key_works_beside_the_new_one(world: Any) -> None:
    made = world.make_key()
    short = world.call("POST", f"/api-keys/{made['id']}/rotate", json={"key_transition_period_ms": 1000})
    assert short.status_code == 400
    rotated = world.call(
        "POST", f"/api-keys/{made['id']}/rotate", json={"key_transition_period_ms": 1_800_000}
    )
    body = rotated.json()
    assert (rotated.status_code, body["id"]) == (200, made["id"])
    assert body["key"] != made["key"]
    assert body["key_transition_expires_at"] > "2026"
    assert world.chat(made["key"]).status_code == 200
    assert world.chat(body["key"]).status_code == 200


def test_defaults_of_a_key_are_merged_into_its_calls(world: Any) -> None:
    config = {"retry": {"attempts": 1}, "virtual_key": "up"}
    slug = world.call("POST", "/configs", json={"name": "c", "config": config}).json()["slug"]
    made = world.make_key(
        defaults={"metadata": {"team": "a"}, "config_id": slug, "allow_config_override": False}
    )
    answer = world.chat(made["key"], slug=None)
    assert answer.status_code == 200
    refused = world.chat(made["key"], headers={"x-portkey-config": json.dumps(config)})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "config_override_forbidden"


def test_a_key_is_held_to_its_virtual_keys(world: Any) -> None:
    world.make_virtual_key("other")
    made = world.make_key(virtual_keys=["up"])
    assert world.chat(made["key"]).status_code == 200
    existing, missing = world.chat(made["key"], slug="other"), world.chat(made["key"], slug="nothing")
    assert existing.status_code == missing.status_code == 403
    assert existing.json()["message"].replace("other", "nothing") == missing.json()["message"]
    own = world.chat(
        made["key"],
        slug=None,
        headers={"x-portkey-provider": "openai", "authorization": "Bearer sk-own"},
    )
    assert own.status_code == 403


@pytest.mark.parametrize(
    ("allowed", "model", "status"),
    [
        (["chat"], "chat", 200),
        (["small"], "chat", 200),  # another name of the same deployment
        (["chat"], "big", 403),
        (["big"], "big-chat", 200),
        (["gpt-x"], "gpt-x", 403),  # what was asked for does not count, but what would serve it
    ],
)
def test_a_key_is_held_to_its_models(world: Any, allowed: list[str], model: str, status: int) -> None:
    made = world.make_key(models=allowed)
    assert world.chat(made["key"], model=model).status_code == status


def test_azures_own_path_does_not_pass_by_the_list_of_models(world: Any) -> None:
    made = world.make_key(models=["chat"])
    answer = world.http.post(
        f"{world.url}/openai/deployments/big-chat/chat/completions?api-version=2024-10-21",
        headers={"api-key": made["key"], "x-portkey-virtual-key": "up"},
        json={"model": "chat", "messages": [{"role": "user", "content": "hi"}]},
    )
    assert answer.status_code == 403


def test_models_are_listed_as_far_as_the_key_may_use_them(world: Any) -> None:
    made = world.make_key(models=["big"], virtual_keys=["up"])
    listed = world.call("GET", "/models", key=made["key"]).json()["data"]
    assert [row["id"] for row in listed] == ["@up/big"]


def test_nobody_hands_out_more_than_they_have(world: Any) -> None:
    scopes = [f"workspace_service_api_keys.{verb}" for verb in ("create", "read", "update", "delete", "list")]
    clerk = world.make_key(scopes=[*scopes, "completions.write"], virtual_keys=["up"])["key"]

    def make(**fields: Any) -> int:
        body = {"name": "n", **fields}
        answer = world.call("POST", "/api-keys/workspace/service", key=clerk, json=body)
        return int(answer.status_code)

    assert make(scopes=["completions.write"], virtual_keys=["up"]) == 200
    assert make(scopes=["completions.write"]) == 403  # any virtual key
    assert make(scopes=["*"], virtual_keys=["up"]) == 403
    assert make(scopes=["virtual_keys.list"], virtual_keys=["up"]) == 403
    strong = world.make_key(scopes=["*"])
    rotate = world.call("POST", f"/api-keys/{strong['id']}/rotate", key=clerk, json={})
    assert rotate.status_code == 403
    raised = world.call("PUT", f"/api-keys/{strong['id']}", key=clerk, json={"name": "mine"})
    assert raised.status_code == 403


def test_a_key_of_another_type_looks_like_one_that_is_not_there(world: Any) -> None:
    clerk = world.make_key(scopes=["workspace_user_api_keys.read", "workspace_user_api_keys.list"])["key"]
    other = world.make_key(name="service key")
    found = world.call("GET", f"/api-keys/{other['id']}", key=clerk)
    made_up = "0" * 8 + other["id"][8:]
    missing = world.call("GET", f"/api-keys/{made_up}", key=clerk)
    assert found.status_code == missing.status_code == 404
    assert found.json()["message"].replace(other["id"], made_up) == missing.json()["message"]
    assert world.call("GET", "/api-keys", key=clerk).json()["total"] == 0
    assert world.call("GET", "/api-keys/None").status_code == 404


def test_metadata_that_a_key_makes_mandatory_is_asked_for(world: Any) -> None:
    schema = {"required": ["team"], "properties": {"team": {"enum": ["a", "b"]}}}
    made = world.make_key(metadata_schema=schema)
    missing = world.chat(made["key"])
    assert missing.status_code == 400
    assert "team: missing" in missing.json()["message"]
    wrong = world.chat(made["key"], headers={"x-portkey-metadata": '{"team": "c"}'})
    assert wrong.status_code == 400
    assert world.chat(made["key"], headers={"x-portkey-metadata": '{"team": "b"}'}).status_code == 200


@pytest.mark.parametrize("settings", [{"GATEWAY_METADATA_SCHEMA": '{"required": ["team"]}'}])
def test_metadata_can_be_mandatory_for_all(world: Any, settings: dict[str, str]) -> None:
    assert world.chat(ADMIN).status_code == 400
    assert world.chat(ADMIN, headers={"x-portkey-metadata": '{"team": "x"}'}).status_code == 200


def test_both_casings_are_read_at_every_level(world: Any) -> None:
    body = {
        "name": "n",
        "scopes": ["completions.write"],
        "rateLimits": [{"type": "requests", "unit": "rpm", "value": 3}],
        "usageLimits": {"creditLimit": 5, "alertThreshold": 2, "periodicReset": "monthly"},
        "virtualKeys": ["@up"],
        "defaults": {"allowConfigOverride": False, "configId": "pc-x", "metadata": {"camelCase": "kept"}},
    }
    made = world.call("POST", "/api-keys/organisation/service", json=body).json()
    found = world.call("GET", f"/api-keys/{made['id']}").json()
    assert found["usage_limits"] == {"credit_limit": 5, "alert_threshold": 2, "periodic_reset": "monthly"}
    assert found["virtual_keys"] == ["up"]
    assert found["defaults"] == {
        "metadata": {"camelCase": "kept"},
        "config_id": "pc-x",
        "allow_config_override": False,
    }
    assert found["usage"]["spent"] == 0


def test_another_instance_refuses_a_revoked_key_within_seconds(world: Any) -> None:
    other = world.another()
    made = world.make_key()
    assert world.chat(made["key"], url=other.url).status_code == 200
    world.call("DELETE", f"/api-keys/{made['id']}")
    assert world.chat(made["key"]).status_code == 401
