"""The prompt library: the one thing that the API's handlers and the pipeline talk to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.mustache import PartialOf, Template, compile_template
from gateway.core.ports import DocumentStore
from gateway.core.prompt_refs import LATEST, Reference, parse_reference
from gateway.core.prompts import CompiledPrompt, PromptRequest, to_rendering, to_request
from gateway.prompts.cache import TimedCache
from gateway.prompts.content import compiled
from gateway.prompts.labels import Collections, Labels
from gateway.prompts.versioned import Head, Version, Versioned

CACHE_SECONDS = 5.0  # until a published version or a moved label is served everywhere
_CACHED_PROMPTS = 500
_CACHED_PARTIALS = 500
_ROUNDS = 8  # of partials named by variables that name partials by variables
_MOST_PARTIALS = 64  # of one prompt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ready:
    """A prompt's version with the partials that its template names."""

    prompt: CompiledPrompt
    partials: Mapping[str, Template | None]


class PromptLibrary:
    """Prompts to render and to run. `clock` gives monotonic seconds, `new_id` random ids of hex digits.

    Methods raise `StoreUnavailable` when the documents cannot be read and none are cached.
    """

    def __init__(
        self,
        documents: DocumentStore,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        *,
        cache_seconds: float = CACHE_SECONDS,
    ) -> None:
        self.prompts = Versioned(documents, "prompt", "prompt", new_id)
        self.partials = Versioned(documents, "partial", "partial", new_id)
        self.labels = Labels(documents, new_id)
        self.collections = Collections(documents, new_id)
        self._ready: TimedCache[Ready] = TimedCache(cache_seconds, _CACHED_PROMPTS, clock)
        self._templates: TimedCache[Template | None] = TimedCache(cache_seconds, _CACHED_PARTIALS, clock)

    def forget(self) -> None:
        """Something was written here: this instance serves it at once."""
        self._ready.clear()
        self._templates.clear()

    async def to_request(self, reference: str, body: Mapping[str, Any]) -> PromptRequest:
        """The request of `POST /v1/prompts/{reference}/completions`.

        Raises `NotFound` for an unknown prompt, version or label, `InvalidRequest` for the rest.
        """
        return await self._render(reference, body, to_request)

    async def rendering(self, reference: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The `data` of `POST /v1/prompts/{reference}/render`."""
        return await self._render(reference, body, to_rendering)

    async def _render(
        self,
        reference: str,
        body: Mapping[str, Any],
        make: Callable[[CompiledPrompt, Mapping[str, Any], PartialOf], T],
    ) -> T:
        """Render, and again where a variable named a partial that is yet to be read."""
        ready = await self._ready.get(reference, self._load)
        known = ready.partials
        for _ in range(_ROUNDS):
            missed: set[str] = set()
            made = make(ready.prompt, body, _lookup(known, missed))
            if not missed:
                return made
            known = {**known, **await self._read_partials(missed, len(known))}
        raise InvalidRequest(
            f"{reference}: partials named by variables name others, more than {_ROUNDS} deep"
        )

    async def _load(self, text: str) -> Ready:
        head, version = await self.find(text)
        prompt = compiled(head, version)
        partials: dict[str, Template | None] = {}
        names = set(prompt.partials)
        while names:
            partials.update(await self._read_partials(names, len(partials)))
            found = [partials[name] for name in names]
            names = {name for template in found if template for name in template.partials} - partials.keys()
        return Ready(prompt, partials)

    async def find(self, text: str) -> tuple[Head, Version]:
        """The prompt and the version that a reference means. Raises `NotFound`."""
        reference = parse_reference(text)
        head = await self.prompts.require(reference.slug)
        return head, await self.prompts.version(head, await self._number(head, reference))

    async def _number(self, head: Head, reference: Reference) -> int:
        if reference.version is not None:
            return reference.version
        if reference.label is None:
            return head.published
        if reference.label == LATEST:
            return head.latest
        label = await self.labels.find(reference.label)
        number = head.labels.get(label.id)
        if number is None:
            raise NotFound(f'no version of {head.slug} has the label "{label.name}"')
        return number

    async def _read_partials(self, names: set[str], already: int) -> dict[str, Template | None]:
        if already + len(names) > _MOST_PARTIALS:
            raise InvalidRequest(f"a prompt may use at most {_MOST_PARTIALS} partials")
        return {name: await self._templates.get(name, self._load_partial) for name in sorted(names)}

    async def _load_partial(self, text: str) -> Template | None:
        """None where there is no such partial or version: it renders as nothing, as in Portkey."""
        try:
            reference = parse_reference(text)
            head = await self.partials.require(reference.slug)
            number = head.latest if reference.label == LATEST else reference.version or head.published
            version = await self.partials.version(head, number)
        except (InvalidRequest, NotFound):
            return None
        return compile_template(version.content["string"])

    async def unknown_partials(self, prompt: CompiledPrompt) -> list[str]:
        """Those a template names that do not exist."""
        found = await self._read_partials(set(prompt.partials), 0)
        return [name for name, template in found.items() if template is None]


def _lookup(known: Mapping[str, Template | None], missed: set[str]) -> PartialOf:
    def partial_of(name: str) -> Template | None:
        if name in known:
            return known[name]
        missed.add(name)
        return None

    return partial_of
