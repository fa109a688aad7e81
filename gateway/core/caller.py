"""Who calls, and what they may do."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from gateway.core.errors import Forbidden
from gateway.core.limits import Limits
from gateway.core.metadata_schema import MetadataSchema


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
    metadata_schema: MetadataSchema | None = None  # what its requests' metadata must hold
    limits: Limits | None = None  # rate limits and budget of the key itself

    def require(self, *scopes: str) -> None:
        """Raises `Forbidden` that names the scopes, unless the caller has one of them."""
        if self.scopes is not None and self.scopes.isdisjoint(scopes):
            raise Forbidden(
                f"this key may not do that: it needs the scope {' or '.join(scopes)}",
                code="missing_scope",
                param="scopes",
            )

    def may_use(self, slug: str | None) -> None:
        """Raises `Forbidden` where the key is limited to other virtual keys.

        It is asked before the virtual key is looked up: one that does not exist answers the same.
        """
        if self.virtual_keys is not None and slug not in self.virtual_keys:
            what = f"virtual key {slug[:100]!r}" if slug else "credentials of its own"
            raise Forbidden(
                f"this key may not use {what}", code="virtual_key_not_allowed", param="virtual_key"
            )

    def may_call(self, names: Collection[str | None]) -> None:
        """Raises `Forbidden` where none of a deployment's names is a model the key is limited to.

        The names are those of the deployment that was chosen, not what was asked for: a virtual key
        with one deployment serves any model's name by it.
        """
        if self.models is not None and self.models.isdisjoint(names):
            shown = next((name for name in names if name), "none")
            raise Forbidden(
                f"this key may not use model {shown[:80]!r}", code="model_not_allowed", param="model"
            )


ADMIN = Caller("admin", "admin key")
