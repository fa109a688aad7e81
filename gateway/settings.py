"""The gateway's settings: environment variables, read once into a frozen value.

In Azure they are app settings. `docs/settings.md` has the table; a test keeps the two equal.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from gateway.core.entra_roles import Roles, parse_roles
from gateway.core.errors import InvalidRequest
from gateway.core.jsontext import loads
from gateway.core.metadata_schema import MetadataSchema, parse_schema
from gateway.core.redaction import Redaction


class SettingsError(Exception):
    """Missing or bad settings: names every one at once, never a secret's value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _text(raw: str) -> str:
    return raw


def _url(*schemes: str) -> Any:
    def parse(raw: str) -> str:
        parts = urlsplit(raw)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL that starts with {' or '.join(s + '://' for s in schemes)}")
        return raw.rstrip("/")

    return parse


def _number(low: float, high: float) -> Any:
    def parse(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def _integer(low: int, high: int) -> Any:
    def parse(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not low <= int(raw) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(raw)

    return parse


def _one_of(*choices: str) -> Any:
    def parse(raw: str) -> str:
        if raw.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return raw.lower()

    return parse


def _hosts(raw: str) -> frozenset[str]:
    hosts = frozenset(part.strip().lower() for part in raw.split(",") if part.strip())
    for host in hosts:
        if "/" in host or "@" in host or " " in host:
            raise ValueError(f"must be host[:port], comma-separated: {host!r} is not")
    return hosts


def _patterns(raw: str) -> str:
    Redaction.parse(raw)  # raises a ValueError that says which does not compile
    return raw


def _words(raw: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def _tenant(raw: str) -> str:
    # Tokens name their tenant by its id, so a domain would never match.
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", raw):
        raise ValueError("must be the tenant's id (a GUID), not its domain")
    return raw.lower()


def _authority(raw: str) -> str:
    return str(_url("https", "http")(raw if "://" in raw else f"https://{raw}"))


def _schema(raw: str) -> MetadataSchema | None:
    try:
        return parse_schema(loads(raw, "the setting"), "schema")
    except InvalidRequest as error:
        raise ValueError(error.message) from None


def _setting(
    name: str, default: Any, parse: Any = _text, *, secret: bool = False, azure: bool = False
) -> Any:
    """A field read from environment variable `name`. `azure`: the Bicep templates set it."""
    metadata = {"name": name, "parse": parse, "azure": azure, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the gateway can be told from outside. Sizes and times carry their unit in the name."""

    admin_key: str | None = _setting("GATEWAY_ADMIN_KEY", None, secret=True)
    data_dir: str = _setting("GATEWAY_DATA_DIR", ".gateway")
    key_vault_url: str | None = _setting("KEY_VAULT_URL", None, _url("https"), azure=True)
    azure_client_id: str | None = _setting("AZURE_CLIENT_ID", None, azure=True)
    storage_connection_string: str | None = _setting("GATEWAY_STORAGE_CONNECTION_STRING", None, secret=True)
    tables_url: str | None = _setting("GATEWAY_TABLES_URL", None, _url("https", "http"), azure=True)
    blobs_url: str | None = _setting("GATEWAY_BLOBS_URL", None, _url("https", "http"), azure=True)
    redis_url: str | None = _setting(
        "GATEWAY_REDIS_URL", None, _url("redis", "rediss"), secret=True, azure=True
    )
    trusted_hosts: frozenset[str] = _setting("GATEWAY_TRUSTED_HOSTS", frozenset(), _hosts, azure=True)
    log_bodies: Literal["all", "none"] = _setting(
        "GATEWAY_LOG_BODIES", "all", _one_of("all", "none"), azure=True
    )
    # A JSON list of regular expressions, or one a line: what they find in bodies is masked in the log.
    redact: str | None = _setting("GATEWAY_REDACT", None, _patterns)
    otel_capture_content: Literal["true", "false"] = _setting(
        "GATEWAY_OTEL_CAPTURE_CONTENT", "false", _one_of("true", "false")
    )
    log_retention_days: int = _setting("GATEWAY_LOG_RETENTION_DAYS", 30, _integer(1, 3650), azure=True)
    max_body_mb: int = _setting("GATEWAY_MAX_BODY_MB", 100, _integer(1, 1024), azure=True)
    # Azure's load balancer gives up on a response without a first byte after 230 s.
    upstream_timeout_s: float = _setting("GATEWAY_UPSTREAM_TIMEOUT_S", 225.0, _number(1, 3600))
    # Bounds of one config: each costs time with every request that uses it.
    config_nesting: int = _setting("GATEWAY_CONFIG_MAX_NESTING", 10, _integer(1, 50))
    config_targets: int = _setting("GATEWAY_CONFIG_MAX_TARGETS", 100, _integer(1, 10_000))
    config_kib: int = _setting("GATEWAY_CONFIG_MAX_KIB", 64, _integer(1, 1024))
    entra_tenant_id: str | None = _setting("GATEWAY_ENTRA_TENANT_ID", None, _tenant, azure=True)
    entra_audience: tuple[str, ...] = _setting("GATEWAY_ENTRA_AUDIENCE", (), _words, azure=True)
    entra_roles: Roles = _setting(  # noqa: RUF009 - a field of a frozen value
        "GATEWAY_ENTRA_ROLES", Roles({}), parse_roles, azure=True
    )
    entra_authority: str = _setting("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com", _authority)
    limits_on_error: Literal["open", "closed"] = _setting(
        "GATEWAY_LIMITS_ON_ERROR", "open", _one_of("open", "closed"), azure=True
    )
    metadata_schema: MetadataSchema | None = _setting(  # noqa: RUF009 - a field of a frozen value
        "GATEWAY_METADATA_SCHEMA", None, _schema, azure=True
    )
    audit_retention_days: int = _setting("GATEWAY_AUDIT_RETENTION_DAYS", 365, _integer(1, 3650), azure=True)

    @property
    def max_body_bytes(self) -> int:
        return self.max_body_mb * 1024 * 1024

    @property
    def in_azure_storage(self) -> bool:
        """Whether records and documents live in Azure Storage instead of SQLite."""
        return bool(self.storage_connection_string or self.tables_url)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read every setting; raises `SettingsError` that names each bad one. Empty means not set."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        for item in dataclasses.fields(cls):
            name = item.metadata["name"]
            raw = environ.get(name, "").strip()
            if not raw:
                continue
            try:
                values[item.name] = item.metadata["parse"](raw)
            except ValueError as error:
                problems.append(f"{name}: {error}")
        bad = {problem.partition(":")[0] for problem in problems}
        problems += [more for more in _conflicts(values) if more.partition(":")[0] not in bad]
        if problems:
            raise SettingsError(problems)
        return cls(**values)


def _conflicts(values: Mapping[str, Any]) -> list[str]:
    """What single values cannot show: halves of a pair."""
    problems = []
    if ("tables_url" in values) != ("blobs_url" in values):
        missing = "GATEWAY_BLOBS_URL" if "tables_url" in values else "GATEWAY_TABLES_URL"
        problems.append(f"{missing}: must be set too (records need both tables and blobs)")
    if ("entra_tenant_id" in values) != ("entra_audience" in values):
        missing = "GATEWAY_ENTRA_AUDIENCE" if "entra_tenant_id" in values else "GATEWAY_ENTRA_TENANT_ID"
        problems.append(f"{missing}: must be set too (tokens of Entra ID need both)")
    return problems


def names() -> dict[str, dict[str, Any]]:
    """Every setting's environment name with its default and flags, for docs, Bicep and tests."""
    return {
        item.metadata["name"]: {
            "field": item.name,
            "default": item.default,
            "azure": item.metadata["azure"],
            "secret": item.metadata["secret"],
        }
        for item in dataclasses.fields(Settings)
    }
