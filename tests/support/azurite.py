"""Azurite, Azure Storage's emulator: one for all tests that ask for it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.azure_storage import StorageAccount

FOLDER = Path(__file__).parent.parent / "azurite"
SERVICE = re.compile(r"Azurite (\w+) service is successfully listening at http://127\.0\.0\.1:(\d+)")
# The account that every Azurite has; its key is in Azure's documentation.
NAME, KEY = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
)


def program() -> Path:
    """The emulator's script, installed by npm where it is not yet."""
    script = FOLDER / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
    if shutil.which("node") is None or (shutil.which("npm") is None and not script.exists()):
        pytest.skip("needs Node.js and npm, to run Azurite (Azure Storage's emulator)")
    if not script.exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(FOLDER)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"npm could not install Azurite: {done.stderr[-200:]}")
    return script


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageAccount]:
    folder = tmp_path_factory.mktemp("azurite")
    ports = [f"--{service}Port=0" for service in ("blob", "queue", "table")]
    command = [
        "node",
        str(program()),
        "--inMemoryPersistence",
        "--skipApiVersionCheck",
        "--silent",
        "--disableTelemetry",
        *ports,
    ]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        urls: dict[str, str] = {}
        for line in process.stdout:
            if found := SERVICE.search(line):
                urls[found[1]] = f"http://127.0.0.1:{found[2]}/{NAME}"
            if len(urls) == 3:
                break
        yield StorageAccount(
            f"DefaultEndpointsProtocol=http;AccountName={NAME};AccountKey={KEY};"
            f"BlobEndpoint={urls['Blob']};TableEndpoint={urls['Table']};"
        )
        process.terminate()
        process.stdout.close()
