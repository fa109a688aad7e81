"""The way to upstreams: httpx's types on connections of our own.

Why not httpx's own pool, httpx-aiohttp, or aiohttp: `docs/decisions/002-http-stack.md`.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache

import httpx

from gateway.adapters.http1 import Connection, HungUp
from gateway.adapters.single_flight import SingleFlight
from gateway.core.hosts import AZURE_SUFFIXES, GATEWAY_SUFFIXES, Reach, may_connect

CONNECT_TIMEOUT = 10.0  # seconds, name resolution and TLS included
_ADDRESS_TIMEOUT = 4.0  # seconds for one address of several
# Azure's load balancers drop a connection that was idle for 4 minutes; a reused one must be younger.
KEEP_ALIVE = 60.0  # seconds
READ_TIMEOUT = 600.0  # seconds between two reads: reasoning models think for minutes in silence
_NAME_TTL = 30.0  # seconds a resolved name is used again
_MOST_NAMES = 1000

Origin = tuple[str, str, int]  # scheme, host, port
# All addresses of a host, as `getaddrinfo` orders them.
Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """By the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class GuardedResolver:
    """Resolves names, and hides addresses that the name's host must not have.

    The check stands here, where the connection takes its address from, so a name that answers
    differently the second time gains nothing.
    """

    def __init__(self, trusted: frozenset[str], inner: Resolve = resolve) -> None:
        self._trusted = trusted
        self._inner = inner
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self._flights: SingleFlight[tuple[str, int], list[str]] = SingleFlight()

    async def __call__(self, host: str, port: int) -> list[str]:
        """Raises `OSError` where no address is left."""
        now = asyncio.get_running_loop().time()
        until, found = self._known.get((host, port), (0.0, []))
        if now >= until:
            found = await self._flights.run((host, port), lambda: self._inner(host, port))
            if len(self._known) >= _MOST_NAMES:
                self._known.clear()
            self._known[host, port] = (now + _NAME_TTL, found)
        reach = self._reach(host.lower(), port)
        allowed = [address for address in found if may_connect(address.split("%")[0], reach)]
        if not allowed:
            raise OSError(None, f"{host} resolves to an address that is not allowed")
        return allowed

    def forget(self, host: str, port: int) -> None:
        """None of its addresses answered: ask anew."""
        self._known.pop((host, port), None)

    def _reach(self, host: str, port: int) -> Reach:
        spelt = f"[{host}]" if ":" in host else host  # as settings and URLs spell an IPv6 address
        if not self._trusted.isdisjoint((host, spelt, f"{spelt}:{port}")):
            return Reach.ANY
        return Reach.AZURE if host.endswith(AZURE_SUFFIXES + GATEWAY_SUFFIXES) else Reach.PUBLIC

    async def aclose(self) -> None:
        await self._flights.aclose()


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Connections for the process's life: no cookies, no redirects, no decompression, no proxies.

    Must be made and used on one event loop. Faults come as httpx's: `ConnectError` and
    `ConnectTimeout` when nothing can have reached the upstream, `ReadError`, `ReadTimeout` and
    `RemoteProtocolError` when it may have begun.

    A request is sent twice in one case alone: a reused connection ended before one byte of an answer,
    and the request may be repeated (`repeatable`). Why: `docs/decisions/002-http-stack.md`.
    """

    def __init__(
        self,
        trusted: frozenset[str] = frozenset(),
        *,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolve = resolve,
        keep_alive: float = KEEP_ALIVE,
        patience: float = READ_TIMEOUT,
    ) -> None:
        self._resolver = GuardedResolver(trusted, resolver)
        self._ssl = ssl_context or ssl.create_default_context()  # honours SSL_CERT_FILE
        self._keep_alive, self._patience = keep_alive, patience
        self._idle: dict[Origin, list[Connection]] = {}  # the last used one is taken first
        self._living: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        origin, first = _target(request.url)
        head = _head(request, first)
        reused = self._reuse(origin)
        try:
            return await self._exchange(origin, reused or await self._connect(origin), head, request)
        except HungUp:
            if reused is None or not repeatable(request):
                raise
        return await self._exchange(origin, await self._connect(origin), head, request)

    async def _exchange(
        self, origin: Origin, connection: Connection, head: bytes, request: httpx.Request
    ) -> httpx.Response:
        try:
            await connection.exchange(head, request.content, bodyless=request.method == "HEAD")
        except BaseException:  # cancelled, too: an answer that nobody reads must not stay in the way
            connection.close()
            raise
        body = _Body(connection, lambda: self._release(origin, connection))
        return httpx.Response(connection.status, headers=connection.headers, stream=body)

    async def aclose(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._resolver.aclose()
        for connection in list(self._living):
            connection.close()
        for _ in range(10):  # the event loop lets go of the sockets in its next turns
            await asyncio.sleep(0)

    def _reuse(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - self._keep_alive
        while idle:
            connection = idle.pop()
            if connection.usable and connection.idle_since > oldest and not connection.spoke():
                return connection
            connection.close()
        return None

    def _release(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection for the next request, or drop it when its answer was not read to its end."""
        if not (connection.finished and connection.usable):
            connection.close()
            return
        loop = asyncio.get_running_loop()
        if connection.keep_alive == 0:
            connection.close()
            return
        connection.idle_since = loop.time() - max(0.0, self._keep_alive - connection.keep_alive)
        self._idle.setdefault(origin, []).append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._keep_alive, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._keep_alive
        for origin, idle in list(self._idle.items()):
            for connection in idle:
                if connection.idle_since <= oldest:
                    connection.close()
            fresh = [connection for connection in idle if connection.idle_since > oldest]
            if fresh:
                self._idle[origin] = fresh
            else:
                del self._idle[origin]
        self._sweeper = loop.call_later(self._keep_alive, self._sweep) if self._idle else None

    async def _connect(self, origin: Origin) -> Connection:
        _, host, port = origin
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                addresses = await self._resolver(host, port)
                for address in addresses[:-1]:
                    try:
                        async with asyncio.timeout(_ADDRESS_TIMEOUT):
                            return await self._open(origin, address)
                    except (OSError, TimeoutError):
                        continue
                return await self._open(origin, addresses[-1])
        except TimeoutError:
            self._resolver.forget(host, port)
            raise httpx.ConnectTimeout(f"{host} did not answer in {CONNECT_TIMEOUT:g} s") from None
        except (OSError, UnicodeError) as error:  # no such name, refused, TLS; a name that is none
            self._resolver.forget(host, port)
            raise httpx.ConnectError(str(error)[:300]) from error

    async def _open(self, origin: Origin, address: str) -> Connection:
        scheme, host, port = origin
        secure = scheme == "https"
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._patience, self._living),
            address,
            port,
            ssl=self._ssl if secure else None,
            server_hostname=host if secure else None,
        )
        return connection


