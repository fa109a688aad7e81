"""The composed gateway in the test's own process and loop, its upstream a function."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.core.record import Record
from gateway.relay import Relay
from gateway.settings import Settings
from gateway.wiring import Services, compose
from tests.support.asgi import Client

ADMIN_KEY = "gw-" + "a" * 43


class Records:
    """A recorder that keeps what it is given."""

    def __init__(self) -> None:
        self.all: list[Record] = []

    def put(self, record: Record) -> None:
        self.all.append(record)

    @property
    def only(self) -> Record:
        """The one record there must be."""
        assert len(self.all) == 1, self.all
        return self.all[0]


@dataclass(slots=True)
class Local:
    """A gateway without processes and sockets; `client` carries the admin's key."""

    services: Services
    records: Records
    client: Client

    async def create_key(self, **values: Any) -> str:
        """The slug of a new virtual key for Azure OpenAI."""
        given = {"name": "Azure", "provider": "azure-openai", "key": "AZURE-KEY-000000000", **values}
        if "custom_host" not in given:
            given.setdefault("resourceName", "res")
        answer = await self.client.request("POST", "/v1/virtual-keys", json=given)
        assert answer.status == 200, answer.body
        return str(answer.json()["slug"])

    def answer_by(self, handler: Callable[[httpx.Request], Any]) -> list[httpx.Request]:
        """Upstream requests go to `handler` from now on; they are in the list too."""
        seen: list[httpx.Request] = []

        def keep(request: httpx.Request) -> Any:
            seen.append(request)
            return handler(request)

        self.services.gateway.pipeline.transport = httpx.MockTransport(keep)
        return seen


@asynccontextmanager
async def local_gateway(
    folder: Path, *, ping_seconds: float | None = None, **settings: Any
) -> AsyncIterator[Local]:
    """Composed as for production, but for the recorder, which keeps records as they are."""
    services = compose(Settings(data_dir=str(folder), admin_key=ADMIN_KEY, **settings))
    records = Records()
    gateway = services.gateway
    options = {} if ping_seconds is None else {"ping_seconds": ping_seconds}
    gateway.relay = Relay(records, gateway.timer, **options)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await gateway.handle(Request(scope, receive))
        await response(scope, receive, send)

    try:
        yield Local(services, records, Client(app, {"x-portkey-api-key": ADMIN_KEY}))
    finally:
        await services.aclose()


def chat_body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def chat_answer(**more: Any) -> dict[str, Any]:
    """As Azure OpenAI answers, content filter results included."""
    message = {"role": "assistant", "content": "hi", "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "content_filter_results": {}}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5.4"}
    return {**head, "choices": [choice], "usage": usage, "prompt_filter_results": [], **more}
