"""Configs as Portkey's Python SDK sends them, against emulators of OpenAI and Azure OpenAI."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import openai
import portkey_ai._vendor.openai as vendored  # what its chat calls raise
import pytest
from portkey_ai import Portkey

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server
from emulators.steps import Hang, Reply, Reset, throttled
from gateway.adapters.records_sqlite import SqliteRecords
from gateway.core.log_query import LogQuery
from gateway.front_door import FrontDoor
from tests.support.sdks import NODE, NotInstalled, node_modules

ADMIN = "gw-" + "a" * 43
MESSAGES = [{"role": "user", "content": "hi"}]
OPENAI, AZURE, SPARE = "openai", "azure", "spare"


@dataclass(frozen=True, slots=True)
class World:
    """A gateway with three upstreams, each under a virtual key of its name."""

    gateway: Server
    http: httpx.Client
    upstreams: dict[str, AzureOpenAI]
    hosts: dict[str, str]

    @property
    def url(self) -> str:
        return self.gateway.url

    def portkey(self, config: Any = None, **options: Any) -> Portkey:
        options = {"max_retries": 0, "http_client": self.http, **options}
        return Portkey(api_key=ADMIN, base_url=f"{self.url}/v1", config=config, **options)

    def chat(self, config: Any, model: str = "chat", **body: Any) -> Any:
        return self.portkey(config).chat.completions.create(model=model, messages=MESSAGES, **body)

    def script(self, name: str, *steps: Any, forever: bool = True) -> None:
        self.upstreams[name].script("*", list(steps), forever=forever)

    def received(self, name: str) -> list[Any]:
        return [item for item in self.upstreams[name].requests if "/emulator/" not in item.path]

    def admin(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"x-portkey-api-key": ADMIN}
        return self.http.request(method, f"{self.url}/v1{path}", headers=headers, **options)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    upstreams = {name: AzureOpenAI(keys={f"{name}-key"}) for name in (OPENAI, AZURE, SPARE)}
    servers = {name: Server(app).start() for name, app in upstreams.items()}
    environ = {
        "GATEWAY_ADMIN_KEY": ADMIN,
        "GATEWAY_DATA_DIR": str(tmp_path),
        "GATEWAY_TRUSTED_HOSTS": ",".join(f"127.0.0.1:{server.port}" for server in servers.values()),
    }
    gateway = Server(FrontDoor(environ)).start()
    with httpx.Client(base_url=f"{gateway.url}/v1", timeout=20) as http:
        hosts = {name: server.url for name, server in servers.items()}
        made = World(gateway, http, upstreams, hosts)
        for name in upstreams:
            _store_key(made, name)
        yield made
    for server in (gateway, *servers.values()):
        server.stop()


def _store_key(world: World, name: str) -> None:
    body = {
        "name": name,
        "slug": name,
        "provider": "openai" if name == OPENAI else "azure-openai",
        "key": f"{name}-key",
        "customHost": world.hosts[name] + ("/v1" if name == OPENAI else "/openai"),
    }
    if name != OPENAI:
        body["deploymentConfig"] = [
            {"deploymentName": "chat", "apiVersion": "2024-10-21", "is_default": True}
        ]
    answer = world.admin("POST", "/virtual-keys", json=body)
    assert answer.status_code == 200, answer.text


def strategy(mode: str, *targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"strategy": {"mode": mode, **more}, "targets": list(targets)}


def to(slug: str, **more: Any) -> dict[str, Any]:
    return {"virtual_key": slug, **more}


def index_of(answer: Any) -> str:
    return str(answer.get_headers()["last-used-option-index"])


# --- fallback


def test_openai_falls_back_to_azure_openai(world: World) -> None:
    world.script(OPENAI, Reply(500, body={"error": {"message": "down"}}))
    config = strategy("fallback", to(OPENAI, override_params={"model": "gpt-4o"}), to(AZURE))
    answer = world.chat(config)
    assert answer.choices[0].message.content
    assert index_of(answer) == "config.targets[1]"
    assert answer.get_headers()["provider"] == "azure-openai"
    assert world.received(OPENAI)[0].path == "/v1/chat/completions"
    assert world.received(OPENAI)[0].header("authorization") == "Bearer openai-key"
    assert world.received(OPENAI)[0].json()["model"] == "gpt-4o"
    assert world.received(AZURE)[0].path == "/openai/deployments/chat/chat/completions"
    assert world.received(AZURE)[0].header("api-key") == "azure-key"


def test_openai_falls_back_to_azure_openai_with_credentials_in_the_config(world: World) -> None:
    world.script(OPENAI, Reply(503, body={"error": {"message": "down"}}))
    config = strategy(
        "fallback",
        {"provider": "openai", "api_key": "openai-key", "custom_host": world.hosts[OPENAI] + "/v1"},
        {
            "provider": "azure-openai",
            "api_key": "azure-key",
            "custom_host": world.hosts[AZURE] + "/openai",
            "deployment_id": "chat",
            "api_version": "2024-10-21",
        },
    )
    assert index_of(world.chat(config)) == "config.targets[1]"
    assert world.received(AZURE)[0].header("api-key") == "azure-key"
    assert world.received(AZURE)[0].header("authorization") is None


def test_a_status_that_is_not_listed_is_the_answer(world: World) -> None:
    world.script(OPENAI, Reply(500, body={"error": {"message": "down"}}))
    config = strategy("fallback", to(OPENAI), to(AZURE), on_status_codes=[429])
    with pytest.raises(vendored.InternalServerError) as caught:
        world.chat(config)
    assert caught.value.response.headers["x-portkey-last-used-option-index"] == "config.targets[0]"
    assert world.received(AZURE) == []


def test_a_broken_connection_falls_back(world: World) -> None:
    world.script(OPENAI, Reset())
    assert index_of(world.chat(strategy("fallback", to(OPENAI), to(AZURE)))) == "config.targets[1]"


def test_all_targets_fail_with_the_last_ones_answer(world: World) -> None:
    world.script(OPENAI, Reply(500, body={"error": {"message": "first"}}))
    world.script(AZURE, Reply(503, body={"error": {"message": "second"}}))
    with pytest.raises(vendored.InternalServerError, match="second") as caught:
        world.chat(strategy("fallback", to(OPENAI), to(AZURE)))
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


def test_a_stream_falls_back_before_its_first_byte(world: World) -> None:
    world.script(OPENAI, Reply(500, body={"error": {"message": "down"}}))
    stream = world.chat(strategy("fallback", to(OPENAI), to(AZURE)), stream=True)
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in stream)
    assert stream.response.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


def test_the_stock_openai_client_uses_a_config_by_header(world: World) -> None:
    world.script(OPENAI, Reply(500, body={"error": {"message": "down"}}))
    config = json.dumps(strategy("fallback", to(OPENAI), to(AZURE)))
    with openai.OpenAI(
        api_key=ADMIN, base_url=f"{world.url}/v1", default_headers={"x-portkey-config": config}, max_retries=0
    ) as client:
        raw = client.chat.completions.with_raw_response.create(model="chat", messages=MESSAGES)  # type: ignore[arg-type]
    assert raw.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


# --- load balance


def test_weights_choose_the_target(world: World) -> None:
    config = strategy("loadbalance", to(AZURE, weight=0), to(SPARE, weight=1))
    assert {index_of(world.chat(config)) for _ in range(5)} == {"config.targets[1]"}
    assert world.received(AZURE) == []


def test_a_user_stays_with_one_target(world: World) -> None:
    config = strategy(
        "loadbalance",
        to(AZURE),
        to(SPARE),
        sticky={"enabled": True, "hash_fields": ["metadata.user"], "ttl": 60},
    )
    chosen = set()
    for user in "abcdefgh":
        client = world.portkey(config, metadata={"user": user})
        paths = {index_of(client.chat.completions.create(model="chat", messages=MESSAGES)) for _ in range(3)}
        assert len(paths) == 1
        chosen |= paths
    assert len(chosen) == 2


def test_pay_as_you_go_takes_what_provisioned_throughput_cannot(world: World) -> None:
    config = strategy("loadbalance", to(AZURE, priority=1), to(SPARE, priority=2))
    assert index_of(world.chat(config)) == "config.targets[0]"
    world.script(AZURE, throttled(60))
    assert index_of(world.chat(config)) == "config.targets[1]"
    assert index_of(world.chat(config)) == "config.targets[1]"
    assert len(world.received(AZURE)) == 2  # the third call did not ask it


# --- conditions


@pytest.mark.parametrize(
    ("tier", "path"),
    [("paid", "config.targets[1]"), ("free", "config.targets[0]"), (None, "config.targets[0]")],
)
def test_metadata_chooses_the_target(world: World, tier: str | None, path: str) -> None:
    config = strategy(
        "conditional",
        to(AZURE, name="base"),
        to(SPARE, name="best"),
        conditions=[{"query": {"metadata.tier": {"$eq": "paid"}}, "then": "best"}],
        default="base",
    )
    client = world.portkey(config, metadata={"tier": tier} if tier else {"other": "x"})
    assert index_of(client.chat.completions.create(model="chat", messages=MESSAGES)) == path


def test_no_condition_and_no_default_is_a_400(world: World) -> None:
    conditions = [{"query": {"params.model": "other"}, "then": "a"}]
    with pytest.raises(vendored.BadRequestError, match="did not resolve to any valid target"):
        world.chat(strategy("conditional", to(AZURE, name="a"), conditions=conditions))


# --- parameters


def test_parameters_are_defaulted_overridden_and_dropped(world: World) -> None:
    config = {
        "virtual_key": AZURE,
        "default_params": {"temperature": 0.1, "top_p": 0.2},
        "override_params": {"max_tokens": 5},
        "drop_params": ["user", "messages[*].name"],
    }
    messages = [{"role": "user", "content": "hi", "name": "n"}]
    world.portkey(config).chat.completions.create(
        model="chat", messages=messages, temperature=0.9, max_tokens=50, user="u"
    )
    sent = world.received(AZURE)[0].json()
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.9, 0.2, 5)
    assert "user" not in sent
    assert sent["messages"] == [{"role": "user", "content": "hi"}]


def test_a_targets_model_selects_its_virtual_key(world: World) -> None:
    config = strategy("fallback", {"override_params": {"model": f"@{SPARE}/chat"}})
    assert index_of(world.chat(config, model="whatever")) == "config.targets[0]"
    assert len(world.received(SPARE)) == 1


def test_a_default_model_selects_its_virtual_key(world: World) -> None:
    targets = [{"default_params": {"model": f"@{name}/chat"}} for name in (AZURE, SPARE)]
    world.script(AZURE, throttled(60))
    for _ in range(2):  # the second call passes over the first target alone
        assert index_of(world.chat(strategy("fallback", *targets), model="")) == "config.targets[1]"
    assert (len(world.received(AZURE)), len(world.received(SPARE))) == (1, 2)


def test_credentials_of_a_config_go_with_the_provider_of_the_header(world: World) -> None:
    config = {"api_key": "azure-key", "deployment_id": "chat", "api_version": "2024-10-21"}
    client = world.portkey(config, provider="azure-openai", custom_host=world.hosts[AZURE] + "/openai")
    client.chat.completions.create(model="whatever", messages=MESSAGES)
    (received,) = world.received(AZURE)
    assert received.path == "/openai/deployments/chat/chat/completions"
    assert received.header("api-key") == "azure-key"


def test_a_config_without_targets_goes_with_the_virtual_key_of_the_header(world: World) -> None:
    config = {"override_params": {"temperature": 0.5}}
    client = world.portkey(config, virtual_key=SPARE)
    client.chat.completions.create(model="chat", messages=MESSAGES)
    assert world.received(SPARE)[0].json()["temperature"] == 0.5


# --- tries


def test_a_retry_waits_as_it_is_told_and_is_counted(world: World) -> None:
    world.script(AZURE, throttled(0.02), throttled(0.02), forever=False)
    retry = {"attempts": 3, "use_retry_after_headers": True}
    answer = world.chat({"virtual_key": AZURE, "retry": retry})
    assert answer.get_headers()["retry-attempt-count"] == "2"
    assert len(world.received(AZURE)) == 3


def test_spent_retries_count_as_minus_one(world: World) -> None:
    world.script(AZURE, throttled(0.01))
    retry = {"attempts": 2, "useRetryAfterHeader": True}
    with pytest.raises(vendored.RateLimitError) as caught:
        world.chat({"virtual_key": AZURE, "retry": retry})
    assert caught.value.response.headers["x-portkey-retry-attempt-count"] == "-1"
    assert len(world.received(AZURE)) == 3


def test_each_target_is_retried_before_the_next(world: World) -> None:
    world.script(AZURE, throttled(0.01))
    config = strategy("fallback", to(AZURE), to(SPARE))
    config["retry"] = {"attempts": 1, "use_retry_after_headers": True}
    assert index_of(world.chat(config)) == "config.targets[1]"
    assert len(world.received(AZURE)) == 2


def test_a_passed_deadline_is_a_408_in_portkeys_words(world: World) -> None:
    world.script(AZURE, Hang())
    with pytest.raises(
        vendored.APIStatusError, match="Request exceeded the timeout sent in the request: 100ms"
    ) as e:
        world.chat({"virtual_key": AZURE, "request_timeout": 100})
    assert e.value.status_code == 408
    assert e.value.response.json()["error"]["type"] == "timeout_error"


def test_a_passed_deadline_falls_back(world: World) -> None:
    world.script(AZURE, Hang())
    config = strategy("fallback", to(AZURE, request_timeout=100), to(SPARE))
    assert index_of(world.chat(config)) == "config.targets[1]"


# --- health

BREAKER = {"failure_threshold": 2, "cooldown_interval": 60_000}


def test_the_breaker_spares_a_dead_target(world: World) -> None:
    world.script(AZURE, Reset())
    config = strategy("fallback", to(AZURE), to(SPARE), cb_config=BREAKER)
    assert [index_of(world.chat(config)) for _ in range(5)] == ["config.targets[1]"] * 5
    assert len(world.received(AZURE)) == 2
    rows = world.admin("GET", "/health/targets").json()["data"]
    assert [(row["target"], row["state"]) for row in rows] == [("vk:azure/chat", "open")]
    assert "circuit breaker of config.targets[0]" in rows[0]["why"]


def test_content_filters_do_not_open_the_circuit(world: World) -> None:
    error = {"error": {"code": "content_filter", "message": "filtered"}}
    world.script(AZURE, Reply(400, body=error))
    config = strategy("fallback", to(AZURE), to(SPARE), cb_config={**BREAKER, "failure_status_codes": [400]})
    for _ in range(4):
        world.chat(config)
    assert len(world.received(AZURE)) == 4


def test_a_throttled_target_is_passed_over_until_its_time(world: World) -> None:
    world.script(AZURE, throttled(60))
    config = strategy("fallback", to(AZURE), to(SPARE))
    assert [index_of(world.chat(config)) for _ in range(3)] == ["config.targets[1]"] * 3
    assert len(world.received(AZURE)) == 1
    rows = world.admin("GET", "/health/targets").json()["data"]
    assert [(row["target"], row["state"], row["why"]) for row in rows] == [
        ("vk:azure/chat", "throttled", "429 with retry-after")
    ]


def test_all_throttled_is_one_429_with_the_soonest_time(world: World) -> None:
    world.script(AZURE, throttled(60))
    world.script(SPARE, throttled(30))
    config = strategy("fallback", to(AZURE), to(SPARE))
    with pytest.raises(vendored.RateLimitError):
        world.chat(config)
    with pytest.raises(vendored.RateLimitError, match="every target is throttled") as caught:
        world.chat(config)
    assert 25 <= int(caught.value.response.headers["retry-after"]) <= 31
    assert len(world.received(AZURE)) == len(world.received(SPARE)) == 1


def test_a_deployment_that_is_gone_is_not_asked_again(world: World) -> None:
    error = {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}
    world.script(AZURE, Reply(404, body=error))
    config = strategy("fallback", to(AZURE), to(SPARE))
    for _ in range(3):
        world.chat(config)
    assert len(world.received(AZURE)) == 1


async def test_a_thousand_callers_do_not_wait_for_a_dead_target(world: World) -> None:
    world.script(AZURE, Hang())
    config = strategy("fallback", to(AZURE, request_timeout=200), to(SPARE), cb_config=BREAKER)
    headers = {"x-portkey-api-key": ADMIN, "x-portkey-config": json.dumps(config)}
    body = {"model": "chat", "messages": MESSAGES}
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(headers=headers, timeout=60, limits=limits) as client:

        async def ask() -> str:
            answer = await client.post(f"{world.url}/v1/chat/completions", json=body)
            return str(answer.headers["x-portkey-last-used-option-index"])

        first = await asyncio.gather(*(ask() for _ in range(10)))
        found_out = len(world.received(AZURE))
        then = await asyncio.gather(*(ask() for _ in range(1000)))
    assert set(first) | set(then) == {"config.targets[1]"}
    # Who was on the way when the circuit opened had to find out alone; nobody after them did.
    assert 2 <= found_out <= 10
    assert len(world.received(AZURE)) == found_out


def test_instances_tell_each_other_by_redis(world: World, tmp_path: Path, redis_url: str) -> None:
    hosts = ",".join(url.removeprefix("http://") for url in world.hosts.values())
    environ = {"GATEWAY_ADMIN_KEY": ADMIN, "GATEWAY_TRUSTED_HOSTS": hosts, "GATEWAY_REDIS_URL": redis_url}
    pair = [Server(FrontDoor({**environ, "GATEWAY_DATA_DIR": str(tmp_path / name)})).start() for name in "ab"]
    try:
        one, two = (replace(world, gateway=server) for server in pair)
        world.script(AZURE, throttled(60))
        for each in (one, two):
            _store_key(each, AZURE)
            _store_key(each, SPARE)
        config = strategy("fallback", to(AZURE), to(SPARE))
        one.chat(config)
        for _ in range(200):  # news travels once a second
            if two.admin("GET", "/health/targets").json()["data"]:
                break
            time.sleep(0.05)
        assert index_of(two.chat(config)) == "config.targets[1]"
        assert len(world.received(AZURE)) == 1
    finally:
        for server in pair:
            server.stop()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break
        yield f"redis://127.0.0.1:{port}"
        process.terminate()
        process.stdout.read()


# --- wrong configs


def test_a_wrong_config_is_a_400_with_every_problem(world: World) -> None:
    config = strategy("loadbalance", to(AZURE, weight=-1), to(SPARE, retry={"attempts": 9}))
    with pytest.raises(vendored.BadRequestError) as caught:
        world.chat(config)
    message = caught.value.response.json()["error"]["message"]
    assert "config.targets[0].weight: must be >= 0, got -1" in message
    assert "config.targets[1].retry.attempts: must be <= 5, got 9" in message
    assert caught.value.response.headers["x-portkey-trace-id"]


# --- saved configs


def test_a_saved_config_is_used_by_its_slug(world: World) -> None:
    client = world.portkey()
    made = client.configs.create(name="Team", config=strategy("fallback", to(SPARE)))
    assert made.slug.startswith("pc-team-")
    assert made.object == "config"
    assert index_of(world.chat(made.slug)) == "config.targets[0]"
    assert len(world.received(SPARE)) == 1
    client.configs.update(slug=made.slug, config={"virtual_key": AZURE})
    assert index_of(world.chat(made.slug)) == "config"
    assert len(world.received(AZURE)) == 1
    shown = client.configs.retrieve(slug=made.slug)
    assert (shown.name, shown.status, shown.config) == ("Team", "active", {"virtual_key": AZURE})
    versions = world.admin("GET", f"/configs/{made.slug}/versions").json()
    assert [row["version"] for row in versions["data"]] == [2, 1]
    assert client.configs.list().total == 1


def test_an_archived_config_is_gone_for_callers(world: World) -> None:
    client = world.portkey()
    made = client.configs.create(name="Team", config={"virtual_key": AZURE})
    client.configs.delete(slug=made.slug)
    assert client.configs.list().total == 0
    with pytest.raises(vendored.NotFoundError, match="is archived"):
        world.chat(made.slug)


def test_an_unknown_slug_is_a_404(world: World) -> None:
    with pytest.raises(vendored.NotFoundError, match="does not exist"):
        world.chat("pc-none-000000")


def test_a_wrong_config_is_not_saved(world: World) -> None:
    answer = world.admin("POST", "/configs", json={"name": "n", "config": {"retry": {"attempts": -1}}})
    assert answer.status_code == 400
    assert "config.retry.attempts: must be >= 0, got -1" in answer.json()["message"]
    assert world.admin("POST", "/configs", json={"config": {}}).json()["message"] == "name: is required"


async def test_metadata_of_a_config_is_below_the_requests(world: World, tmp_path: Path) -> None:
    conditions = [{"query": {"metadata.tier": "paid"}, "then": "best"}]
    config = strategy("conditional", to(SPARE, name="best"), conditions=conditions)
    config["metadata"] = {"tier": "paid", "team": "blue", "seats": 3}
    client = world.portkey(config, metadata={"team": "red"})
    client.chat.completions.create(model="chat", messages=MESSAGES)
    world.gateway.stop()  # which writes what is still to be written
    records = SqliteRecords(tmp_path)
    (row,) = (await records.page(LogQuery())).rows
    await records.aclose()
    assert row["metadata"] == {"tier": "paid", "team": "red", "seats": "3"}


async def test_a_record_tells_its_config_and_what_was_passed_over(world: World, tmp_path: Path) -> None:
    world.script(AZURE, throttled(60))
    config = {**strategy("fallback", to(AZURE), to(SPARE)), "x_team": 1}
    slug = world.portkey().configs.create(name="Team", config=config).slug
    for _ in range(2):
        world.chat(slug)
    world.gateway.stop()  # which writes what is still to be written
    records = SqliteRecords(tmp_path)
    page = await records.page(LogQuery())
    entry = await records.get(str(page.rows[0]["id"]))
    await records.aclose()
    assert entry is not None
    assert (entry.doc["config"], entry.doc["config_version"]) == (slug, 1)
    assert (entry.doc["mode"], entry.doc["option_index"]) == ("fallback", "config.targets[1]")
    assert entry.doc["warnings"] == ["config.x_team: unknown key, ignored"]
    first, second = entry.doc["attempts"]
    assert (first["target"], first["skipped"]) == ("config.targets[0]", "throttled")
    assert first["message"] == "429 with retry-after"
    assert (second["target"], second["status"]) == ("config.targets[1]", 200)


# --- Portkey's SDK for Node


def node_chat(world: World, config: Any) -> dict[str, Any]:
    try:
        modules = node_modules()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    given = json.dumps({"baseURL": f"{world.url}/v1", "apiKey": ADMIN, "config": config})
    command = ["node", str(NODE / "chat.mjs"), given]
    environ = {**os.environ, "SDKS": str(modules)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environ)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_node_falls_back_with_a_config_as_an_object(world: World) -> None:
    world.script(OPENAI, Reply(500, body={"error": {"message": "down"}}))
    told = node_chat(world, strategy("fallback", to(OPENAI), to(AZURE)))
    assert told["text"]
    assert told["headers"]["last-used-option-index"] == "config.targets[1]"


def test_node_uses_a_saved_config(world: World) -> None:
    slug = world.portkey().configs.create(name="Team", config={"virtual_key": SPARE}).slug
    assert node_chat(world, slug)["headers"]["last-used-option-index"] == "config"
    assert len(world.received(SPARE)) == 1


def test_node_reads_what_is_wrong_with_a_config(world: World) -> None:
    told = node_chat(world, {"retry": {"attempts": 9}})
    assert told["status"] == 400
    assert "config.retry.attempts: must be <= 5, got 9" in told["message"]
