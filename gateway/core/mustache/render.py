"""A compiled template and variables -> text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from gateway.core.errors import TemplateInvalid
from gateway.core.mustache.limits import DEFAULT_LIMITS, PARTIAL_NAME_CHARS, Limits
from gateway.core.mustache.nodes import Node, Partial, Path, Section, Template, Text, Value
from gateway.core.mustache.parse import compile_template
from gateway.core.mustache.values import MISSING, escape_json, step_into, text_of, truthy


class Escape(Enum):
    """What `{{x}}` does to a value. `{{{x}}}` never escapes."""

    NONE = "none"  # the template is text
    JSON = "json"  # the template is JSON text: what lands between quotes stays between them


class Piece(NamedTuple):
    """Where a node's output begins."""

    offset: int  # in the output
    node: Node
    template: Template


PartialOf = Callable[[str], Template | None]  # by the reference as written: "pl-x", "pl-x@5"


def no_partials(name: str) -> Template | None:
    return None


def render(
    template: Template,
    variables: Mapping[str, Any],
    partial_of: PartialOf = no_partials,
    *,
    escape: Escape = Escape.NONE,
    limits: Limits = DEFAULT_LIMITS,
) -> str:
    """The text of one template; see `Renderer.text`."""
    return Renderer(limits, partial_of, [variables]).text(template, escape)


@dataclass(slots=True)
class Renderer:
    """Renders the templates of one prompt; they share one set of bounds."""

    limits: Limits
    partial_of: PartialOf
    stack: list[Any]  # contexts, innermost last; at first the variables alone
    out: list[str] = field(default_factory=list)
    trace: list[Piece] | None = None
    size: int = 0  # characters written so far
    steps: int = 0
    depth: int = 0
    including: list[str] = field(default_factory=list)  # partials that are being rendered
    indented: dict[tuple[str, str], Template] = field(default_factory=dict)

    def text(self, template: Template, escape: Escape = Escape.NONE) -> str:
        """The text. Raises `TemplateInvalid`, and nothing else, when a bound of `limits` is passed.

        A missing variable and a missing partial are nothing, as in Portkey. A renderer that has raised
        is not used again.
        """
        self.out = []
        self.nodes(template, template.nodes, escape)
        return "".join(self.out)

    def traced(self, template: Template, escape: Escape = Escape.NONE) -> tuple[str, list[Piece]]:
        """The same text, and what wrote each part of it: for error messages."""
        trace: list[Piece] = []
        self.size, self.steps, self.trace = 0, 0, trace
        return self.text(template, escape), trace

    def nodes(self, template: Template, nodes: tuple[Node, ...], escape: Escape) -> None:
        self._step(len(nodes))
        for node in nodes:
            if isinstance(node, Text):
                self._emit(node.text, node, template)
            elif isinstance(node, Value):
                self._emit(self._value(node, escape), node, template)
            elif isinstance(node, Section):
                self._section(template, node, escape)
            else:
                self._partial(template, node, escape)

    def _value(self, node: Value, escape: Escape) -> str:
        value = self._find(node.path)
        text = text_of(node.name, value)
        if escape is Escape.NONE or node.raw:
            return text
        # Portkey writes an object's JSON between quotes as it is, which breaks the JSON around it.
        if isinstance(value, str) or node.quoted:
            return escape_json(node.name, text)
        return text

    def _section(self, template: Template, node: Section, escape: Escape) -> None:
        value = self._find(node.path)
        if node.inverted:
            if not truthy(value):
                self._inside(template, node, escape)
        elif isinstance(value, list):
            for item in value:
                self._inside(template, node, escape, item)
        elif value is True:
            self._inside(template, node, escape)
        elif truthy(value):
            self._inside(template, node, escape, value)

    def _inside(self, template: Template, node: Section, escape: Escape, *context: Any) -> None:
        self._enter(node.name)
        self.stack.extend(context)
        self.nodes(template, node.children, escape)
        del self.stack[len(self.stack) - len(context) :]
        self.depth -= 1

    def _partial(self, template: Template, node: Partial, escape: Escape) -> None:
        name = node.name if node.path is None else self._find(node.path)
        partial = self.partial_of(name) if isinstance(name, str) and len(name) <= PARTIAL_NAME_CHARS else None
        if partial is None:
            return
        if len(self.including) >= self.limits.partial_depth:
            chain = " > ".join([*self.including[-3:], name])
            raise TemplateInvalid(
                f'the partial "{name}" is nested deeper than {self.limits.partial_depth} partials ({chain}): '
                "does it include itself?"
            )
        if node.indent:
            partial = self._indent(name, partial, node.indent)
        self._enter(name)
        self.including.append(name)
        if node.quoted and escape is Escape.JSON:
            self._quoted(template, node, partial)
        else:
            self.nodes(partial, partial.nodes, escape)
        self.including.pop()
        self.depth -= 1

    def _quoted(self, template: Template, node: Partial, partial: Template) -> None:
        """A partial between the quotes of a JSON string is plain text, escaped as a whole."""
        outer, outer_trace = self.out, self.trace
        self.out, self.trace = [], None
        self.nodes(partial, partial.nodes, Escape.NONE)
        text = "".join(self.out)
        self.out, self.trace = outer, outer_trace
        self.size -= len(text)
        self._emit(escape_json(node.name, text), node, template)

    def _indent(self, name: str, partial: Template, indent: str) -> Template:
        known = self.indented.get((name, indent))
        if known is None:
            lines = partial.source.split("\n")
            source = "\n".join([indent + line if line else line for line in lines])
            self._step(len(source) // 8)  # compiling costs about as much as so many tags
            known = self.indented[name, indent] = compile_template(source, self.limits)
        return known

    def _find(self, path: Path) -> Any:
        """The value a name has in the innermost context that knows its first part."""
        if not path:
            return self.stack[-1]
        first = path[0]
        self.steps += len(path)
        for context in reversed(self.stack):
            self.steps += 1
            if isinstance(context, Mapping) and first in context:
                value = context[first]
                for key in path[1:]:
                    value = step_into(value, key)
                return value
            if isinstance(context, list) and (item := step_into(context, first)) is not MISSING:
                for key in path[1:]:
                    item = step_into(item, key)
                return item
        return MISSING

    def _emit(self, text: str, node: Node, template: Template) -> None:
        if self.trace is not None:
            self.trace.append(Piece(self.size, node, template))
        self.size += len(text)
        if self.size > self.limits.output_chars:
            raise TemplateInvalid(
                f"the rendered template is longer than {self.limits.output_chars} characters"
            )
        self.out.append(text)

    def _enter(self, name: str) -> None:
        self.depth += 1
        if self.depth > self.limits.depth:
            raise TemplateInvalid(
                f'"{name}": sections and partials are nested deeper than {self.limits.depth} levels'
            )

    def _step(self, count: int) -> None:
        self.steps += count + 1
        if self.steps > self.limits.steps:
            raise TemplateInvalid(f"rendering takes more than {self.limits.steps} steps: use shorter lists")
