"""From a request to a response: the one entry that both front doors call.

It finds the route, tells the caller, reads the body within its bounds, and turns every fault into
JSON with the headers that all responses carry.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from gateway.api.routing import ApiRequest, ApiResponse, Route, Router
from gateway.auth import Authenticator, Identified
from gateway.call import Call, asked_of, of_prompt
from gateway.core.caller import Caller
from gateway.core.config import Compiled
from gateway.core.errors import (
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
)
from gateway.core.headers import RequestHeaders, flat_metadata, parse_traceparent, safe_text
from gateway.core.ids import record_id
from gateway.core.jsontext import dumps
from gateway.core.metadata_schema import MetadataSchema
from gateway.core.operations import Operation, Path, inference, known_methods, split_path
from gateway.core.record import Record
from gateway.departure import Departure
from gateway.pipeline import Pipeline
from gateway.relay import RawResponse, Relay, error_response, json_response, portkey_headers
from gateway.request_body import Bodies

log = logging.getLogger("gateway")

# Most answers are there sooner; only then is it worth a task to notice that the client left.
WATCH_AFTER = 0.1  # seconds
_DRAIN_LIMIT = 256 * 1024 * 1024  # bytes read and dropped so that a refused client hears the refusal


class Configs(Protocol):
    """Where a request's config comes from."""

    async def compiled(self, text: str) -> Compiled:
        """Of inline JSON or a slug; raises `InvalidRequest` or `NotFound`."""
        ...

    async def identity(self, text: str) -> tuple[str, int] | None:
        """Slug and version of a saved config, None of inline JSON."""
        ...


@dataclass(slots=True)
class Gateway:
    """The composed gateway. `handle` never raises but when the server itself cancels."""

    authenticator: Authenticator
    router: Router
    pipeline: Pipeline
    relay: Relay
    configs: Configs
    bodies: Bodies
    keep_bodies: bool
    clock: Callable[[], float]  # unix seconds
    timer: Callable[[], float]  # monotonic seconds
    random_bits: Callable[[int], int]  # for ids, no secrets: the system's source costs 0.1 ms a call
    # Called after each management call with its route and how it ended; never raises.
    audit: Callable[[Route, ApiRequest, int], None]
    metadata_schema: MetadataSchema | None = None  # what every request's metadata must hold

    async def handle(self, request: Request) -> Response:
        """The response to any request, faults included."""
        begun = self.timer()
        scope = request.scope
        headers = RequestHeaders(scope["headers"])
        path = split_path(_raw_path(scope))
        record = self._record(request.method, path, headers, scope)
        try:
            found = self._management(request.method, path)
            if found is not None:
                return await self._manage(request, headers, record, *found)
            if path.rest == "/" and request.method in ("GET", "HEAD"):
                return self._greeting(record)
        except GatewayError as error:
            return await self._refuse(request, record, error, admin=True)
        try:
            operation = _operation(request.method, path)
        except GatewayError as error:
            await self.bodies.drain(request)
            return self.relay.fail(record, begun, error)
        return await self._infer(request, headers, record, operation, begun)

    async def _infer(
        self, request: Request, headers: RequestHeaders, record: Record, operation: Operation, begun: float
    ) -> Response:
        departure = Departure(request.receive, _current_task())
        try:
            call = await self._call(request, headers, record, operation)
            departure.watch(after=WATCH_AFTER)
            answer = await self.pipeline.serve(call)
            departure.stop()
            return self.relay.respond(call, begun, answer)
        except GatewayError as error:
            await self.bodies.drain(request)
            return self.relay.fail(record, begun, error)
        except (asyncio.CancelledError, ClientDisconnect) as error:
            if isinstance(error, asyncio.CancelledError):
                if not departure.left:
                    raise
                _current_task().uncancel()
            return self._left(record, begun)
        except Exception:
            log.exception("request.failed", extra={"request_id": record.id})
            return self.relay.fail(record, begun, _bug(record))
        finally:
            departure.stop()

    async def _call(
        self, request: Request, headers: RequestHeaders, record: Record, operation: Operation
    ) -> Call:
        who = await self.authenticator.identify(headers)
        self._describe(record, who, headers, operation)
        who.caller.require("completions.write")
        for schema in (self.metadata_schema, who.caller.metadata_schema):
            if schema is not None:
                schema.check(record.metadata)
        body = await self.bodies.parse(request, headers, operation)
        record.request_body = body.raw if record.keep_bodies else None
        record.stream = body.stream
        record.model = body.model
        asked = asked_of(headers, body, operation, who.upstream_token)
        call = Call(operation, _query(request), headers, body, who.caller, record, asked, secrets=who.ours)
        if operation.prompt is not None:
            call.prompt = body.json or {}
            call = of_prompt(call, await self.pipeline.prompts.to_request(operation.prompt, call.prompt))
        await self._configure(call)
        return call

    async def _configure(self, call: Call) -> None:
        """The request's config, else the caller's default one."""
        text, default = call.headers.portkey("config"), call.caller.config_id
        if text is not None and default is not None and not call.caller.allow_config_override:
            raise InvalidRequest(
                "this key has a default config that requests may not override: leave x-portkey-config out",
                code="config_override_forbidden",
                param="x-portkey-config",
            )
        chosen = text or default
        if chosen is None:
            return
        call.config = await self.configs.compiled(chosen)
        call.record.warnings += call.config.warnings
        if call.config.metadata:
            call.record.metadata = {**call.config.metadata, **call.record.metadata}
        identity = await self.configs.identity(chosen)
        if identity is not None:
            call.record.config_slug, call.record.config_version = identity

    # --- management

    def _management(self, method: str, path: Path) -> tuple[Route, dict[str, str]] | None:
        if path.family == "openai":
            return None
        return self.router.find("GET" if method == "HEAD" else method, path.rest)

    async def _manage(
        self, request: Request, headers: RequestHeaders, record: Record, route: Route, params: dict[str, str]
    ) -> Response:
        call = ApiRequest(
            request.method, route.path, params, _query(request), headers, _NOBODY, base_url=_base_url(request)
        )
        call.client_ip = headers.get("x-azure-clientip") or headers.get("client-ip") or _peer(request)
        status = 500
        try:
            if route.scope is not None:
                who = await self.authenticator.identify(headers)
                call.caller = who.caller
                call.caller.require(*route.scopes)
            call.raw_body = await self.bodies.read(request, headers)
            result = await route.handler(call)
            response = _api_response(record, result)
            status = response.status_code
        except GatewayError as error:
            status = error.status
            return await self._refuse(request, record, error, admin=True)
        except ClientDisconnect:
            return RawResponse(499, [], b"")
        except Exception:
            log.exception("management.failed", extra={"request_id": record.id, "route": route.path})
            return error_response(record, _bug(record), admin=True)
        finally:
            self.audit(route, call, status)
        return response

    async def _refuse(
        self, request: Request, record: Record, error: GatewayError, *, admin: bool = False
    ) -> RawResponse:
        await self.bodies.drain(request)
        return error_response(record, error, admin=admin)

    # --- records

    def _record(self, method: str, path: Path, headers: RequestHeaders, scope: Scope) -> Record:
        w3c = parse_traceparent(headers.get("traceparent"))
        now = self.clock()
        id = record_id(now, self.random_bits(80).to_bytes(10, "big"))
        record = Record(
            id=id,
            # A trace that nobody named is named as its record: stores find it without an index.
            trace_id=headers.trace_id or (w3c[0] if w3c else id),
            created_at=now,
            method=method,
            path=_shown_path(scope),
        )
        record.span_id = safe_text(headers.portkey("span-id")) or f"{self.random_bits(64):016x}"
        record.parent_span_id = safe_text(headers.portkey("parent-span-id")) or (w3c[1] if w3c else None)
        record.span_name = safe_text(headers.portkey("span-name")) or f"{method} {record.path}"[:256]
        return record

    def _describe(
        self, record: Record, who: Identified, headers: RequestHeaders, operation: Operation
    ) -> None:
        record.operation = operation.name
        record.caller_id, record.caller_name = who.caller.id, who.caller.name
        record.metadata = (
            {**headers.metadata, **flat_metadata(who.caller.metadata)}
            if who.caller.metadata
            else headers.metadata
        )
        record.source = safe_text(headers.portkey("package-version") or headers.get("user-agent"))
        record.runtime = safe_text(headers.portkey("runtime") or headers.get("x-stainless-runtime"))
        record.runtime_version = safe_text(
            headers.portkey("runtime-version") or headers.get("x-stainless-runtime-version")
        )
        record.keep_bodies = self.keep_bodies and headers.debug
        record.sensitive_headers = headers.sensitive
        record.request_headers = headers.raw if record.keep_bodies else None

    def _left(self, record: Record, begun: float) -> Response:
        """Nobody reads this answer; the record does count."""
        record.status, record.complete = 499, False
        record.error_class, record.error_message = "client_left", "the client left before the answer began"
        self.relay.finish(record, begun)
        return RawResponse(499, portkey_headers(record), b"")

    def _greeting(self, record: Record) -> Response:
        return json_response(
            200, {"service": "llm-gateway", "api": "/v1", "health": "/health"}, portkey_headers(record)
        )


