"""What a compiled template is made of."""

from dataclasses import dataclass

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    at: int  # offset in the source


@dataclass(frozen=True, slots=True)
class Value:
    """`{{x}}`, or with `raw` `{{{x}}}` and `{{&x}}`."""

    name: str
    path: Path  # () is `{{.}}`
    raw: bool
    quoted: bool  # stands inside a string literal, if the template is JSON
    at: int


@dataclass(frozen=True, slots=True)
class Section:
    """`{{#x}}…{{/x}}`, or with `inverted` `{{^x}}…{{/x}}`."""

    name: str
    path: Path
    inverted: bool
    children: "tuple[Node, ...]"
    at: int


@dataclass(frozen=True, slots=True)
class Partial:
    """`{{>slug}}`, or with `path` `{{>>x}}`, whose slug is the value of a variable."""

    name: str
    path: Path | None
    indent: str  # before each line of the partial, when the tag stands alone on its line
    quoted: bool
    at: int


Node = Text | Value | Section | Partial


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a template that is hardly meant. Rendering takes it as Portkey does, without an error."""

    name: str  # of the variable, section or partial; may be empty
    message: str  # what is wrong and how to mend it, without the place
    line: int  # from 1
    column: int  # from 1, in characters
    fatal: bool  # a template with it is not worth saving

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. Immutable, so it may be shared and cached."""

    source: str
    nodes: tuple[Node, ...]
    problems: tuple[Problem, ...]
    partials: frozenset[str]  # named by `{{>slug}}`
    variables: frozenset[str]  # named by values, sections and `{{>>x}}`, as written


def place(source: str, at: int) -> tuple[int, int]:
    """Line and column, both from 1, of an offset."""
    return source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at)
