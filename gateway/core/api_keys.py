"""API keys of the gateway: what one may do, as clients write it and as the store keeps it.

The key itself is never kept: only its SHA-256 and its last four characters.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.core.caller import Caller
from gateway.core.casing import snake_keys
from gateway.core.errors import InvalidRequest
from gateway.core.headers import flat_metadata
from gateway.core.limits import moment, parse_budget, parse_limits, parse_rates
from gateway.core.metadata_schema import parse_schema
from gateway.core.scopes import EVERYTHING, PLAIN, check_scopes

PREFIX = "gw-"
KEY = re.compile(r"gw-[A-Za-z0-9_-]{43}")  # 32 random bytes in base64url
TYPES = ("organisation", "workspace")
SUB_TYPES = ("service", "user")
MIN_TRANSITION_MS = 1_800_000  # Portkey's least: half an hour
_MAX_TRANSITION_MS = 90 * 86_400_000
_MOST_DIGESTS = 5  # of one key: rotated again and again within its transition periods
_OPAQUE = frozenset({"metadata", "metadata_schema", "rotation_policy"})


@dataclass(frozen=True, slots=True)
class KeyDigest:
    """One secret that stands for a key: SHA-256 in hex, and what may be shown of it."""

    digest: str
    last4: str
    until: int | None = None  # unix seconds; of a rotated one


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key and its rules. `scopes` None means all; lists that are None allow everything."""

    id: str
    name: str
    type: str
    sub_type: str
    scopes: frozenset[str] | None
    digests: tuple[KeyDigest, ...]
    created_at: int  # unix seconds
    updated_at: int  # unix seconds
    description: str | None = None
    workspace_id: str | None = None
    user_id: str | None = None
    rate_limits: tuple[Mapping[str, Any], ...] = ()
    usage_limits: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    metadata_schema: Mapping[str, Any] | None = None
    config_id: str | None = None
    allow_config_override: bool = True
    virtual_keys: frozenset[str] | None = None
    models: frozenset[str] | None = None
    expires_at: int | None = None  # unix seconds
    alert_emails: tuple[str, ...] = ()
    rotation_policy: Mapping[str, Any] | None = None
    created_by: str | None = None

    def caller(self) -> Caller:
        """Who holds this key. Raises `InvalidRequest` when what is stored is not valid."""
        return Caller(
            id=self.id,
            name=self.name,
            kind="api-key",
            scopes=self.scopes,
            virtual_keys=self.virtual_keys,
            models=self.models,
            metadata=self.metadata,
            config_id=self.config_id,
            allow_config_override=self.allow_config_override,
            metadata_schema=parse_schema(self.metadata_schema),
            limits=parse_limits(
                f"key:{self.id}", f"API key {self.name!r}", self.rate_limits, self.usage_limits
            ),
        )

    def valid_until(self, digest: str) -> float:
        """Unix seconds until which this secret is good; 0 for one that is not this key's."""
        for known in self.digests:
            if known.digest == digest:
                ends = [end for end in (known.until, self.expires_at) if end is not None]
                return float(min(ends)) if ends else float("inf")
        return 0.0


class _Defaults(BaseModel):
    model_config = ConfigDict(extra="ignore")

    metadata: dict[str, Any] | None = None
    config_id: str | None = Field(default=None, max_length=200)
    allow_config_override: bool | None = None