_NOBODY = Caller("", "nobody", kind="none", scopes=frozenset())


def _current_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task


def _raw_path(scope: Scope) -> str:
    raw = scope.get("raw_path")
    return raw.decode("latin-1").split("?", 1)[0] if raw else str(scope["path"])


def _shown_path(scope: Scope) -> str:
    return _raw_path(scope)[:512]


def _query(request: Request) -> str:
    return str(request.scope.get("query_string", b"").decode("latin-1"))


def _peer(request: Request) -> str | None:
    return request.client.host if request.client else None


def _base_url(request: Request) -> str:
    """The URL clients use: behind the Functions host the request's own is a loopback address."""
    headers = request.headers
    host = headers.get("x-forwarded-host") or headers.get("host") or "localhost"
    scheme = headers.get("x-forwarded-proto") or str(request.scope.get("scheme", "http"))
    return f"{scheme.split(',')[0].strip()}://{host.split(',')[0].strip()}"


def _operation(method: str, path: Path) -> Operation:
    """The inference operation, or the error that says why there is none."""
    allowed = known_methods(path)
    if allowed and method not in allowed:
        verbs = ", ".join(allowed)
        raise MethodNotAllowed(f"{method} is not allowed here: use {verbs}", headers={"allow": verbs})
    operation = inference(method, path)
    if operation is None:
        raise NotFound(f"there is nothing at {path.rest[:200]!r}: see the API's paths in the documentation")
    return operation


def _api_response(record: Record, result: Any) -> Response:
    headers = portkey_headers(record)
    if isinstance(result, Response):  # a file that is made while it is sent
        result.raw_headers.extend(headers)
        return result
    if not isinstance(result, ApiResponse):
        return json_response(200, result, headers)
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in result.headers.items()]
    body = result.body if isinstance(result.body, bytes) else dumps(result.body)
    headers.append((b"content-type", result.content_type.encode()))
    return RawResponse(result.status, headers, body)


def _bug(record: Record) -> InternalError:
    return InternalError(f"the gateway failed; its log has the cause under request id {record.id}")
