"""A thing with immutable versions, kept in a `DocumentStore`: what prompts and partials have in common.

One document per thing, its head (`kind`, id = slug), says which version is newest and which is published;
one document per version (`kind-version`, id = `slug@000012`) is written once and never again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.core.errors import Conflict, NotFound
from gateway.core.ports import Document, DocumentStore
from gateway.core.prompt_refs import is_slug

_TRIES = 8  # for writers that meet
_NUMBERS = 50  # version numbers that writers who died half-way may have left behind

Status = Literal["active", "archived"]


@dataclass(frozen=True, slots=True)
class Head:
    """What may change of a thing."""

    id: str
    slug: str
    name: str
    collection_id: str | None
    latest: int  # number of the newest version
    published: int
    status: Status
    labels: Mapping[str, int]  # label id -> version
    model: str | None  # of the published version, for lists
    edition: int = 0  # of the document; 0: not written yet
    created_at: int = 0  # unix seconds
    updated_at: int = 0  # unix seconds

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "collection_id": self.collection_id,
            "latest": self.latest,
            "published": self.published,
            "status": self.status,
            "labels": dict(self.labels),
            "model": self.model,
        }


@dataclass(frozen=True, slots=True)
class Version:
    """What never changes."""

    id: str
    number: int  # from 1
    content: Mapping[str, Any]
    created_at: int  # unix seconds


Revision = tuple[Head, Mapping[str, Any] | None]  # a new head, and the content of a new version, if any


class Versioned:
    """Heads and versions of one kind. Methods raise `StoreUnavailable` as the store does."""

    def __init__(self, documents: DocumentStore, kind: str, noun: str, new_id: Callable[[], str]) -> None:
        self._documents = documents
        self._kind = kind
        self._noun = noun
        self._new_id = new_id

    async def create(
        self,
        slug: str | Callable[[str], str],
        name: str,
        collection_id: str | None,
        content: Mapping[str, Any],
    ) -> tuple[Head, Version]:
        """Version 1, published. `slug` may make one of a random suffix of six hex digits.

        Raises `Conflict` when the slug is taken, be it by one that is archived.
        """
        for _ in range(_TRIES):
            identity = self._new_id()
            head = Head(
                identity,
                slug if isinstance(slug, str) else slug(identity.replace("-", "")[-6:]),
                name,
                collection_id,
                latest=1,
                published=1,
                status="active",
                labels={},
                model=content.get("model"),
            )
            try:
                version = await self._write(head.slug, 1, content)
                return await self._put(head), version
            except Conflict:
                if isinstance(slug, str):
                    raise Conflict(f'there is a {self._noun} "{slug}" already, perhaps archived') from None
        raise Conflict(f'no free slug was found for "{name}": try again')

    async def head(self, slug: str) -> Head | None:
        """By slug, or by id. Archived ones too."""
        if not is_slug(slug):
            return None
        document = await self._documents.get(self._kind, slug)
        if document is not None:
            return _head(document)
        if slug.startswith(("pp-", "pl-")):
            return None
        return next((head for head in await self.heads() if head.id == slug), None)

    async def require(self, slug: str, *, archived: bool = False) -> Head:
        """Raises `NotFound`."""
        head = await self.head(slug)
        if head is None or (head.status == "archived" and not archived):
            raise NotFound(f'there is no {self._noun} "{slug[:80]}"')
        return head

    async def heads(self) -> list[Head]:
        """Newest first."""
        heads = [_head(document) for document in await self._documents.list(self._kind)]
        return sorted(heads, key=lambda head: (-head.created_at, head.slug))

    async def search(self, filters: Mapping[str, str]) -> list[Head]:
        """By `collection_id`, by a part of the name or slug (`search`), by `status` (active)."""
        wanted = filters.get("search", "").lower()
        collection = filters.get("collection_id")
        return [
            head
            for head in await self.heads()
            if head.status == filters.get("status", "active")
            and collection in (None, head.collection_id)
            and (wanted in head.name.lower() or wanted in head.slug)
        ]

    async def version(self, head: Head, number: int) -> Version:
        """Raises `NotFound`."""
        document = None
        if 0 < number <= head.latest:
            document = await self._documents.get(f"{self._kind}-version", f"{head.slug}@{number:06d}")
        if document is None:
            raise NotFound(f"{head.slug} has no version {number}; the newest is {head.latest}")
        return _version(document)

    async def versions(self, head: Head) -> list[Version]:
        """Newest first."""
        documents = await self._documents.list(f"{self._kind}-version", prefix=f"{head.slug}@")
        versions = [_version(document) for document in documents]
        return [version for version in reversed(versions) if version.number <= head.latest]

    async def find_version(self, head: Head, reference: str) -> Version:
        """By number, or by the version's id. Raises `NotFound`."""
        if reference.isascii() and reference.isdigit() and len(reference) < 10:
            return await self.version(head, int(reference))
        for version in await self.versions(head):
            if version.id == reference:
                return version
        raise NotFound(f'{head.slug} has no version "{reference[:80]}"')

    async def revise(
        self, slug: str, change: Callable[[Head, Version], Revision], expected: int | None = None
    ) -> tuple[Head, Version]:
        """Change the head by what `change` makes of it and of the newest version, and add a version.

        `expected` is the number of the newest version that the caller knows; raises `Conflict` when
        there is a newer one. Writers that meet without it come one after the other.
        """
        for _ in range(_TRIES):
            head = await self.require(slug, archived=True)
            if expected is not None and expected != head.latest:
                raise stale(head, expected)
            latest = await self.version(head, head.latest)
            revised, content = change(head, latest)
            if content is not None:
                latest = await self._append(head, content)
                revised = replace(revised, latest=latest.number)
            try:
                return await self._put(revised), latest
            except Conflict:
                if content is not None:
                    await self._documents.delete(f"{self._kind}-version", f"{head.slug}@{latest.number:06d}")
        raise Conflict(f"{slug} is being changed by others: try again")

    async def edit(self, slug: str, change: Callable[[Head], Head], *, archived: bool = False) -> Head:
        """Change the head alone."""
        for _ in range(_TRIES):
            head = await self.require(slug, archived=archived)
            try:
                return await self._put(change(head))
            except Conflict:
                continue
        raise Conflict(f"{slug} is being changed by others: try again")

    async def _append(self, head: Head, content: Mapping[str, Any]) -> Version:
        for number in range(head.latest + 1, head.latest + _NUMBERS):
            try:
                return await self._write(head.slug, number, content)
            except Conflict:
                continue
        raise Conflict(f"{head.slug} is being changed by others: try again")

    async def _write(self, slug: str, number: int, content: Mapping[str, Any]) -> Version:
        value = {"id": self._new_id(), "number": number, "content": dict(content)}
        return _version(
            await self._documents.put(f"{self._kind}-version", f"{slug}@{number:06d}", value, expect=0)
        )

    async def _put(self, head: Head) -> Head:
        return _head(await self._documents.put(self._kind, head.slug, head.document(), expect=head.edition))


def stale(head: Head, expected: int) -> Conflict:
    return Conflict(
        f"{head.slug} was changed meanwhile: its newest version is {head.latest}, not {expected}. "
        "Read it again and repeat the change",
        code="version_conflict",
        headers={"etag": f'"{head.latest}"'},
    )


def _head(document: Document) -> Head:
    return Head(
        slug=document.id,
        edition=document.version,
        created_at=document.created_at,
        updated_at=document.updated_at,
        **document.value,
    )


def _version(document: Document) -> Version:
    value = document.value
    return Version(value["id"], value["number"], value["content"], document.created_at)
