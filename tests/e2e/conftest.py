"""One gateway process and one Azure OpenAI emulator a session; each test begins with a clean log."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emulators.azure_openai import AzureOpenAI
from emulators.request_log import Received
from emulators.server import Server
from tests.support.process import GatewayProcess

AZURE_KEY = "azure-key-0123456789abcdef"
AZURE_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL2NvZ25pdGl2ZXNlcnZpY2VzLmF6dXJlLmNvbSJ9.c2lnbmF0dXJl"
VERSION = "2024-10-21"
DEPLOYMENTS = {
    "chat": "gpt-5.4",
    "chat-two": "gpt-5.4-mini",
    "vectors": "text-embedding-3-small",
    "pictures": "gpt-image-2",
    "voice": "gpt-4o-mini-tts",
    "ears": "whisper",
}


@dataclass(slots=True)
class Upstream:
    """The emulator, and where it listens."""

    app: AzureOpenAI
    server: Server

    @property
    def host(self) -> str:
        return f"{self.server.host}:{self.server.port}"

    @property
    def url(self) -> str:
        """As a custom host, `/openai` included."""
        return f"{self.server.url}/openai"

    @property
    def last(self) -> Received:
        return self.app.requests[-1]


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    app = AzureOpenAI(deployments=DEPLOYMENTS, keys={AZURE_KEY}, tokens={AZURE_TOKEN})
    with Server(app) as server:
        yield Upstream(app, server)


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    shared_upstream.app.clear_scripts()
    shared_upstream.app.log.clear()
    return shared_upstream


@pytest.fixture(scope="session")
def shared_gateway(
    shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(folder, {"GATEWAY_TRUSTED_HOSTS": shared_upstream.host}) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: GatewayProcess, upstream: Upstream) -> GatewayProcess:
    """The shared process; asking for it cleans the emulator too."""
    return shared_gateway


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts more gateways, with settings of their own; they stop with the test."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start(*, loud: bool = False, **environ: str) -> GatewayProcess:
            folder = tmp_path / f"gateway-{next(numbers)}"
            folder.mkdir()
            return stack.enter_context(GatewayProcess(folder, environ, loud=loud))

        yield start


def azure_key(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """What creates a virtual key for the emulator, with every deployment it has."""
    deployments: list[dict[str, Any]] = [
        {"deploymentName": name, "apiVersion": VERSION, "model": model, "is_default": name == "chat"}
        for name, model in DEPLOYMENTS.items()
    ]
    deployments[0]["alias"] = "gpt4"
    wanted = {"name": "Azure", "provider": "azure-openai", "key": AZURE_KEY, "custom_host": upstream.url}
    return {**wanted, "deploymentConfig": deployments, **more}


@pytest.fixture(scope="session")
def azure_slug(shared_gateway: GatewayProcess, shared_upstream: Upstream) -> str:
    """A virtual key with all deployments; `chat` is the default and has the alias `gpt4`."""
    created = shared_gateway.api("POST", "/v1/virtual-keys", json=azure_key(shared_upstream))
    return str(created["slug"])


@pytest.fixture(scope="session")
def pictures_slug(shared_gateway: GatewayProcess, shared_upstream: Upstream) -> str:
    """As a user has it for images: one deployment, of an image model."""
    wanted = azure_key(shared_upstream, name="Pictures", deploymentConfig=None)
    wanted |= {"deploymentName": "pictures", "apiVersion": "2025-04-01-preview"}
    return str(shared_gateway.api("POST", "/v1/virtual-keys", json=wanted)["slug"])
