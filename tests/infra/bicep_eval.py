"""Evaluates a Bicep template with given parameters: what would be deployed, as plain Python values.

What only Azure knows (an id, a host name, a principal) becomes an `Unknown` that prints as its path,
`<storage.properties.primaryEndpoints.blob>`, so that a test can follow it into settings and secrets.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bicep_functions import BINARY, FUNCTIONS, Unknown
from bicep_parser import BicepError, Declaration, File, parse


@dataclass
class Resource:
    """A resource as it would be deployed. `key` tells it apart from all others of the deployment."""

    key: str
    type: str
    version: str
    body: dict[str, Any]
    existing: bool
    decorators: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def properties(self) -> dict[str, Any]:
        return dict(self.body.get("properties", {}))

    def get(self, prop: str) -> Any:
        """What the template itself says, else an Unknown."""
        return self.body.get(prop, Unknown(f"{self.key}.{prop}"))


@dataclass
class Deployment:
    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    # Of every template and module, unless marked @secure(): (key, name) -> value.
    shown: dict[tuple[str, str], Any] = field(default_factory=dict)

    def of(self, kind: str) -> list[Resource]:
        """The resources of one type that are made or changed."""
        return [r for r in self.resources if r.type == kind and not r.existing]

    def one(self, kind: str) -> Resource:
        (found,) = self.of(kind)
        return found


@cache
def read(path: Path) -> File:
    return parse(path.read_text(encoding="utf-8"))


def deploy(path: Path, parameters: dict[str, Any], environ: dict[str, str] | None = None) -> Deployment:
    """Everything that `path` would deploy, modules included."""
    result = Deployment()
    template = Template(path, parameters, result, key="", guids=_guids(), environ=environ or {})
    result.outputs = template.run()
    return result


def parameters_of(path: Path, environ: dict[str, str] | None = None) -> dict[str, Any]:
    """The values a .bicepparam file gives."""
    file = read(path)
    scope = Template(path, {}, Deployment(), key="", guids=_guids(), environ=environ or {})
    return {item.name: scope.evaluate(item.value, {}) for item in file.declarations}


def exported(path: Path, name: str) -> Any:
    """An exported variable or function of a file; functions are callable."""
    return Template(path, {}, Deployment(), key="", guids=_guids(), environ={}).lookup(name)


def _guids() -> Iterator[str]:
    return (str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in itertools.count())


class Template:
    def __init__(
        self,
        path: Path,
        parameters: dict[str, Any],
        result: Deployment,
        *,
        key: str,
        guids: Iterator[str],
        environ: dict[str, str],
    ) -> None:
        self.path, self.parameters, self.result = path, parameters, result
        self.key, self.guids, self.environ = key, guids, environ
        self.file = read(path)
        self.declared = {item.name: item for item in self.file.declarations if item.kind != "output"}
        self.values: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Deploy every resource and module; the outputs."""
        params = {item.name for item in self.file.declarations if item.kind == "param"}
        if unknown := set(self.parameters) - params:
            raise BicepError(f"{self.path.name}: no parameter {sorted(unknown)}")
        for item in self.file.declarations:
            if item.kind in ("param", "resource", "module"):
                self.lookup(item.name)
        outputs = [item for item in self.file.declarations if item.kind == "output"]
        values = {item.name: self.evaluate(item.value, {}) for item in outputs}
        open_ones = [item.name for item in outputs if "secure" not in item.decorators]
        self.result.shown.update({(self.key, name): values[name] for name in open_ones})
        return values

    def lookup(self, name: str) -> Any:
        if name not in self.values:
            if name in self.file.imports:
                source = self.path.parent / self.file.imports[name]
                other = Template(source, {}, self.result, key="", guids=self.guids, environ=self.environ)
                self.values[name] = other.lookup(name)
            elif name in self.declared:
                self.values[name] = self.declare(self.declared[name])
            else:
                raise BicepError(f"{self.path.name}: nothing is called {name}")
        return self.values[name]

    def declare(self, item: Declaration) -> Any:
        if item.kind == "param":
            return self.parameter(item)
        if item.kind == "func":
            return lambda *given: self.evaluate(item.value, dict(zip(item.arguments, given, strict=True)))
        if item.kind in ("resource", "module"):
            return self.place(item, item.value, {}, "")
        return self.evaluate(item.value, {})

    def parameter(self, item: Declaration) -> Any:
        if item.name in self.parameters:
            value = self.parameters[item.name]
        elif item.value is None:
            raise BicepError(f"{self.path.name}: parameter {item.name} is missing")
        else:
            value = self.evaluate(item.value, {})
        self.check(item, value)
        return value

    def check(self, item: Declaration, value: Any) -> None:
        """Hold a value to its parameter's decorators, as a deployment does before it starts."""
        limits = {name: self.evaluate(args[0], {}) for name, args in item.decorators.items() if args}
        size = value if isinstance(value, int) else len(value) if isinstance(value, str | list) else None
        if size is not None:
            low = limits.get("minLength", limits.get("minValue", size))
            high = limits.get("maxLength", limits.get("maxValue", size))
            if not low <= size <= high:
                raise BicepError(f"{self.path.name}: {item.name}: {size} is not from {low} to {high}")
        if "allowed" in limits and value not in limits["allowed"]:
            raise BicepError(f"{self.path.name}: {item.name}: {value!r} is not allowed")

    def place(self, item: Declaration, value: Any, local: dict[str, Any], suffix: str) -> Any:
        """Deploy one declaration: a resource, a module, a list of them, or None by a false condition."""
        if value[0] == "for":
            _, names, items, body = value
            rows = enumerate(self.evaluate(items, local))
            pairs = ((i, dict(zip(names, (row, i), strict=False))) for i, row in rows)
            return [self.place(item, body, {**local, **inner}, f"[{i}]") for i, inner in pairs]
        if value[0] == "when":
            if not self.evaluate(value[1], local):
                return None
            return self.place(item, value[2], local, suffix)
        body = self.evaluate(value, local)
        key = f"{self.key}{item.name}{suffix}"
        if item.kind == "module":
            return self.module(item, body, key)
        kind, version = item.target.split("@")
        parent = body.pop("parent", None)
        if parent is not None:
            body["name"] = f"{parent.name}/{body['name']}"
        found = Resource(key, kind, version, body, item.existing, item.decorators)
        self.result.resources.append(found)
        return found

    def module(self, item: Declaration, body: dict[str, Any], key: str) -> dict[str, Any]:
        path = (self.path.parent / item.target).resolve()
        inner = Template(
            path, body.get("params", {}), self.result, key=f"{key}/", guids=self.guids, environ=self.environ
        )
        return {"name": body.get("name", item.name), "scope": body.get("scope"), "outputs": inner.run()}

    # --- expressions

    def evaluate(self, node: Any, local: dict[str, Any]) -> Any:
        return getattr(self, f"on_{node[0]}")(local, *node[1:])

    def on_literal(self, _local: dict[str, Any], value: Any) -> Any:
        return value

    def on_string(self, local: dict[str, Any], parts: list[Any]) -> str:
        return "".join(part if isinstance(part, str) else str(self.evaluate(part, local)) for part in parts)

    def on_name(self, local: dict[str, Any], name: str) -> Any:
        return local[name] if name in local else self.lookup(name)

    def on_not(self, local: dict[str, Any], value: Any) -> bool:
        return not self.evaluate(value, local)

    def on_minus(self, local: dict[str, Any], value: Any) -> int:
        return -int(self.evaluate(value, local))

    def on_if(self, local: dict[str, Any], condition: Any, yes: Any, no: Any) -> Any:
        return self.evaluate(yes if self.evaluate(condition, local) else no, local)

    def on_binary(self, local: dict[str, Any], operator: str, left: Any, right: Any) -> Any:
        first = self.evaluate(left, local)
        if operator in ("??", "||", "&&"):
            settled = {"??": first is not None, "||": first is True, "&&": first is False}[operator]
            return first if settled else self.evaluate(right, local)
        return BINARY[operator](first, self.evaluate(right, local))

    def on_lambda(self, local: dict[str, Any], names: list[str], body: Any) -> Callable[..., Any]:
        return lambda *given: self.evaluate(body, {**local, **dict(zip(names, given, strict=True))})

    def on_array(self, local: dict[str, Any], items: list[Any]) -> list[Any]:
        return [value for item in items for value in self.spread(local, item)]

    def spread(self, local: dict[str, Any], item: Any) -> list[Any]:
        value = self.evaluate(item[1] if item[0] == "spread" else item, local)
        return list(value) if item[0] == "spread" else [value]

    def on_for(self, local: dict[str, Any], names: list[str], items: Any, body: Any) -> list[Any]:
        rows = enumerate(self.evaluate(items, local))
        return [self.evaluate(body, {**local, **dict(zip(names, (row, i), strict=False))}) for i, row in rows]

    def on_object(self, local: dict[str, Any], entries: list[Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in entries:
            if key == "spread":
                result.update(self.evaluate(value, local))
            else:
                result[self.evaluate(key, local)] = self.evaluate(value, local)
        return result

    def on_get(self, local: dict[str, Any], value: Any, key: Any, safe: bool) -> Any:
        owner, prop = self.evaluate(value, local), self.evaluate(key, local)
        if isinstance(owner, Resource):
            return owner.get(prop)
        if isinstance(owner, Unknown):
            return Unknown(f"{owner.path}.{prop}")
        if isinstance(owner, dict) and prop not in owner:
            if safe:
                return None
            # The service fills in what the template leaves out, as in resource.properties.hostName.
            return self.filled_in(value, prop, local)
        return owner[prop]

    def filled_in(self, value: Any, prop: str, local: dict[str, Any]) -> Unknown:
        if value[0] == "get":
            owner = self.evaluate(value[1], local)
            if isinstance(owner, Resource):
                return Unknown(f"{owner.key}.{self.evaluate(value[2], local)}.{prop}")
        raise BicepError(f"{self.path.name}: there is no {prop}")

    def on_call(self, local: dict[str, Any], name: str, arguments: list[Any]) -> Any:
        given = [self.evaluate(argument, local) for argument in arguments]
        if name == "newGuid":
            return next(self.guids)
        if name == "loadTextContent":
            return (self.path.parent / given[0]).read_text(encoding="utf-8")
        if name == "readEnvironmentVariable":
            return self.environ.get(given[0], *given[1:])
        if name in FUNCTIONS:
            return FUNCTIONS[name](*given)
        return self.lookup(name)(*given)
