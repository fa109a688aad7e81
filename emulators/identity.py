"""Microsoft Entra on loopback: managed identity, client credentials, discovery, and signed tokens.

- `GET /msi/token`: the endpoint of App Service and Functions (IDENTITY_ENDPOINT, IDENTITY_HEADER)
- `POST /{tenant}/oauth2/v2.0/token`: client credentials, by secret or by client assertion
- `GET /{tenant}/v2.0/.well-known/openid-configuration`, `GET /common/discovery/instance`
- `GET /{tenant}/discovery/v2.0/keys`: the key set
"""

import base64
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from emulators.base import Emulator
from emulators.plan import Ordinary, Refused, json_answer
from emulators.request_log import Received

ENTRA = "https://login.microsoftonline.com"
TENANT = "00000000-0000-4000-8000-0000000000aa"


class Identity(Emulator):
    """An ASGI app. Serve it plain for managed identity; credentials with an authority insist on HTTPS.

    issued: every token given out, so that other emulators can know them (`tokens=identity.issued`).
    identity_header: the secret of the managed identity endpoint. managed_clients: the client ids of
    user-assigned identities; None: any. clients: client id to secret; None: any client, any secret.
    lifetime_s: seconds that new tokens live. authority: the issuer's host, in tokens and discovery.
    Scripts are keyed `msi`, `token`, `keys` or `discovery`.
    """

    def __init__(
        self,
        *,
        identity_header: str = "emulator-identity-header",
        managed_clients: Collection[str] | None = None,
        clients: Mapping[str, str] | None = None,
        lifetime_s: int = 3599,
        authority: str = ENTRA,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.identity_header = identity_header
        self.managed_clients, self.clients = managed_clients, clients
        self.lifetime_s, self.authority = lifetime_s, authority
        self.issued: set[str] = set()
        self._clock = clock
        self._count = 0
        self._minting = threading.Lock()
        self._keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048)]

    def mint(
        self,
        claims: Mapping[str, Any],
        *,
        tenant: str = TENANT,
        lifetime_s: float | None = None,
        headers: Mapping[str, Any] | None = None,
        key: rsa.RSAPrivateKey | None = None,
    ) -> str:
        """A token signed RS256. `claims` win over iss, tid, iat, nbf and exp; None leaves a claim out.

        `key` signs with a key that the key set does not hold, under the kid of the newest that it does.
        """
        now = int(self._clock())
        lifetime = self.lifetime_s if lifetime_s is None else lifetime_s
        issuer = {"iss": f"{self.authority}/{tenant}/v2.0", "tid": tenant, "ver": "2.0"}
        times = {"iat": now, "nbf": now, "exp": int(now + lifetime)}
        content = {name: value for name, value in {**issuer, **times, **claims}.items() if value is not None}
        with self._minting:
            newest = self._keys[-1]
        head = {"typ": "JWT", "alg": "RS256", "kid": _kid(newest), **(headers or {})}
        signed = b".".join(_encode(orjson.dumps(part)) for part in (head, content))
        signature = (key or newest).sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return (signed + b"." + _encode(signature)).decode()

    def rotate_key(self, *, keep_old: bool = True) -> None:
        """New tokens are signed by a new key; the old ones stay in the key set, or go."""
        fresh = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with self._minting:
            self._keys = [*self._keys, fresh] if keep_old else [fresh]

    def respond(self, received: Received) -> tuple[str | None, Ordinary]:
        match received.method, received.path.strip("/").split("/"):
            case "GET", ["msi", "token"]:
                return "msi", lambda: json_answer(self._managed(received))
            case "POST", [tenant, "oauth2", "v2.0", "token"]:
                return "token", lambda: json_answer(self._entra(received, tenant), headers=_NO_STORE)
            case "GET", [_, "discovery", "v2.0", "keys"]:
                return "keys", lambda: json_answer({"keys": [_jwk(key) for key in self._keys]})
            case "GET", ["common", "discovery", "instance"]:
                return "discovery", lambda: json_answer(_instance(received))
            case "GET", [tenant, *rest] if rest[-2:] == [".well-known", "openid-configuration"]:
                return "discovery", lambda: json_answer(self._configuration(received, tenant))
        return None, lambda: json_answer({"error": "not_found"}, 404)

    def _managed(self, received: Received) -> dict[str, Any]:
        query = received.query
        if received.header("x-identity-header") != self.identity_header:
            raise _unmanaged(401, "The X-IDENTITY-HEADER header is missing or wrong.")
        if query.get("api-version") != "2019-08-01" or not query.get("resource"):
            raise _unmanaged(400, "The query needs resource and api-version=2019-08-01.")
        client = query.get("client_id")
        if client and self.managed_clients is not None and client not in self.managed_clients:
            raise _unmanaged(400, "Unable to load the proper Managed Identity.")
        token = self._issue(query["resource"], client or "system-assigned", TENANT)
        expires = str(int(self._clock()) + self.lifetime_s)
        shown = {"access_token": token, "expires_on": expires, "token_type": "Bearer"}
        return {**shown, "resource": query["resource"], "client_id": client or "system-assigned"}

    def _entra(self, received: Received, tenant: str) -> dict[str, Any]:
        form = dict(parse_qsl(received.body.decode()))
        client = form.get("client_id", "")
        if form.get("grant_type") != "client_credentials":
            raise _denied(
                400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type."
            )
        if not form.get("scope", "").endswith("/.default"):
            raise _denied(
                400, "invalid_scope", 1002012, "The scope must be a resource followed by /.default."
            )
        if self.clients is not None and client not in self.clients:
            raise _denied(400, "unauthorized_client", 700016, f"Application '{client}' was not found.")
        if not self._proves(form, client):
            raise _denied(401, "invalid_client", 7000215, "Invalid client secret provided.")
        token = self._issue(form["scope"].removesuffix("/.default"), client, tenant)
        times = {"expires_in": self.lifetime_s, "ext_expires_in": self.lifetime_s}
        return {"token_type": "Bearer", **times, "access_token": token}

    def _proves(self, form: Mapping[str, str], client: str) -> bool:
        """By its secret, or by an assertion of a federated identity, of which only the shape is checked."""
        if "client_assertion" in form:
            return form["client_assertion"].count(".") == 2
        secret = form.get("client_secret", "")
        return bool(secret) if self.clients is None else secret == self.clients[client]

    def _issue(self, audience: str, client: str, tenant: str) -> str:
        with self._minting:
            self._count += 1
            number = self._count
        token = self.mint({"aud": audience, "appid": client, "jti": f"token-{number}"}, tenant=tenant)
        self.issued.add(token)
        return token

    def _configuration(self, received: Received, tenant: str) -> dict[str, Any]:
        base = _base(received)
        return {
            "issuer": f"{self.authority}/{tenant}/v2.0",
            "authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/{tenant}/oauth2/v2.0/token",
            "jwks_uri": f"{base}/{tenant}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }


_NO_STORE = (("cache-control", "no-store, no-cache"), ("pragma", "no-cache"))


def _instance(received: Received) -> dict[str, Any]:
    host = received.header("host") or ""
    metadata = {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
    tenant = received.query.get("authorization_endpoint", "").split("/")[3:4]
    discovery = f"{_base(received)}/{tenant[0] if tenant else 'common'}/v2.0/.well-known/openid-configuration"
    return {"tenant_discovery_endpoint": discovery, "api-version": "1.1", "metadata": [metadata]}


def _base(received: Received) -> str:
    return f"{received.scheme}://{received.header('host')}"


def _unmanaged(status: int, message: str) -> Refused:
    return Refused(json_answer({"statusCode": status, "message": message}, status))


def _denied(status: int, error: str, code: int, message: str) -> Refused:
    description = f"AADSTS{code}: {message} Trace ID: 00000000-0000-4000-8000-000000000000"
    return Refused(
        json_answer({"error": error, "error_description": description, "error_codes": [code]}, status)
    )


def _jwk(key: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    parts = {"n": _number(numbers.n), "e": _number(numbers.e)}
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _kid(key), **parts}


def _kid(key: rsa.RSAPrivateKey) -> str:
    """Depends on the key alone."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(_number(key.public_key().public_numbers().n).encode())
    return _encode(digest.finalize()).decode()[:27]


def _number(value: int) -> str:
    return _encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def _encode(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")
