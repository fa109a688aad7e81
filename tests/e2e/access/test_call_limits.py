"""Rate limits and budgets against a whole gateway, in one process and in two that share a Redis."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway.adapters.documents_sqlite import SqliteDocuments

ADMIN = "gw-" + "a" * 43
MESSAGES = [{"role": "user", "content": "hi"}]
# A dollar for each token: any call spends a budget.
DEAR = {"request_token": {"price": 100}, "response_token": {"price": 100}}


def rpm(value: int, kind: str = "requests") -> list[dict[str, Any]]:
    return [{"type": kind, "unit": "rpm", "value": value}]


def dear_deployment() -> list[dict[str, Any]]:
    return [{"deploymentName": "chat", "apiVersion": "2024-10-21", "is_default": True, "pricing": DEAR}]


async def at_once(count: int, urls: list[str], key: str, **headers: str) -> list[int]:
    """Statuses of so many chats at the same time, spread over the instances."""
    named = {"x-portkey-api-key": key, "x-portkey-virtual-key": "up", **headers}
    async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=count)) as http:

        async def one(index: int) -> int:
            url = urls[index % len(urls)]
            body = {"model": "chat", "messages": MESSAGES}
            answer = await http.post(f"{url}/v1/chat/completions", headers=named, json=body)
            return answer.status_code

        return await asyncio.gather(*(one(index) for index in range(count)))


def test_fifty_at_once_at_a_limit_of_twenty_let_exactly_twenty_through(world: Any) -> None:
    made = world.make_key(rate_limits=rpm(20))
    statuses = asyncio.run(at_once(50, [world.url], made["key"]))
    assert (statuses.count(200), statuses.count(429)) == (20, 30)
    assert len(world.upstream.requests) == 20


def test_the_refusal_is_a_rate_limit_to_every_client(world: Any) -> None:
    made = world.make_key(name="app", rate_limits=rpm(1))
    assert world.chat(made["key"]).status_code == 200
    answer = world.chat(made["key"])
    assert answer.status_code == 429
    assert "API key 'app' has reached its limit of 1 requests a minute (rpm)" in answer.json()["message"]
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert 55 <= int(answer.headers["retry-after"]) <= 61
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-portkey-trace-id"]
    client = openai.OpenAI(
        api_key=made["key"], base_url=f"{world.url}/v1", http_client=world.http, max_retries=0
    )
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="@up/chat", messages=MESSAGES)  # type: ignore[arg-type]


def test_a_limited_virtual_key_hands_over_to_the_next_target(world: Any) -> None:
    world.make_virtual_key("tight", rate_limits={"type": "requests", "unit": "rph", "value": 1})
    assert world.chat(ADMIN, slug="tight").status_code == 200
    assert world.chat(ADMIN, slug="tight").status_code == 429
    config = '{"strategy":{"mode":"fallback"},"targets":[{"virtual_key":"tight"},{"virtual_key":"up"}]}'
    answer = world.chat(ADMIN, slug=None, headers={"x-portkey-config": config})
    assert answer.status_code == 200
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


def test_a_limited_caller_is_not_helped_by_another_target(world: Any) -> None:
    made = world.make_key(rate_limits=rpm(0))
    config = (
        '{"strategy":{"mode":"fallback"},"retry":{"attempts":5},'
        '"targets":[{"virtual_key":"up"},{"virtual_key":"up"}]}'
    )
    answer = world.chat(made["key"], slug=None, headers={"x-portkey-config": config})
    assert answer.status_code == 429
    assert world.upstream.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_settled_by_the_real_usage(world: Any, stream: bool) -> None:
    made = world.make_key(rate_limits=rpm(1000, "tokens"))
    for _ in range(5):  # each reserves 900 and uses a few
        answer = world.chat(made["key"], stream=stream, max_tokens=900)
        assert answer.status_code == 200, answer.text
    large = world.chat(made["key"], max_tokens=990)
    assert large.status_code == 429
    assert int(large.headers["x-ratelimit-remaining-tokens"]) < 990


def test_a_budget_of_a_key_ends_its_calls_and_is_reset(world: Any) -> None:
    world.make_virtual_key("dear", deploymentConfig=dear_deployment())
    made = world.make_key(name="spender", usage_limits={"credit_limit": 2, "alert_threshold": 1})
    assert world.chat(made["key"], slug="dear").status_code == 200
    answer = world.chat(made["key"], slug="dear")
    assert answer.status_code == 412
    assert "API key 'spender' has used up its budget of $2.00" in answer.json()["message"]
    assert answer.json()["error"]["type"] == "budget_exceeded"
    assert answer.headers["x-should-retry"] == "false"
    shown = world.call("GET", f"/api-keys/{made['id']}").json()
    assert shown["status"] == "exhausted"
    assert shown["usage"]["alert"]
    assert shown["usage"]["spent"] > 2
    world.call("PUT", f"/api-keys/{made['id']}", json={"reset_usage": 1})
    assert world.call("GET", f"/api-keys/{made['id']}").json()["status"] == "active"
    assert world.chat(made["key"], slug="dear").status_code == 200


def test_a_budget_of_a_virtual_key_survives_a_restart(world: Any) -> None:
    limits = {"credit_limit": 2, "periodic_reset": "monthly"}
    world.make_virtual_key("dear", deploymentConfig=dear_deployment(), usage_limits=limits)
    assert world.chat(ADMIN, slug="dear", stream=True).status_code == 200
    assert world.chat(ADMIN, slug="dear").status_code == 412
    world.restart()
    assert world.chat(ADMIN, slug="dear").status_code == 412
    shown = world.call("GET", "/virtual-keys/dear").json()
    assert shown["status"] == "exhausted"
    assert shown["usage"]["next_usage_reset_at"].endswith("-01T00:00:00.000Z")


def test_a_virtual_key_with_a_bad_limit_is_refused_when_it_is_written(world: Any) -> None:
    body = {
        "name": "x",
        "provider": "azure-openai",
        "key": "k",
        "resourceName": "res",
        "rate_limits": [{"type": "requests", "unit": "rpy", "value": 1}],
    }
    answer = world.call("POST", "/virtual-keys", json=body)
    assert answer.status_code == 400
    assert "rate_limits[0].unit" in answer.json()["message"]


def test_a_model_without_a_price_costs_nothing_and_says_so(world: Any) -> None:
    made = world.make_key(usage_limits={"credit_limit": 1})
    for _ in range(3):
        assert world.chat(made["key"]).status_code == 200
    shown = world.call("GET", f"/api-keys/{made['id']}").json()
    assert (shown["status"], shown["usage"]["spent"]) == ("active", 0)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"GATEWAY_REDIS_URL": "redis://127.0.0.1:1"}, 200),
        ({"GATEWAY_REDIS_URL": "redis://127.0.0.1:1", "GATEWAY_LIMITS_ON_ERROR": "closed"}, 503),
    ],
)
def test_while_redis_is_away_the_setting_decides(world: Any, settings: dict[str, str], status: int) -> None:
    made = world.make_key(rate_limits=rpm(1))
    assert [world.chat(made["key"]).status_code for _ in range(3)] == [status] * 3
    assert world.chat(world.make_key()["key"]).status_code == 200  # nothing to count


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    port = closed_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break
        yield f"redis://127.0.0.1:{port}"
        process.terminate()
        process.stdout.read()


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    if "redis_url" in request.fixturenames:
        return {"GATEWAY_REDIS_URL": request.getfixturevalue("redis_url")}
    return {}


@pytest.fixture
def two(redis_url: str, world: Any) -> Iterator[list[str]]:
    """URLs of two processes that share the stores and a Redis."""
    command = [sys.executable, "-m", "gateway", "--port", "0"]
    environ = {**os.environ, **world.environ, "PYTHONPATH": os.getcwd()}
    processes = [
        subprocess.Popen(command, env=environ, cwd=world.folder, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        urls = []
        for process in processes:
            assert process.stdout is not None
            urls.append(next(line.split()[-1] for line in process.stdout if "Gateway on" in line))
        yield urls
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.communicate(timeout=30)


async def written(folder: str, subject: str) -> None:
    """Wait until spending stands in the store: two seconds at most after it was spent."""
    store = SqliteDocuments(Path(folder), time.time)
    async with asyncio.timeout(30):
        while await store.get("budget", subject) is None:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.1)
    await store.aclose()


def test_two_processes_let_exactly_twenty_of_fifty_through(world: Any, two: list[str]) -> None:
    made = world.make_key(rate_limits=rpm(20))
    statuses = asyncio.run(at_once(50, two, made["key"]))
    assert (statuses.count(200), statuses.count(429)) == (20, 30)
    assert world.chat(made["key"], url=two[0]).status_code == 429
    assert world.chat(made["key"], url=two[1]).status_code == 429


def test_two_processes_share_a_budget_that_outlives_redis(world: Any, two: list[str], redis_url: str) -> None:
    world.make_virtual_key("dear", deploymentConfig=dear_deployment(), usage_limits={"credit_limit": 2})
    assert world.chat(ADMIN, slug="dear", url=two[0]).status_code == 200
    # Settled in the background, at once: the other process asks the same Redis.
    for _ in range(100):
        if (status := world.chat(ADMIN, slug="dear", url=two[1], max_tokens=1).status_code) == 412:
            break
    assert status == 412
    asyncio.run(written(world.environ["GATEWAY_DATA_DIR"], "vk:dear"))
    port = redis_url.rpartition(":")[2]
    subprocess.run(["redis-cli", "-p", port, "flushall"], check=True, capture_output=True)
    assert world.chat(ADMIN, slug="dear", url=two[0]).status_code == 412
    assert world.chat(ADMIN, slug="dear", url=two[1]).status_code == 412
    reset = world.call("PUT", "/virtual-keys/dear", url=two[1], json={"reset_usage": True})
    assert reset.status_code == 200
    assert world.chat(ADMIN, slug="dear", url=two[1]).status_code == 200
