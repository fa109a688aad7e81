"""How prompts and partials are named: slugs, references to a version, labels."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from gateway.core.errors import InvalidRequest

PROMPT_PREFIX: Final = "pp"
PARTIAL_PREFIX: Final = "pl"

BUILTIN_LABELS = ("production", "staging", "development")
LATEST = "latest"

_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LENGTH = {PROMPT_PREFIX: 10, PARTIAL_PREFIX: 6}  # characters of the name that a slug keeps, as in Portkey


def make_slug(prefix: Literal["pp", "pl"], name: str, suffix: str) -> str:
    """`pp-hr-bot-5c8c6e` of "HR Bot!" and "5c8c6e"."""
    words = _NOT_SLUG.sub("-", name.lower()).strip("-")[: _LENGTH[prefix]].strip("-")
    return "-".join([part for part in (prefix, words, suffix) if part])


def is_slug(text: str) -> bool:
    """Whether a prompt or partial could have this slug or id."""
    return _SLUG.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Reference:
    """A prompt or partial and which of its versions is meant."""

    slug: str
    version: int | None = None
    label: str | None = None  # `latest` is one too
    # Neither: the published version.

    def __str__(self) -> str:
        selector = self.label if self.version is None else str(self.version)
        return self.slug if selector is None else f"{self.slug}@{selector}"


def parse_reference(text: str) -> Reference:
    """`pp-x`, `pp-x@12`, `pp-x@latest`, `pp-x@staging`; `%40` for `@` too. Raises `InvalidRequest`."""
    slug, at, selector = text.strip().replace("%40", "@").partition("@")
    if not _SLUG.fullmatch(slug):
        raise InvalidRequest(f'"{text[:80]}" is not the id of a prompt: expected one like "pp-hr-bot-5c8c6e"')
    if not at:
        return Reference(slug)
    if selector.isascii() and selector.isdigit() and len(selector) < 10:
        return Reference(slug, version=int(selector))
    if selector == LATEST or _LABEL.fullmatch(selector):
        return Reference(slug, label=selector)
    raise InvalidRequest(
        f'"{text[:80]}": after the @ stands a version\'s number, "latest" or a label, like "{slug}@12"'
    )


def check_label(name: str) -> str:
    """The name, if a reference can say it. Raises `InvalidRequest`."""
    if not _LABEL.fullmatch(name):
        raise InvalidRequest(
            f'name: "{name[:80]}" cannot be a label: use 1 to 64 letters, digits, "_", "." and "-"',
            param="name",
        )
    if name.isdigit():
        raise InvalidRequest(f'name: "{name}" would be taken for a version: add a letter', param="name")
    if name.lower() == LATEST:
        raise InvalidRequest('name: "latest" always means the newest version; choose another', param="name")
    return name