class ApiKeyInput(BaseModel):
    """A key as clients send it, after `snake_keys`. What is not named is not in `model_fields_set`."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = Field(default=None, min_length=1, max_length=255)
    description: str | None = Field(default=None, max_length=2000)
    workspace_id: str | None = Field(default=None, max_length=200)
    user_id: str | None = Field(default=None, max_length=200)
    rate_limits: list[dict[str, Any]] | dict[str, Any] | None = None
    usage_limits: dict[str, Any] | list[dict[str, Any]] | None = None
    scopes: list[str] | None = Field(default=None, max_length=200)
    defaults: _Defaults | None = None
    alert_emails: list[str] | None = Field(default=None, max_length=50)
    expires_at: int | float | str | None = None
    rotation_policy: dict[str, Any] | None = None
    virtual_keys: list[str] | None = Field(default=None, max_length=1000)
    models: list[str] | None = Field(default=None, max_length=1000)
    metadata_schema: dict[str, Any] | None = None


def read_input(data: Any) -> ApiKeyInput:
    """What a client sent, in either casing; raises `InvalidRequest` that names every fault."""
    try:
        return ApiKeyInput.model_validate(snake_keys(data, opaque=_OPAQUE))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise InvalidRequest("; ".join(problems[:10])) from None


def build(base: ApiKey, given: ApiKeyInput, now: int) -> ApiKey:
    """`base` with what was named changed, and checked; null clears what may be missing."""
    named = given.model_fields_set
    changes: dict[str, Any] = {"updated_at": now}
    if given.name:
        changes["name"] = given.name
    for plain in ("description", "workspace_id", "user_id", "rotation_policy", "metadata_schema"):
        if plain in named:
            changes[plain] = getattr(given, plain)
    for listed in ("virtual_keys", "models"):
        if listed in named:
            changes[listed] = _names(getattr(given, listed), listed)
    if given.scopes is not None:
        changes["scopes"] = check_scopes(given.scopes)
    if "alert_emails" in named:
        changes["alert_emails"] = tuple(given.alert_emails or ())
    if "expires_at" in named:
        changes["expires_at"] = moment(given.expires_at, "expires_at") or None
    changes |= _limits(given, named, now) | _defaults(given.defaults)
    key = replace(base, **changes)
    key.caller()  # limits and schema are read once, so that a fault is told now
    return key


def _limits(given: ApiKeyInput, named: set[str], now: int) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "rate_limits" in named:
        parse_rates(given.rate_limits)
        rates = given.rate_limits or []
        changes["rate_limits"] = tuple(rates) if isinstance(rates, list) else (rates,)
    if "usage_limits" in named:
        usage = given.usage_limits
        if isinstance(usage, list):
            usage = usage[0] if usage else None
        parse_budget(usage)
        if usage and usage.get("periodic_reset_days") and not usage.get("next_usage_reset_at"):
            # Periods are counted from one of their resets.
            usage = {**usage, "next_usage_reset_at": iso(now + usage["periodic_reset_days"] * 86_400)}
        changes["usage_limits"] = usage
    return changes


def _defaults(given: _Defaults | None) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if given is None:
        return changes
    if "metadata" in given.model_fields_set:
        changes["metadata"] = flat_metadata(given.metadata or {})
    if "config_id" in given.model_fields_set:
        changes["config_id"] = given.config_id or None
    if given.allow_config_override is not None:
        changes["allow_config_override"] = given.allow_config_override
    return changes


def _names(values: Sequence[str] | None, where: str) -> frozenset[str] | None:
    if values is None:
        return None
    if not all(0 < len(value) <= 255 and value.isprintable() for value in values):
        raise InvalidRequest(f"{where}: names must have 1 to 255 printable characters", param=where)
    return frozenset(value.removeprefix("@") for value in values)


def fresh(id: str, type: str, sub_type: str, now: int, created_by: str) -> ApiKey:
    """A key without a name or a secret yet, with the scopes of a plain app key."""
    return ApiKey(id, "", type, sub_type, PLAIN, (), now, now, created_by=created_by)


def rotated(key: ApiKey, new: KeyDigest, transition_ms: Any, now: int) -> tuple[ApiKey, int]:
    """(the key with a new secret, until when the old ones are good)."""
    if transition_ms is None:
        transition_ms = MIN_TRANSITION_MS
    if type(transition_ms) is not int or not MIN_TRANSITION_MS <= transition_ms <= _MAX_TRANSITION_MS:
        raise InvalidRequest(
            f"key_transition_period_ms: must be a whole number from {MIN_TRANSITION_MS} to {_MAX_TRANSITION_MS}",
            param="key_transition_period_ms",
        )
    ends = now + transition_ms // 1000
    old = [
        replace(d, until=min(d.until or ends, ends)) for d in key.digests if d.until is None or d.until > now
    ]
    return replace(key, digests=(new, *old)[:_MOST_DIGESTS], updated_at=now), ends


def covers(holder: Caller, key: ApiKey) -> bool:
    """Whether a caller may do all that a key may: nobody hands out more than they have."""
    pairs = (
        (holder.scopes, key.scopes),
        (holder.virtual_keys, key.virtual_keys),
        (holder.models, key.models),
    )
    return all(own is None or (other is not None and other <= own) for own, other in pairs)


def dump(key: ApiKey) -> dict[str, Any]:
    """The stored document."""
    return {
        "id": key.id,
        "name": key.name,
        "type": key.type,
        "sub_type": key.sub_type,
        "scopes": [EVERYTHING] if key.scopes is None else sorted(key.scopes),
        "digests": [{"digest": d.digest, "last4": d.last4, "until": d.until} for d in key.digests],
        "created_at": key.created_at,
        "updated_at": key.updated_at,
        "description": key.description,
        "workspace_id": key.workspace_id,
        "user_id": key.user_id,
        "rate_limits": list(key.rate_limits),
        "usage_limits": key.usage_limits,
        "metadata": dict(key.metadata),
        "metadata_schema": key.metadata_schema,
        "config_id": key.config_id,
        "allow_config_override": key.allow_config_override,
        "virtual_keys": None if key.virtual_keys is None else sorted(key.virtual_keys),
        "models": None if key.models is None else sorted(key.models),
        "expires_at": key.expires_at,
        "alert_emails": list(key.alert_emails),
        "rotation_policy": key.rotation_policy,
        "created_by": key.created_by,
    }


def load(value: Mapping[str, Any]) -> ApiKey:
    """The key in a stored document."""
    values = dict(value)
    scopes = values["scopes"]
    values["scopes"] = None if EVERYTHING in scopes else frozenset(scopes)
    values["digests"] = tuple(KeyDigest(**item) for item in values["digests"])
    for name in ("virtual_keys", "models"):
        values[name] = None if values[name] is None else frozenset(values[name])
    for name in ("rate_limits", "alert_emails"):
        values[name] = tuple(values[name])
    return ApiKey(**{name: values[name] for name in ApiKey.__slots__ if name in values})


def describe(key: ApiKey, now: float) -> dict[str, Any]:
    """What may be shown of a key: everything but its secret."""
    expired = key.expires_at is not None and key.expires_at <= now
    older = [d.until for d in key.digests[1:] if d.until is not None and d.until > now]
    return {
        "id": key.id,
        "key": f"{PREFIX}********{key.digests[0].last4}" if key.digests else None,
        "name": key.name,
        "description": key.description,
        "type": f"{key.type}-{key.sub_type}",
        "organisation_id": None,
        "workspace_id": key.workspace_id,
        "user_id": key.user_id,
        "status": "expired" if expired else "active",
        "created_at": iso(key.created_at),
        "last_updated_at": iso(key.updated_at),
        "creation_mode": "api",
        "created_by": key.created_by,
        "rate_limits": list(key.rate_limits),
        "usage_limits": key.usage_limits,
        "reset_usage": None,
        "scopes": [EVERYTHING] if key.scopes is None else sorted(key.scopes),
        "defaults": {
            "metadata": dict(key.metadata),
            "config_id": key.config_id,
            "allow_config_override": key.allow_config_override,
        },
        "virtual_keys": None if key.virtual_keys is None else sorted(key.virtual_keys),
        "models": None if key.models is None else sorted(key.models),
        "metadata_schema": key.metadata_schema,
        "alert_emails": list(key.alert_emails),
        "rotation_policy": key.rotation_policy,
        "expires_at": iso(key.expires_at) if key.expires_at is not None else None,
        "key_transition_expires_at": iso(max(older)) if older else None,
        "object": "api-key",
    }


def iso(moment: float) -> str:
    """A time as Portkey shows it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
