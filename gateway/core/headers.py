"""What the client's headers say, read leniently and once."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

import orjson

from gateway.core.errors import InvalidRequest

RawHeaders = list[tuple[bytes, bytes]]

# What SDKs send where no upstream key was given: never a credential.
# Source: portkey_ai (Python: OPENAI_API_KEY, DUMMY-KEY; Node: DUMMY-KEY), openai-node's browser samples.
PLACEHOLDERS = frozenset({"", "OPENAI_API_KEY", "DUMMY-KEY", "$OPENAI_API_KEY", "undefined", "null", "None"})

_MAX_METADATA_BYTES = 16 * 1024
_MAX_METADATA_VALUE = 128  # Portkey's bound on a value
_MAX_TRACE = 256

_NEVER_FORWARDED = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "content-type",
        "accept-encoding",
        "expect",
        "cookie",
        "x-functions-key",
        "x-ms-invocation-id",
        "traceparent",
        "tracestate",
        "baggage",
    }
)


def strip_bearer(value: str) -> str:
    """The token in `Bearer TOKEN`, or the value itself: clients send both."""
    value = value.strip()
    if value[:7].lower() == "bearer ":
        return value[7:].strip()
    return "" if value.lower() == "bearer" else value


def _header_name(raw: bytes) -> str:
    return raw.decode("latin-1").lower().replace("_", "-")


_USUAL_NAME = 64  # bytes; longer names are not remembered, so that callers cannot fill the memory
header_name = lru_cache(maxsize=1024)(_header_name)


class RequestHeaders:
    """A request's headers by normalised name (lower case, `_` as `-`); an empty value is absent.

    Of a repeated header the first value that is not empty counts, but for `Authorization`, of which
    all are kept: Portkey's Python SDK sends a placeholder and the real one as two lines.
    """

    __slots__ = ("_portkey", "_values", "authorizations", "raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self.raw: RawHeaders = list(raw)
        self.authorizations: list[str] = []  # tokens, `Bearer ` stripped, in order
        values: dict[str, str] = {}
        for raw_name, raw_value in self.raw:
            value = raw_value.decode("latin-1").strip()
            if not value:
                continue
            name = header_name(raw_name) if len(raw_name) <= _USUAL_NAME else _header_name(raw_name)
            if name == "authorization":
                # Proxies join repeated lines by a comma; no token has one inside.
                self.authorizations += [strip_bearer(part) for part in value.split(",")]
            elif name not in values:
                values[name] = value
        self._values = values
        self._portkey = {name[10:]: value for name, value in values.items() if name.startswith("x-portkey-")}

    def get(self, name: str) -> str | None:
        """The value of any header but Authorization."""
        return self._values.get(name)

    def portkey(self, name: str) -> str | None:
        """The value of `x-portkey-{name}`."""
        return self._portkey.get(name)

    def portkey_names(self) -> Iterable[str]:
        """What is there for `portkey`."""
        return self._portkey.keys()

    def names(self) -> Iterable[str]:
        return self._values.keys()

    @property
    def trace_id(self) -> str | None:
        """The trace this request says it belongs to, safe to send back in a header."""
        return safe_text(self.portkey("trace-id"))

    @property
    def debug(self) -> bool:
        """False asks that only metrics are kept of the request."""
        return to_bool(self.portkey("debug"), default=True)

    @property
    def strict(self) -> bool:
        value = self.portkey("strict-open-ai-compliance") or self.portkey("strict-openai-compliance")
        return to_bool(value, default=True)

    @property
    def request_timeout_ms(self) -> int | None:
        value = self.portkey("request-timeout")
        if value is None:
            return None
        if not value.isascii() or not value.isdigit() or not 0 < int(value[:12]) <= 3_600_000:
            raise InvalidRequest(
                f"x-portkey-request-timeout: must be milliseconds from 1 to 3600000, got {value[:40]!r}",
                param="x-portkey-request-timeout",
            )
        return int(value)

    @property
    def metadata(self) -> dict[str, str]:
        """Flat text map of `x-portkey-metadata` over `baggage`; unreadable metadata is empty."""
        merged = _baggage(self.get("baggage"))
        merged.update(parse_metadata(self.portkey("metadata")))
        return merged

    @property
    def forwarded(self) -> frozenset[str]:
        """Normalised names of the client's headers to pass upstream."""
        value = self.portkey("forward-headers")
        return forward_names(value) if value else frozenset()

    @property
    def sensitive(self) -> frozenset[str]:
        """Normalised names of headers to mask in the record."""
        value = self.portkey("sensitive-headers")
        return frozenset(map(normal_name, split_list(value))) if value else frozenset()


