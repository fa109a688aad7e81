"""A small document by GET, over the gateway's own transport."""

import asyncio

import httpx

PATIENCE = 5.0  # seconds
MOST = 1024 * 1024  # bytes


async def fetch(transport: httpx.AsyncBaseTransport, url: str) -> bytes:
    """The body of a 200. Raises `ValueError` for any other answer or one that is too large,
    `TimeoutError`, and httpx's `TransportError`.
    """
    async with asyncio.timeout(PATIENCE):
        request = httpx.Request("GET", url, headers={"accept": "application/json"})
        response = await transport.handle_async_request(request)
        try:
            if response.status_code != 200:
                raise ValueError(f"answered {response.status_code}")
            chunks, size = [], 0
            async for chunk in response.stream:  # type: ignore[union-attr]
                chunks.append(chunk)
                size += len(chunk)
                if size > MOST:
                    raise ValueError("answered with too much")
            return b"".join(chunks)
        finally:
            await response.aclose()
