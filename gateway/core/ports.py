"""What the gateway needs from the outside world; `gateway.adapters` has the implementations.

Every port has one contract test in `tests/adapters/` that each implementation passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Secret:
    """A named secret. Its value shows in no repr."""

    name: str
    value: str = field(repr=False)
    created_at: int  # unix seconds
    updated_at: int  # unix seconds


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What a list of secrets may show."""

    name: str
    created_at: int  # unix seconds
    updated_at: int  # unix seconds


class SecretStore(Protocol):
    """Named secrets: Key Vault, or a sealed file. Names match `^[a-zA-Z0-9-]{1,127}$`.

    Every method raises `StoreUnavailable` when the store does not answer.
    """

    async def get(self, name: str) -> Secret | None: ...

    async def put(self, name: str, value: str) -> Secret:
        """Write, whether the name is new, taken, or deleted but recoverable."""
        ...

    async def delete(self, name: str) -> bool:
        """False when there was nothing by that name."""
        ...

    async def list(self, prefix: str) -> list[SecretInfo]: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Document:
    """A small JSON object with a version that each write raises by one."""

    kind: str
    id: str
    version: int  # 1 for a new one
    value: Mapping[str, Any]
    created_at: int  # unix seconds
    updated_at: int  # unix seconds


class DocumentStore(Protocol):
    """Small JSON objects by kind and id: saved configs, API keys, prompts, audit entries, ...

    `kind` matches `^[a-z][a-z0-9-]{0,62}$`; `id` is 1 to 200 characters of `[A-Za-z0-9._@:~-]`.
    A value is at most 1 MiB of JSON. Methods raise `StoreUnavailable` when the store does not answer.
    """

    async def get(self, kind: str, id: str) -> Document | None: ...

    async def put(
        self, kind: str, id: str, value: Mapping[str, Any], *, expect: int | None = None
    ) -> Document:
        """Write whole. `expect` is the version it must have now (0: must not exist), else `Conflict`."""
        ...

    async def delete(self, kind: str, id: str) -> bool:
        """False when there was nothing by that id."""
        ...

    async def list(self, kind: str, *, prefix: str = "") -> list[Document]:
        """All of a kind whose id starts with `prefix`, ordered by id."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token of Entra ID. Its text shows in no repr."""

    token: str = field(repr=False)
    expires_at: int  # unix seconds


@dataclass(frozen=True, slots=True)
class SignIn:
    """How a token is asked for. Equal values share one cached token.

    `mode` is `managed` (an identity of this app), `entra` (client credentials) or `workload`
    (federated token of Kubernetes).
    """

    mode: str
    scope: str
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


class TokenSource(Protocol):
    """Tokens for upstreams, cached until five minutes before they expire, one refresh in flight."""

    async def token(self, sign_in: SignIn) -> AccessToken:
        """Raises `SignInFailed` with the reason, never with a secret."""
        ...

    def forget(self, sign_in: SignIn) -> None:
        """Drop the cached token: the upstream refused it."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Newest first. `next_cursor` is None on the last page."""

    rows: Sequence[Mapping[str, Any]]
    next_cursor: str | None
    total: int | None = None
