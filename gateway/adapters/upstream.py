"""The way to upstreams: httpx's types on aiohttp's connections.

Why not httpx's own pool, or httpx-aiohttp: `docs/decisions/002-http-stack.md`.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from gateway.core.hosts import AZURE_SUFFIXES, GATEWAY_SUFFIXES, Reach, may_connect

CONNECT_TIMEOUT = 10.0  # seconds, name resolution and TLS included
# Azure's load balancers drop a connection that was idle for 4 minutes; a reused one must be younger.
KEEP_ALIVE = 60.0  # seconds
READ_TIMEOUT = 600.0  # seconds between two reads: reasoning models think for minutes in silence


class GuardedResolver(AbstractResolver):
    """Resolves names, and hides addresses that the name's host must not have.

    The check stands here, where the connection takes its address from, so a name that answers
    differently the second time gains nothing.
    """

    def __init__(self, trusted: frozenset[str], inner: AbstractResolver | None = None) -> None:
        self._trusted = trusted
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        reach = self._reach(host.lower(), port)
        found = await self._inner.resolve(host, port, family)
        allowed = [result for result in found if may_connect(result["host"].split("%")[0], reach)]
        if not allowed:
            raise OSError(None, f"{host} resolves to an address that is not allowed")
        return allowed

    def _reach(self, host: str, port: int) -> Reach:
        if host in self._trusted or f"{host}:{port}" in self._trusted:
            return Reach.ANY
        return Reach.AZURE if host.endswith(AZURE_SUFFIXES + GATEWAY_SUFFIXES) else Reach.PUBLIC

    async def close(self) -> None:
        await self._inner.close()


class UpstreamTransport(httpx.AsyncBaseTransport):
    """One session for the process's life: no cookies, no redirects, no decompression.

    Must be made and used on one event loop. Faults come as httpx's: `ConnectError` and
    `ConnectTimeout` when nothing can have reached the upstream, `ReadError`, `ReadTimeout` and
    `RemoteProtocolError` when it may have begun.
    """

    def __init__(
        self, trusted: frozenset[str] = frozenset(), *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=KEEP_ALIVE,
                ttl_dns_cache=30,
                resolver=GuardedResolver(trusted),
                ssl=ssl_context or ssl.create_default_context(),  # honours SSL_CERT_FILE
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=CONNECT_TIMEOUT, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT
            ),
            requote_redirect_url=False,
            trust_env=False,
            max_line_size=16_384,
            max_field_size=32_768,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = await self._session.request(
                request.method,
                _yarl(str(request.url)),
                headers=[(name.decode("ascii"), _text(value)) for name, value in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _foreign(error) from error
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer))

    async def aclose(self) -> None:
        await self._session.close()


@lru_cache(maxsize=1024)
def _yarl(url: str) -> URL:
    """The URL as it is spelt: escapes in it are the caller's."""
    return URL(url, encoded=True)


def _text(value: bytes) -> str:
    """A header's value as aiohttp must be given it: UTF-8 is what it writes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


class _Body(httpx.AsyncByteStream):
    """The answer's chunks as they arrive."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        content = self._answer.content
        try:
            chunk = await content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _foreign(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back, or drop it when the answer was not read to its end."""
        self._answer.release() if self._answer.content.at_eof() else self._answer.close()


# From the particular to the general: the first that fits.
_FOREIGN: tuple[tuple[type[BaseException], type[httpx.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.SocketTimeoutError, httpx.ReadTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),  # DNS and TLS too
    (aiohttp.ClientConnectorCertificateError, httpx.ConnectError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.ClientPayloadError, httpx.ReadError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (asyncio.TimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
    (OSError, httpx.ReadError),
    (ValueError, httpx.RemoteProtocolError),
)


def _foreign(error: BaseException) -> httpx.TransportError:
    kind: Any = next(ours for theirs, ours in _FOREIGN if isinstance(error, theirs))
    text = str(error) or type(error).__name__
    return kind(text[:300])  # type: ignore[no-any-return]
