"""Prompts and partials as files that people can review: YAML front matter, then the template.

`prompts/pp-hr-bot.md` and `partials/pl-greeting.md`; the file's name is the slug. Of a chat, the
template is the list of its messages in YAML (`format: messages`); JSON that is rendered before it is
parsed stays as it is (`format: json`), and so does plain text (`format: text`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import yaml

from gateway.cli.client import CommandFailed
from gateway.core.errors import GatewayError
from gateway.core.mustache import DEFAULT_LIMITS
from gateway.core.prompt_refs import is_slug
from gateway.core.prompt_template import check_messages
from gateway.prompts.content import kind_of, new_content
from gateway.prompts.partial_editing import check_partial

Kind = Literal["prompts", "partials"]
FOLDERS: Mapping[Kind, str] = {"prompts": "pp-", "partials": "pl-"}

_FENCE = "---\n"
_UNICODE_BREAKS = frozenset("\x85\u2028\u2029")
_OPTIONAL = ("model", "virtual_key", "parameters", "tools", "functions", "tool_choice", "template_metadata")
_KEYS = frozenset({"name", "collection", "description", "format", *_OPTIONAL})
_FORMATS = ("messages", "json", "text")
_MAX_FILE = 4 * DEFAULT_LIMITS.template_chars  # bytes


@dataclass(frozen=True, slots=True)
class PromptFile:
    """What a file says. `collection` is a name."""

    kind: Kind
    slug: str
    name: str
    string: str
    raw: bool = False
    collection: str | None = None
    description: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)  # those of `_OPTIONAL` that are set

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.slug}.md"

    def body(self) -> dict[str, Any]:
        """The body of a request that makes or changes it, without its collection."""
        body: dict[str, Any] = {
            "name": self.name,
            "string": self.string,
            "version_description": self.description,
        }
        if self.kind == "partials":
            return body
        return {**body, "is_raw_template": int(self.raw), **dict.fromkeys(_OPTIONAL), **self.fields}


def from_server(kind: Kind, item: Mapping[str, Any], collections: Mapping[str, str]) -> PromptFile:
    """Of what `GET /v1/prompts/{slug}` or `.../partials/{slug}` shows; `collections` are names by id."""
    if not _fits(kind, str(item["slug"])):  # it becomes a path
        raise CommandFailed(f"the gateway has a slug that cannot name a file: {item['slug']!r:.80}")
    collection = item.get("collection_id")
    return PromptFile(
        kind,
        item["slug"],
        item["name"],
        item["string"],
        bool(item.get("is_raw_template")),
        collections.get(collection, collection) if collection else None,
        item.get("prompt_version_description") or item.get("version_description"),
        {name: item[name] for name in _OPTIONAL if item.get(name)},
    )


def write(file: PromptFile) -> str:
    """The text of the file."""
    head: dict[str, Any] = {"name": file.name}
    if file.collection:
        head["collection"] = file.collection
    if file.description:
        head["description"] = file.description
    head |= {name: file.fields[name] for name in _OPTIONAL if name in file.fields}
    body = file.string + "\n"
    if file.kind == "prompts":
        is_text = file.raw or kind_of(file.fields.get("template_metadata")) == "text"
        messages = None if is_text else _messages(file.string)
        head["format"] = "json" if file.raw else "text" if messages is None else "messages"
        if messages is not None:
            body = _dump(messages)
    return _FENCE + _dump(head) + _FENCE + body


def read_folder(folder: Path) -> list[PromptFile]:
    """All files, partials first, since prompts name them. Raises `CommandFailed` that names the file."""
    files = []
    for kind in ("partials", "prompts"):
        paths = sorted((folder / kind).glob("*.md"))
        files += [_read(kind, path) for path in paths]
    return files


def _read(kind: Kind, path: Path) -> PromptFile:
    if path.stat().st_size > _MAX_FILE:
        raise CommandFailed(f"{path}: larger than {_MAX_FILE} bytes")
    try:
        file = parse(kind, path.stem, path.read_text(encoding="utf-8"))
        _check(file)
    except (ValueError, yaml.YAMLError, GatewayError) as error:
        raise CommandFailed(f"{path}: {error}") from error
    return file


def parse(kind: Kind, slug: str, text: str) -> PromptFile:
    """The file that `write` writes, and what people make of it. Raises `ValueError` or `YAMLError`."""
    if not _fits(kind, slug):
        raise ValueError(f'the file\'s name must be a slug that begins with "{FOLDERS[kind]}"')
    head, string = _split(text)
    unknown = sorted(set(head) - _KEYS)
    if unknown:
        raise ValueError(f"unknown in the front matter: {', '.join(unknown)}")
    name = head.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("name: missing in the front matter")
    raw = False
    if kind == "prompts":
        form = head.get("format", "text")
        if form not in _FORMATS:
            raise ValueError(f"format: must be one of {', '.join(_FORMATS)}")
        raw = form == "json"
        if form == "messages":
            string = _json(check_messages(_load(string + "\n")))  # a block's last line break counts
    return PromptFile(
        kind,
        slug,
        name,
        string,
        raw,
        head.get("collection"),
        head.get("description"),
        {name: head[name] for name in _OPTIONAL if head.get(name)},
    )


def _fits(kind: Kind, slug: str) -> bool:
    return slug.startswith(FOLDERS[kind]) and is_slug(slug)


def _check(file: PromptFile) -> None:
    """What the gateway would refuse, before anything is sent."""
    if file.kind == "partials":
        check_partial(file.string)
    else:
        new_content(file.body())


def _split(text: str) -> tuple[dict[str, Any], str]:
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    head, fence, body = text.removeprefix(_FENCE).partition("\n" + _FENCE)
    if not text.startswith(_FENCE) or not fence:
        raise ValueError("must begin with front matter between two lines of ---")
    values = _load(head)
    if not isinstance(values, dict):
        raise ValueError("the front matter must be names and values")
    # The line break that ends a text file is none of the template's.
    return values, body.removesuffix("\n")


def _messages(string: str) -> list[Any] | None:
    """The messages in JSON text, if that is what it is and nothing of it would be lost."""
    try:
        value = orjson.loads(string)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, list) and value and _load(_dump(value)) == value else None


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise ValueError(f"the messages cannot be written as JSON: {error}") from error


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, which make readable diffs."""


class _Loader(yaml.SafeLoader):
    """Without aliases, with which a small file can stand for a huge one, and without dates."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    if not _UNICODE_BREAKS.isdisjoint(value):
        style = '"'  # PyYAML reads these as line breaks, unless they are escaped
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _dump(value: Any) -> str:
    dumped: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return dumped


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
