"""The string of a prompt, in both ways it is stored, as something to render."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from gateway.core.errors import TemplateInvalid
from gateway.core.mustache import Escape, Piece, Problem, Renderer, Template, compile_template, place
from gateway.core.mustache.nodes import Text

Kind = Literal["chat", "text"]
_JSON_DEPTH = 50
_JSON_START = re.compile(r'\[\s*[{\]]|\{\s*"')  # of messages; "[Note]" and "{name}" begin a text


class Rendered(NamedTuple):
    kind: Kind
    value: Any  # chat: a list of messages; text: a string


class PromptTemplate(Protocol):
    """One of the three below."""

    @property
    def partials(self) -> frozenset[str]: ...
    @property
    def variables(self) -> frozenset[str]: ...
    @property
    def problems(self) -> tuple[tuple[str, Problem], ...]: ...
    def render(self, renderer: Renderer) -> Rendered: ...


def compile_prompt_string(string: str, *, raw: bool, kind: Kind | None) -> PromptTemplate:
    """How the string is to be rendered. Raises `TemplateInvalid`.

    A string is JSON text of messages (`chat`) or plain text (`text`). Where `kind` does not say which,
    its first characters do.
    """
    if kind == "text":
        return _Plain(compile_template(string))
    if kind is None and not _may_be_json(string, raw=raw):
        return _Plain(compile_template(string))
    if raw:
        return _RawJson(compile_template(string), declared=kind == "chat")
    try:
        messages = load_json(string)
    except JsonFault as fault:
        line, column = place(string, fault.at)
        raise TemplateInvalid(
            f"string: line {line}, column {column}: not JSON: {fault.message}. "
            "Send the messages as JSON text; if variables stand outside the strings in it, "
            "save it with is_raw_template: 1",
            param="string",
        ) from fault
    if not isinstance(messages, list) and kind is None:
        return _Plain(compile_template(string))
    return compile_list("string", check_messages(messages))


def _may_be_json(string: str, *, raw: bool) -> bool:
    """Told by the template alone: a variable must not be able to turn text into messages."""
    start = string.lstrip()
    if _JSON_START.match(start):
        return True
    return raw and start.startswith("{{") and start[2:].lstrip()[:1] in "{#^>&!="


def compile_list(where: str, value: list[Any]) -> "_Parsed":
    """JSON whose strings are templates."""
    parts: list[tuple[str, Template]] = []
    plan = _plan(value, where, parts)
    return _Parsed(plan, tuple(parts))


@dataclass(frozen=True, slots=True)
class _Plain:
    """Text of a completion prompt."""

    template: Template

    @property
    def partials(self) -> frozenset[str]:
        return self.template.partials

    @property
    def variables(self) -> frozenset[str]:
        return self.template.variables

    @property
    def problems(self) -> tuple[tuple[str, Problem], ...]:
        return tuple([("string", problem) for problem in self.template.problems])

    def render(self, renderer: Renderer) -> Rendered:
        return Rendered("text", renderer.text(self.template, Escape.NONE))


@dataclass(frozen=True, slots=True)
class _RawJson:
    """JSON text with tags anywhere in it: rendered first, parsed then."""

    template: Template
    declared: bool  # said to be chat, so that anything but messages is an error

    @property
    def partials(self) -> frozenset[str]:
        return self.template.partials

    @property
    def variables(self) -> frozenset[str]:
        return self.template.variables

    @property
    def problems(self) -> tuple[tuple[str, Problem], ...]:
        return tuple([("string", problem) for problem in self.template.problems])

    def render(self, renderer: Renderer) -> Rendered:
        text = renderer.text(self.template, Escape.JSON)
        if not self.declared and text.lstrip()[:1] not in ("[", "{"):
            # It is no JSON, so nothing is to be escaped.
            return Rendered("text", renderer.text(self.template, Escape.NONE))
        try:
            return Rendered("chat", check_messages(load_json(text)))
        except JsonFault as fault:
            raise self._fault(fault, text, renderer) from fault

    def _fault(self, fault: "JsonFault", text: str, renderer: Renderer) -> TemplateInvalid:
        _, pieces = renderer.traced(self.template, Escape.JSON)
        culprit = _culprit(pieces, fault.at)
        line, column = place(text, fault.at)
        message = (
            f"string: the rendered template is not JSON at line {line}, column {column}: {fault.message}"
        )
        if culprit is None:
            return TemplateInvalid(message, param="string")
        name, line, column = culprit
        return TemplateInvalid(
            f'{message}, at or behind the variable "{name}" (line {line}, column {column} of the template). '
            "Put {{…}} between the quotes of a JSON string, or pass JSON text to {{{…}}}",
            param=f"variables.{name}",
        )


@dataclass(frozen=True, slots=True)
class _Parsed:
    """Messages, parsed already; `plan` is their JSON with a `Template` for each string that has tags."""

    plan: Any
    parts: tuple[tuple[str, Template], ...]
    partials: frozenset[str] = field(init=False)
    variables: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        templates = [template for _, template in self.parts]
        object.__setattr__(self, "partials", frozenset().union(*[one.partials for one in templates]))
        object.__setattr__(self, "variables", frozenset().union(*[one.variables for one in templates]))

    @property
    def problems(self) -> tuple[tuple[str, Problem], ...]:
        return tuple([(where, problem) for where, template in self.parts for problem in template.problems])

    def render(self, renderer: Renderer) -> Rendered:
        return Rendered("chat", _fill(self.plan, renderer))


def _plan(value: Any, where: str, parts: list[tuple[str, Template]], depth: int = 0) -> Any:
    if depth > _JSON_DEPTH:
        raise TemplateInvalid(f"{where[:40]}: JSON nested deeper than {_JSON_DEPTH} levels", param="string")
    if isinstance(value, str) and "{{" in value:
        template = compile_template(value)
        parts.append((where, template))
        return template
    if isinstance(value, list):
        return [_plan(item, f"{where}[{index}]", parts, depth + 1) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {name: _plan(item, f"{where}.{name}", parts, depth + 1) for name, item in value.items()}
    return value


def _fill(plan: Any, renderer: Renderer) -> Any:
    """A fresh copy each time, so that nobody downstream can change a cached prompt."""
    if isinstance(plan, Template):
        return renderer.text(plan, Escape.NONE)
    if isinstance(plan, list):
        return [_fill(item, renderer) for item in plan]
    if isinstance(plan, dict):
        return {name: _fill(item, renderer) for name, item in plan.items()}
    return plan


def check_messages(value: Any) -> list[Any]:
    """A list of messages; an object that holds one as `messages` is taken too. Raises `TemplateInvalid`."""
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list):
        raise TemplateInvalid("string: must be a JSON array of messages", param="string")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise TemplateInvalid(
                f'string[{index}]: a message is an object with a "role", like '
                '{"role": "user", "content": "..."}',
                param="string",
            )
    return messages


class JsonFault(Exception):
    """Text that is not JSON, and where."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


