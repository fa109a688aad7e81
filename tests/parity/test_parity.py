"""The same request and config at Portkey's open gateway and at this one: what reaches the upstreams,
and what comes back. `npm install --ignore-scripts` in this folder brings Portkey's; Node 18 or newer.

A difference that is meant stands in `DIFFERENT` with its reason, and must still be one.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server
from emulators.steps import Hang, Reply, Reset, Step, throttled
from gateway.front_door import FrontDoor

SCRIPT = Path(__file__).parent / "node_modules/@portkey-ai/gateway/build/start-server.js"
ADMIN = "gw-" + "p" * 43
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
COMPARED = ("upstream", "status", "index", "retries", "provider")


@dataclass(frozen=True, slots=True)
class Case:
    """`{a}` and `{b}` in the config and headers stand for the two upstreams' base URLs."""

    name: str
    config: Any = None
    a: tuple[Step, ...] = ()
    b: tuple[Step, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


def azure(name: str, **more: Any) -> dict[str, Any]:
    own = {
        "provider": "azure-openai",
        "api_key": f"{name}-key",
        "custom_host": f"{{{name}}}/openai",
        "deployment_id": f"{name}-chat",
        "api_version": "2024-10-21",
    }
    return {**own, **more}


def strategy(mode: str, *targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"strategy": {"mode": mode, **more}, "targets": list(targets)}


DOWN = Reply(500, body={"error": {"message": "down"}})
A, B = azure("a"), azure("b")
NAMED = ({**A, "name": "one"}, {**B, "name": "two"})
RETRY = {"attempts": 2, "use_retry_after_header": True}
PAID = {"x-portkey-metadata": '{"tier":"paid"}'}

# Who serves, said half by the config and half by the headers.
LOOSE = {"api_key": "a-key", "deployment_id": "a-chat", "api_version": "2024-10-21"}
REST = {"x-portkey-provider": "azure-openai", "x-portkey-custom-host": "{a}/openai"}


def conditional(query: dict[str, Any], default: str | None = "one") -> dict[str, Any]:
    more = {"default": default} if default else {}
    return strategy("conditional", *NAMED, conditions=[{"query": query, "then": "two"}], **more)


CASES = (
    Case("single", A),
    Case("mode single", strategy("single", A)),
    Case("openai", {"provider": "openai", "api_key": "a-key", "custom_host": "{a}/v1"}),
    Case("api version v1", azure("a", api_version="v1")),
    Case(
        "headers without a config",
        headers={
            "x-portkey-provider": "azure-openai",
            "x-portkey-custom-host": "{a}/openai",
            "x-portkey-azure-deployment-id": "a-chat",
            "x-portkey-azure-api-version": "2024-10-21",
            "authorization": "Bearer a-key",
        },
    ),
    Case("config and headers share the words", {"retry": RETRY, **LOOSE}, headers=REST),
    Case(
        "headers win over a config without a provider",
        {"retry": RETRY, **LOOSE, "api_version": "2000-01-01"},
        headers={**REST, "authorization": "Bearer b-key", "x-portkey-azure-api-version": "2024-10-21"},
    ),
    Case(
        "condition on a number in metadata",
        conditional({"metadata.seats": {"$eq": 5}}),
        headers={"x-portkey-metadata": '{"seats":5}'},
    ),
    Case(
        "condition on a truth in metadata",
        conditional({"metadata.vip": True}),
        headers={"x-portkey-metadata": '{"vip":true}'},
    ),
    Case("fallback, first is well", strategy("fallback", A, B)),
    Case("fallback, first is down", strategy("fallback", A, B), a=(DOWN,)),
    Case(
        "fallback, both are down", strategy("fallback", A, B), a=(DOWN,), b=(Reply(503, body={"error": {}}),)
    ),
    Case("fallback on a listed status", strategy("fallback", A, B, on_status_codes=[500]), a=(DOWN,)),
    Case("fallback not on others", strategy("fallback", A, B, on_status_codes=[429]), a=(DOWN,)),
    Case("fallback with an empty list", strategy("fallback", A, B, on_status_codes=[]), a=(DOWN,)),
    Case("fallback from a broken connection", strategy("fallback", A, B), a=(Reset(),)),
    Case("fallback from a time-out", strategy("fallback", azure("a", request_timeout=100), B), a=(Hang(),)),
    Case("load balance by weight", strategy("loadbalance", {**A, "weight": 0}, {**B, "weight": 1})),
    Case(
        "load balance does not fail over",
        strategy("loadbalance", {**A, "weight": 1}, {**B, "weight": 0}),
        a=(DOWN,),
    ),
    Case(
        "nested",
        strategy("fallback", strategy("loadbalance", {**A, "weight": 1}, {**B, "weight": 0}), B),
        a=(DOWN,),
    ),
    Case("condition holds", conditional({"metadata.tier": {"$eq": "paid"}}), headers=PAID),
    Case("condition does not hold", conditional({"metadata.tier": {"$eq": "free"}}), headers=PAID),
    Case("condition on the body", conditional({"params.max_tokens": {"$lt": 10}})),
    Case("condition by expression", conditional({"metadata.tier": {"$regex": "^pa"}}), headers=PAID),
    Case(
        "condition by either",
        conditional({"$or": [{"metadata.tier": "x"}, {"metadata.tier": "paid"}]}),
        headers=PAID,
    ),
    Case("no condition and no default", conditional({"metadata.tier": "free"}, None), headers=PAID),
    Case("condition on an absent key", conditional({"metadata.nobody": {"$ne": "x"}}), headers=PAID),
    Case(
        "sibling keys",
        conditional({"$or": [{"metadata.tier": "paid"}], "metadata.nobody": "x"}),
        headers=PAID,
    ),
    Case("overridden parameters", azure("a", override_params={"max_tokens": 9, "temperature": 0.5})),
    Case("inherited parameters", {**strategy("single", A), "override_params": {"temperature": 0.5}}),
    Case("retries", azure("a", retry=RETRY), a=(throttled(0.01), throttled(0.01))),
    Case("retries are spent", azure("a", retry=RETRY), a=(throttled(0.01),) * 3),
    Case("no retry of a 400", azure("a", retry=RETRY), a=(Reply(400, body={"error": {"message": "no"}}),)),
    Case(
        "retries of an inherited policy",
        {**strategy("fallback", A, B), "retry": RETRY},
        a=(throttled(0.01),) * 3,
    ),
    Case("time-out", azure("a", request_timeout=100), a=(Hang(),)),
    Case("connection broken", A, a=(Reset(),)),
    Case("mode unknown", strategy("sideways", A)),
    Case(
        "then unknown",
        strategy("conditional", *NAMED, conditions=[{"query": {"metadata.tier": "paid"}, "then": "x"}]),
        headers=PAID,
    ),
)

_NO_HEADERS = (
    frozenset({"index", "retries"}),
    "Portkey's early refusals carry none of its headers; here every response does, since SDKs read them",
)
_LEFT_OUT = "what the headers leave out stays as the config says; Portkey's asks for /deployments/undefined"
DIFFERENT: dict[str, tuple[frozenset[str], str]] = {
    "config and headers share the words": (frozenset({"upstream", "status"}), _LEFT_OUT),
    "headers win over a config without a provider": (frozenset({"upstream"}), _LEFT_OUT),
    "fallback with an empty list": (
        frozenset({"upstream", "status", "index"}),
        "an empty list would switch fallback off, which nobody writes fallback for: it counts as none",
    ),
    "no condition and no default": _NO_HEADERS,
    "mode unknown": _NO_HEADERS,
    "then unknown": _NO_HEADERS,
    "condition on an absent key": (
        frozenset({"upstream", "index"}),
        "Portkey's documentation says that a condition on an absent key is false; its open gateway has $ne true",
    ),
    "sibling keys": (
        frozenset({"upstream", "index"}),
        "keys side by side must all hold; Portkey's open gateway stops at $or and forgets the others",
    ),
    "retries are spent": (
        frozenset({"status"}),
        "the upstream's last answer is the client's, a 429; Portkey's open gateway turns it into a 500",
    ),
    "connection broken": (
        frozenset({"status"}),
        "502: the upstream failed, not the gateway, whose 500 would send its operator looking in the wrong place",
    ),
}


@dataclass(slots=True)
class Side:
    """One of the two gateways."""

    url: str
    headers: dict[str, str]


@dataclass(slots=True)
class World:
    upstreams: dict[str, AzureOpenAI]
    urls: dict[str, str]
    ours: Side
    portkey: Side

    def run(self, case: Case, side: Side) -> dict[str, Any]:
        for name, steps in (("a", case.a), ("b", case.b)):
            app = self.upstreams[name]
            app.clear_scripts()
            app.log.clear()
            if steps:
                app.script("*", steps)
        answer = httpx.post(
            f"{side.url}/v1/chat/completions",
            headers={**self._headers(case), **side.headers},
            json={**BODY, **case.body},
            timeout=20,
        )
        return {
            "upstream": [
                (name, *sent) for name, app in self.upstreams.items() for sent in map(_sent, app.requests)
            ],
            "status": answer.status_code,
            "index": answer.headers.get("x-portkey-last-used-option-index"),
            "retries": answer.headers.get("x-portkey-retry-attempt-count"),
            "provider": answer.headers.get("x-portkey-provider"),
        }

    def _headers(self, case: Case) -> dict[str, str]:
        headers = {name: self._filled(value) for name, value in case.headers.items()}
        if case.config is not None:
            headers["x-portkey-config"] = self._filled(json.dumps(case.config))
        return headers

    def _filled(self, text: str) -> str:
        for name, url in self.urls.items():
            text = text.replace("{" + name + "}/", url + "/")
        return text


def _sent(received: Any) -> tuple[Any, ...]:
    """What reached an upstream: URL, credentials, body."""
    return (received.target, received.header("api-key"), received.header("authorization"), received.json())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not SCRIPT.exists() or shutil.which("node") is None:
        pytest.skip("Portkey's gateway is not installed: npm install --ignore-scripts in tests/parity")
    upstreams = {"a": AzureOpenAI(), "b": AzureOpenAI()}
    servers = {name: Server(app).start() for name, app in upstreams.items()}
    environ = {
        "GATEWAY_ADMIN_KEY": ADMIN,
        "GATEWAY_DATA_DIR": str(tmp_path_factory.mktemp("gateway")),
        "GATEWAY_TRUSTED_HOSTS": ",".join(f"127.0.0.1:{server.port}" for server in servers.values()),
    }
    gateway = Server(FrontDoor(environ)).start()
    port = _free_port()
    with subprocess.Popen(
        ["node", str(SCRIPT), "--headless", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "NODE_ENV": "production"},
    ) as node:
        _wait_for(port, node)
        yield World(
            upstreams,
            {name: server.url for name, server in servers.items()},
            Side(gateway.url, {"x-portkey-api-key": ADMIN}),
            Side(f"http://127.0.0.1:{port}", {}),
        )
        node.terminate()
    for server in (gateway, *servers.values()):
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Until it listens: it prints nothing that says so, and takes no port of 0."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail("Portkey's gateway did not start")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_gateways_do_the_same(world: World, case: Case) -> None:
    ours, portkeys = world.run(case, world.ours), world.run(case, world.portkey)
    different = {name for name in COMPARED if ours[name] != portkeys[name]}
    expected, _ = DIFFERENT.get(case.name, (frozenset(), ""))
    assert different == expected, json.dumps({"ours": ours, "portkey": portkeys}, indent=1)
