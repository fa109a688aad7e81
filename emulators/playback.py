"""Carries a plan out on the wire, and notices when the client leaves."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from starlette.types import Receive, Send

from emulators.plan import End, Plan


async def play(
    plan: Plan, receive: Receive, send: Send, transport: asyncio.Transport, on_leave: Callable[[], None]
) -> None:
    """Sends the answer; when the client goes before its end, stops at once and calls `on_leave`."""
    if not plan.answer.streamed and plan.first_byte_s == 0 and plan.end is End.DONE:
        return await _send(plan, send)
    leaving = asyncio.create_task(_client_gone(receive))
    sending = asyncio.create_task(_perform(plan, send, transport))
    try:
        await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            on_leave()
    finally:
        for task in (sending, leaving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _perform(plan: Plan, send: Send, transport: asyncio.Transport) -> None:
    await asyncio.sleep(plan.first_byte_s)
    if plan.end is End.DONE:
        return await _send(plan, send)
    if plan.head:
        await _send_head(plan, send)
        await _send_chunks(plan, send)
    return _break(plan.end, transport)


async def _send(plan: Plan, send: Send) -> None:
    await _send_head(plan, send)
    if not plan.answer.streamed:
        return await send({"type": "http.response.body", "body": b"".join(plan.answer.chunks)})
    await _send_chunks(plan, send)
    return await send({"type": "http.response.body", "body": b""})


async def _send_head(plan: Plan, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in plan.answer.headers]
    if not plan.answer.streamed and plan.answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % sum(map(len, plan.answer.chunks))))
    await send({"type": "http.response.start", "status": plan.answer.status, "headers": headers})


async def _send_chunks(plan: Plan, send: Send) -> None:
    for number, chunk in enumerate(plan.answer.chunks):
        if number:
            await asyncio.sleep(plan.between_chunks_s)  # 0 lets the loop see that the client left
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _break(end: End, transport: asyncio.Transport) -> None:
    if end is End.CLOSE:
        return transport.close()
    # SO_LINGER of 0 seconds makes closing send RST (socket(7)).
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return transport.abort()
