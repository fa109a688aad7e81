"""The scopes a key can have, by the names of Portkey's admin API and some of the gateway's own.

Source: Portkey's OpenAPI and its page on API key scopes.
"""

from collections.abc import Iterable

from gateway.core.errors import InvalidRequest

_CRUD = ("create", "read", "update", "delete", "list")
_VERBS: dict[str, tuple[str, ...]] = {
    "completions": ("write",),
    "prompts": (*_CRUD, "render", "publish"),
    "virtual_keys": (*_CRUD, "copy"),
    "configs": _CRUD,
    "guardrails": (*_CRUD, "invoke"),
    "logs": ("view", "list", "write", "export"),
    "analytics": ("view",),
    "providers": _CRUD,
    "workspace_integrations": _CRUD,
    "organisation_integrations": _CRUD,
    "workspaces": _CRUD,
    "workspace_users": _CRUD,
    "organisation_users": _CRUD,
    "workspace_service_api_keys": _CRUD,
    "workspace_user_api_keys": _CRUD,
    "organisation_service_api_keys": _CRUD,
    "organisation_user_api_keys": _CRUD,
    "policies": _CRUD,
    "audit_logs": ("list",),
    "mcp": ("invoke",),
    "health": ("read",),  # the gateway's own: how its targets are
    "cache": ("delete",),  # the gateway's own: empty the cache of answers
}

ALL = frozenset(f"{subject}.{verb}" for subject, verbs in _VERBS.items() for verb in verbs)
# What a plain app key needs: Portkey's keys have these two when nothing else is asked for.
PLAIN = frozenset({"completions.write", "prompts.render"})
EVERYTHING = "*"


def check_scopes(names: Iterable[str], where: str = "scopes") -> frozenset[str] | None:
    """The scopes of a list, None for `*`; raises `InvalidRequest` that names the unknown ones.

    `configs.*` stands for all scopes of configs.
    """
    found: set[str] = set()
    unknown: list[str] = []
    for name in names:
        if name == EVERYTHING:
            return None
        if name in ALL:
            found.add(name)
        elif name.endswith(".*") and name[:-2] in _VERBS:
            found.update(f"{name[:-2]}.{verb}" for verb in _VERBS[name[:-2]])
        else:
            unknown.append(name[:60])
    if unknown:
        raise InvalidRequest(
            f"{where}: unknown: {', '.join(map(repr, unknown[:5]))}; known are * and {', '.join(sorted(ALL))}",
            code="unknown_scope",
            param=where,
        )
    return frozenset(found)
