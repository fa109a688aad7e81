"""Secrets in one sealed file: the local stand-in for Key Vault, with nothing to install.

`secrets.sealed` is AES-256-GCM over JSON; its key is `secrets.key` (mode 0600) beside it. Both move
together: a copied data folder opens on another machine.
"""

import asyncio
import base64
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.core.errors import StoreUnavailable
from gateway.core.ports import Secret, SecretInfo

_CONTEXT = b"llm-gateway secrets 1"
_NONCE_BYTES = 12  # NIST SP 800-38D: 96 bits


class SealedFileSecrets:
    """A `SecretStore` in the data folder. Several processes may share it."""

    def __init__(self, folder: Path, *, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._file = folder / "secrets.sealed"
        self._clock = clock
        self._seen: tuple[int, int] | None = None  # (mtime_ns, size) of what `_entries` holds
        self._entries: dict[str, dict[str, Any]] = {}

    async def get(self, name: str) -> Secret | None:
        entry = self._load().get(name)
        return Secret(name, entry["value"], entry["created_at"], entry["updated_at"]) if entry else None

    async def put(self, name: str, value: str) -> Secret:
        return await asyncio.to_thread(self._put, name, value)

    async def delete(self, name: str) -> bool:
        return await asyncio.to_thread(self._delete, name)

    async def list(self, prefix: str) -> list[SecretInfo]:
        return [
            SecretInfo(name, entry["created_at"], entry["updated_at"])
            for name, entry in sorted(self._load().items())
            if name.startswith(prefix)
        ]

    async def aclose(self) -> None:
        self._entries = {}

    def _put(self, name: str, value: str) -> Secret:
        with self._locked():
            entries = dict(self._load())
            now = int(self._clock())
            created = entries.get(name, {}).get("created_at", now)
            entries[name] = {"value": value, "created_at": created, "updated_at": now}
            self._store(entries)
        return Secret(name, value, created, now)

    def _delete(self, name: str) -> bool:
        with self._locked():
            entries = dict(self._load())
            if entries.pop(name, None) is None:
                return False
            self._store(entries)
        return True

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            stat = self._file.stat()
            if self._seen != (stat.st_mtime_ns, stat.st_size):
                self._entries = self._open(self._file.read_bytes())
                self._seen = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            self._seen, self._entries = None, {}
        except OSError as error:
            raise StoreUnavailable(f"the secrets file cannot be read: {error.strerror}") from error
        return self._entries

    def _open(self, sealed: bytes) -> dict[str, dict[str, Any]]:
        try:
            text = AESGCM(self._key()).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _CONTEXT)
        except (InvalidTag, ValueError) as error:
            raise StoreUnavailable(
                "the secrets file does not open: secrets.key and secrets.sealed in GATEWAY_DATA_DIR must be "
                "copied together"
            ) from error
        entries: dict[str, dict[str, Any]] = orjson.loads(text)
        return entries

    def _store(self, entries: dict[str, dict[str, Any]]) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + AESGCM(self._key()).encrypt(nonce, orjson.dumps(entries), _CONTEXT)
        _write_atomically(self._file, sealed)
        self._seen = None  # read back at the next use

    def _key(self) -> bytes:
        path = self._folder / "secrets.key"
        try:
            return base64.b64decode(path.read_bytes())
        except FileNotFoundError:
            if self._file.exists():
                raise StoreUnavailable("secrets.key is gone: the secrets file cannot be opened") from None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path, base64.b64encode(AESGCM.generate_key(256)))
        return base64.b64decode(path.read_bytes())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, over all processes that share the folder."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "secrets.lock").open("a+b") as file:
            _lock(file.fileno())
            self._seen = None
            yield


def _lock(descriptor: int) -> None:
    """Closing the file unlocks it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _write_atomically(path: Path, data: bytes) -> None:
    os.replace(_temporary(path, data), path)


def _write_once(path: Path, data: bytes) -> None:
    """Write whole, unless another process was first: then its file stays."""
    temporary = _temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
