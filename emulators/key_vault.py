"""Key Vault's secrets over HTTPS, soft delete included, in memory.

Like the real one it answers a request without a token by 401 and a challenge, and needs an api-version.
Sources: Key Vault's REST reference (secrets, deleted secrets), its pages on sign-in and throttling.
"""

import re
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

import orjson

from emulators.answers import vault_errors
from emulators.base import ANY, Emulator
from emulators.plan import Answer, Ordinary, Refused, json_answer
from emulators.request_log import Received

PAGE = 25  # secrets on one page of a list; also the most a client may ask for
MAX_VALUE = 25 * 1024  # bytes
_NAME = re.compile(r"[a-zA-Z0-9-]{1,127}")
_RECOVERY = {"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}
_RECOVERY_S = 90 * 86_400


@dataclass(slots=True)
class _Version:
    id: str
    value: str = field(repr=False)
    rest: dict[str, Any]  # contentType, tags
    attributes: dict[str, Any]


@dataclass(slots=True)
class _Secret:
    name: str
    versions: list[_Version]
    deleted_at: int | None = None  # unix seconds


class KeyVault(Emulator):
    """An ASGI app; serve it with TLS, the client refuses to send a token over plain HTTP.

    tokens: the bearer tokens that work; None: any that is not empty.
    authority, tenant: named in the challenge.
    Scripts are keyed by the secret's name, or `"*"`; they act on requests that carry a token, so that the
    client's first question for the challenge does not use one up.
    """

    def __init__(
        self,
        *,
        tokens: Container[str] | None = None,
        authority: str = "https://login.microsoftonline.com",
        tenant: str = "00000000-0000-4000-8000-0000000000aa",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.tokens, self.authority, self.tenant = tokens, authority, tenant
        self._clock = clock
        self._secrets: dict[str, _Secret] = {}  # by name in lower case: names are not case-sensitive
        self._count = 0

    def respond(self, received: Received) -> tuple[str | None, Ordinary]:
        parts = received.path.split("/")
        key = parts[2] if len(parts) > 2 and parts[2] else ANY

        def ordinary() -> Answer:
            self._check_token(received)
            return self._serve(received, parts[1], parts[2:])

        return key if received.header("authorization") else None, ordinary

    def _check_token(self, received: Received) -> None:
        scheme, _, token = (received.header("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise self._challenge("AKV10000: Request is missing a Bearer or PoP token.")
        if self.tokens is not None and token not in self.tokens:
            raise self._challenge("AKV10032: Invalid issuer or the token does not belong to this tenant.")
        if "api-version" not in received.query:
            raise vault_errors.error(400, "BadParameter", "api-version must be specified")

    def _challenge(self, message: str) -> Refused:
        value = f'Bearer authorization="{self.authority}/{self.tenant}", resource="https://vault.azure.net"'
        error = {"error": {"code": "Unauthorized", "message": message}}
        return Refused(json_answer(error, 401, [("www-authenticate", value)]))

    def _serve(self, received: Received, collection: str, rest: list[str]) -> Answer:
        match received.method, collection, [part for part in rest if part]:
            case "GET", "secrets", []:
                return json_answer(self._page(received, "secrets"))
            case "GET", "deletedsecrets", []:
                return json_answer(self._page(received, "deletedsecrets"))
            case "PUT", "secrets", [name]:
                return json_answer(self._set(received, name, _body(received)))
            case "GET", "secrets", [name]:
                return json_answer(self._value(received, self._live(name), None))
            case "GET", "secrets", [name, "versions"]:
                return json_answer(self._versions(received, name))
            case "GET", "secrets", [name, version]:
                return json_answer(self._value(received, self._live(name), version))
            case "PATCH", "secrets", [name, version]:
                return json_answer(self._update(received, name, version, _body(received)))
            case "DELETE", "secrets", [name]:
                return json_answer(self._delete(received, name))
            case "GET", "deletedsecrets", [name]:
                return json_answer(_bundle(received, self._gone(name), None))
            case "DELETE", "deletedsecrets", [name]:
                del self._secrets[self._gone(name).name.lower()]
                return Answer(204, ())
            case "POST", "deletedsecrets", [name, "recover"]:
                secret = self._gone(name)
                secret.deleted_at = None
                return json_answer(_bundle(received, secret, None))
        raise vault_errors.error(404, "NotFound", f"No such operation: {received.method} {received.path}")

    def _set(self, received: Received, name: str, body: dict[str, Any]) -> dict[str, Any]:
        _check_new(name, body)
        secret = self._secrets.get(name.lower())
        if secret is not None and secret.deleted_at is not None:
            raise vault_errors.deleted_but_recoverable(name)
        if secret is None:
            secret = self._secrets[name.lower()] = _Secret(name, [])
        self._count += 1
        now = int(self._clock())
        attributes = {
            "enabled": True,
            **(body.get("attributes") or {}),
            "created": now,
            "updated": now,
            **_RECOVERY,
        }
        rest = {key: body[key] for key in ("contentType", "tags") if body.get(key)}
        version = md5(f"{name} {self._count}".encode(), usedforsecurity=False).hexdigest()
        secret.versions.append(_Version(version, body["value"], rest, attributes))
        return _bundle(received, secret, None, value=True)

    def _value(self, received: Received, secret: _Secret, version: str | None) -> dict[str, Any]:
        if not _pick(secret, version).attributes["enabled"]:
            raise vault_errors.error(
                403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled"
            )
        return _bundle(received, secret, version, value=True)

    def _update(self, received: Received, name: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
        found = _pick(self._live(name), version)
        found.attributes |= {**(body.get("attributes") or {}), "updated": int(self._clock())}
        found.rest |= {key: body[key] for key in ("contentType", "tags") if key in body}
        return _bundle(received, self._live(name), version)

    def _delete(self, received: Received, name: str) -> dict[str, Any]:
        secret = self._live(name)
        secret.deleted_at = int(self._clock())
        return _bundle(received, secret, None)

    def _live(self, name: str) -> _Secret:
        secret = self._secrets.get(name.lower())
        if secret is None or secret.deleted_at is not None:
            raise vault_errors.not_found(name)
        return secret

    def _gone(self, name: str) -> _Secret:
        secret = self._secrets.get(name.lower())
        if secret is None or secret.deleted_at is None:
            raise vault_errors.not_found(name)
        return secret

    def _page(self, received: Received, collection: str) -> dict[str, Any]:
        deleted = collection == "deletedsecrets"
        shown = [
            secret
            for _, secret in sorted(self._secrets.items())
            if (secret.deleted_at is not None) == deleted
        ]
        items = [_item(received, secret, secret.versions[-1], versioned=False) for secret in shown]
        return _paged(received, items)

    def _versions(self, received: Received, name: str) -> dict[str, Any]:
        secret = self._live(name)
        return _paged(
            received, [_item(received, secret, version, versioned=True) for version in secret.versions]
        )

    def headers(self, received: Received) -> list[tuple[str, str]]:
        return [
            ("cache-control", "no-cache"),
            ("x-ms-keyvault-region", "westeurope"),
            ("x-ms-request-id", f"00000000-0000-4000-8000-{received.number:012d}"),
            ("x-ms-client-request-id", received.header("x-ms-client-request-id") or ""),
            ("x-ms-keyvault-service-version", "1.9.2500.1"),
            ("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;"),
            ("x-content-type-options", "nosniff"),
            ("strict-transport-security", "max-age=31536000;includeSubDomains"),
        ]


def _body(received: Received) -> dict[str, Any]:
    try:
        value = received.json()
    except orjson.JSONDecodeError as error:
        raise vault_errors.error(400, "BadParameter", "The request body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise vault_errors.error(400, "BadParameter", "The request body must be a JSON object.")
    return value


def _check_new(name: str, body: dict[str, Any]) -> None:
    if not _NAME.fullmatch(name):
        raise vault_errors.error(400, "BadParameter", f"The request URI contains an invalid name: {name}")
    if not isinstance(body.get("value"), str):
        raise vault_errors.error(400, "BadParameter", "Property value is required.")
    if len(body["value"].encode()) > MAX_VALUE:
        raise vault_errors.error(400, "BadParameter", "The value is too long: at most 25 KB are allowed.")
    tags = body.get("tags") or {}
    if len(tags) > 15 or any(len(key) > 512 or len(value) > 512 for key, value in tags.items()):
        raise vault_errors.error(400, "BadParameter", "At most 15 tags of 512 characters each are allowed.")
    if len(body.get("contentType") or "") > 255:
        raise vault_errors.error(400, "BadParameter", "contentType may have at most 255 characters.")


def _pick(secret: _Secret, version: str | None) -> _Version:
    """That version, or the newest."""
    if version is None:
        return secret.versions[-1]
    found = next((item for item in secret.versions if item.id == version), None)
    if found is None:
        raise vault_errors.not_found(f"{secret.name}/{version}")
    return found


def _bundle(
    received: Received, secret: _Secret, version: str | None, *, value: bool = False
) -> dict[str, Any]:
    """What the service shows of one version; the value only where it was set or read."""
    found = _pick(secret, version)
    shown = _item(received, secret, found, versioned=True)
    return {"value": found.value, **shown} if value else shown


def _item(received: Received, secret: _Secret, version: _Version, *, versioned: bool) -> dict[str, Any]:
    base, name = _base(received), secret.name
    shown: dict[str, Any] = {"id": f"{base}/secrets/{name}" + (f"/{version.id}" if versioned else "")}
    shown |= {"attributes": dict(version.attributes), **version.rest}
    if secret.deleted_at is not None:
        shown["recoveryId"] = f"{base}/deletedsecrets/{name}"
        shown |= {"deletedDate": secret.deleted_at, "scheduledPurgeDate": secret.deleted_at + _RECOVERY_S}
    return shown


def _paged(received: Received, items: list[dict[str, Any]]) -> dict[str, Any]:
    query = received.query
    size = min(int(query.get("maxresults") or PAGE), PAGE)
    start = int(query.get("$skiptoken") or 0)
    following = start + size
    asked = f"api-version={query['api-version']}&$skiptoken={following}&maxresults={size}"
    link = f"{_base(received)}{received.path}?{asked}" if following < len(items) else None
    return {"value": items[start:following], "nextLink": link}


def _base(received: Received) -> str:
    return f"https://{received.header('host')}"
