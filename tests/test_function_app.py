"""`function_app.py` against the rules of the Functions runtime, and served as its HTTP extension does.

The host and its tools cannot run here: the app must be right by construction. The rules are those of the
Python worker and of azurefunctions-extensions-http-fastapi.
"""

import asyncio
import importlib.util
import inspect
import json
import logging
import re
import signal
import sys
import typing
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import fastapi
import httpx
import pytest
from azurefunctions.extensions.http.fastapi import Request, Response, WebApp

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server
from emulators.steps import Slow
from gateway.core.operations import PROXIED
from gateway.log_lines import hide_fields
from tests.support.local import ADMIN_KEY
from tests.support.process import ROOT

HELLO = [{"role": "user", "content": "Say this is a test"}]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports `function_app.py` anew, under an environment."""
    names: list[str] = []
    on_term = signal.getsignal(signal.SIGTERM)

    def run(**environ: str) -> ModuleType:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        name = f"function_app_{len(names)}"
        names.append(name)
        spec = importlib.util.spec_from_file_location(name, ROOT / "function_app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    yield run
    signal.signal(signal.SIGTERM, on_term)
    hide_fields()
    for name in names:
        del sys.modules[name]


@pytest.fixture
def functions(load: Any) -> list[Any]:
    return list(load().app.get_functions())


@pytest.fixture
def by_http(functions: list[Any]) -> dict[str, Any]:
    """HTTP triggers by the function's name, in the host's order: by name, case-insensitively."""
    triggers = {
        function.get_function_name(): json.loads(_text(function.get_raw_bindings()[0]))
        for function in sorted(functions, key=lambda function: function.get_function_name().lower())
    }
    return {name: trigger for name, trigger in triggers.items() if trigger["type"] == "httpTrigger"}


def test_every_function_has_a_name_of_its_own_and_a_trigger(functions):
    names = [function.get_function_name() for function in functions]
    assert len(set(names)) == len(names)
    assert {"health", "http_v1", "http_openai"} <= set(names)


def test_the_gateway_itself_tells_callers(by_http):
    assert {trigger["authLevel"] for trigger in by_http.values()} == {"ANONYMOUS"}


def test_verbs_are_listed(by_http):
    for trigger in by_http.values():
        assert {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} == set(trigger["methods"])


def test_routes_have_prefixes_and_none_is_the_hosts(by_http):
    for trigger in by_http.values():
        first = trigger["route"].split("/")[0]
        assert re.fullmatch(r"[a-z0-9_-]+", first), trigger["route"]
        assert first not in ("admin", "runtime", "docs", "redoc", "openapi.json")


def test_no_route_hides_another(by_http):
    routes = [trigger["route"].split("/")[0] for trigger in by_http.values()]
    assert len(set(routes)) == len(routes)


def test_base_urls_without_v1_reach_the_operations(by_http):
    routes = {trigger["route"].split("/")[0] for trigger in by_http.values()}
    wanted = {"chat", "completions", "embeddings", "images", "audio", "responses", "files", "batches"}
    assert wanted <= routes
    assert wanted <= PROXIED


def test_handlers_are_async_and_of_one_request_and_one_response_class(functions, by_http):
    for function in functions:
        handler = function.get_user_function()
        assert inspect.iscoroutinefunction(handler)
        if function.get_function_name() in by_http:
            assert typing.get_type_hints(handler) == {"req": Request, "return": Response}
            assert list(inspect.signature(handler).parameters) == ["req"]


def test_the_worker_can_index_the_bindings(functions):
    for function in functions:
        kinds = [binding["type"] for binding in map(json.loads, map(_text, function.get_raw_bindings()))]
        assert kinds in (["httpTrigger", "http"], ["timerTrigger"])


def _text(binding: Any) -> str:
    return binding if isinstance(binding, str) else json.dumps(binding)


def test_init_indexing_is_on_in_the_sample_settings():
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert values["PYTHON_ENABLE_INIT_INDEXING"] == "1"
    assert values["FUNCTIONS_WORKER_RUNTIME"] == "python"


def test_the_host_adds_no_prefix_and_waits_longer_than_its_load_balancer():
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["http"]["routePrefix"] == ""
    assert host["extensions"]["http"]["dynamicThrottlesEnabled"] is False
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    assert 230 < hours * 3600 + minutes * 60 + seconds <= 600


def test_loggers_that_print_urls_are_silenced(load):
    load()
    for name in ("uvicorn.access", "httpx", "azure_functions_worker"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING


def test_an_import_needs_no_loop_and_opens_nothing(load, tmp_path):
    load(GATEWAY_DATA_DIR=str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


# --- served as the extension serves it


@asynccontextmanager
async def served(module: ModuleType) -> AsyncIterator[httpx.AsyncClient]:
    """The extension's own web app with the route that it hands every request to."""
    web = WebApp()

    handlers = {
        function.get_trigger().get_dict_repr()["route"].split("/")[0]: function.get_user_function()
        for function in module.app.get_functions()
        if function.get_trigger().get_dict_repr()["type"] == "httpTrigger"
    }

    async def catch_all(request: Any) -> Any:
        return await handlers[request.url.path.split("/")[1]](request)

    # What FastAPI takes a parameter for is told by its annotation.
    catch_all.__annotations__ = {"request": fastapi.Request}
    web.route(catch_all)
    app = web.get_app()
    app.router.lifespan_context = lambda _: _closing(module)
    with Server(app) as server:
        async with httpx.AsyncClient(
            base_url=server.url, headers={"x-portkey-api-key": ADMIN_KEY}, timeout=60
        ) as client:
            yield client


