"""Who calls, and what they may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: the admin, the holder of an API key, or of a token of Entra ID.

    `scopes` None means all. Lists that are None allow everything.
    """

    id: str
    name: str
    kind: str = "admin"  # "admin", "api-key", "entra"
    scopes: frozenset[str] | None = None
    virtual_keys: frozenset[str] | None = None  # slugs it may use; None: any, and inline credentials
    models: frozenset[str] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)  # merged under the request's
    config_id: str | None = None  # slug of the default config
    allow_config_override: bool = True
    rate_limits: tuple[Mapping[str, Any], ...] = ()
    usage_limits: Mapping[str, Any] | None = None

    def require(self, scope: str) -> None:
        """Raises `Forbidden` that names the scope, unless the caller has it."""
        if self.scopes is not None and scope not in self.scopes:
            raise Forbidden(
                f"this key may not do that: it needs the scope {scope}", code="missing_scope", param="scopes"
            )

    def may_use(self, slug: str | None, model: str | None) -> None:
        """Raises `Forbidden` where the key is limited to other virtual keys or models."""
        if self.virtual_keys is not None and slug not in self.virtual_keys:
            what = f"virtual key {slug!r}" if slug else "credentials of its own"
            raise Forbidden(
                f"this key may not use {what}", code="virtual_key_not_allowed", param="virtual_key"
            )
        if self.models is not None and model not in self.models:
            raise Forbidden(
                f"this key may not use model {(model or 'none')[:80]!r}",
                code="model_not_allowed",
                param="model",
            )


ADMIN = Caller("admin", "admin key")