def safe_text(value: str | None) -> str | None:
    """The text cut and escaped so that it can go back in a response header."""
    if not value:
        return None
    value = value[:_MAX_TRACE]
    return value if value.isascii() and value.isprintable() else quote(value, safe="")[:_MAX_TRACE]


def to_bool(value: str | None, *, default: bool) -> bool:
    if value is None:
        return default
    lowered = value.lower()
    if lowered in ("true", "1"):
        return True
    return False if lowered in ("false", "0") else default


def split_list(value: str) -> list[str]:
    """Items of a comma list, a JSON array, or a Python list's repr: SDKs send all three."""
    value = value.strip()
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    return [item for item in (part.strip().strip("'\"").strip() for part in value.split(",")) if item]


def normal_name(name: str) -> str:
    """`CustomHeader`, `custom_header`, `-custom-header` are one name: `custom-header`.

    Source: portkey-ai for Node sends a forwarded `CustomHeader` as `-custom-header`.
    """
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name.strip())
    return kebab.replace("_", "-").lower().lstrip("-")


def forward_names(value: str | list[str]) -> frozenset[str]:
    """Names of a forward list; raises `InvalidRequest` where the list names itself."""
    names = frozenset(map(normal_name, split_list(value) if isinstance(value, str) else value))
    if "x-portkey-forward-headers" in names:
        raise InvalidRequest(
            "forward_headers must not name x-portkey-forward-headers itself: take it out of the list",
            param="x-portkey-forward-headers",
        )
    return names


def forwardable(name: str) -> bool:
    """Whether a client's header may go upstream at all, when it is asked for."""
    return name not in _NEVER_FORWARDED and not name.startswith("x-portkey-")


def parse_metadata(value: str | None) -> dict[str, str]:
    """A flat text map out of the header; numbers and booleans as text, values cut at 128 characters."""
    if not value or len(value) > _MAX_METADATA_BYTES:
        return {}
    try:
        data = value.encode("latin-1")  # the header's bytes, which may well be UTF-8
    except UnicodeEncodeError:
        data = value.encode()
    parsed = _json_or_none(data)
    if parsed is None:
        parsed = _json_or_none(data.replace(b"'", b'"'))  # as curl samples in Portkey's documentation do
    return flat_metadata(parsed) if isinstance(parsed, dict) else {}


def flat_metadata(values: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as it is kept: text to text."""
    flat = {}
    for key, item in values.items():
        if (text := metadata_text(item)) is not None:
            flat[str(key)[:_MAX_METADATA_VALUE]] = text
    return flat


def metadata_text(value: Any) -> str | None:
    """One value of it; null is none."""
    if value is None:
        return None
    return (value if isinstance(value, str) else _json_text(value))[:_MAX_METADATA_VALUE]


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:  # hundreds of levels of nothing: no one means that
        return ""


def _json_or_none(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _baggage(value: str | None) -> dict[str, str]:
    """W3C baggage as metadata. Source: https://www.w3.org/TR/baggage/."""
    if not value or len(value) > 8192:
        return {}
    pairs = (member.split(";", 1)[0].split("=", 1) for member in value.split(","))
    return {
        pair[0].strip()[:_MAX_METADATA_VALUE]: unquote(pair[1].strip())[:_MAX_METADATA_VALUE]
        for pair in pairs
        if len(pair) == 2
    }


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


def parse_traceparent(value: str | None) -> tuple[str, str] | None:
    """(trace id, parent span id). Source: https://www.w3.org/TR/trace-context/."""
    match = _TRACEPARENT.fullmatch(value.strip().lower()) if value else None
    if match is None or match[1] == "0" * 32 or match[2] == "0" * 16:
        return None
    return match[1], match[2]


_JWT = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def looks_like_jwt(token: str) -> bool:
    """Three base64url parts of which the first is a JSON object (`eyJ` is `{"`)."""
    return _JWT.fullmatch(token) is not None
