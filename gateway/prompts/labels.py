"""Labels, which point to one version of each prompt, and collections, which hold prompts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.errors import Conflict, InvalidRequest, NotFound
from gateway.core.ports import Document, DocumentStore
from gateway.core.prompt_refs import BUILTIN_LABELS, check_label
from gateway.prompts import shapes

_LABEL = "prompt-label"
_COLLECTION = "prompt-collection"


@dataclass(frozen=True, slots=True)
class Label:
    id: str
    name: str


class Labels:
    """The built-in labels and those that were made."""

    def __init__(self, documents: DocumentStore, new_id: Callable[[], str]) -> None:
        self._documents = documents
        self._new_id = new_id

    async def find(self, reference: str) -> Label:
        """By id or name. Raises `NotFound`."""
        if reference in BUILTIN_LABELS:
            return Label(reference, reference)
        for document in await self._documents.list(_LABEL):
            if reference in (document.id, document.value["name"]):
                return Label(document.id, document.value["name"])
        raise NotFound(f'there is no label "{reference[:80]}": make it with POST /v1/labels')

    async def names(self) -> dict[str, str]:
        """Names by id."""
        made = {document.id: document.value["name"] for document in await self._documents.list(_LABEL)}
        return {name: name for name in BUILTIN_LABELS} | made

    async def all(self) -> list[shapes.Json]:
        made = sorted(await self._documents.list(_LABEL), key=lambda document: -document.created_at)
        return [shapes.builtin_label(name) for name in BUILTIN_LABELS] + [shapes.label(one) for one in made]

    async def read(self, reference: str) -> shapes.Json:
        label = await self.find(reference)
        if label.id in BUILTIN_LABELS:
            return shapes.builtin_label(label.id)
        return shapes.label(await self._require(label.id))

    async def create(self, fields: Mapping[str, Any]) -> str:
        """The new label's id. Raises `Conflict` when there is one of the name."""
        await self._check_free(fields["name"])
        document = await self._documents.put(_LABEL, self._new_id(), _label_value(fields), expect=0)
        return document.id

    async def update(self, reference: str, fields: Mapping[str, Any]) -> None:
        label = await self._own(reference)
        document = await self._require(label.id)
        changed = {name: value for name, value in fields.items() if value is not None or name != "name"}
        if changed.get("name", label.name) != label.name:
            await self._check_free(changed["name"])
        value = _label_value({**document.value, **changed})
        await self._documents.put(_LABEL, document.id, value, expect=document.version)

    async def delete(self, reference: str) -> None:
        """Versions that had it lose it: an id that no label has any more means nothing."""
        await self._documents.delete(_LABEL, (await self._own(reference)).id)

    async def _own(self, reference: str) -> Label:
        label = await self.find(reference)
        if label.id in BUILTIN_LABELS:
            raise InvalidRequest(f'"{label.name}" is built in and cannot be changed')
        return label

    async def _check_free(self, name: str) -> None:
        check_label(name)
        if name in (await self.names()).values():
            raise Conflict(f'there is a label "{name}" already')

    async def _require(self, id: str) -> Document:
        document = await self._documents.get(_LABEL, id)
        if document is None:
            raise NotFound(f'there is no label "{id[:80]}"')
        return document


class Collections:
    """Folders of prompts. A prompt names its collection; the collection does not know its prompts."""

    def __init__(self, documents: DocumentStore, new_id: Callable[[], str]) -> None:
        self._documents = documents
        self._new_id = new_id

    async def search(self, search: str = "") -> list[shapes.Json]:
        documents = sorted(await self._documents.list(_COLLECTION), key=lambda one: -one.created_at)
        return [shapes.collection(one) for one in documents if search.lower() in one.value["name"].lower()]

    async def exists(self, id: str) -> bool:
        return _storable(id) and await self._documents.get(_COLLECTION, id) is not None

    async def read(self, id: str) -> shapes.Json:
        return shapes.collection(await self._require(id))

    async def create(self, fields: Mapping[str, Any]) -> str:
        document = await self._documents.put(_COLLECTION, self._new_id(), _collection_value(fields), expect=0)
        return document.id

    async def update(self, id: str, fields: Mapping[str, Any]) -> None:
        document = await self._require(id)
        changed = {name: value for name, value in fields.items() if value is not None}
        value = _collection_value({**document.value, **changed})
        await self._documents.put(_COLLECTION, id, value, expect=document.version)

    async def delete(self, id: str) -> None:
        await self._require(id)
        await self._documents.delete(_COLLECTION, id)

    async def _require(self, id: str) -> Document:
        document = await self._documents.get(_COLLECTION, id) if _storable(id) else None
        if document is None:
            raise NotFound(f'there is no collection "{id[:80]}"')
        return document


def _label_value(fields: Mapping[str, Any]) -> dict[str, Any]:
    names = ("name", "description", "color_code", "organisation_id", "workspace_id")
    return {name: fields.get(name) for name in names}


def _collection_value(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields.get(name) for name in ("name", "workspace_id", "parent_collection_id")}


def _storable(id: str) -> bool:
    return 0 < len(id) <= 200 and id.isascii() and all(char.isalnum() or char in "._@:~-" for char in id)
