"""A stored record as Portkey's `LogObject`, for the list and for the detail.

Source: Portkey's OpenAPI, schemas `LogObject` and `ExportItem`. What Portkey has no name for stands
beside its names in `metrics`: Azure's resource and deployment, tries, tokens by kind, time to first token.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.core.log_entry import unpack
from gateway.core.ports import LogEntry

ORGANISATION = "self-hosted"  # Portkey's clients expect an organisation; here there is one

# Portkey's name in `metrics` -> the stored field. Times are milliseconds, cost is cents.
_METRICS: tuple[tuple[str, str], ...] = (
    ("id", "id"),
    ("prompt_id", "prompt_id"),
    ("prompt_slug", "prompt_slug"),
    ("prompt_version_id", "prompt_version"),
    ("config", "config"),
    ("config_version_id", "config_version"),
    ("ai_org", "provider"),
    ("ai_model", "model"),
    ("req_units", "prompt_tokens"),
    ("res_units", "completion_tokens"),
    ("total_units", "total_tokens"),
    ("cost", "cost"),
    ("request_url", "path"),
    ("request_method", "method"),
    ("response_status_code", "status"),
    ("response_time", "duration_ms"),
    ("upstream_response_time", "upstream_ms"),
    ("cache_status", "cache_status"),
    ("retry_success_count", "retry_count"),
    ("trace_id", "trace_id"),
    ("span_id", "span_id"),
    ("span_name", "span_name"),
    ("parent_span_id", "parent_span_id"),
    ("internal_trace_id", "trace_id"),
    ("mode", "mode"),
    ("virtual_key", "virtual_key"),
    ("source", "source"),
    ("runtime", "runtime"),
    ("runtime_version", "runtime_version"),
    ("last_used_option_index", "option_index"),
    ("api_key_id", "caller_id"),
)
# Portkey's names for what is not told apart here.
_NOT_MEASURED = (
    *("request_parsing_time", "pre_processing_time", "cache_processing_time", "response_parsing_time"),
    "log_store_file_path_format",
)
# Ours, by their own names.
_MORE = (
    *("operation", "caller_name", "user", "asked_model", "deployment", "api_version", "auth_mode", "region"),
    *("content_filter", "error_class", "error_message", "cached_tokens", "reasoning_tokens", "audio_tokens"),
    *(
        "image_tokens",
        "complete",
        "price_unknown",
        "usage_estimated",
        "attempts",
        "warnings",
        "bodies",
        "files",
        "response_bytes",
    ),
)


def log_object(entry: LogEntry, feedback: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The detail: metrics, and request and response as far as they were kept."""
    doc = entry.doc
    bodies = unpack(entry.bodies)
    request, response = bodies.get("request", {}), bodies.get("response", {})
    headers = request.get("headers", {})
    return {
        **list_row(doc),
        "request": {
            "url": doc.get("path"),
            "method": doc.get("method"),
            "headers": headers,
            "body": request.get("body"),
            **({"prompt_variables": said} if (said := request.get("prompt_variables")) else {}),
            "portkeyHeaders": {n: v for n, v in headers.items() if n.startswith("x-portkey-")},
        },
        "response": {
            "status": doc.get("status"),
            "headers": response.get("headers", {}),
            "body": response.get("body"),
            "responseTime": doc.get("duration_ms"),
            "lastUsedOptionJsonPath": doc.get("option_index"),
        },
        "feedback": feedback or [],
    }


def list_row(doc: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the list: the detail without request and response.

    The fields that an export asks for by name (`trace_id`, `status`, ...) stand at the top too.
    """
    metrics = metrics_of(doc)
    return {
        "_id": doc["id"],
        "id": doc["id"],
        "object": "log",
        "organisation_id": ORGANISATION,
        "created_at": metrics["created_at"],
        "trace_id": doc.get("trace_id"),
        "status": doc.get("status"),
        "is_success": metrics["is_success"],
        "metadata": doc.get("metadata", {}),
        "metrics": metrics,
    }


def metrics_of(doc: Mapping[str, Any]) -> dict[str, Any]:
    """Every name of Portkey's, null where there is nothing to tell, and what is ours where there is."""
    metadata = doc.get("metadata") or {}
    metrics: dict[str, Any] = {name: doc.get(stored) for name, stored in _METRICS}
    metrics |= {
        "organisation_id": ORGANISATION,
        "organisation_name": ORGANISATION,
        "workspace_slug": "default",
        "created_at": iso(doc["created_at"]),
        "is_success": is_success(doc),
        "cost_currency": "USD",
        "sdk_version": _sdk_version(doc),
        **dict.fromkeys(_NOT_MEASURED),
        "is_proxy_call": doc.get("operation") == "proxy",
        "stream_mode": 1 if doc.get("stream") else 0,
        "cache_type": _cache_type(doc.get("cache_status")),
        "config_id": doc.get("config"),
        "metadata.key": list(metadata),
        "metadata.value": list(metadata.values()),
        "gateway_processing_time": _own_time(doc),
        "time_to_first_token": doc.get("ttfb_ms"),
        "azure_resource": doc.get("resource"),
        "apim_request_id": doc.get("request_id"),
    }
    metrics.update((name, doc[name]) for name in _MORE if name in doc)
    return metrics


def _sdk_version(doc: Mapping[str, Any]) -> str | None:
    """What follows the name in `portkey-2.3.4`."""
    name, _, version = str(doc.get("source") or "").partition("-")
    return version if name == "portkey" and version else None


def is_success(doc: Mapping[str, Any]) -> bool:
    return 200 <= doc.get("status", 0) < 300 and bool(doc.get("complete", True))


def iso(seconds: float) -> str:
    """Unix seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cache_type(status: str | None) -> str | None:
    if status in (None, "DISABLED"):
        return None
    return "semantic" if status and "SEMANTIC" in status.upper() else "simple"


def _own_time(doc: Mapping[str, Any]) -> float | None:
    """Milliseconds that were the gateway's own, until the first byte of the answer."""
    first = doc.get("ttfb_ms")
    return None if first is None else round(max(0.0, first - doc.get("upstream_ms", 0.0)), 3)
