"""Which metadata a request must bring: a small part of JSON Schema, for flat text maps.

`{"required": ["team"], "properties": {"team": {"enum": ["a", "b"], "minLength": 1, "maxLength": 20}}}`
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.errors import InvalidRequest

_MOST = 50  # names in a schema
_KNOWN = frozenset(
    {"required", "properties", "type", "title", "description", "$schema", "additionalProperties"}
)
_KNOWN_PROPERTY = frozenset({"enum", "minLength", "maxLength", "type", "title", "description"})


@dataclass(frozen=True, slots=True)
class _Property:
    enum: frozenset[str] | None = None
    shortest: int = 0  # characters
    longest: int | None = None


@dataclass(frozen=True, slots=True)
class MetadataSchema:
    """What `x-portkey-metadata`, merged with a key's own, must hold."""

    required: tuple[str, ...] = ()
    properties: Mapping[str, _Property] = field(default_factory=dict)
    others: bool = True  # names that the schema does not have are welcome

    def check(self, metadata: Mapping[str, str]) -> None:
        """Raises `InvalidRequest` that names everything missing or wrong; values are not repeated."""
        problems = [f"{name}: missing" for name in self.required if not metadata.get(name)]
        for name, rule in self.properties.items():
            value = metadata.get(name)
            if value is not None and (problem := _problem(rule, value)):
                problems.append(f"{name}: {problem}")
        if not self.others:
            known = {*self.required, *self.properties}
            problems += [f"{name[:60]!r}: not allowed" for name in sorted(metadata) if name not in known]
        if problems:
            raise InvalidRequest(
                f"x-portkey-metadata: {'; '.join(problems[:10])}",
                code="metadata_schema",
                param="x-portkey-metadata",
            )


def parse_schema(value: Any, where: str = "metadata_schema") -> MetadataSchema | None:
    """A schema out of JSON, None for none; raises `InvalidRequest` for what it does not know."""
    if value in (None, {}):
        return None
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{where}: must be a JSON object", param=where)
    _only(value, _KNOWN, where)
    required = _texts(value.get("required", []), f"{where}.required")
    properties = value.get("properties", {})
    if not isinstance(properties, Mapping) or len(properties) > _MOST:
        raise InvalidRequest(f"{where}.properties: must be an object of at most {_MOST} names", param=where)
    rules = {str(name): _rule(rule, f"{where}.properties.{name}") for name, rule in properties.items()}
    return MetadataSchema(required, rules, value.get("additionalProperties") is not False)


def _rule(value: Any, where: str) -> _Property:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{where}: must be a JSON object", param=where)
    _only(value, _KNOWN_PROPERTY, where)
    if value.get("type", "string") != "string":
        raise InvalidRequest(f"{where}.type: metadata is text: must be string", param=where)
    enum = value.get("enum")
    return _Property(
        frozenset(_texts(enum, f"{where}.enum")) if enum is not None else None,
        _count(value.get("minLength", 0), f"{where}.minLength"),
        _count(value["maxLength"], f"{where}.maxLength") if "maxLength" in value else None,
    )


def _problem(rule: _Property, value: str) -> str | None:
    if rule.enum is not None and value not in rule.enum:
        return f"must be one of {', '.join(sorted(rule.enum)[:20])}"
    if len(value) < rule.shortest:
        return f"must have at least {rule.shortest} characters"
    if rule.longest is not None and len(value) > rule.longest:
        return f"must have at most {rule.longest} characters"
    return None


def _only(value: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    unknown = sorted(str(name)[:40] for name in value if name not in known)
    if unknown:  # a rule that is not enforced must not look as if it were
        raise InvalidRequest(f"{where}: {', '.join(unknown)} is not supported here", param=where)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST or not all(isinstance(v, str) and v for v in value):
        raise InvalidRequest(f"{where}: must be a list of at most {_MOST} texts", param=where)
    return tuple(value)


def _count(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value <= 1024:
        raise InvalidRequest(f"{where}: must be a whole number from 0 to 1024", param=where)
    return value
