"""What every emulator has: a log of requests, scripts of failures, and control over HTTP."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from emulators.plan import Answer, Ordinary, Plan, Refused, json_answer
from emulators.playback import play
from emulators.request_log import Received, RequestLog
from emulators.steps import Step, parse_step

MAX_BODY = 256 * 2**20  # bytes; more than any service here takes
ANY = "*"  # the key of a script for every request


class Emulator:
    """An ASGI app. A service says what it answers, and which script a request falls under (`respond`).

    Over HTTP: `POST /emulator/script {"key", "steps": [{"kind", ...}], "forever"}`,
    `DELETE /emulator/script`, `GET /emulator/requests`, `DELETE /emulator/requests`.
    """

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self.log = RequestLog()
        self._delay_s = delay_s
        self._scripts: dict[str, deque[Step]] = {}
        self._forever: dict[str, Step] = {}
        self._lock = threading.Lock()

    def respond(self, received: Received) -> tuple[str | None, Ordinary]:
        """What `script` names this request by (None: scripts leave it alone), and what answers it."""
        raise NotImplementedError

    def headers(self, received: Received) -> list[tuple[str, str]]:
        """Those that every answer has, ordinary or scripted, unless it brings its own."""
        return []

    def script(self, key: str, steps: Iterable[Step], *, forever: bool = False) -> None:
        """Queues one step for each coming request of `key` (`"*"`: any). `forever`: the last one stays."""
        queue = list(steps)
        with self._lock:
            self._scripts.setdefault(key, deque()).extend(queue)
            if forever:
                self._forever[key] = queue[-1]

    def clear_scripts(self) -> None:
        with self._lock:
            self._scripts.clear()
            self._forever.clear()

    @property
    def requests(self) -> list[Received]:
        return self.log.entries()

    @property
    def disconnects(self) -> int:
        """How many clients left before their answer was complete."""
        return sum(received.client_left for received in self.log.entries())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        received = await _read(Request(scope, receive))
        if received.client_left:
            return self.log.add(received)
        transport: asyncio.Transport = scope["state"]["transport"]
        plan = self._plan(received)
        return await play(plan, receive, send, transport, lambda: self.log.mark_left(received))

    def _plan(self, received: Received) -> Plan:
        if len(received.body) > MAX_BODY:
            return Plan(json_answer({"error": {"code": "413", "message": "Request body too large"}}, 413))
        if received.path.startswith("/emulator/"):
            return Plan(self._control(received))
        self.log.add(received)
        plan = self._decide(received)
        return replace(plan, answer=plan.answer.with_headers(self.headers(received)))

    def _decide(self, received: Received) -> Plan:
        try:
            key, ordinary = self.respond(received)
        except Refused as refused:
            return Plan(refused.answer)
        except Exception as error:
            return Plan(_bug(error))
        step = self._next_step(key)
        if step is None:
            return Plan(_or_refusal(ordinary), self._delay_s, self._delay_s)
        return step.plan(lambda: _or_refusal(ordinary))

    def _next_step(self, key: str | None) -> Step | None:
        if key is None:
            return None
        with self._lock:
            for name in (key, ANY):
                if self._scripts.get(name):
                    return self._scripts[name].popleft()
                if name in self._forever:
                    return self._forever[name]
        return None

    def _control(self, received: Received) -> Answer:
        match received.method, received.path:
            case "GET", "/emulator/requests":
                data = [entry.as_json() for entry in self.log.entries()]
                return json_answer({"object": "list", "total": len(data), "data": data})
            case "DELETE", "/emulator/requests":
                self.log.clear()
            case "DELETE", "/emulator/script":
                self.clear_scripts()
            case "POST", "/emulator/script":
                return self._take_script(received)
            case _:
                return json_answer({"error": {"message": f"no such control: {received.path}"}}, 404)
        return json_answer({"ok": True})

    def _take_script(self, received: Received) -> Answer:
        try:
            wanted: Any = received.json()
            steps = [parse_step(step) for step in wanted["steps"]]
            self.script(wanted["key"], steps, forever=bool(wanted.get("forever", False)))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return json_answer({"error": {"message": f"{type(error).__name__}: {error}"}}, 400)
        return json_answer({"ok": True, "steps": len(steps)})


def _or_refusal(ordinary: Ordinary) -> Answer:
    try:
        return ordinary()
    except Refused as refused:
        return refused.answer
    except Exception as error:
        return _bug(error)


def _bug(error: Exception) -> Answer:
    """What the emulator did not foresee, said aloud: the server's own log is off."""
    message = f"The emulator failed: {type(error).__name__}: {error}"
    return json_answer({"error": {"code": "InternalServerError", "message": message}}, 500)


async def _read(request: Request) -> Received:
    """The request; `client_left` with what came of its body when the client went meanwhile."""
    body, left = bytearray(), False
    try:
        async for piece in request.stream():
            if len(body) <= MAX_BODY:
                body += piece
    except ClientDisconnect:
        left = True
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    query: bytes = request.scope["query_string"]
    target = (raw + (b"?" + query if query else b"")).decode("latin-1")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    scheme, path = request.scope["scheme"], request.scope["path"]
    return Received(request.method, path, target, headers, bytes(body), scheme, client_left=left)


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": message["type"] + ".complete"})
    await send({"type": "lifespan.shutdown.complete"})
