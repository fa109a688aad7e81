"""A virtual key: how one upstream is reached and signed in to. It lives in the vault as JSON."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from gateway.core.errors import NotFound
from gateway.core.limits import Limits

AuthMode = Literal["api-key", "managed-identity", "entra", "workload", "bearer"]

AUTH_MODES: dict[str, AuthMode] = {
    "": "api-key",
    "default": "api-key",
    "apikey": "api-key",
    "api-key": "api-key",
    "api_key": "api-key",
    "managed": "managed-identity",
    "managed-identity": "managed-identity",
    "managed_identity": "managed-identity",
    "entra": "entra",
    "entrafederated": "workload",
    "workload": "workload",
    "bearer": "bearer",
}
PROVIDERS = ("azure-openai", "openai")
SECRET_PREFIX = "vk-"  # noqa: S105 - of names in the vault
SLUG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,99})")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model deployed on a resource. `alias` is what callers may ask for instead of its name."""

    deployment: str
    alias: str | None = None
    api_version: str | None = None
    model: str | None = None  # catalogue name, for prices and logs
    is_default: bool = False
    pricing: Mapping[str, Any] | None = None  # own prices, where they differ from the list

    @property
    def names(self) -> tuple[str | None, ...]:
        """What a key's list of models may call it."""
        return self.deployment, self.alias, self.model


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """Everything needed to call an upstream. Secrets show in no repr."""

    slug: str
    name: str
    provider: str = "azure-openai"
    auth_mode: AuthMode = "api-key"
    api_key: str | None = field(default=None, repr=False)
    resource_name: str | None = None
    custom_host: str | None = None
    entra_tenant_id: str | None = None
    entra_client_id: str | None = None
    entra_client_secret: str | None = field(default=None, repr=False)
    entra_scope: str | None = None
    managed_client_id: str | None = None
    deployments: tuple[Deployment, ...] = ()
    note: str | None = None
    usage_limits: Mapping[str, Any] | None = None
    rate_limits: tuple[Mapping[str, Any], ...] = ()
    expires_at: int | None = None  # unix seconds
    created_at: int = 0  # unix seconds
    digest: str = ""  # of the stored JSON: changes when the key does
    limits: Limits | None = None  # `rate_limits` and `usage_limits`, read


def slug_for(name: str, random_hex: str) -> str:
    """`Azure Prod EU` and 6 hex digits give `azure-prod-eu-1f2e3d`, as Portkey does."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:15].strip("-")
    return f"{words or 'key'}-{random_hex[:6]}"


def secret_name(slug: str) -> str:
    return SECRET_PREFIX + slug


def check_slug(slug: str) -> str:
    """The slug itself, or NotFound: what cannot be a slug names nothing."""
    if not SLUG.fullmatch(slug):
        raise unknown_slug(slug)
    return slug


def unknown_slug(slug: str) -> NotFound:
    return NotFound(
        f"virtual key {slug[:100]!r} does not exist: create it with POST /v1/virtual-keys, or mend the slug "
        "in x-portkey-virtual-key, x-portkey-provider, the config or the model's @slug/ prefix",
        code="virtual_key_not_found",
        param="virtual_key",
    )


def dump(key: VirtualKey) -> str:
    """The secret's value: flat JSON, absent fields left out."""
    values: dict[str, Any] = {}
    for name in VirtualKey.__slots__:
        value = getattr(key, name)
        if name in ("slug", "digest", "limits") or value in (None, (), 0):
            continue
        values[name] = value
    if key.deployments:
        values["deployments"] = [
            {
                name: value
                for name in Deployment.__slots__
                if (value := getattr(item, name)) not in (None, False)
            }
            for item in key.deployments
        ]
    return orjson.dumps(values).decode()


def masked(secret: str | None) -> str | None:
    """What a list may show of a secret: its last two characters, of a long one."""
    if not secret:
        return None
    return "*" * 8 + (secret[-2:] if len(secret) >= 16 else "")
