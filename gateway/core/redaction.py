"""Masks secrets before anything is stored or logged.

Headers that carry credentials are masked always, the ones a caller names besides; the credentials a
request carried are blotted out of the bodies too (an upstream may quote a wrong key in its error).
`GATEWAY_REDACT` adds regular expressions for bodies.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import orjson

MASK = "***"
_MASK_BYTES = MASK.encode()

_SECRET_WORDS = ("authorization", "api-key", "apikey", "token", "secret", "password", "cookie", "credential")
_SECRET_NAMES = {
    "x-functions-key",
    "x-ms-token-aad-access-token",
    "ocp-apim-subscription-key",
    "x-portkey-aws-access-key-id",
    "x-portkey-forwarded-key",
    "x-ms-client-principal",
}
# Names that hold one of the words above and are no secrets.
_OPEN = re.compile(r"x-ratelimit-|.*-tokens?-(count|limit|remaining)|x-portkey-provider|.*api-key-(id|name)$")
_SECRET_FIELDS = re.compile(r"(?i)(api_?key|authorization|token|secret|password)$")
_GATEWAY_KEY = re.compile(rb"gw-[A-Za-z0-9_-]{43,}")  # the first admin key may be longer
_SHORTEST_SECRET = 8  # bytes; blotting out anything shorter would blot out ordinary words
_DEEPEST = 32


class InvalidPattern(ValueError):
    """A regular expression of `GATEWAY_REDACT` does not compile."""


class Pattern(Protocol):
    """A compiled expression, RE2's or the standard library's."""

    def sub(self, repl: bytes, string: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is masked besides credentials."""

    body_patterns: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Redaction":
        """From a JSON list of regular expressions, or one expression a line. The syntax is RE2's."""
        text = text.strip()
        if not text:
            return cls()
        import re2  # type: ignore[import-untyped]  # in linear time, whatever a body holds

        try:
            sources = orjson.loads(text) if text.startswith("[") else text.splitlines()
        except orjson.JSONDecodeError:
            sources = [text]  # an expression may begin with a bracket
        options = re2.Options()
        options.log_errors = False
        try:
            return cls(tuple(re2.compile(source.encode(), options) for source in sources if source.strip()))
        except (re2.error, AttributeError, TypeError) as error:
            raise InvalidPattern(f"not a list of regular expressions of RE2: {error}") from error

    def body(self, body: bytes, secrets: Sequence[bytes] = ()) -> bytes:
        """The body with `secrets`, gateway keys and what the patterns find masked."""
        for secret in secrets:
            if secret in body:
                body = body.replace(secret, _MASK_BYTES)
        if b"gw-" in body:
            body = _GATEWAY_KEY.sub(_MASK_BYTES, body)
        for pattern in self.body_patterns:
            body = pattern.sub(_MASK_BYTES, body)
        return body


@lru_cache(maxsize=2048)
def is_secret_header(name: str) -> bool:
    """Whether a header (lower-case name) carries a credential."""
    if name in _SECRET_NAMES:
        return True
    return any(word in name for word in _SECRET_WORDS) and not _OPEN.match(name)


def _known(raw_name: bytes) -> tuple[str, bool]:
    """A header's name as text, and whether it carries a credential."""
    name = raw_name.decode("latin-1").lower()
    return name, is_secret_header(name)


_remembered = lru_cache(maxsize=1024)(_known)
_USUAL_NAME = 64  # bytes; longer names are not remembered, so that callers cannot fill the memory


def _name_of(raw_name: bytes) -> tuple[str, bool]:
    return _remembered(raw_name) if len(raw_name) <= _USUAL_NAME else _known(raw_name)


def headers(
    pairs: Iterable[tuple[bytes, bytes]] | None, sensitive: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Header pairs as a JSON object, secrets masked; repeated names are joined by a comma."""
    shown: dict[str, str] = {}
    for raw_name, raw_value in pairs or ():
        name, secret = _name_of(raw_name)
        if secret or name in sensitive:
            value = MASK
        else:
            value = raw_value.decode("latin-1")
            if value.startswith("{") and name.startswith("x-portkey-"):
                value = _json_header(value)
        shown[name] = f"{shown[name]}, {value}" if name in shown else value
    return shown


def secrets_in(pairs: Iterable[tuple[bytes, bytes]] | None) -> list[bytes]:
    """The credentials that headers carry, without `Bearer`, longest first."""
    found = set()
    for raw_name, value in pairs or ():
        if _name_of(raw_name)[1]:
            secret = value[7:] if value[:7].lower() == b"bearer " else value
            if len(secret := secret.strip()) >= _SHORTEST_SECRET:
                found.add(secret)
    return sorted(found, key=len, reverse=True)


def mask_fields(value: Any, depth: int = 0) -> Any:
    """A JSON value with the fields masked whose names say that they hold a secret."""
    if depth > _DEEPEST:
        return MASK
    if isinstance(value, dict):
        return {
            name: MASK if item and _SECRET_FIELDS.search(name) else mask_fields(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [mask_fields(item, depth + 1) for item in value]
    return value


# The same config comes with request after request.
@lru_cache(maxsize=128)
def _json_header(value: str) -> str:
    try:
        return orjson.dumps(mask_fields(orjson.loads(value))).decode()
    except orjson.JSONDecodeError:
        return value if not _SECRET_FIELDS.search(value) and "key" not in value else MASK
