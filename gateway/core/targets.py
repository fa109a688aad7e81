"""The target tree a config compiles to: who may serve a call, and by which strategy.

Everything a leaf needs is folded into it, what it inherits included, so that nobody looks up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.conditions import Query
from gateway.core.virtual_key import Deployment

# Portkey retries these unless the config lists its own (429 and what a server fault looks like).
RETRY_STATUS_CODES = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class InlineCredentials:
    """How to reach and sign in to an upstream, as a config or the request's headers say it."""

    api_key: str | None = field(default=None, repr=False)
    resource_name: str | None = None
    deployment_id: str | None = None
    api_version: str | None = None  # a date version, "preview" or "v1"
    azure_auth_mode: str | None = None
    azure_ad_token: str | None = field(default=None, repr=False)
    azure_entra_tenant_id: str | None = None
    azure_entra_client_id: str | None = None
    azure_entra_client_secret: str | None = field(default=None, repr=False)
    azure_entra_scope: str | None = None
    azure_managed_client_id: str | None = None
    azure_workload_client_id: str | None = None
    azure_model_name: str | None = None  # label for prices and records, not sent upstream
    deployments: tuple[Deployment, ...] = ()


NO_CREDENTIALS = InlineCredentials()


@dataclass(frozen=True, slots=True)
class Retry:
    """When one target is tried again. `attempts` counts the tries after the first."""

    attempts: int = 0
    on_status_codes: frozenset[int] = RETRY_STATUS_CODES
    use_retry_after: bool = False  # wait as a 429 says instead of backing off
    budget: float = 60.0  # seconds of waiting, single or summed; Portkey gives up beyond


NO_RETRY = Retry()


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a target's circuit opens, and for how long."""

    failure_threshold: int | None = None  # failures in the window
    failure_threshold_percentage: float | None = None  # 0 to 100
    minimum_requests: int = 10  # before a percentage means anything
    cooldown: float = 30.0  # seconds
    failure_status_codes: frozenset[int] | None = None  # None: 500 and above


@dataclass(frozen=True, slots=True)
class ParamRules:
    """What is done to the body: default < body < override, then drop."""

    default: Mapping[str, Any] = field(default_factory=dict)
    override: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[tuple[str | int, ...], ...] = ()  # parsed paths; "*" steps into each item


NO_RULES = ParamRules()


@dataclass(frozen=True, slots=True)
class Leaf:
    """One upstream to try.

    With neither `virtual_key` nor `provider` it is served by what the request itself brought (headers,
    or `@slug/` before the model), which then wins over the same fields of `credentials`.
    """

    path: str = "config"  # value of x-portkey-last-used-option-index
    name: str | None = None
    virtual_key: str | None = None  # slug
    provider: str | None = None  # vendor id
    credentials: InlineCredentials = NO_CREDENTIALS
    custom_host: str | None = None
    forward_headers: tuple[str, ...] = ()
    request_timeout_ms: int | None = None
    strict: bool | None = None  # None: not said, the request's header decides
    retry: Retry = NO_RETRY
    breaker: BreakerPolicy | None = None
    breaker_key: str = ""  # digest of the config and the path: the circuit's name
    params: ParamRules = NO_RULES
    passthrough: bool = False
    prompt_id: str | None = None

    @property
    def brings_own(self) -> bool:
        """Whether the config says who serves; if not, the request's own headers do."""
        return not self.passthrough and (self.virtual_key is not None or self.provider is not None)


@dataclass(frozen=True, slots=True)
class Fallback:
    """Children in order until one answers well."""

    path: str
    name: str | None
    children: tuple["Target", ...]
    on_status_codes: frozenset[int] | None = None  # None: anything but 2xx


@dataclass(frozen=True, slots=True)
class Share:
    """A child of a load balancer."""

    target: "Target"
    weight: float = 1.0
    priority: int = 0  # the lowest number with a healthy target serves


@dataclass(frozen=True, slots=True)
class Sticky:
    """Which values of a call pin it to one target, and for how many seconds."""

    hash_fields: tuple[tuple[str, ...], ...]
    ttl: float = 3600.0


@dataclass(frozen=True, slots=True)
class LoadBalance:
    """One child by weight, within the first priority that has a healthy one."""

    path: str
    name: str | None
    children: tuple[Share, ...]
    sticky: Sticky | None = None
    key: str = ""  # digest of the config and the path: names its pins


@dataclass(frozen=True, slots=True)
class Conditional:
    """The child of the first query that holds, else the default."""

    path: str
    name: str | None
    children: tuple["Target", ...]
    rules: tuple[tuple[Query, int], ...]  # query, index into children
    default: int | None = None  # index into children


Target = Leaf | Fallback | LoadBalance | Conditional

PLAIN = Leaf()