class _Body(httpx.AsyncByteStream):
    """The answer's chunks as they arrive."""

    def __init__(self, connection: Connection, release: Callable[[], None]) -> None:
        self._connection = connection
        self._release: Callable[[], None] | None = release

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._release is None:
            raise StopAsyncIteration
        chunk = await self._connection.read()
        if not chunk:
            self.close()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection, once: after that it may serve another request."""
        release, self._release = self._release, None
        if release is not None:
            release()


# Source: RFC 9110 section 9.2.2.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


def repeatable(request: httpx.Request) -> bool:
    """Whether the request may reach the upstream twice: by its method, or by the client's word."""
    return request.method in _IDEMPOTENT or "idempotency-key" in request.headers


def _target(url: httpx.URL) -> tuple[Origin, bytes]:
    """As `_read_target`, from memory: but a long URL has much of the client's in it, and would fill it."""
    return _known_target(url) if len(url.raw_path) <= 512 else _read_target(url)


def _read_target(url: httpx.URL) -> tuple[Origin, bytes]:
    """Where to connect, and the head's end of the first line with the host, as the URL is spelt."""
    if url.scheme not in ("http", "https") or not url.host:
        raise httpx.UnsupportedProtocol("only http and https are served")
    port = url.port or (443 if url.scheme == "https" else 80)
    first = b"%b HTTP/1.1\r\nhost: %b\r\n" % (url.raw_path, url.netloc)
    return (url.scheme, url.raw_host.decode("ascii"), port), first


_known_target = lru_cache(maxsize=1024)(_read_target)


def _head(request: httpx.Request, first: bytes) -> bytes:
    """The request's head; raises `LocalProtocolError` for a header that would break out of its line."""
    pairs = [pair for pair in request.headers.raw if pair[0].lower() not in _OURS]
    if request.content or request.method in ("POST", "PUT", "PATCH"):
        pairs.append((b"content-length", b"%d" % len(request.content)))
    lines = b"".join([b"%b: %b\r\n" % pair for pair in pairs])
    if not lines.count(b"\r") == lines.count(b"\n") == len(pairs) or b"\0" in lines:
        raise httpx.LocalProtocolError("a header for the upstream holds a line break")
    return b"%b %b%b\r\n" % (request.method.encode("ascii"), first, lines)


_OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection"})