@asynccontextmanager
async def _closing(module: ModuleType) -> AsyncIterator[None]:
    """The worker has no such hook; here it keeps the test's process clean."""
    yield
    await module.door.aclose()


@pytest.fixture
def azure() -> Iterator[tuple[AzureOpenAI, Server]]:
    app = AzureOpenAI()
    with Server(app) as server:
        yield app, server


@pytest.fixture
def module(load: Any, tmp_path: Path, azure: tuple[AzureOpenAI, Server]) -> ModuleType:
    host = f"{azure[1].host}:{azure[1].port}"
    return load(GATEWAY_DATA_DIR=str(tmp_path), GATEWAY_ADMIN_KEY=ADMIN_KEY, GATEWAY_TRUSTED_HOSTS=host)


def direct(azure: tuple[AzureOpenAI, Server]) -> dict[str, str]:
    return {
        "x-portkey-provider": "azure-openai",
        "x-portkey-custom-host": f"{azure[1].url}/openai",
        "x-portkey-azure-api-version": "v1",
        "api-key": "azure-key-0123456789",
    }


async def logged(client: httpx.AsyncClient, trace: str) -> dict[str, Any]:
    """The record of a trace, once it is written."""
    for _ in range(600):
        found = (await client.get("/v1/logs", params={"trace_id": trace})).json()["data"]
        if found:
            assert len(found) == 1
            return dict(found[0])
        await asyncio.sleep(0.05)
    raise AssertionError("there is no record")


async def test_a_call_and_a_stream_pass_through(module, azure):
    async with served(module) as client:
        for stream in (False, True):
            body = {"model": "chat", "messages": HELLO, "stream": stream}
            headers = {**direct(azure), "x-portkey-trace-id": f"trace-{stream}"}
            answer = await client.post("/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200
            assert answer.headers["x-portkey-trace-id"] == f"trace-{stream}"
            assert b"test" in answer.content
            await logged(client, f"trace-{stream}")


async def test_events_arrive_one_by_one(module, azure):
    azure[0].script("chat", [Slow(between_chunks_s=0.05)])
    async with (
        served(module) as client,
        client.stream(
            "POST",
            "/v1/chat/completions",
            json={"model": "chat", "messages": HELLO, "stream": True},
            headers=direct(azure),
        ) as answer,
    ):
        pieces = [piece async for piece in answer.aiter_raw()]
    assert len(pieces) > 3
    assert all(piece.endswith(b"\n\n") for piece in pieces)


async def test_a_client_that_leaves_in_mid_stream_ends_the_upstream_and_leaves_its_record(module, azure):
    azure[0].script("chat", [Slow(between_chunks_s=0.05)])
    async with served(module) as client:
        async with client.stream(
            "POST",
            "/v1/chat/completions",
            json={"model": "chat", "messages": HELLO, "stream": True},
            headers={**direct(azure), "x-portkey-trace-id": "left"},
        ) as answer:
            await anext(answer.aiter_raw())
        assert await asyncio.to_thread(azure[0].log.wait_until, lambda seen: seen[-1].client_left)
        record = await logged(client, "left")
    assert record["trace_id"] == "left"


async def test_errors_are_json_with_every_header(module, azure):
    async with served(module) as client:
        for path, status in (("/v1/nowhere", 404), ("/v1/virtual-keys/nowhere", 404), ("/openai/", 404)):
            answer = await client.get(path)
            assert answer.status_code == status
            assert answer.json()["error"]["message"]
            assert answer.headers["x-portkey-trace-id"]


async def test_bad_settings_are_named_and_nothing_is_served(load, tmp_path):
    module = load(GATEWAY_MAX_BODY_MB="many", KEY_VAULT_URL="http://vault", GATEWAY_ADMIN_KEY="gw-secret")
    async with served(module) as client:
        for path in ("/health", "/v1/models"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "GATEWAY_MAX_BODY_MB" in answer.text
            assert "KEY_VAULT_URL" in answer.text
            assert "gw-secret" not in answer.text
            assert "GATEWAY_MAX_BODY_MB" in answer.json()["error"]["message"]
            assert answer.headers["x-portkey-trace-id"]


async def test_a_gateway_that_cannot_be_built_says_so_in_json(load, tmp_path):
    (tmp_path / "file").write_text("in the way")
    module = load(GATEWAY_DATA_DIR=str(tmp_path / "file"), GATEWAY_ADMIN_KEY=ADMIN_KEY)
    async with served(module) as client:
        answer = await client.get("/v1/virtual-keys")
        assert answer.status_code in (500, 503)
        assert answer.json()["error"]["message"]
        assert (await client.get("/health")).status_code == 200
