"""What both front doors share: settings read once, the gateway composed at the first request."""

import asyncio
import atexit
import gc
import logging
import signal
import threading
import time
import uuid
from collections.abc import Mapping
from types import FrameType

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.core.errors import GatewayError, StoreUnavailable, error_body
from gateway.core.headers import RequestHeaders
from gateway.core.record import Record
from gateway.relay import json_response, portkey_headers
from gateway.settings import Settings, SettingsError
from gateway.wiring import Services, compose, quiet_logs

log = logging.getLogger("gateway")

_DAY = 86_400.0  # seconds
_FIRST_PURGE = 60.0  # seconds after the start, which has enough to do
_LAST_WRITE = 4.0  # seconds; hosts kill about five after they asked a process to end


class FrontDoor:
    """Composes lazily: an error at import would hide every function of the app from its host."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        quiet_logs()
        self._services: Services | None = None
        self._problems: list[str] = []
        try:
            self.settings = Settings.from_environ(environ)
        except SettingsError as error:
            self._problems = error.problems
            log.error("settings.bad", extra={"problems": error.problems})

    async def handle(self, request: Request) -> Response:
        """The response to any request; `/health` is open to all."""
        path = request.scope["path"]
        if path.rstrip("/") == "/health" or self._problems:
            return self._health(RequestHeaders(request.scope["headers"]).trace_id)
        return await self.services().gateway.handle(request)

    def services(self) -> Services:
        """The composed gateway; made on the running loop at the first call."""
        if self._services is None:
            asyncio.get_running_loop()
            self._services = compose(self.settings)
            _spare_collector()
        return self._services

    def _health(self, trace_id: str | None) -> Response:
        headers = portkey_headers(
            Record(id := str(uuid.uuid4()), trace_id or id, time.time(), "GET", "/health")
        )
        if self._problems:
            # Names of settings, never values: without them an operator has nothing to go by.
            error = StoreUnavailable(
                f"settings are missing or bad: {'; '.join(self._problems)}", code="settings"
            )
            body = {**error_body(error), "status": "down", "settings": self._problems}
            return json_response(503, body, headers)
        return json_response(200, {"status": "up"}, headers)

    async def purge(self) -> int:
        """Delete records past their time; 0 when the settings are bad."""
        return 0 if self._problems else await self.services().purge()

    async def _purge_daily(self) -> None:
        """For a gateway without a host that has timers."""
        await asyncio.sleep(_FIRST_PURGE)
        while True:
            try:
                log.info("records.purged", extra={"deleted": await self.purge()})
            except GatewayError as error:
                log.warning("records.purge_failed", extra={"error": error.message})
            await asyncio.sleep(_DAY)

    def record_to_the_end(self) -> None:
        """Write what was answered when this process is told to end; the Functions worker has no hook for it.

        Called before a server takes the signals: uvicorn finishes its requests, then raises them anew.
        """
        atexit.register(self._write_records)
        if threading.current_thread() is not threading.main_thread():
            return
        before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL

        def end(number: int, frame: FrameType | None) -> None:
            self._write_records()
            signal.signal(number, before)
            signal.raise_signal(number)

        signal.signal(signal.SIGTERM, end)

    def _write_records(self) -> None:
        if self._services is not None:
            self._services.recorder.close(_LAST_WRITE)

    async def aclose(self) -> None:
        if self._services is not None:
            await self._services.aclose()
            self._services = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for uvicorn."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            response = await self.handle(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "WebSockets are not served"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        daily = asyncio.create_task(self._purge_daily())
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                daily.cancel()
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _spare_collector() -> None:
    """Keep the garbage collector off what stays for good: modules, classes, the composed gateway.

    It looked at all of them again and again, for a tenth of the CPU of each request. Requests leave few
    cycles, so the youngest generation may grow larger than its default of 700 objects; the older ones are
    looked at more often, as what a broken stream leaves in a cycle holds its last bytes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 5)
