"""Saved configs: documents with a version for each change, compiled once for a few seconds.

A config's document holds what it is now; each version has a document of its own beside it.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.core.config import DEFAULT_LIMITS, Compiled, compile_config
from gateway.core.config_checks import ConfigLimits
from gateway.core.config_errors import InvalidConfig
from gateway.core.config_secrets import secrets_in
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.ports import Document, DocumentStore

KIND = "config"
VERSION_KIND = "config-version"
TTL = 5.0  # seconds until another instance's change is seen
_MOST = 500  # compiled configs kept
_SLUG = re.compile(r"pc-[a-z0-9-]{1,60}")
_STATES = ("active", "archived")


@dataclass(frozen=True, slots=True)
class SavedConfig:
    """What a request's `x-portkey-config: pc-...` stands for."""

    slug: str
    version: int
    compiled: Compiled


class SavedConfigs:
    """The library of configs. `clock` gives unix seconds, `new_id` random hexadecimal text."""

    def __init__(
        self,
        documents: DocumentStore,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        *,
        limits: ConfigLimits = DEFAULT_LIMITS,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._new_id = new_id
        self._limits = limits
        self._known: OrderedDict[str, tuple[float, SavedConfig]] = OrderedDict()

    async def resolve(self, slug: str) -> SavedConfig:
        """The config ready to route by; `NotFound` when there is none or it is archived."""
        known = self._known.get(slug)
        now = self._clock()
        if known is not None and now < known[0]:
            return known[1]
        document = await self._read(slug)
        if document.value["status"] != "active":
            raise NotFound(f"config {slug!r} is archived: set its status to active, or name another")
        saved = self._saved(document, known[1] if known is not None else None)
        self._known[slug] = (now + TTL, saved)
        self._known.move_to_end(slug)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return saved

    async def create(
        self, name: str, config: Any, *, is_default: bool = False, workspace_id: str | None = None, by: str
    ) -> tuple[Document, tuple[str, ...]]:
        """The new document and the config's warnings."""
        source, warnings = self._checked(config)
        slug = f"pc-{_words(name)}-{self._new_id()[:6]}"
        value = {
            "id": self._new_id(),
            "slug": slug,
            "name": name,
            "is_default": is_default,
            "status": "active",
            "workspace_id": workspace_id,
            "owner_id": by,
            "created_at": int(self._clock()),
        }
        return await self._write(slug, value, 1, source, by, expect=0), warnings

    async def get(self, slug: str) -> Document:
        """Archived ones too."""
        return await self._read(slug)

    async def list(self, workspace_id: str | None = None) -> Sequence[Document]:
        """The active ones, newest first."""
        documents = await self._documents.list(KIND)
        shown = [item for item in documents if item.value["status"] == "active"]
        if workspace_id is not None:
            shown = [item for item in shown if item.value.get("workspace_id") == workspace_id]
        return sorted(shown, key=lambda item: item.created_at, reverse=True)

    async def update(
        self,
        slug: str,
        *,
        name: str | None = None,
        config: Any = None,
        status: str | None = None,
        is_default: bool | None = None,
        by: str,
    ) -> tuple[Document, tuple[str, ...]]:
        """A new version where the config is given; `Conflict` when another change came first."""
        document = await self._read(slug)
        said = {"name": name, "status": status, "is_default": is_default}
        value = {**document.value, **{key: item for key, item in said.items() if item is not None}}
        if value["status"] not in _STATES:
            raise InvalidRequest(
                f"status: must be active or archived, got {str(status)[:40]!r}", param="status"
            )
        source, version = value["config"], value["version"]
        warnings: tuple[str, ...] = ()
        if config is not None:
            source, warnings = self._checked(config)
            version += 1
        return await self._write(slug, value, version, source, by, expect=document.version), warnings

    async def archive(self, slug: str, *, by: str) -> None:
        await self.update(slug, status="archived", by=by)

    async def versions(self, slug: str) -> Sequence[Document]:
        """Newest first."""
        await self._read(slug)
        return sorted(
            await self._documents.list(VERSION_KIND, prefix=f"{slug}~"),
            key=lambda item: int(item.value["version"]),
            reverse=True,
        )

    async def _read(self, slug: str) -> Document:
        document = await self._documents.get(KIND, slug) if _SLUG.fullmatch(slug) else None
        if document is None:
            raise NotFound(
                f"config {slug[:80]!r} does not exist: create it with POST /v1/configs, or send JSON in "
                "x-portkey-config"
            )
        return document

    async def _write(
        self, slug: str, value: Mapping[str, Any], version: int, source: Any, by: str, *, expect: int
    ) -> Document:
        """The document first: it is what counts, and its version is what two writers race for."""
        new = version != value.get("version")
        version_id = self._new_id() if new else value["version_id"]
        whole = {**value, "config": source, "version": version, "version_id": version_id, "updated_by": by}
        document = await self._documents.put(KIND, slug, whole, expect=expect)
        self._known.pop(slug, None)
        if new:
            await self._documents.put(VERSION_KIND, f"{slug}~{version:06d}", whole)
        return document

    def _checked(self, config: Any) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        text = config if isinstance(config, str) else _dump(config)
        compiled = compile_config(text, self._limits)
        if paths := secrets_in(compiled.source):
            fix = "must not be saved here: make a virtual key, and name it in virtual_key"
            raise InvalidConfig([f"{path}: {fix}" for path in paths])
        return compiled.source, compiled.warnings

    def _saved(self, document: Document, known: SavedConfig | None) -> SavedConfig:
        version = int(document.value["version"])
        if known is not None and known.version == version:
            return known
        compiled = compile_config(document.value["config"], self._limits)
        return SavedConfig(str(document.value["slug"]), version, compiled)


def shown(document: Document) -> dict[str, Any]:
    """A config or one of its versions as clients read it. Times are ISO 8601, as in Portkey's API."""
    value = document.value
    return {
        "id": value["id"],
        "slug": value["slug"],
        "name": value["name"],
        "organisation_id": None,
        "workspace_id": value.get("workspace_id"),
        "is_default": int(value["is_default"]),
        "status": value["status"],
        "owner_id": value["owner_id"],
        "updated_by": value["updated_by"],
        "created_at": _iso(value["created_at"]),
        "last_updated_at": _iso(document.updated_at),
        "format": "json",
        "type": "ORG_CONFIG",
        "version": value["version"],
        "version_id": value["version_id"],
        "config": value["config"],
        "object": "config",
    }


def _dump(config: Any) -> bytes:
    if not isinstance(config, Mapping):
        raise InvalidConfig(["config: must be a JSON object"])
    try:
        return orjson.dumps(config)
    except TypeError as error:
        raise InvalidConfig([f"config: is not JSON: {error}"]) from None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:10].strip("-") or "config"
