"""Parses the part of Bicep that infra/ uses into plain tuples; `bicep_eval.py` gives them meaning.

Source: the language's published grammar, learn.microsoft.com/azure/azure-resource-manager/bicep/file.
"""

import re
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"(?P<skip>[ \t\r]+|//[^\n]*|/\*.*?\*/|\#disable[^\n]*)"
    r"|(?P<nl>\n)"
    r"|(?P<num>\d+)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<op>\.\.\.|=>|==|!=|<=|>=|&&|\|\||\?\?|\.\?|\[\?|[-+*/%=!<>?:.,(){}\[\]@|])",
    re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "'": "'", "\\": "\\", "$": "$"}
_LEVELS = [["??"], ["||"], ["&&"], ["==", "!="], ["<", ">", "<=", ">="], ["+", "-"], ["*", "/", "%"]]


class BicepError(Exception):
    """The text is not Bicep, or goes beyond the part that is understood here."""


@dataclass
class Declaration:
    """One statement of a file: `kind` is param, var, func, type, resource, module or output."""

    kind: str
    name: str
    line: int
    decorators: dict[str, Any] = field(default_factory=dict)
    target: str = ""  # resource type with version, or path of the module
    existing: bool = False
    value: Any = None  # expression
    arguments: list[str] = field(default_factory=list)  # of a func


@dataclass
class File:
    scope: str = "resourceGroup"
    using: str = ""
    imports: dict[str, str] = field(default_factory=dict)  # name -> file it comes from
    declarations: list[Declaration] = field(default_factory=list)


def tokenize(text: str, line: int = 1) -> list[tuple[str, Any, int]]:
    """(kind, value, line) of each token; a string's value is the list of its parts."""
    tokens: list[tuple[str, Any, int]] = []
    at = 0
    while at < len(text):
        if text[at] == "'":
            parts, end = _string(text, at + 1, line)
            tokens.append(("str", parts, line))
        else:
            match = _TOKEN.match(text, at)
            if not match:
                raise BicepError(f"line {line}: unexpected {text[at]!r}")
            end = match.end()
            if match.lastgroup != "skip":
                tokens.append((str(match.lastgroup), match.group(), line))
        line += text.count("\n", at, end)
        at = end
    return [*tokens, ("end", "", line)]


def _string(text: str, at: int, line: int) -> tuple[list[Any], int]:
    """Parts of a string (text, or the expression of a `${}`) and the index behind its quote."""
    parts: list[Any] = [""]
    while text[at] != "'":
        if text[at] == "\\":
            parts[-1] += _ESCAPES[text[at + 1]]
            at += 2
        elif text.startswith("${", at):
            end = _closing_brace(text, at + 2)
            parts += [Parser(tokenize(text[at + 2 : end], line)).expression(), ""]
            at = end + 1
        elif text[at] == "\n":
            raise BicepError(f"line {line}: the string does not end")
        else:
            parts[-1] += text[at]
            at += 1
    return parts, at + 1


def _closing_brace(text: str, at: int) -> int:
    depth = 1
    while True:
        if text[at] == "'":
            _, at = _string(text, at + 1, 0)
            continue
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
        at += 1


