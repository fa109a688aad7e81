"""Emulators on loopback: a fresh server for each test, one certificate authority for all."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import pytest

from emulators.azure_openai import AzureOpenAI
from emulators.certificates import Certificates, write_certificates
from emulators.identity import Identity
from emulators.key_vault import KeyVault
from emulators.server import Server

App = TypeVar("App")

DEPLOYMENTS = {
    "chat": "gpt-5.4",
    "old-chat": "gpt-35-turbo",
    "vectors": "text-embedding-3-small",
    "pictures": "gpt-image-2",
    "voice": "gpt-4o-mini-tts",
    "ears": "whisper",
}


@dataclass(frozen=True, slots=True)
class Running(Generic[App]):
    """An emulator and where it listens."""

    app: App
    url: str


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def openai_emulator() -> Iterator[Running[AzureOpenAI]]:
    app = AzureOpenAI(deployments=DEPLOYMENTS, keys={"right-key"}, tokens={"right-token"})
    with Server(app) as server:
        yield Running(app, server.url)


@pytest.fixture
def vault(certificates: Certificates) -> Iterator[Running[KeyVault]]:
    app = KeyVault(tokens={"right-token"})
    with Server(app, tls=certificates) as server:
        yield Running(app, server.url)


@pytest.fixture
def identity() -> Iterator[Running[Identity]]:
    app = Identity(clients={"client": "secret"}, managed_clients={"managed"})
    with Server(app) as server:
        yield Running(app, server.url)


@pytest.fixture
def entra(certificates: Certificates) -> Iterator[Running[Identity]]:
    app = Identity(clients={"client": "secret"})
    with Server(app, tls=certificates) as server:
        yield Running(app, server.url)
