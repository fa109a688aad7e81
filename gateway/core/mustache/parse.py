"""Template text -> `Template`. Nothing in a template is an error here but its size and nesting."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.core.errors import TemplateInvalid
from gateway.core.mustache.limits import DEFAULT_LIMITS, PARTIAL_NAME_CHARS, TAG_CHARS, Limits
from gateway.core.mustache.nodes import Node, Partial, Path, Problem, Section, Template, Text, Value, place

_SPACE = re.compile(r"\s*")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_JSON_QUOTES = re.compile(r'\\.|"', re.DOTALL)
_SIGILS = frozenset("#^/&>{=!")
_PROBLEMS = 200  # kept while parsing; `Limits.problems` of them are reported


@dataclass(slots=True)
class _Tag:
    kind: str  # a sigil, ">>" for a partial by variable, or "" for a value
    name: str
    at: int
    indent: str = ""


_Token = Text | _Tag | None  # None: whitespace of a line that holds nothing but tags


def compile_template(source: str, limits: Limits = DEFAULT_LIMITS) -> Template:
    """Compile once, render often. Raises `TemplateInvalid` for a template too large or nested too deep."""
    if len(source) > limits.template_chars:
        raise TemplateInvalid(
            f"the template has {len(source)} characters; at most {limits.template_chars} are allowed"
        )
    scan = _Scan(source)
    scan.run()
    tree = _Tree(source, limits, scan.problems)
    return tree.build(scan.tokens)


@dataclass(slots=True)
class _Scan:
    """Cuts a template into texts and tags, and removes the lines on which only tags stand."""

    source: str
    tokens: list[_Token] = field(default_factory=list)
    problems: list[tuple[int, str, str, bool]] = field(default_factory=list)  # at, name, message, fatal
    open: str = "{{"
    close: str = "}}"
    comments_end: bool = True  # False once a search for the end of a comment has failed
    spaces: list[int] = field(default_factory=list)  # tokens of the current line that are whitespace
    tags: list[_Tag] = field(default_factory=list)  # of the current line, without values
    inked: bool = False  # the current line holds text or a value

    def run(self) -> None:
        position = 0
        while (at := self.source.find(self.open, position)) >= 0:
            self._text(position, at)
            end = self._tag(at)
            if end is None:
                end = at + len(self.open)
                self._text(at, end)
            position = end
        self._text(position, len(self.source))
        self._end_line()

    def _text(self, start: int, end: int) -> None:
        for match in _LINES.finditer(self.source, start, end):
            piece = match.group()
            if piece.isspace():
                self.spaces.append(len(self.tokens))
            else:
                self.inked = True
            self.tokens.append(Text(piece, match.start()))
            if piece.endswith("\n"):
                self._end_line()

    def _end_line(self) -> None:
        if self.tags and not self.inked:
            self._indent_partial()
            for index in self.spaces:
                self.tokens[index] = None
        self.spaces = []
        self.tags = []
        self.inked = False

    def _indent_partial(self) -> None:
        tag = self.tags[0]
        if len(self.tags) == 1 and tag.kind == ">" and self.spaces:
            first = self.tokens[self.spaces[0]]
            if isinstance(first, Text) and first.at < tag.at:
                tag.indent = first.text

    def _tag(self, at: int) -> int | None:
        """The offset behind the tag, or None when what stands here is text."""
        start = _match_end(_SPACE, self.source, at + len(self.open))
        kind = self.source[start : start + 1]
        if kind not in _SIGILS or not kind:
            return self._simple("", start, at, self.close)
        start += 1
        match kind:
            case "!":
                return self._comment(start, at)
            case "=":
                return self._delimiters(start, at)
            case "{":
                return self._simple("{", start, at, "}" + self.close)
            case ">" if self.source.startswith(">", start):
                return self._simple(">>", start + 1, at, self.close)
            case _:
                return self._simple(kind, start, at, self.close)

    def _simple(self, kind: str, start: int, at: int, close: str) -> int | None:
        end = self.source.find(close, start, start + TAG_CHARS)
        if end < 0 or self.open in self.source[start:end]:
            name = self.source[start : start + 40].split("\n")[0].split(self.open)[0].strip()
            shown = self.open + kind + name
            self._problem(at, name, f'the tag "{shown}" is not closed by {close}', fatal=False)
            return None
        name = self.source[start:end].strip()
        if kind in (">", ">>") and len(name) > PARTIAL_NAME_CHARS:
            self._problem(at, name, f"a partial's name has at most {PARTIAL_NAME_CHARS} characters")
            return None
        tag = _Tag(kind, name, at)
        self.tokens.append(tag)
        if kind in ("", "{", "&"):
            self.inked = True
        else:
            self.tags.append(tag)
        return end + len(close)

    def _comment(self, start: int, at: int) -> int | None:
        end = self.source.find(self.close, start) if self.comments_end else -1
        if end < 0:
            self.comments_end = False
            self._problem(at, "", f"the comment is not closed by {self.close}", fatal=False)
            return None
        self.tags.append(_Tag("!", "", at))
        return end + len(self.close)

    def _delimiters(self, start: int, at: int) -> int | None:
        end = self.source.find("=" + self.close, start, start + TAG_CHARS)
        pair = self.source[start : max(end, start)].split()
        if end < 0 or len(pair) != 2 or "=" in pair[0] + pair[1]:
            self._problem(at, "", "new delimiters are written {{=<% %>=}}")
            return None
        behind = end + 1 + len(self.close)
        self.tags.append(_Tag("=", "", at))
        self.open, self.close = pair
        self.comments_end = True
        return behind

    def _problem(self, at: int, name: str, message: str, *, fatal: bool = True) -> None:
        if len(self.problems) < _PROBLEMS:
            self.problems.append((at, name, message, fatal))


@dataclass(slots=True)
class _Tree:
    """Nests the sections."""

    source: str
    limits: Limits
    problems: list[tuple[int, str, str, bool]]
    partials: set[str] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    quoted: bool = False  # inside a string literal, if the template is JSON

    def build(self, tokens: list[_Token]) -> Template:
        levels: list[list[Node]] = [[]]
        opened: list[_Tag] = []
        for token in _merged(tokens):
            if isinstance(token, Text):
                self._quotes(token.text)
                levels[-1].append(token)
            elif token.kind in ("#", "^"):
                opened.append(token)
                levels.append([])
                self._check_depth(opened)
            elif token.kind == "/":
                self._close(token, opened, levels)
            else:
                levels[-1].append(self._leaf(token))
        while opened:
            tag = opened[-1]
            self._problem(tag, f'the section "{tag.name}" is never closed: write {{{{/{tag.name}}}}}')
            self._end_section(opened, levels)
        problems = tuple(self._problems())
        return Template(
            self.source, tuple(levels[0]), problems, frozenset(self.partials), frozenset(self.variables)
        )

    def _close(self, token: _Tag, opened: list[_Tag], levels: list[list[Node]]) -> None:
        """Any closing tag ends the innermost section, as Portkey's engine has it."""
        if not opened:
            self._problem(
                token, f'"{token.name}" is closed here but was never opened: write {{{{#{token.name}}}}}'
            )
            return
        if opened[-1].name != token.name:
            self._problem(
                token,
                f'"{token.name}" is closed here, but the section that is open is "{opened[-1].name}"',
            )
        self._end_section(opened, levels)

    def _end_section(self, opened: list[_Tag], levels: list[list[Node]]) -> None:
        tag = opened.pop()
        children = tuple(levels.pop())
        self.variables.add(tag.name)
        levels[-1].append(Section(tag.name, _path(tag.name), tag.kind == "^", children, tag.at))

    def _leaf(self, tag: _Tag) -> Node:
        if tag.kind == ">":
            self.partials.add(tag.name)
            return Partial(tag.name, None, tag.indent, self.quoted, tag.at)
        self.variables.add(tag.name)
        path = _path(tag.name)
        if tag.kind == ">>":
            return Partial(tag.name, path, "", self.quoted, tag.at)
        return Value(tag.name, path, tag.kind in ("{", "&"), self.quoted, tag.at)

    def _quotes(self, text: str) -> None:
        if '"' in text:
            self.quoted ^= _JSON_QUOTES.findall(text).count('"') % 2 == 1

    def _check_depth(self, opened: list[_Tag]) -> None:
        if len(opened) > self.limits.nesting:
            line, column = place(self.source, opened[-1].at)
            raise TemplateInvalid(
                f'line {line}, column {column}: the section "{opened[-1].name}" is nested deeper than '
                f"{self.limits.nesting} sections"
            )

    def _problem(self, tag: _Tag, message: str) -> None:
        if len(self.problems) < 2 * _PROBLEMS:
            self.problems.append((tag.at, tag.name, message, True))

    def _problems(self) -> Iterator[Problem]:
        """Fatal ones first, then in the order of the text."""
        found = sorted(self.problems, key=lambda problem: (not problem[3], problem[0]))
        for at, name, message, fatal in found[: self.limits.problems]:
            line, column = place(self.source, at)
            yield Problem(name, message, line, column, fatal)


def _merged(tokens: list[_Token]) -> Iterator[Text | _Tag]:
    """Neighbouring texts as one."""
    texts: list[Text] = []
    for token in tokens:
        if isinstance(token, Text):
            texts.append(token)
        elif token is not None:
            if texts:
                yield Text("".join([text.text for text in texts]), texts[0].at)
                texts = []
            yield token
    if texts:
        yield Text("".join([text.text for text in texts]), texts[0].at)


def _path(name: str) -> Path:
    return () if name == "." else tuple(name.split("."))


def _match_end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None  # the pattern matches the empty text
    return match.end()
