"""Documents in Azure Tables: a kind is a partition; a value too large for an entity is a blob."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.adapters.azure_storage import ENTITY_BYTES, StorageAccount, StorageThreads, pack, quoted, unpack
from gateway.core.documents import check_kind, check_names, encode_value
from gateway.core.errors import Conflict, StoreUnavailable
from gateway.core.ports import Document

_TABLE = "gatewaydocuments"
_TRIES = 10  # of a write without `expect`, when others write the same document
_SMALL = ENTITY_BYTES // 2  # a value that compresses badly grows a little


class AzureDocuments:
    """A `DocumentStore`. `clock` gives unix seconds; `prefix` keeps gateways in one account apart."""

    def __init__(self, account: StorageAccount, clock: Callable[[], float], prefix: str = "") -> None:
        self._threads = StorageThreads(account, (_TABLE,), prefix)
        self._clock = clock

    async def get(self, kind: str, id: str) -> Document | None:
        check_names(kind, id)
        return await self._threads.run(lambda: self._get(kind, id)[0])

    async def put(
        self, kind: str, id: str, value: Mapping[str, Any], *, expect: int | None = None
    ) -> Document:
        check_names(kind, id)
        encoded = encode_value(value)
        now = int(self._clock())
        return await self._threads.run(lambda: self._put(kind, id, encoded, expect, now))

    async def delete(self, kind: str, id: str) -> bool:
        check_names(kind, id)

        def delete() -> bool:
            _, entity = self._get(kind, id)
            if entity is None:
                return False
            self._threads.table(_TABLE).delete_entity(kind, id)
            self._drop_blob(entity)
            return True

        return await self._threads.run(delete)

    async def list(self, kind: str, *, prefix: str = "") -> list[Document]:
        check_kind(kind)

        def read() -> list[Document]:
            where = f"PartitionKey eq {quoted(kind)}"
            if prefix:  # ids are ASCII, so DEL ends the range of a prefix
                where += f" and RowKey ge {quoted(prefix)} and RowKey lt {quoted(prefix + chr(0x7F))}"
            found = [self._listed(entity) for entity in self._threads.table(_TABLE).query_entities(where)]
            return sorted((document for document in found if document), key=lambda document: document.id)

        return await self._threads.run(read)

    async def aclose(self) -> None:
        await self._threads.aclose()

    def _listed(self, entity: Mapping[str, Any]) -> Document | None:
        """A row's document; read anew where its blob went meanwhile."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return self._document(entity)
        except ResourceNotFoundError:
            return self._get(entity["PartitionKey"], entity["RowKey"])[0]

    def _get(self, kind: str, id: str) -> tuple[Document | None, Any]:
        from azure.core.exceptions import ResourceNotFoundError

        for _ in range(_TRIES):
            try:
                entity = self._threads.table(_TABLE).get_entity(kind, id)
            except ResourceNotFoundError:
                return None, None
            try:
                return self._document(entity), entity
            except ResourceNotFoundError:
                continue  # its blob went with an update between the two reads: there is a newer one
        raise StoreUnavailable(f"{kind} {id}: its body is missing in the blob storage")

    def _put(self, kind: str, id: str, encoded: bytes, expect: int | None, now: int) -> Document:
        for _ in range(_TRIES):
            old, entity = self._get(kind, id)
            version = old.version if old else 0
            if expect is not None and expect != version:
                break
            document = Document(
                kind, id, version + 1, orjson.loads(encoded), old.created_at if old else now, now
            )
            if self._write(document, encoded, entity):
                self._drop_blob(entity)
                return document
        raise Conflict(f"{kind} {id}: changed meanwhile: version {version}, expected {expect}")

    def _write(self, document: Document, encoded: bytes, old: Any) -> bool:
        """False when somebody else wrote in between."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
        from azure.data.tables import UpdateMode

        entity = self._entity(document, encoded)
        table = self._threads.table(_TABLE)
        try:
            if old is None:
                table.create_entity(entity)
            else:
                table.update_entity(
                    entity,
                    UpdateMode.REPLACE,
                    etag=old.metadata["etag"],
                    match_condition=MatchConditions.IfNotModified,
                )
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
            self._drop_blob(entity)
            return False
        return True

    def _entity(self, document: Document, encoded: bytes) -> dict[str, Any]:
        times = {"created_at": float(document.created_at), "updated_at": float(document.updated_at)}
        keys = {"PartitionKey": document.kind, "RowKey": document.id, "version": document.version}
        if len(encoded) <= _SMALL:
            return {**keys, **times, **pack(encoded)}
        blob = f"documents/{document.kind}/{uuid.uuid4()}"
        self._threads.blobs().upload_blob(blob, encoded)
        return {**keys, **times, "blob": blob}

    def _document(self, entity: Mapping[str, Any]) -> Document:
        blob = entity.get("blob")
        encoded = self._threads.blobs().download_blob(blob).readall() if blob else unpack(entity)
        times = (int(entity["created_at"]), int(entity["updated_at"]))
        return Document(
            entity["PartitionKey"], entity["RowKey"], entity["version"], orjson.loads(encoded), *times
        )

    def _drop_blob(self, entity: Mapping[str, Any] | None) -> None:
        if entity is not None and entity.get("blob"):
            self._threads.blobs().delete_blob(entity["blob"])
