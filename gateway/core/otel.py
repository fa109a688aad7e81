"""A stored record in OpenTelemetry's words: attributes of spans, names, ids.

Source: the semantic conventions for generative AI, 1.37 (`gen_ai.*`), and W3C Trace Context.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

_OPERATIONS = {
    "chat/completions": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "responses": "chat",
    "images/generations": "generate_content",
    "images/edits": "generate_content",
}
_PROVIDERS = {"azure-openai": "azure.ai.openai", "azure-ai": "azure.ai.inference"}
_TRACE = re.compile(r"[0-9a-f]{32}")
_SPAN = re.compile(r"[0-9a-f]{16}")

# The convention's name -> the stored field.
_REQUEST = {
    "gen_ai.request.model": "asked_model",
    "gen_ai.response.model": "model",
    "gen_ai.usage.input_tokens": "prompt_tokens",
    "gen_ai.usage.output_tokens": "completion_tokens",
    "server.address": "resource",
    "http.request.method": "method",
    "url.path": "path",
    "http.response.status_code": "status",
    "user.id": "user",
    "gateway.log_id": "id",
    "gateway.trace_id": "trace_id",
    "gateway.virtual_key": "virtual_key",
    "gateway.deployment": "deployment",
    "gateway.config": "config",
    "gateway.prompt": "prompt",
    "gateway.caller_id": "caller_id",
    "gateway.cache_status": "cache_status",
    "gateway.retry_count": "retry_count",
    "gateway.cost_cents": "cost",
    "gateway.complete": "complete",
    "gateway.time_to_first_token_ms": "ttfb_ms",
}
# `gateway.target` is on tries alone: it tells them from requests, which have the same kind of span.
_TRY = {
    "server.address": "resource",
    "http.response.status_code": "status",
    "error.type": "error",
    "gateway.target": "target",
    "gateway.virtual_key": "virtual_key",
    "gateway.deployment": "deployment",
    "gateway.skipped": "skipped",
    "azure.apim_request_id": "request_id",
}


def operation_of(doc: Mapping[str, Any]) -> str:
    name = doc.get("operation") or "unknown"
    return _OPERATIONS.get(name, name)


def common(doc: Mapping[str, Any]) -> dict[str, Any]:
    """What spans and metrics share: few values each, as every combination is a series of its own."""
    provider = doc.get("provider") or "unknown"
    attributes = {
        "gen_ai.operation.name": operation_of(doc),
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
    }
    if model := doc.get("asked_model"):
        attributes["gen_ai.request.model"] = model
    if deployment := doc.get("deployment"):
        attributes["gateway.deployment"] = deployment
    if (failure := error_of(doc)) is not None:
        attributes["error.type"] = failure
    return attributes


def span_name(doc: Mapping[str, Any]) -> str:
    """The convention's `{operation} {model}`."""
    return f"{operation_of(doc)} {doc.get('asked_model') or doc.get('model') or ''}".strip()


def request_attributes(doc: Mapping[str, Any]) -> dict[str, Any]:
    return common(doc) | _present(_REQUEST, doc)


def try_attributes(doc: Mapping[str, Any], attempt: Mapping[str, Any]) -> dict[str, Any]:
    """Of one try of a record; the model is what the request asked for."""
    return _present({"gen_ai.request.model": "asked_model"}, doc) | _present(_TRY, attempt)


def error_of(doc: Mapping[str, Any]) -> str | None:
    """The class of a failure: the gateway's code, else the status."""
    if failure := doc.get("error_class"):
        return str(failure)
    status = doc.get("status", 0)
    if status >= 400 or status == 0:
        return str(status)
    return None if doc.get("complete", True) else "incomplete"


def trace_id_of(doc: Mapping[str, Any]) -> int:
    """128 bits: the record's own trace id where it is one of W3C or a UUID, else a digest of it."""
    return _number(str(doc["trace_id"]).replace("-", "").lower(), _TRACE, 16)


def span_id_of(text: str) -> int:
    """64 bits of a span id, by the same rule."""
    return _number(text.lower(), _SPAN, 8)


def parent_span_id_of(doc: Mapping[str, Any]) -> int | None:
    parent = doc.get("parent_span_id")
    return span_id_of(parent) if parent else None


def _number(text: str, pattern: re.Pattern[str], size: int) -> int:
    if pattern.fullmatch(text) and int(text, 16):
        return int(text, 16)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size], "big") or 1


def _present(names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[stored] for name, stored in names.items() if values.get(stored) is not None}