def load_json(text: str) -> Any:
    """Parse JSON, raw line breaks inside its strings included. Raises `JsonFault`."""
    try:
        value = orjson.loads(text)
    except ValueError:
        value = _load_lenient(text)
    if text.count("[") + text.count("{") > _JSON_DEPTH:
        _check_depth(value, 0)
    return value


def _load_lenient(text: str) -> Any:
    """With line breaks in strings, and halves of surrogate pairs, which orjson refuses."""
    try:
        return json.loads(text, strict=False, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise JsonFault(error.msg, error.pos) from error
    except (ValueError, RecursionError) as error:
        raise JsonFault("a number is too long, or it is nested too deep", 0) from error


def _check_depth(value: Any, depth: int) -> None:
    """Nothing is read that could not be written again."""
    if depth > _JSON_DEPTH:
        raise JsonFault(f"nested deeper than {_JSON_DEPTH} levels", 0)
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, depth + 1)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _culprit(pieces: list[Piece], at: int) -> tuple[str, int, int] | None:
    """The last tag whose output begins at or before an offset: its name and place."""
    found = None
    for piece in _tags(pieces):
        if piece.offset > at:
            break
        found = piece
    if found is None or isinstance(found.node, Text):
        return None
    return found.node.name, *place(found.template.source, found.node.at)


def _tags(pieces: list[Piece]) -> Iterator[Piece]:
    return (piece for piece in pieces if not isinstance(piece.node, Text))
