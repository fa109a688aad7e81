"""A finished record -> what is stored of it: a flat JSON object, its bodies, its files.

The flat object has the fields of `Record` and of `Usage` by their own names, nothing that is None,
and besides: `prompt` (slug, else id), `user` (metadata `_user`, which the body's `user` fills), `model` (as
answered, else as asked; the latter also as `asked_model`), `cost` (cents) or `price_unknown`,
`usage_estimated` where the answer broke off before its
usage, `bodies` ("kept", "none", "dropped"), `files` (name and media type of each), `content_filter`.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

import orjson

from gateway.core import redaction
from gateway.core.bodies import Body, read_request, read_response, read_variables
from gateway.core.ports import LogEntry
from gateway.core.record import Attempt, Record, Usage
from gateway.core.redaction import Redaction
from gateway.core.usage import usage_of

# Cents, or None when the price is not known.
Price = Callable[[Record, Body], float | None]

_GZIP = 31  # zlib's window bits for the gzip container: a blob can be served as it is
_LEVEL = 1  # a chat of 2 kB takes 25 microseconds; level 6 takes twice that for 4 % less
_LONGEST = 500  # characters of an error's message

_ELSEWHERE = {"model", "response_model", "price_model", "pricing", "config_slug", "metadata", "usage"}
_ELSEWHERE |= {"attempts", "warnings", "keep_bodies", "sensitive_headers", "error_message"}
_ELSEWHERE |= {"duration_ms", "ttfb_ms", "upstream_ms", "request_headers", "request_body"}
_ELSEWHERE |= {"response_headers", "response_body", "prompt_variables"}
_PLAIN = tuple(f.name for f in fields(Record) if f.name not in _ELSEWHERE)
_USAGE = tuple(f.name for f in fields(Usage))
_ATTEMPT = tuple(f.name for f in fields(Attempt))
_plain, _usage, _told = attrgetter(*_PLAIN), attrgetter(*_USAGE), attrgetter(*_ATTEMPT)


@dataclass(frozen=True, slots=True)
class Encoder:
    """How records become entries: what is masked, what a call costs, whether bodies are kept."""

    price: Price
    redaction: Redaction = field(default_factory=Redaction)
    keep_bodies: bool = True

    def __call__(self, record: Record) -> LogEntry:
        keep = self.keep_bodies and record.keep_bodies
        secrets = redaction.secrets_in(record.request_headers)

        def clean(body: bytes) -> bytes:
            return self.redaction.body(body, secrets)

        request = read_request(record, clean)
        response = read_response(record, clean)
        if record.usage == _NOTHING_TOLD:
            record.usage = response.usage or usage_of(response.value)
        guessed = record.usage == _NOTHING_TOLD and not record.complete and response.pieces
        if guessed:
            record.usage = Usage(completion_tokens=response.pieces)
        doc = _flat(record, request, response)
        if guessed:
            doc["usage_estimated"] = True
        _add_cost(doc, self.price(record, response))
        if record.error_message:
            text = record.error_message[:_LONGEST].encode(errors="replace")
            doc["error_message"] = clean(text).decode(errors="replace")
        if not keep:
            doc["bodies"] = "dropped" if "bodies_dropped" in record.warnings else "none"
            return LogEntry(doc)
        variables = read_variables(record, clean)
        files = (*request.files, *response.files, *variables.files)
        if files:
            doc["files"] = [{"name": f.name, "media_type": f.media_type, "bytes": len(f.data)} for f in files]
        doc["bodies"] = "kept"
        bodies = _bodies(record, request, response)
        if variables.json is not None:
            bodies["request"]["prompt_variables"] = variables.json
        return LogEntry(doc, pack(bodies), files)


def plain_entry(record: Record) -> LogEntry:
    """A record without its bodies and price, for one whose bodies cannot be read."""
    nothing = Body()
    return LogEntry({**_flat(record, nothing, nothing), "bodies": "dropped", "price_unknown": True})


def pack(bodies: Mapping[str, Any]) -> bytes:
    """Bodies as gzipped JSON."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(orjson.dumps(bodies)) + packer.flush()


def unpack(packed: bytes | None) -> dict[str, Any]:
    """The bodies of an entry; empty when none were kept."""
    if packed is None:
        return {}
    value: dict[str, Any] = orjson.loads(zlib.decompress(packed, _GZIP))
    return value


def _flat(record: Record, request: Body, response: Body) -> dict[str, Any]:
    doc = {name: value for name, value in zip(_PLAIN, _plain(record), strict=True) if value is not None}
    usage = zip(_USAGE, _usage(record.usage), strict=True)
    doc.update((name, value) for name, value in usage if value is not None)
    for name in ("duration_ms", "ttfb_ms", "upstream_ms"):
        if (value := getattr(record, name)) is not None:
            doc[name] = round(value, 3)
    metadata = dict(record.metadata)
    if request.user:
        metadata.setdefault("_user", request.user)
    if metadata:
        doc["metadata"] = metadata
    optional = {
        "model": record.response_model or response.model or record.model,
        "asked_model": record.model,
        "config": record.config_slug,
        "prompt": record.prompt_slug or record.prompt_id,
        "user": metadata.get("_user"),
        "content_filter": response.content_filter,
        "warnings": record.warnings,
        "attempts": [_attempt(attempt) for attempt in record.attempts],
    }
    doc.update((name, value) for name, value in optional.items() if value)
    return doc


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {name: value for name, value in zip(_ATTEMPT, _told(attempt), strict=True) if value is not None}


def _add_cost(doc: dict[str, Any], cents: float | None) -> None:
    if cents is None:
        doc["price_unknown"] = True
    else:
        doc["cost"] = cents


def _bodies(record: Record, request: Body, response: Body) -> dict[str, Any]:
    return {
        "request": {
            "headers": redaction.headers(record.request_headers, record.sensitive_headers),
            "body": request.json,
        },
        "response": {
            "headers": redaction.headers(record.response_headers, record.sensitive_headers),
            "body": response.json,
        },
    }


_NOTHING_TOLD = Usage()
