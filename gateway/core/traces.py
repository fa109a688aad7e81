"""The spans of a trace as a tree: requests by their parent span, each request's tries beneath it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.core.log_view import is_success, iso
from gateway.core.ports import Feedback


def span_tree(
    trace_id: str, docs: Iterable[Mapping[str, Any]], feedback: Sequence[Feedback] = ()
) -> dict[str, Any]:
    """The trace: `spans` are its roots, oldest first; a span whose parent is not there is a root."""
    ordered = sorted(docs, key=lambda doc: (doc["created_at"], doc["id"]))
    nodes = [_node(doc) for doc in ordered]
    by_span: dict[str, dict[str, Any]] = {}
    for node in nodes:
        by_span.setdefault(node["span_id"], node)
    roots = []
    for node in nodes:
        parent = by_span.get(node["parent_span_id"] or "")
        if parent is None or parent is node or _is_above(node, parent, by_span):
            roots.append(node)
        else:
            parent["children"].append(node)
    return {
        "object": "trace",
        "trace_id": trace_id,
        "spans": roots,
        "total_spans": len(nodes),
        "feedback": [feedback_view(item) for item in feedback],
        **_sums(ordered),
    }


def feedback_view(item: Feedback) -> dict[str, Any]:
    return {
        "id": item.id,
        "trace_id": item.trace_id,
        "value": item.value,
        "weight": item.weight,
        "metadata": dict(item.metadata),
        "created_at": iso(item.created_at),
    }


def _is_above(node: dict[str, Any], parent: dict[str, Any], by_span: Mapping[str, dict[str, Any]]) -> bool:
    """Whether a span is its own ancestor: clients name the parents, and may name a circle."""
    above: dict[str, Any] | None = parent
    seen = set()
    while above is not None and above["span_id"] not in seen:
        if above is node:
            return True
        seen.add(above["span_id"])
        above = by_span.get(above["parent_span_id"] or "")
    return False


def _node(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "log_id": doc["id"],
        "span_id": doc.get("span_id") or doc["id"],
        "parent_span_id": doc.get("parent_span_id"),
        "span_name": doc.get("span_name") or f"{doc.get('method')} {doc.get('path')}",
        "start_time": iso(doc["created_at"]),
        "duration": doc.get("duration_ms"),
        "status": doc.get("status"),
        "is_success": is_success(doc),
        "provider": doc.get("provider"),
        "model": doc.get("model"),
        "total_units": doc.get("total_tokens"),
        "cost": doc.get("cost"),
        "attempts": [_try(attempt, n) for n, attempt in enumerate(doc.get("attempts") or ())],
        "children": [],
    }


def _try(attempt: Mapping[str, Any], number: int) -> dict[str, Any]:
    started = attempt.get("started_at")
    shown = {name: value for name, value in attempt.items() if name not in ("started_at", "duration_ms")}
    start = iso(started) if started else None
    return {**shown, "number": number, "start_time": start, "duration": attempt.get("duration_ms")}


def _sums(docs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not docs:
        return {}
    start = docs[0]["created_at"]
    end = max(doc["created_at"] + doc.get("duration_ms", 0.0) / 1000 for doc in docs)
    return {
        "start_time": iso(start),
        "duration": round((end - start) * 1000, 3),
        "total_units": sum(doc.get("total_tokens", 0) for doc in docs),
        "cost": round(sum(doc.get("cost", 0.0) for doc in docs), 9),
        "is_success": all(is_success(doc) for doc in docs),
    }
