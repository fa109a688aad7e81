"""What a provider is: where a call goes and how it signs in. A new provider is one new file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote_plus

from gateway.core.hosts import Host
from gateway.core.operations import Operation
from gateway.core.ports import SignIn


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One upstream, resolved: host, deployment, sign-in. Secrets show in no repr.

    Of `secret` (an API key, or a ready bearer token) and `sign_in` (a token to be had) one is set.
    """

    provider: str
    host: Host
    deployment: str | None = None
    api_version: str | None = None
    secret: str | None = field(default=None, repr=False)
    bearer: bool = False  # the secret goes as `Authorization: Bearer`
    sign_in: SignIn | None = None
    auth_mode: str = "api-key"
    virtual_key: str | None = None  # slug
    price_model: str | None = None
    pricing: Mapping[str, Any] | None = None
    key: str = ""  # names this target in health and limits: "vk:slug/deployment"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a call goes. `model` must stand in the body there; None leaves the body alone."""

    url: str
    model: str | None = None


class Provider(Protocol):
    """URLs, headers and quirks of one kind of upstream."""

    name: str

    def address(self, endpoint: Endpoint, operation: Operation, query: str) -> Address:
        """Raises `InvalidRequest` where the call does not say what the URL needs."""
        ...

    def authorize(self, endpoint: Endpoint, token: str) -> tuple[str, str]:
        """The header that carries the key or token."""
        ...


# The key of the Functions host travels in the query; it is no business of the upstream's.
_OURS = frozenset({"code"})


def with_query(url: str, query: str, *, drop: frozenset[str] = frozenset(), add: str = "") -> str:
    """The URL with the client's query, less `drop` and what is ours, as it was spelt."""
    unwanted = drop | _OURS
    parts = [
        part for part in query.split("&") if part and unquote_plus(part.split("=", 1)[0]) not in unwanted
    ]
    if add:
        parts.append(add)
    return f"{url}?{'&'.join(parts)}" if parts else url
