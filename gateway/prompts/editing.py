"""Changes to prompts: what the management API does, on top of `PromptLibrary`."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial as bind
from typing import Any

from gateway.core.errors import InvalidRequest
from gateway.core.prompt_refs import PROMPT_PREFIX, make_slug
from gateway.core.prompts import CompiledPrompt
from gateway.prompts import shapes
from gateway.prompts.bodies import PromptCreate, PromptUpdate, Publish, VersionUpdate, read, sent
from gateway.prompts.content import FIELDS, new_content, revised_content
from gateway.prompts.library import PromptLibrary
from gateway.prompts.versioned import Head, Revision, Version


class PromptEditor:
    """Each method is one route. Bodies are parsed JSON, in either casing; answers are JSON."""

    def __init__(self, library: PromptLibrary) -> None:
        self._library = library
        self._prompts = library.prompts

    async def create(self, body: Any) -> shapes.Json:
        given = read(PromptCreate, body)
        content, prompt, warnings = new_content(given.model_dump())
        warnings += await self._loose_ends(prompt, given.collection_id)
        slug = given.slug or bind(make_slug, PROMPT_PREFIX, given.name)
        head, version = await self._prompts.create(slug, given.name, given.collection_id, content)
        self._library.forget()
        return _with_warnings({"id": head.id, "slug": head.slug, "version_id": version.id}, warnings)

    async def search(self, filters: Mapping[str, str]) -> list[shapes.Json]:
        """By `collection_id`, part of a name (`search`) and `status`."""
        return [shapes.prompt_item(head) for head in await self._prompts.search(filters)]

    async def retrieve(self, reference: str) -> shapes.Json:
        """The published version, or the one of `slug@12`, `slug@latest`, `slug@production`."""
        head, version = await self._library.find(reference)
        return shapes.prompt(head, version, await self._library.labels.names())

    async def update(self, slug: str, body: Any, expected: int | None = None) -> shapes.Json:
        """A new version, not published, when anything of a version was sent; else the name or collection."""
        given = read(PromptUpdate, body)
        fields = sent(given)
        warnings: list[str] = []
        compiled: list[CompiledPrompt] = []

        def change(head: Head, latest: Version) -> Revision:
            warnings.clear()
            head = _renamed(head, fields)
            if not fields.keys() & set(FIELDS):
                return head, None
            content, prompt, found = revised_content(latest.content, fields, patch=given.patch)
            warnings.extend(found)
            compiled[:] = [prompt]
            return head, content

        head, version = await self._prompts.revise(slug, change, given.expected_version or expected)
        for prompt in compiled:
            warnings += await self._loose_ends(prompt, given.collection_id)
        self._library.forget()
        answer = {
            "id": head.id,
            "slug": head.slug,
            "prompt_version_id": version.id,
        }
        return _with_warnings({**answer, "prompt_version": version.number}, warnings)

    async def delete(self, slug: str) -> shapes.Json:
        """Archived: gone from lists and not to be run, until `PUT` sets `status` to `active`."""
        await self._prompts.edit(slug, lambda head: replace(head, status="archived"))
        self._library.forget()
        return {}

    async def publish(self, slug: str, body: Any) -> shapes.Json:
        number = read(Publish, body).version
        version = await self._prompts.version(await self._prompts.require(slug), number)
        model = version.content.get("model")
        await self._prompts.edit(slug, lambda head: replace(head, published=number, model=model))
        self._library.forget()
        return {}

    async def versions(self, slug: str) -> list[shapes.Json]:
        head = await self._prompts.require(slug)
        names = await self._library.labels.names()
        return [shapes.prompt_version(head, one, names) for one in await self._prompts.versions(head)]

    async def version(self, slug: str, reference: str) -> shapes.Json:
        """By number or version id: the prompt as it is in that version."""
        head = await self._prompts.require(slug)
        version = await self._prompts.find_version(head, reference)
        names = await self._library.labels.names()
        return shapes.prompt(head, version, names) | shapes.prompt_version(head, version, names)

    async def label_version(self, slug: str, reference: str, body: Any) -> shapes.Json:
        """Give a version a label, taking it from the version that had it; null takes all its labels away."""
        given = read(VersionUpdate, body)
        if "label_id" not in given.model_fields_set:
            raise InvalidRequest("label_id: missing", param="label_id")
        version = await self._prompts.find_version(await self._prompts.require(slug), reference)
        label = None if given.label_id is None else (await self._library.labels.find(given.label_id)).id

        def change(head: Head) -> Head:
            kept = {
                id: number
                for id, number in head.labels.items()
                if id != label and (label is not None or number != version.number)
            }
            return replace(head, labels=kept if label is None else {**kept, label: version.number})

        head = await self._prompts.edit(slug, change)
        self._library.forget()
        return shapes.prompt_version(head, version, await self._library.labels.names())

    async def _loose_ends(self, prompt: CompiledPrompt, collection_id: str | None) -> list[str]:
        """What a prompt names that is not there. It may still be made, so it is no error."""
        unknown = await self._library.unknown_partials(prompt)
        warnings = [f'string: there is no partial "{name}"; it renders as nothing' for name in unknown]
        if collection_id and not await self._library.collections.exists(collection_id):
            warnings.append(f'collection_id: there is no collection "{collection_id}"')
        return warnings


def _renamed(head: Head, fields: shapes.Json) -> Head:
    changes = {name: fields[name] for name in ("name", "collection_id", "status") if fields.get(name)}
    return replace(head, **changes)


def _with_warnings(answer: shapes.Json, warnings: list[str]) -> shapes.Json:
    return {**answer, "warnings": warnings} if warnings else answer
