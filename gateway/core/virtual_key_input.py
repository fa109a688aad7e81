"""A virtual key out of JSON: what clients send in either casing, and what the vault keeps."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.core.azure_endpoint import Pasted, api_version, deployment_name, read_endpoint, resource_name
from gateway.core.casing import snake_keys
from gateway.core.errors import InvalidRequest
from gateway.core.headers import strip_bearer
from gateway.core.limits import parse_limits
from gateway.core.virtual_key import AUTH_MODES, PROVIDERS, AuthMode, Deployment, VirtualKey


class _DeploymentInput(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    deployment: str | None = None
    deployment_name: str | None = None
    deployment_id: str | None = None
    azure_deployment_name: str | None = None
    alias: str | None = None
    api_version: str | None = None
    azure_api_version: str | None = None
    model: str | None = None
    azure_model_slug: str | None = None
    is_default: bool = False
    pricing: dict[str, Any] | None = None

    @property
    def deployment_text(self) -> str | None:
        """What stands where the deployment's name belongs."""
        return self.deployment or self.deployment_name or self.deployment_id or self.azure_deployment_name


class VirtualKeyInput(BaseModel):
    """A virtual key as clients send it and as the vault keeps it, after `snake_keys`."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = Field(default=None, max_length=255)
    slug: str | None = Field(default=None, max_length=100)
    provider: str | None = None
    ai_provider_id: str | None = None
    key: str | None = Field(default=None, max_length=8192)
    api_key: str | None = Field(default=None, max_length=8192)
    note: str | None = Field(default=None, max_length=2000)
    resource_name: str | None = Field(default=None, max_length=2048)
    azure_resource_name: str | None = Field(default=None, max_length=2048)
    target_uri: str | None = Field(default=None, max_length=2048)
    custom_host: str | None = Field(default=None, max_length=2048)
    api_version: str | None = Field(default=None, max_length=2048)
    deployment_name: str | None = Field(default=None, max_length=2048)
    deployment_id: str | None = Field(default=None, max_length=2048)
    model: str | None = Field(default=None, max_length=255)
    deployments: list[_DeploymentInput] | None = Field(default=None, max_length=100)
    deployment_config: list[_DeploymentInput] | None = Field(default=None, max_length=100)
    azure_deployment_config: list[_DeploymentInput] | None = Field(default=None, max_length=100)
    auth_mode: str | None = None
    azure_auth_mode: str | None = None
    entra_tenant_id: str | None = None
    azure_entra_tenant_id: str | None = None
    entra_client_id: str | None = None
    azure_entra_client_id: str | None = None
    entra_client_secret: str | None = None
    azure_entra_client_secret: str | None = None
    entra_scope: str | None = None
    azure_entra_scope: str | None = None
    managed_client_id: str | None = None
    azure_managed_client_id: str | None = None
    usage_limits: dict[str, Any] | None = None
    rate_limits: list[dict[str, Any]] | dict[str, Any] | None = None
    expires_at: int | float | str | None = None
    created_at: int | None = None
    # `configurations` of Portkey's integrations has the same fields one level down.
    configurations: dict[str, Any] | None = None


_OPAQUE = frozenset({"pricing", "usage_limits", "rate_limits"})


def parse(slug: str, text: str) -> VirtualKey:
    """The virtual key in a secret's value; raises `InvalidRequest` that names the field."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidRequest(f"virtual key {slug!r}: its secret is not JSON") from None
    key = build(slug, data)
    return _with_digest(key, text)