class Parser:
    def __init__(self, tokens: list[tuple[str, Any, int]]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, *values: str) -> bool:
        kind, value, _ = self.tokens[self.at]
        return kind in ("op", "name", "nl", "end") and (value in values)

    def next(self) -> tuple[str, Any, int]:
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, *values: str) -> bool:
        if self.peek(*values):
            self.at += 1
            return True
        return False

    def expect(self, value: str) -> None:
        if not self.accept(value):
            _, found, line = self.tokens[self.at]
            raise BicepError(f"line {line}: expected {value!r}, found {found!r}")

    def lines(self) -> None:
        while self.accept("\n"):
            pass

    def skip_type(self, *ends: str) -> None:
        """Types are not needed to evaluate a template: go on to the first of `ends` outside brackets."""
        depth = 0
        while depth or not (self.peek(*ends) or self.tokens[self.at][0] == "end"):
            kind, value, _ = self.next()
            if kind == "op":
                depth += {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}.get(value, 0)

    # --- expressions

    def expression(self) -> Any:
        condition = self.binary(0)
        mark = self.at
        self.lines()
        if not self.accept("?"):
            self.at = mark
            return condition
        self.lines()
        yes = self.expression()
        self.lines()
        self.expect(":")
        self.lines()
        return ("if", condition, yes, self.expression())

    def binary(self, level: int) -> Any:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek(*_LEVELS[level]):
            operator = self.next()[1]
            self.lines()
            left = ("binary", operator, left, self.binary(level + 1))
        return left

    def unary(self) -> Any:
        if self.accept("!"):
            return ("not", self.unary())
        if self.accept("-"):
            return ("minus", self.unary())
        return self.postfix(self.primary())

    def postfix(self, value: Any) -> Any:
        while True:
            if self.peek(".", ".?"):
                safe = self.next()[1] == ".?"
                value = ("get", value, ("string", [self.next()[1]]), safe)
            elif self.peek("[", "[?"):
                safe = self.next()[1] == "[?"
                value = ("get", value, self.expression(), safe)
                self.expect("]")
            elif not self.accept("!"):
                return value

    def primary(self) -> Any:
        kind, value, line = self.next()
        if kind == "str":
            return ("string", value)
        if kind == "num":
            return ("literal", int(value))
        if kind == "name":
            return self.named(value)
        if value == "(":
            return self.parenthesis()
        if value == "[":
            return self.array()
        if value == "{":
            return self.object()
        raise BicepError(f"line {line}: unexpected {value!r}")

    def named(self, name: str) -> Any:
        if name in ("true", "false", "null"):
            return ("literal", {"true": True, "false": False, "null": None}[name])
        if self.accept("=>"):
            self.lines()
            return ("lambda", [name], self.expression())
        if self.accept("("):
            return ("call", name, self.sequence(")"))
        return ("name", name)

    def parenthesis(self) -> Any:
        mark = self.at
        names = []
        while self.tokens[self.at][0] == "name":
            names.append(self.next()[1])
            self.accept(",")
        if names and self.accept(")") and self.accept("=>"):
            return ("lambda", names, self.expression())
        self.at = mark
        self.lines()
        value = self.expression()
        self.lines()
        self.expect(")")
        return value

    def sequence(self, end: str) -> list[Any]:
        items = []
        self.lines()
        while not self.accept(end):
            items.append(("spread", self.expression()) if self.accept("...") else self.expression())
            while self.accept(",", "\n"):
                pass
        return items

    def array(self) -> Any:
        self.lines()
        if not self.accept("for"):
            return ("array", self.sequence("]"))
        if self.accept("("):
            names = [self.next()[1]]
            self.expect(",")
            names.append(self.next()[1])
            self.expect(")")
        else:
            names = [self.next()[1]]
        self.expect("in")
        items = self.expression()
        self.expect(":")
        body = self.condition_and_body()
        self.lines()
        self.expect("]")
        return ("for", names, items, body)

    def condition_and_body(self) -> Any:
        if not self.accept("if"):
            return self.expression()
        condition = self.primary()
        return ("when", condition, self.expression())

    def object(self) -> Any:
        entries: list[Any] = []
        self.lines()
        while not self.accept("}"):
            if self.accept("..."):
                entries.append(("spread", self.expression()))
            else:
                kind, value, _ = self.next()
                key = ("string", value if kind == "str" else [value])
                self.expect(":")
                self.lines()
                entries.append((key, self.expression()))
            while self.accept(",", "\n"):
                pass
        return ("object", entries)

    # --- statements

    def file(self) -> File:
        result = File()
        decorators: dict[str, Any] = {}
        self.lines()
        while self.tokens[self.at][0] != "end":
            if self.accept("@"):
                name = self.next()[1]
                self.expect("(")
                decorators[name] = self.sequence(")")
            else:
                self.statement(result, decorators)
                decorators = {}
            self.lines()
        return result

    def statement(self, result: File, decorators: dict[str, Any]) -> None:
        _, keyword, line = self.next()
        if keyword == "targetScope":
            self.expect("=")
            result.scope = "".join(self.next()[1])
        elif keyword == "using":
            result.using = "".join(self.next()[1])
        elif keyword == "import":
            self.imports(result)
        elif keyword in ("param", "var", "func", "type", "resource", "module", "output"):
            item = Declaration(keyword, self.next()[1], line, decorators)
            getattr(self, f"{keyword}_")(item)
            result.declarations.append(item)
        else:
            raise BicepError(f"line {line}: unexpected {keyword!r}")

    def imports(self, result: File) -> None:
        self.expect("{")
        names = [name for _, name in self.sequence("}")]
        self.expect("from")
        source = "".join(self.next()[1])
        result.imports.update(dict.fromkeys(names, source))

    def param_(self, item: Declaration) -> None:
        self.skip_type("=", "\n")
        if self.accept("="):
            item.value = self.expression()

    def var_(self, item: Declaration) -> None:
        self.skip_type("=")
        self.expect("=")
        item.value = self.expression()

    output_ = var_

    def type_(self, item: Declaration) -> None:
        self.expect("=")
        self.skip_type("\n")

    def func_(self, item: Declaration) -> None:
        self.expect("(")
        while not self.accept(")"):
            item.arguments.append(self.next()[1])
            self.skip_type(",", ")")
            self.accept(",")
        self.skip_type("=>")
        self.expect("=>")
        self.lines()
        item.value = self.expression()

    def resource_(self, item: Declaration) -> None:
        item.target = "".join(self.next()[1])
        item.existing = self.accept("existing")
        self.expect("=")
        item.value = self.condition_and_body()

    module_ = resource_


def parse(text: str) -> File:
    return Parser(tokenize(text)).file()
