"""`GET /v1/audit-logs`, and the entry that each management call leaves."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.adapters.audit import AuditTrail
from gateway.api.routing import ApiRequest, Route
from gateway.core.api_keys import iso
from gateway.core.errors import InvalidRequest
from gateway.core.headers import safe_text
from gateway.core.ids import record_id
from gateway.core.redaction import Redaction, mask_fields

log = logging.getLogger("gateway.audit")

_DAY = 86_400
_MOST_DAYS = 400
_MOST_ROWS = 20_000  # looked at for one page
_MOST_REFUSED = 60  # entries of callers nobody knows, a minute: guessing must not fill the trail
# What applications do beside their calls (models, feedback, logs of their own, rendering) manages nothing.
_APPLICATION = frozenset({"completions.write", "logs.write", "prompts.render"})
_ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}


class Auditor:
    """Makes an entry of a call. `clock` gives unix seconds."""

    def __init__(self, trail: AuditTrail, *, clock: Callable[[], float]) -> None:
        self._trail, self._clock = trail, clock
        self._redaction = Redaction()
        self._minute, self._refused = 0, 0

    def __call__(self, route: Route, request: ApiRequest, status: int) -> None:
        """Never blocks and never raises."""
        try:
            if _APPLICATION.issuperset(route.scopes) and route.scopes:
                return
            if status != 401 or self._has_room():
                self._trail.put(self._entry(route, request, status))
        except Exception:
            log.exception("audit.failed", extra={"path": route.path})

    def _has_room(self) -> bool:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._refused = minute, 0
        self._refused += 1
        return self._refused <= _MOST_REFUSED

    def _entry(self, route: Route, request: ApiRequest, status: int) -> dict[str, Any]:
        now, caller = self._clock(), request.caller
        entry = {
            "id": record_id(now, os.urandom(10)),
            "created_at": now,
            "timestamp": iso(now),
            "user_id": caller.id or None,
            "user_name": caller.name,
            "user_type": caller.kind,
            "method": request.method,
            "uri": "/v1" + route.path,
            "resource": dict(request.params),
            "resource_type": route.path.split("/")[1],
            "action": _action(route),
            "scope": list(route.scopes),
            "response_status_code": status,
            "client_ip": safe_text(request.client_ip),
            "user_agent": safe_text(request.headers.get("user-agent")),
            "before": request.note.get("before"),
            "after": request.note.get("after"),
        }
        # Handlers leave secrets out already; this is for what a client put in the wrong field.
        text = self._redaction.body(orjson.dumps(mask_fields(entry), default=str))
        clean: dict[str, Any] = orjson.loads(text)
        return {**clean, "created_at": now}


class AuditApi:
    """The trail, newest first. `clock` gives unix seconds."""

    def __init__(self, trail: AuditTrail, *, clock: Callable[[], float]) -> None:
        self._trail, self._clock = trail, clock

    def routes(self) -> Sequence[Route]:
        return (Route("GET", "/audit-logs", "audit_logs.list", self.list),)

    async def list(self, request: ApiRequest) -> dict[str, Any]:
        """Of the last day, or from `start_time` to `end_time`; each other field narrows it down."""
        query = request.query
        until = _time(query, "end_time", self._clock() + 1)
        since = _time(query, "start_time", until - _DAY)
        if not 0 <= until - since <= _MOST_DAYS * _DAY:
            raise InvalidRequest(
                f"start_time: must be before end_time, by {_MOST_DAYS} days at most", param="start_time"
            )
        rows = [row for row in await self._trail.page(since, until, _MOST_ROWS) if _fits(row, query)]
        page, size = request.page()
        shown = rows[page * size : (page + 1) * size]
        # Portkey's API says `records`; the gateway's lists all have `data`.
        return {"object": "list", "total": len(rows), "data": shown, "records": shown}


_FILTERS = ("user_id", "user_type", "method", "uri", "resource_type", "action", "client_ip")


def _fits(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    if any(name in query and str(row.get(name)) != query[name] for name in _FILTERS):
        return False
    status = query.get("response_status_code")
    return status is None or str(row["response_status_code"]) in status.split(",")


def _action(route: Route) -> str:
    """The verb of the route's scope, which says more than its method."""
    return route.scopes[0].rpartition(".")[2] if route.scopes else _ACTIONS.get(route.method, "read")


def _time(query: Mapping[str, str], name: str, default: float) -> float:
    text = query.get(name)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name}: must be an ISO 8601 time, got {text[:40]!r}", param=name) from None
