"""Which app roles and groups of Entra ID may do what: the table in `GATEWAY_ENTRA_ROLES`.

`{"Gateway.Admin": ["*"], "Gateway.User": ["completions.write", "prompts.render"],
"<group id>": {"scopes": ["completions.write"], "virtual_keys": ["team-a"], "models": ["gpt-5-mini"]}}`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.core.caller import Caller
from gateway.core.errors import InvalidRequest
from gateway.core.scopes import check_scopes

_MOST = 500  # roles
_FIELDS = frozenset({"scopes", "virtual_keys", "models"})


@dataclass(frozen=True, slots=True)
class Role:
    """What one role gives. None means all."""

    scopes: frozenset[str] | None
    virtual_keys: frozenset[str] | None = None
    models: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """The table, by app role or group id."""

    by_name: Mapping[str, Role]

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        """Who holds a token with these claims; without a role of the table, a caller who may do nothing."""
        named = [*_texts(claims.get("roles")), *_texts(claims.get("groups"))]
        held = [self.by_name[name] for name in named if name in self.by_name]
        subject = str(claims.get("oid") or claims.get("sub") or "")
        shown = claims.get("preferred_username") or claims.get("upn") or claims.get("name")
        app = claims.get("azp") or claims.get("appid")
        return Caller(
            id=f"entra-{subject}"[:128],
            name=str(shown or app or subject)[:128],
            kind="entra",
            scopes=_union([role.scopes for role in held]),
            virtual_keys=_union([role.virtual_keys for role in held]),
            models=_union([role.models for role in held]),
        )


def parse_roles(text: str) -> Roles:
    """The table out of JSON; raises `ValueError` that says what is wrong."""
    try:
        table = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"must be JSON: {error}") from None
    if not isinstance(table, dict) or len(table) > _MOST:
        raise ValueError(f"must be a JSON object of at most {_MOST} roles or groups")
    try:
        return Roles({name: _role(value, name) for name, value in table.items()})
    except InvalidRequest as error:
        raise ValueError(error.message) from None


def _role(value: Any, name: str) -> Role:
    given = {"scopes": value} if isinstance(value, list) else value
    if not isinstance(given, dict) or not given.keys() <= _FIELDS or "scopes" not in given:
        raise InvalidRequest(
            f"{name}: must be a list of scopes, or an object with {', '.join(sorted(_FIELDS))}"
        )
    lists = {field: given.get(field) for field in ("virtual_keys", "models")}
    for field, items in [("scopes", given["scopes"]), *lists.items()]:
        if items is not None and not (isinstance(items, list) and all(isinstance(i, str) for i in items)):
            raise InvalidRequest(f"{name}.{field}: must be a list of texts")
    scopes = given["scopes"] or []
    return Role(
        check_scopes(scopes, f"{name}.scopes"),
        *(None if items is None else frozenset(items) for items in lists.values()),
    )


def _union(sets: list[frozenset[str] | None]) -> frozenset[str] | None:
    """All that any role gives; of no role at all, nothing."""
    if any(item is None for item in sets):
        return None
    return frozenset().union(*(item for item in sets if item is not None))


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
