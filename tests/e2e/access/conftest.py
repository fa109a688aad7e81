"""A gateway with one upstream under the virtual key `up`, on loopback."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from portkey_ai import Portkey

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server
from gateway.front_door import FrontDoor

ADMIN = "gw-" + "a" * 43
MESSAGES = [{"role": "user", "content": "hi"}]
UPSTREAM_KEY = "upstream-key-0123456789"


@dataclass(slots=True)
class World:
    """The gateway, its upstream, and ways to ask it."""

    upstream: AzureOpenAI
    upstream_url: str
    folder: Path
    environ: dict[str, str]
    door: FrontDoor
    server: Server
    http: httpx.Client
    more: list[Server] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.server.url

    def portkey(self, key: str = ADMIN, **options: Any) -> Portkey:
        options = {"max_retries": 0, "http_client": self.http, **options}
        return Portkey(api_key=key, base_url=f"{self.url}/v1", **options)

    def call(
        self, method: str, path: str, *, key: str | None = ADMIN, url: str | None = None, **options: Any
    ) -> httpx.Response:
        headers = {"x-portkey-api-key": key} if key is not None else {}
        headers |= options.pop("headers", {})
        return self.http.request(method, f"{url or self.url}/v1{path}", headers=headers, **options)

    def chat(
        self,
        key: str,
        *,
        slug: str | None = "up",
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> httpx.Response:
        named = {"x-portkey-virtual-key": slug} if slug else {}
        body = {"model": "chat", "messages": MESSAGES, **body}
        return self.call(
            "POST", "/chat/completions", key=key, url=url, headers={**named, **(headers or {})}, json=body
        )

    def make_key(self, **fields: Any) -> dict[str, Any]:
        body = {"name": "made", "scopes": ["completions.write"], **fields}
        answer = self.call("POST", "/api-keys/workspace/service", json=body)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def make_virtual_key(self, slug: str, **fields: Any) -> None:
        body = {
            "name": slug,
            "slug": slug,
            "provider": "azure-openai",
            "key": UPSTREAM_KEY,
            "customHost": f"{self.upstream_url}/openai",
            "deploymentConfig": [
                {"deploymentName": "chat", "alias": "small", "apiVersion": "2024-10-21", "is_default": True},
                {"deploymentName": "big-chat", "alias": "big", "apiVersion": "2024-10-21"},
            ],
            **fields,
        }
        answer = self.call("POST", "/virtual-keys", json=body)
        assert answer.status_code == 200, answer.text

    def another(self) -> Server:
        """A second instance over the same stores."""
        server = Server(FrontDoor(self.environ)).start()
        self.more.append(server)
        return server

    def restart(self, **environ: str) -> None:
        """The same stores under a new process, with other settings."""
        self.server.stop()
        self.environ |= environ
        self.door = FrontDoor(self.environ)
        self.server = Server(self.door).start()


@pytest.fixture
def settings() -> dict[str, str]:
    """Settings of the gateway under test, to be overridden."""
    return {}


@pytest.fixture
def world(tmp_path: Path, settings: dict[str, str]) -> Iterator[World]:
    upstream = AzureOpenAI(keys={UPSTREAM_KEY})
    with Server(upstream) as up:
        environ = {
            "GATEWAY_ADMIN_KEY": ADMIN,
            "GATEWAY_DATA_DIR": str(tmp_path / "data"),
            **settings,
            "GATEWAY_TRUSTED_HOSTS": ",".join(
                [f"127.0.0.1:{up.port}", settings.get("GATEWAY_TRUSTED_HOSTS", "")]
            ),
        }
        door = FrontDoor(environ)
        server = Server(door).start()
        # Portkey's own client takes its base URL from the client it is given.
        with httpx.Client(base_url=f"{server.url}/v1", timeout=20) as http:
            made = World(upstream, up.url, tmp_path, environ, door, server, http)
            made.make_virtual_key("up")
            yield made
            made.server.stop()
            for server in made.more:
                server.stop()
