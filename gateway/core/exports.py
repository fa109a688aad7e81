"""Exports of the log as lines of JSON: what may be asked for, and a line of it.

Source: Portkey's OpenAPI, `/logs/exports`. Statuses go draft -> success, or stopped by a cancel: a file is
made while it is downloaded, so there is nothing to wait for in between.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.core.casing import snake
from gateway.core.errors import InvalidRequest
from gateway.core.log_query import parse_query
from gateway.core.log_view import log_object
from gateway.core.ports import LogEntry

MOST_ROWS = 50_000
FIELDS = (
    *("id", "trace_id", "created_at", "request", "response", "is_success", "ai_org", "ai_model", "req_units"),
    *("res_units", "total_units", "request_url", "cost", "cost_currency", "response_time"),
    *("response_status_code", "mode", "config", "prompt_slug", "metadata"),
)
BODIES = ("request", "response")


def export_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The export that a body asks for, checked: filters, fields, description, workspace."""
    given = {snake(str(name)): value for name, value in body.items()}
    filters = given.get("filters") or {}
    if not isinstance(filters, Mapping):
        raise InvalidRequest("filters: expected a JSON object", param="filters")
    parse_query(filters)
    return {
        "filters": dict(filters),
        "requested_data": _requested(given.get("requested_data")),
        "description": str(given.get("description") or "")[:500],
        "workspace_id": str(given.get("workspace_id") or "default")[:100],
    }


def most_rows(filters: Mapping[str, Any]) -> int:
    """How many rows an export may have: its `page_size`, at most 50,000."""
    asked = filters.get("page_size", filters.get("pageSize", MOST_ROWS))
    try:
        return max(1, min(MOST_ROWS, int(asked)))
    except (TypeError, ValueError):
        raise InvalidRequest(f"filters.page_size: expected 1 to {MOST_ROWS}", param="page_size") from None


def line_of(entry: LogEntry, requested: Sequence[str]) -> bytes:
    """One record as a line of JSON with the requested fields."""
    shown = log_object(entry)
    metrics = shown["metrics"]
    row: dict[str, Any] = {}
    for name in requested:
        row[name] = shown[name] if name in (*BODIES, "metadata", "id") else metrics.get(name)
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _requested(value: Any) -> list[str]:
    if value is None:
        return list(FIELDS)
    if not isinstance(value, list) or not value:
        raise InvalidRequest("requested_data: expected a list of field names", param="requested_data")
    unknown = [name for name in value if name not in FIELDS]
    if unknown:
        raise InvalidRequest(
            f"requested_data: unknown field {unknown[0]!r:.60}; known are {', '.join(FIELDS)}",
            param="requested_data",
        )
    return list(dict.fromkeys(value))
