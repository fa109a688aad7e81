"""What the gateway needs from the outside world; `gateway.adapters` has the implementations.

Every port has one contract test in `tests/adapters/` that each implementation passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gateway.core.log_query import LogQuery
from gateway.core.record import Record


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

    def forget(self, sign_in: SignIn) -> bool:
        """Drop the cached token: the upstream refused it. False soon after the last time."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Newest first. `next_cursor` is None on the last page."""

    rows: Sequence[Mapping[str, Any]]
    next_cursor: str | None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An image or a sound that a record keeps beside its bodies."""

    name: str  # "response-0.png"
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One record as it is stored: `doc` is flat JSON (see `log_entry.py`), `bodies` gzipped JSON."""

    doc: Mapping[str, Any]
    bodies: bytes | None = field(default=None, repr=False)
    files: Sequence[StoredFile] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Totals:
    """What one writer counted of a minute or an hour; each write replaces the one before it.

    `part` tells writers apart, so that none waits for another; readers add the parts up.
    """

    seconds: int  # 60 or 3600
    start: int  # unix seconds, a multiple of `seconds`
    part: str
    data: bytes  # JSON, see `totals.py`


@dataclass(frozen=True, slots=True)
class Feedback:
    """A judgement of a trace, `value` from -10 to 10."""

    id: str
    trace_id: str
    created_at: float  # unix seconds
    value: int
    weight: float = 1.0
    metadata: Mapping[str, Any] = field(default_factory=dict)


class RecordStore(Protocol):
    """The log: records, their bodies and files, totals, feedback.

    Every method raises `StoreUnavailable` when the store does not answer.
    """

    def append(self, entries: Sequence[LogEntry], totals: Sequence[Totals] = ()) -> None:
        """Write all or none; blocks, for the recorder's thread. Doing it twice does no harm."""
        ...

    async def page(self, query: LogQuery) -> RecordPage:
        """The next rows, newest first, after `query.cursor`.

        No row shows twice and none is passed over, whatever arrives meanwhile. A page may hold fewer
        rows than asked for, even none, and still have a cursor: the search goes on there.
        """
        ...

    async def get(self, id: str) -> LogEntry | None:
        """A record with its bodies; its files are named in `doc["files"]`."""
        ...

    async def file(self, id: str, name: str) -> StoredFile | None: ...

    async def totals(self, seconds: int, since: int, until: int) -> list[Totals]:
        """All parts of the minutes or hours that start from `since` to before `until`, oldest first."""
        ...

    async def put_feedback(self, items: Sequence[Feedback]) -> None: ...

    async def get_feedback(self, id: str) -> Feedback | None: ...

    async def feedback(
        self, *, trace_id: str | None = None, since: float | None = None, until: float | None = None
    ) -> list[Feedback]:
        """Of a trace, or given in a range of time, oldest first."""
        ...

    async def purge(self, before: float) -> int:
        """Delete what is older than `before` (unix seconds); the number of records deleted."""
        ...

    async def aclose(self) -> None: ...


# Tuples, since every limited call makes a handful of them.
class Claim(NamedTuple):
    """What one call asks of one counter."""

    key: str
    window: int  # seconds; 0: a budget
    limit: int
    amount: int
    spent: int = 0  # of a budget: what is known to be spent, in-flight calls aside


class Taken(NamedTuple):
    """All claims were counted. `marks` say where, for settling; `seeded` that budgets were new there."""

    marks: Sequence[int]
    seeded: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was counted: the claim at `index` does not fit."""

    index: int
    used: int
    wait: float = 0.0  # seconds until it may fit; meaningless for budgets


class Settlement(NamedTuple):
    """What a claim came to in the end."""

    claim: Claim
    mark: int
    real: int


class Counters(Protocol):
    """What is used of rate limits and budgets, by all who share them."""

    async def take(self, claims: Sequence[Claim]) -> Taken | Refused:
        """Count all claims, or none; atomic. Raises `StoreUnavailable`."""
        ...

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Replace what was claimed by what was used. Never blocks and never raises."""
        ...

    async def adjust(self, key: str, change: int) -> None:
        """Correct a budget's counter by what the store knows better."""
        ...

    async def forget(self, key: str) -> None:
        """Let a budget's counter begin with what the next claim knows."""
        ...

    async def aclose(self) -> None: ...


class Recorder(Protocol):
    """Where the pipeline leaves its records."""

    def put(self, record: Record) -> None:
        """Never blocks and never raises."""
        ...


class EventExchange(Protocol):
    """Where instances of the gateway leave each other news of targets: nowhere, or Redis."""

    async def exchange(self, outgoing: Sequence[bytes]) -> list[bytes]:
        """Publish these events, and give those that others published since the last call.

        `StoreUnavailable` when it does not answer; then nothing of `outgoing` counts as published.
        """
        ...

    async def aclose(self) -> None: ...
