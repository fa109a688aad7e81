"""Changes to partials: what the management API does, on top of `PromptLibrary`."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial as bind
from typing import Any

from gateway.core.errors import InvalidRequest, TemplateInvalid
from gateway.core.mustache import compile_template
from gateway.core.prompt_refs import LATEST, PARTIAL_PREFIX, make_slug, parse_reference
from gateway.prompts import shapes
from gateway.prompts.bodies import PartialCreate, PartialUpdate, Publish, read, sent
from gateway.prompts.library import PromptLibrary
from gateway.prompts.versioned import Head, Revision, Version


class PartialEditor:
    """Each method is one route. Bodies are parsed JSON, in either casing; answers are JSON."""

    def __init__(self, library: PromptLibrary) -> None:
        self._library = library
        self._partials = library.partials

    async def create(self, body: Any) -> shapes.Json:
        given = read(PartialCreate, body)
        check_partial(given.string)
        content = {"string": given.string, "version_description": given.version_description}
        slug = given.slug or bind(make_slug, PARTIAL_PREFIX, given.name)
        head, version = await self._partials.create(slug, given.name, given.collection_id, content)
        self._library.forget()
        return {"id": head.id, "slug": head.slug, "version_id": version.id}

    async def search(self, filters: Mapping[str, str]) -> list[shapes.Json]:
        """By `collection_id`, part of a name (`search`) and `status`."""
        return [shapes.partial_item(head) for head in await self._partials.search(filters)]

    async def retrieve(self, text: str) -> shapes.Json:
        """The published version, or the one of `slug@5`, `slug@latest`."""
        reference = parse_reference(text)
        if reference.label not in (None, LATEST):
            raise InvalidRequest(f'"{text}": partials have versions but no labels')
        head = await self._partials.require(reference.slug)
        number = head.latest if reference.label else reference.version or head.published
        return shapes.partial(head, await self._partials.version(head, number))

    async def update(self, slug: str, body: Any, expected: int | None = None) -> shapes.Json:
        """A new version, not published, when there is a new text; else the name or collection."""
        given = read(PartialUpdate, body)
        fields = sent(given)
        if given.string is not None:
            check_partial(given.string)

        def change(head: Head, latest: Version) -> Revision:
            changes = {name: fields[name] for name in ("name", "collection_id", "status") if fields.get(name)}
            head = replace(head, **changes)
            return head, _revised(latest.content, given) if given.string is not None else None

        head, version = await self._partials.revise(slug, change, given.expected_version or expected)
        self._library.forget()
        return {
            "id": head.id,
            "slug": head.slug,
            "prompt_partial_version_id": version.id,
            "version": version.number,
        }

    async def delete(self, slug: str) -> shapes.Json:
        """Archived: prompts that name it render nothing in its place."""
        await self._partials.edit(slug, lambda head: replace(head, status="archived"))
        self._library.forget()
        return {}

    async def publish(self, slug: str, body: Any) -> shapes.Json:
        number = read(Publish, body).version
        await self._partials.version(await self._partials.require(slug), number)
        await self._partials.edit(slug, lambda head: replace(head, published=number))
        self._library.forget()
        return {}

    async def versions(self, slug: str) -> list[shapes.Json]:
        head = await self._partials.require(slug)
        return [shapes.partial_version(head, one) for one in await self._partials.versions(head)]


def _revised(old: Mapping[str, Any], given: PartialUpdate) -> dict[str, Any]:
    return {
        **old,
        "string": given.string,
        "version_description": given.version_description or given.description,
    }


def check_partial(string: str) -> None:
    """Raises `TemplateInvalid` for what must be a mistake."""
    fatal = [str(problem) for problem in compile_template(string).problems if problem.fatal]
    if fatal:
        raise TemplateInvalid(f"string: {'; '.join(fatal)}", param="string")
