"""Azure Storage: clients for tables and blobs, and calls off the event loop.

The synchronous clients run in threads of their own: the recorder's, and a small pool for readers. Source
of the limits: Azure's documentation, "Understanding the Table service data model".
"""

import asyncio
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.core.errors import StoreUnavailable

if TYPE_CHECKING:
    from azure.data.tables import TableClient, TableServiceClient
    from azure.storage.blob import BlobServiceClient, ContainerClient

T = TypeVar("T")

CONTAINER = "gateway"
PROPERTY_BYTES = 60_000  # of 64 KiB that a property may have
_PROPERTIES = 12  # of an entity's 1 MiB
ENTITY_BYTES = PROPERTY_BYTES * _PROPERTIES
_READERS = 4  # threads
_CONNECT_SECONDS, _READ_SECONDS = 3, 20

Entity = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StorageAccount:
    """Where tables and blobs are, and how to sign in: a connection string, or two URLs and a credential.

    The tables' URL may be that of Cosmos DB for Table.
    """

    connection_string: str | None = field(default=None, repr=False)
    tables_url: str | None = None
    blobs_url: str | None = None
    credential: Any = field(default=None, repr=False)

    def tables(self) -> "TableServiceClient":
        from azure.data.tables import TableServiceClient

        options = _options()
        if self.connection_string:
            return TableServiceClient.from_connection_string(self.connection_string, **options)
        return TableServiceClient(self.tables_url or "", credential=self.credential, **options)

    def blobs(self) -> "BlobServiceClient":
        from azure.storage.blob import BlobServiceClient

        options = _options()
        if self.connection_string:
            return BlobServiceClient.from_connection_string(self.connection_string, **options)
        return BlobServiceClient(self.blobs_url or "", credential=self.credential, **options)


def _options() -> dict[str, Any]:
    # The recorder tries again by itself, for as long as records fit its queue.
    return {"retry_total": 1, "connection_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS}


class StorageThreads:
    """Opens tables and the container at the first use, and runs calls in threads."""

    def __init__(self, account: StorageAccount, tables: tuple[str, ...], prefix: str = "") -> None:
        self._account, self._names, self._prefix = account, tables, prefix
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="azure-storage")
        self._lock = threading.Lock()
        self._tables: dict[str, TableClient] = {}
        self._blobs: ContainerClient | None = None

    def table(self, name: str) -> "TableClient":
        self._open()
        return self._tables[name]

    def blobs(self) -> "ContainerClient":
        self._open()
        assert self._blobs is not None
        return self._blobs

    def _open(self) -> None:
        with self._lock:
            if self._blobs is not None:
                return
            from azure.core.exceptions import ResourceExistsError

            service = self._account.tables()
            tables = {name: service.create_table_if_not_exists(self._prefix + name) for name in self._names}
            container = self._account.blobs().get_container_client(self._prefix + CONTAINER)
            with suppress(ResourceExistsError):
                container.create_container()
            self._tables, self._blobs = tables, container

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result from a reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.call, call)

    def call(self, call: Callable[[], T]) -> T:
        """The same from a thread; raises `StoreUnavailable` for what Azure raises."""
        with mapped():
            return call()

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._close)
        self._pool.shutdown(wait=False)

    def _close(self) -> None:
        with self._lock:
            for client in (*self._tables.values(), self._blobs):
                if client is not None:
                    client.close()
            self._tables, self._blobs = {}, None


@contextmanager
def mapped() -> Iterator[None]:
    """Azure's errors as `StoreUnavailable`: kind and status, as their texts may hold URLs."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        status = getattr(error, "status_code", None)
        code = getattr(error, "error_code", None)
        detail = ", ".join(str(part) for part in (type(error).__name__, status, code) if part)
        hint = " (the identity needs Storage Table and Blob Data Contributor)" if status == 403 else ""
        raise StoreUnavailable(f"Azure Storage did not do it: {detail}{hint}") from error


def pack(data: bytes) -> dict[str, bytes]:
    """Bytes as properties `data0`, `data1`, ... of an entity, compressed."""
    packed = zlib.compress(data, 1)
    return {
        f"data{number}": packed[start : start + PROPERTY_BYTES]
        for number, start in enumerate(range(0, max(1, len(packed)), PROPERTY_BYTES))
    }


def unpack(entity: Entity) -> bytes:
    parts, number = [], 0
    while (part := entity.get(f"data{number}")) is not None:
        parts.append(part)
        number += 1
    return zlib.decompress(b"".join(parts))


def quoted(text: str) -> str:
    """A text in a filter. Source: OData 4, string literals."""
    return "'" + text.replace("'", "''") + "'"
