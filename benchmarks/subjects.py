"""The three that are compared: the bare upstream, Portkey's gateway on Node, and this gateway."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case, post
from benchmarks.process import Server, free_port, pinned

ROOT = Path(__file__).absolute().parent.parent
PORTKEY_FOLDER = ROOT / "benchmarks" / "portkey"
# The versions of Portkey's own lockfile. npm would float them, and every stream then fails with a 500.
PORTKEY_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    "overrides": {"hono": "4.9.7", "@hono/node-server": "1.13.5", "@hono/node-ws": "1.2.0"},
}
ADMIN_KEY = "gw-" + "benchmark" * 4 + "0123456"
CHAT = "/v1/chat/completions"
SERVER_CORE, CLIENT_CORE = 0, 1


class Unsupported(Exception):
    """The subject does not do this case; the message says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A running server and how to ask it."""

    name: str
    port: int
    server: Server
    upstream: str  # custom host for the requests: http://127.0.0.1:PORT/openai
    prompt: str = ""  # id of the prompt of the prompt case

    def request(self, case: Case) -> bytes:
        """The bytes that ask this subject for `case`."""
        if case.route == "prompt" and self.name != "upstream":
            return self._prompt_request(case)
        path = "/openai/deployments/d/chat/completions" if self.name == "upstream" else CHAT
        return post(path, self._headers(case.route), case.body())

    def _prompt_request(self, case: Case) -> bytes:
        if not self.prompt:
            raise Unsupported("no prompt library")
        body = {"variables": {"question": "Who jumps over whom?"}, "user": case.wanted}
        return post(f"/v1/prompts/{self.prompt}/completions", {"x-portkey-api-key": ADMIN_KEY}, body)

    def _headers(self, route: str) -> dict[str, str]:
        if self.name == "upstream":
            return {"api-key": "k"}
        if self.name == "gateway":
            own = {"x-portkey-api-key": ADMIN_KEY}
            leaf: dict[str, object] = {"virtual_key": "bench"}
            return own | (_config(leaf) if route == "config" else {"x-portkey-virtual-key": "bench"})
        if route == "config":
            leaf = {
                "provider": "azure-openai",
                "api_key": "k",
                "deployment_id": "d",
                "api_version": "2024-10-21",
                "custom_host": self.upstream,
            }
            return _config(leaf)
        return {
            "authorization": "Bearer k",
            "x-portkey-provider": "azure-openai",
            "x-portkey-azure-deployment-id": "d",
            "x-portkey-azure-api-version": "2024-10-21",
            "x-portkey-custom-host": self.upstream,
        }

    def probe(self, case: Case) -> None:
        """One request, checked to the end; raises Unsupported if the answer is not the expected one."""
        head, _, body = self.request(case).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("POST", lines[0].split()[1], body, headers)
            response = connection.getresponse()
            content = response.read()
        events = content.count(b"data: ")
        if response.status != 200 or events != case.events:
            raise Unsupported(f"status {response.status}, {events} events: {content[:300]!r}")


def _config(leaf: dict[str, object]) -> dict[str, str]:
    """A fallback over a load balance of two, as an inline config header."""
    balance = {"strategy": {"mode": "loadbalance"}, "targets": [leaf | {"weight": 1}, leaf | {"weight": 1}]}
    config = {"strategy": {"mode": "fallback"}, "targets": [balance, leaf]}
    return {"x-portkey-config": json.dumps(config)}


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings that would change what is measured."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "AZURE_", "KEY_VAULT_"))}
    return kept | {"PYTHONPATH": str(ROOT)} | more


@contextlib.contextmanager
def stopping(server: Server) -> Iterator[Server]:
    """Stop `server` at the end, whatever happens."""
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Subject]:
    """The canned upstream, on the client's core."""
    folder.mkdir(parents=True)
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.upstream", str(port)]
    with stopping(Server(command, CLIENT_CORE, folder, environment())) as server:
        server.wait_for(port)
        yield Subject("upstream", port, server, f"http://127.0.0.1:{port}/openai")


@contextlib.contextmanager
def gateway(folder: Path, host: str, launcher: str = "gateway") -> Iterator[Subject]:
    """`python -m gateway` with one virtual key for the upstream `host`, in a data folder of its own."""
    folder.mkdir(parents=True)
    port = free_port()
    settings = environment(
        GATEWAY_DATA_DIR=str(folder / "data"),
        GATEWAY_ADMIN_KEY=ADMIN_KEY,
        GATEWAY_TRUSTED_HOSTS=host.split("/")[2],
    )
    command = [sys.executable, "-m", launcher, "--host", "127.0.0.1", "--port", str(port)]
    with stopping(Server(command, SERVER_CORE, folder, settings)) as server:
        server.wait_for(port)
        _add_virtual_key(port, host)
        yield Subject("gateway", port, server, host, _add_prompt(port))


def _add_virtual_key(port: int, host: str) -> None:
    deployment = {
        "deploymentName": "d",
        "alias": "gpt4",
        "apiVersion": "2024-10-21",
        "is_default": True,
    }
    body = {
        "name": "bench",
        "slug": "bench",
        "provider": "azure-openai",
        "key": "k",
        "custom_host": host,
        "deploymentConfig": [deployment],
    }
    status, answer = _manage(port, "/v1/virtual-keys", body)
    if status != 200:
        raise RuntimeError(f"the gateway did not take the virtual key: {status} {answer}")
    if answer.get("slug") != "bench":
        raise RuntimeError(f"the virtual key got another slug: {answer}")


def _add_prompt(port: int) -> str:
    """The id of a new prompt, or "" while the gateway has no prompt library."""
    body = {
        "name": "bench",
        "collection_id": "",
        "string": json.dumps([{"role": "user", "content": "Answer in one word: {{question}}"}]),
        "parameters": {"model": "gpt4"},
        "virtual_key": "bench",
        "model": "gpt4",
    }
    status, answer = _manage(port, "/v1/prompts", body)
    return str(answer.get("slug") or answer.get("id") or "") if status == 200 else ""


def _manage(port: int, path: str, body: object) -> tuple[int, dict[str, object]]:
    """One call of the management API."""
    headers = {"x-portkey-api-key": ADMIN_KEY, "content-type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    return response.status, answer if isinstance(answer, dict) else {"text": content.decode(errors="replace")}


@contextlib.contextmanager
def portkey(folder: Path, host: str) -> Iterator[Subject]:
    """Portkey's open gateway from npm."""
    script = install_portkey()
    folder.mkdir(parents=True)
    port = free_port()
    node = shutil.which("node") or "node"
    command = [node, str(script), "--headless", f"--port={port}"]
    with stopping(Server(command, SERVER_CORE, folder, environment(NODE_ENV="production"))) as server:
        server.wait_for(port)
        yield Subject("portkey", port, server, host)


def install_portkey() -> Path:
    """Portkey's start script, installed by npm on first use into a folder that git ignores."""
    wanted = json.dumps(PORTKEY_PACKAGE, indent=2)
    package = PORTKEY_FOLDER / "package.json"
    script = PORTKEY_FOLDER / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if script.exists() and package.read_text() == wanted:
        return script
    npm = shutil.which("npm")
    if npm is None:
        raise Unsupported("npm is not installed (run with --without portkey)")
    PORTKEY_FOLDER.mkdir(exist_ok=True)
    package.write_text(wanted)
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    with pinned(CLIENT_CORE):
        subprocess.run(install, cwd=PORTKEY_FOLDER, check=True, timeout=300, stdout=subprocess.DEVNULL)
    return script
