"""Bicep's operators and functions, as far as infra/ uses them, on plain Python values.

Source: learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions.
"""

import hashlib
import ipaddress
import json
import uuid
from collections.abc import Callable
from typing import Any

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = {
    "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-test",
    "name": "rg-test",
    "location": "swedencentral",
}
CLOUD = {
    "name": "AzureCloud",
    "suffixes": {"storage": "core.windows.net"},
    "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
}


class Unknown:
    """A value that exists only once Azure has made the resource."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"<{self.path}>"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
}


def _empty(value: Any) -> bool:
    return not isinstance(value, Unknown) and not value


def _union(*values: Any) -> Any:
    if isinstance(values[0], dict):
        return {key: item for value in values for key, item in value.items()}
    return list(dict.fromkeys(item for value in values for item in value))


def _hash(*values: Any) -> str:
    digest = hashlib.sha256("-".join(map(str, values)).encode()).digest()
    return "".join(chr(ord("a") + byte % 26) for byte in digest[:13])


def _group_by(items: list[Any], key: Callable[[Any], Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _resource_id(*parts: str) -> str:
    kind, *names = parts
    provider, *types = kind.split("/")
    path = "/".join(f"{a}/{b}" for a, b in zip(types, names, strict=True))
    return f"{GROUP['id']}/providers/{provider}/{path}"


def _subnet(prefix: str, bits: int, index: int) -> str:
    return str(list(ipaddress.ip_network(prefix).subnets(new_prefix=bits))[index])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "cidrSubnet": _subnet,
    "concat": lambda *lists: [item for items in lists for item in items],
    "contains": lambda whole, part: part in whole,
    "empty": _empty,
    "environment": lambda: CLOUD,
    "filter": lambda items, test: [item for item in items if test(item)],
    "first": lambda items: items[0] if items else None,
    "flatten": lambda lists: [item for items in lists for item in items],
    "format": lambda text, *values: text.format(*values),
    "groupBy": _group_by,
    "guid": lambda *values: str(uuid.uuid5(uuid.NAMESPACE_OID, "-".join(map(str, values)))),
    "int": int,
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "join": lambda items, glue: glue.join(map(str, items)),
    "last": lambda items: items[-1] if items else None,
    "length": len,
    "map": lambda items, change: [change(item) for item in items],
    "mapValues": lambda value, change: {key: change(item) for key, item in value.items()},
    "padLeft": lambda value, width, fill: str(value).rjust(width, fill),
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": lambda *names: {"scope": names} if names else GROUP,
    "resourceId": _resource_id,
    "split": lambda text, mark: text.split(mark),
    "string": lambda value: (
        value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)
    ),
    "subscription": lambda: {"subscriptionId": SUBSCRIPTION, "id": f"/subscriptions/{SUBSCRIPTION}"},
    "subscriptionResourceId": lambda kind, name: f"/subscriptions/{SUBSCRIPTION}/providers/{kind}/{name}",
    "tenant": lambda: {"tenantId": "00000000-0000-0000-0000-00000000000a"},
    "toLower": lambda text: str(text).lower(),
    "union": _union,
    "uniqueString": _hash,
    "utcNow": lambda _pattern="": "2026-11-01",
}
