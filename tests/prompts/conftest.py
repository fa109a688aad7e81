"""A gateway on loopback with an emulated Azure OpenAI behind it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server
from gateway.front_door import FrontDoor

ADMIN = "gw-" + "a" * 43


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the gateway listens, and what its upstream received."""

    url: str  # with /v1
    key: str
    azure: AzureOpenAI

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(
            method, self.url + path, json=body, headers={"x-portkey-api-key": self.key, **named}
        )

    def last(self) -> dict[str, Any]:
        """The body of the last request upstream."""
        body: dict[str, Any] = self.azure.log.entries()[-1].json()
        return body


@contextmanager
def running(folder: Path) -> Iterator[Stage]:
    azure = AzureOpenAI(deployments={"chat": "gpt-4o", "other": "gpt-4o", "text": "gpt-35-turbo"})
    with Server(azure) as upstream:
        environ = {
            "GATEWAY_ADMIN_KEY": ADMIN,
            "GATEWAY_DATA_DIR": str(folder),
            "GATEWAY_TRUSTED_HOSTS": urlsplit(upstream.url).netloc,
        }
        with Server(FrontDoor(environ)) as server:
            stage = Stage(server.url + "/v1", ADMIN, azure)
            for slug, deployment in (("azure-1", "chat"), ("azure-2", "other")):
                _add_virtual_key(stage, upstream.url, slug, deployment)
            yield stage


def _add_virtual_key(stage: Stage, upstream: str, slug: str, default: str) -> None:
    deployments = [
        {"deployment": name, "api_version": "2024-10-21", "is_default": name == default}
        for name in ("chat", "other", "text")
    ]
    body = {"name": slug, "slug": slug, "provider": "azure-openai", "key": f"key-of-{slug}"}
    where = {"custom_host": f"{upstream}/openai", "deployments": deployments}
    assert stage.call("POST", "/virtual-keys", body | where).status_code == 200


@pytest.fixture
def open_stage() -> Callable[[Path], AbstractContextManager[Stage]]:
    """For tests that look at the data folder after the gateway has stopped."""
    return running


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running(tmp_path) as stage:
        yield stage
