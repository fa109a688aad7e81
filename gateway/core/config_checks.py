"""What a schema cannot say of a config: sizes of the tree, names that must exist, queries, paths.

Works on the JSON as written, right or wrong, so that its findings come together with the schema's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.core.conditions import parse_query
from gateway.core.config_schema import fold
from gateway.core.params import parse_path

_QUERY_DEPTH = 10  # $and and $or inside each other
_JSON_DEPTH = 100  # of anything in a config, parameters included


@dataclass(frozen=True, slots=True)
class ConfigLimits:
    """Bounds of one config. `providers` are the vendors that can be named."""

    nesting: int = 10  # strategies inside strategies
    targets: int = 100  # in the whole tree
    size: int = 65_536  # bytes of JSON
    regexes: int = 100  # each may take milliseconds to compile, and one to search a long text
    providers: frozenset[str] = frozenset({"azure-openai", "openai"})


@dataclass(slots=True)
class Checks:
    """One config's findings: `problems` refuse it, `warnings` are told with the answer's record."""

    limits: ConfigLimits
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _targets: int = 0
    _regexes: int = 0

    def run(self, root: Mapping[str, Any]) -> None:
        if _too_deep(root, _JSON_DEPTH):
            self.problems.append(f"config: must be nested at most {_JSON_DEPTH} levels deep")
            return
        self._node(root, "config", 0)
        if self._targets > self.limits.targets:
            self.problems.append(
                f"config: must have at most {self.limits.targets} targets in all, got {self._targets}"
            )

    def _node(self, node: Mapping[str, Any], path: str, depth: int) -> None:
        self._provider(node, path)
        self._drops(node, path)
        strategy, targets = read(node, "strategy"), read(node, "targets")
        children = targets if isinstance(targets, list) else []
        if isinstance(strategy, Mapping):
            self._strategy(strategy, children, path)
        elif len(children) > 1 or targets == []:
            self._problem(f"{path}.strategy", 'is required with targets, such as {"mode": "fallback"}')
        self._children(children, path, depth)

    def _children(self, children: list[Any], path: str, depth: int) -> None:
        self._targets += len(children)
        if children and depth >= self.limits.nesting:
            self._problem(f"{path}.targets", f"must be nested at most {self.limits.nesting} levels deep")
            return
        for index, child in enumerate(children):
            if isinstance(child, Mapping):
                self._node(child, f"{path}.targets[{index}]", depth + 1)

    def _strategy(self, strategy: Mapping[str, Any], children: list[Any], path: str) -> None:
        mode = read(strategy, "mode")
        if not children and mode != "single":
            self._problem(f"{path}.targets", f"is required with a strategy of mode {str(mode)[:20]!r}")
        elif mode == "conditional":
            self._conditions(strategy, children, path)
        elif mode == "loadbalance":
            self._weights(children, path)
        elif mode == "single" and len(children) > 1:
            self.warnings.append(f"{path}.targets: mode single uses the first of {len(children)} only")
        elif mode == "fallback" and read(strategy, "on_status_codes") == []:
            self.warnings.append(f"{path}.strategy.on_status_codes: is empty, so anything but 2xx falls back")

    def _weights(self, children: list[Any], path: str) -> None:
        weights = [read(child, "weight") for child in children if isinstance(child, Mapping)]
        if weights and all(isinstance(weight, int | float) and weight == 0 for weight in weights):
            self._problem(f"{path}.targets", "must have a weight > 0 somewhere, got 0 everywhere")

    def _conditions(self, strategy: Mapping[str, Any], children: list[Any], path: str) -> None:
        names = {name for child in children if isinstance(name := read(child, "name"), str)}
        where = f"{path}.strategy"
        conditions, default = read(strategy, "conditions"), read(strategy, "default")
        if not conditions and default is None:
            self._problem(f"{where}.conditions", "is required, or a default")
        if isinstance(default, str) and default not in names:
            self._problem(f"{where}.default", _no_such_name(default, names))
        for index, condition in enumerate(conditions if isinstance(conditions, list) else []):
            if isinstance(condition, Mapping):
                self._condition(condition, names, f"{where}.conditions[{index}]")

    def _condition(self, condition: Mapping[str, Any], names: set[str], path: str) -> None:
        then, query = read(condition, "then"), read(condition, "query")
        if isinstance(then, str) and then not in names:
            self._problem(f"{path}.then", _no_such_name(then, names))
        before, most = self._regexes, self.limits.regexes
        self._regexes += _regexes(query)
        if self._regexes > most:
            if before <= most:
                self.problems.append(f"config: must have at most {most} $regex in all")
        elif query is not None:
            parse_query(query, f"{path}.query", self._problem, _QUERY_DEPTH)

    def _provider(self, node: Mapping[str, Any], path: str) -> None:
        provider = read(node, "provider")
        if not isinstance(provider, str) or not provider:
            return
        if provider.startswith("@") and len(provider) > 1:
            return
        if vendor(provider) not in self.limits.providers:
            known = ", ".join(sorted(self.limits.providers))
            self._problem(f"{path}.provider", f"must be {known} or @slug, got {provider[:40]!r}")

    def _drops(self, node: Mapping[str, Any], path: str) -> None:
        drops = read(node, "drop_params")
        for index, text in enumerate(drops if isinstance(drops, list) else []):
            if isinstance(text, str):
                try:
                    parse_path(text)
                except ValueError as error:
                    self._problem(f"{path}.drop_params[{index}]", f"{error}, got {text[:40]!r}")

    def _problem(self, path: str, text: str) -> None:
        self.problems.append(f"{path}: {text}")


def vendor(name: str) -> str:
    """A vendor's id in the one spelling: clients also write `azure` and `azure_openai`."""
    folded = name.lower().replace("_", "-")
    return "azure-openai" if folded == "azure" else folded


def read(node: Any, name: str) -> Any:
    """The value of a key in either casing, None when there is none."""
    if not isinstance(node, Mapping):
        return None
    if name in node:
        return node[name]
    folded = fold(name)
    return next((value for key, value in node.items() if fold(key) == folded), None)


def _no_such_name(name: str, names: set[str]) -> str:
    known = ", ".join(sorted(repr(known) for known in names)) or "none has a name"
    return f"must be the name of a target ({known[:200]}), got {name[:40]!r}"


def _regexes(query: Any) -> int:
    if isinstance(query, Mapping):
        return sum((key == "$regex") + _regexes(value) for key, value in query.items())
    return sum(map(_regexes, query)) if isinstance(query, list) else 0


def _too_deep(value: Any, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = list(_inner(level))
        if not level:
            return False
    return True


def _inner(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        yield from (item for item in inner if isinstance(item, Mapping | list))