def _with_digest(key: VirtualKey, text: str) -> VirtualKey:
    values = {name: getattr(key, name) for name in VirtualKey.__slots__}
    values["digest"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return VirtualKey(**values)


def build(slug: str, data: Any) -> VirtualKey:
    """A virtual key out of what a client sent, in either casing; every fault at once."""
    given = _validate(data)
    auth_mode = _auth_mode(given)
    host, pasted = _host(given)
    provider = _provider(given)
    key = VirtualKey(
        slug=slug,
        name=given.name or slug,
        provider=provider,
        auth_mode=auth_mode,
        api_key=strip_bearer(given.key or given.api_key or "") or None,
        resource_name=host.resource_name,
        custom_host=host.custom_host,
        entra_tenant_id=given.entra_tenant_id or given.azure_entra_tenant_id,
        entra_client_id=given.entra_client_id or given.azure_entra_client_id,
        entra_client_secret=given.entra_client_secret or given.azure_entra_client_secret,
        entra_scope=given.entra_scope or given.azure_entra_scope,
        managed_client_id=given.managed_client_id or given.azure_managed_client_id,
        deployments=_deployments(given, pasted, provider),
        note=given.note,
        usage_limits=given.usage_limits,
        rate_limits=_rate_limits(given.rate_limits),
        expires_at=_expiry(given.expires_at),
        created_at=given.created_at or 0,
        limits=parse_limits(f"vk:{slug}", f"virtual key {slug!r}", given.rate_limits, given.usage_limits),
    )
    _check(key)
    return key


def _validate(data: Any) -> VirtualKeyInput:
    if not isinstance(data, dict):
        raise InvalidRequest("a virtual key must be a JSON object")
    flat = snake_keys(data, opaque=_OPAQUE)
    inner = flat.get("configurations")
    if isinstance(inner, dict):
        flat = {**inner, **flat}
    flat = {name: value for name, value in flat.items() if value is not None}
    try:
        return VirtualKeyInput.model_validate(flat)
    except ValidationError as error:
        # `input` is left out: it may be the key itself.
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise InvalidRequest("; ".join(problems)) from None


def _auth_mode(given: VirtualKeyInput) -> AuthMode:
    text = given.auth_mode or given.azure_auth_mode or ""
    mode = AUTH_MODES.get(text.lower())
    if mode is None or mode == "bearer":
        raise InvalidRequest(
            f"azure_auth_mode: must be default, managed, entra or workload, got {text[:40]!r}",
            param="azure_auth_mode",
        )
    return mode


def _provider(given: VirtualKeyInput) -> str:
    provider = given.provider or given.ai_provider_id or "azure-openai"
    if provider not in PROVIDERS:
        raise InvalidRequest(
            f"provider: must be one of {', '.join(PROVIDERS)}, got {provider[:40]!r}", param="provider"
        )
    return provider


def _host(given: VirtualKeyInput) -> tuple[Pasted, Pasted]:
    """(where it is, what pasted URLs told): any of the fields may hold a whole URL."""
    resource = (given.resource_name or given.azure_resource_name or "").strip()
    if resource and "." not in resource and "://" not in resource:
        resource = resource.strip("/")
    items = [item for listed in _listed(given) for item in (listed.deployment_text, listed.api_version)]
    texts = (
        given.target_uri,
        resource,
        given.deployment_name or given.deployment_id,
        given.api_version,
        *items,
    )
    told = [read_endpoint(text) for text in texts if text and "://" in text]
    if resource and "://" not in resource and ("." in resource or "/" in resource):
        told.append(read_endpoint(resource))
    merged = Pasted(
        *(next((v for item in told if (v := getattr(item, name))), None) for name in Pasted.__slots__)
    )
    if given.custom_host and ("/deployments/" in given.custom_host or "api-version=" in given.custom_host):
        pasted = read_endpoint(given.custom_host)
        return Pasted(resource_name=pasted.resource_name, custom_host=pasted.custom_host), pasted
    if given.custom_host:
        return Pasted(custom_host=given.custom_host.strip().rstrip("/")), merged
    if resource and "." not in resource and "/" not in resource:
        return Pasted(resource_name=resource_name(resource, "resource_name")), merged
    return Pasted(resource_name=merged.resource_name, custom_host=merged.custom_host), merged


def _plain(text: str | None) -> str | None:
    """The text where it is not a pasted URL, less a slash that came along."""
    return text.strip().rstrip("/") if text and "://" not in text else None


def _listed(given: VirtualKeyInput) -> list[_DeploymentInput]:
    return given.deployments or given.deployment_config or given.azure_deployment_config or []


def _deployments(given: VirtualKeyInput, pasted: Pasted, provider: str) -> tuple[Deployment, ...]:
    fallback = _plain(given.api_version) or pasted.api_version
    found = [_deployment(item, fallback, f"deployments[{i}]") for i, item in enumerate(_listed(given))]
    single = _plain(given.deployment_name) or _plain(given.deployment_id) or pasted.deployment
    if single and not any(item.deployment == single for item in found):
        name = deployment_name(single, "deployment_name")
        found.append(Deployment(name, None, _version(fallback, "api_version"), given.model, not found))
    if not found and fallback and provider == "azure-openai":
        # No deployment, but a version: the model names the deployment, at this version.
        found = [Deployment("*", None, _version(fallback, "api_version"))]
    if sum(item.is_default for item in found) > 1:
        raise InvalidRequest("deployments: only one may be the default", param="deployments")
    return tuple(found)


def _deployment(item: _DeploymentInput, fallback: str | None, where: str) -> Deployment:
    text = item.deployment_text
    if not text:
        raise InvalidRequest(f"{where}.deployment_name: missing", param=where)
    told = read_endpoint(text) if "://" in text else Pasted(deployment=_plain(text))
    version = item.api_version or item.azure_api_version or told.api_version or fallback
    name = told.deployment or ""
    return Deployment(
        deployment=name if name == "*" else deployment_name(name, f"{where}.deployment_name"),
        alias=item.alias,
        api_version=_version(version, f"{where}.api_version"),
        model=item.model or item.azure_model_slug,
        is_default=item.is_default,
        pricing=item.pricing,
    )


def _version(text: str | None, where: str) -> str | None:
    if text and "://" in text:
        text = read_endpoint(text).api_version
    return api_version(text, where) if text else None


def _rate_limits(value: list[dict[str, Any]] | dict[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _expiry(value: int | float | str | None) -> int | None:
    """Unix seconds of a date in ISO 8601, or of seconds or milliseconds since 1970."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRequest(f"expires_at: must be an ISO 8601 date, got {value[:40]!r}") from None
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return int(value / 1000) if value > 10_000_000_000 else int(value)


def _check(key: VirtualKey) -> None:
    problems = []
    if key.provider == "azure-openai" and not (key.resource_name or key.custom_host):
        problems.append("resource_name: missing (the resource's name or endpoint URL, or a custom_host)")
    if key.auth_mode == "api-key" and not key.api_key:
        problems.append("key: missing (or set azure_auth_mode to managed or entra, which need no key)")
    if key.api_key and not (key.api_key.isascii() and key.api_key.isprintable()):
        problems.append("key: has characters that no key has, such as line ends; paste it whole and alone")
    if key.auth_mode == "entra":
        names = ("entra_tenant_id", "entra_client_id", "entra_client_secret")
        problems += [f"azure_{name}: missing" for name in names if not getattr(key, name)]
    if key.auth_mode != "api-key" and key.provider == "openai":
        problems.append("azure_auth_mode: the provider openai signs in with a key only")
    aliases = [item.alias for item in key.deployments if item.alias is not None]
    twice = sorted({alias for alias in aliases if aliases.count(alias) > 1})
    problems += [f"deployments: alias {name!r} stands for two deployments" for name in twice]
    if problems:
        raise InvalidRequest("; ".join(problems))
