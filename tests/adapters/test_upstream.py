import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.certificates import write_certificates
from gateway.adapters.http1 import MAX_DRY_BYTES, Connection
from gateway.adapters.upstream import UpstreamTransport
from gateway.plain_request import PlainRequest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5;ext=1\r\nhello\r\n7\r\n, world\r\n0\r\nx-trailer: t\r\n\r\n"
)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """A server that plays a script: for each request, the bytes it answers with."""

    def __init__(self, *answers: bytes, hang_up: bool = False) -> None:
        self.answers = list(answers)
        self.hang_up = hang_up  # after the last answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Event()  # a client hung up

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await read_request(reader))
                if not self.answers:
                    break
                writer.write(self.answers.pop(0))
                if not self.answers and self.hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def serving(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def transport(**options: Any) -> AsyncIterator[UpstreamTransport]:
    options.setdefault("trusted", frozenset({"127.0.0.1"}))
    made = UpstreamTransport(options.pop("trusted"), **options)
    try:
        yield made
    finally:
        await made.aclose()


def post(port: int, path: str = "/", body: bytes = b"{}", **headers: str) -> httpx.Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return PlainRequest("POST", httpx.URL(f"http://127.0.0.1:{port}{path}"), pairs, body)


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


async def whole(way: httpx.AsyncBaseTransport, request: httpx.Request) -> tuple[int, bytes]:
    response = await way.handle_async_request(request)
    return response.status_code, await response.aread()


async def test_a_request_goes_out_as_it_was_spelt() -> None:
    upstream = Upstream(OK)
    async with serving(upstream.serve) as port, transport() as way:
        url = httpx.URL(f"http://127.0.0.1:{port}/a%2Fb%7Ec?x=%2B+%3D&y=a%20b")
        request = PlainRequest(
            "POST", url, [(b"X-A", b"1"), (b"X-A", b"2"), (b"api-key", b"\xff\xc3\xa9")], b"body"
        )
        assert await whole(way, request) == (200, b"ok")
    assert upstream.requests == [
        b"POST /a%2Fb%7Ec?x=%2B+%3D&y=a%20b HTTP/1.1\r\nhost: 127.0.0.1:"
        + str(port).encode()
        + b"\r\nX-A: 1\r\nX-A: 2\r\napi-key: \xff\xc3\xa9\r\ncontent-length: 4\r\n\r\nbody"
    ]


async def test_requests_of_httpx_itself_are_taken_too() -> None:
    upstream = Upstream(OK)
    async with (
        serving(upstream.serve) as port,
        httpx.AsyncClient(transport=UpstreamTransport(TRUSTED)) as way,
    ):
        assert (await way.get(f"http://127.0.0.1:{port}/")).text == "ok"
    assert upstream.requests[0].lower().count(b"host:") == 1


TRUSTED = frozenset({"127.0.0.1"})


async def test_repeated_headers_of_an_answer_are_kept_apart() -> None:
    upstream = Upstream(CHUNKED)
    async with serving(upstream.serve) as port, transport() as way:
        response = await way.handle_async_request(post(port))
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert await response.aread() == b"hello, world"
        assert "x-trailer" not in response.headers


async def test_a_connection_serves_one_request_after_the_other() -> None:
    upstream = Upstream(OK, CHUNKED, OK)
    async with serving(upstream.serve) as port, transport() as way:
        for _ in range(3):
            assert (await whole(way, post(port)))[0] == 200
    assert upstream.connections == 1


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    upstream = Upstream(*[OK] * 5)
    async with serving(upstream.serve) as port, transport() as way:
        answers = await asyncio.gather(*(whole(way, post(port)) for _ in range(5)))
    assert answers == [(200, b"ok")] * 5
    assert upstream.connections == 5


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + OK,  # an answer that nobody asked for
    ],
)
async def test_a_connection_that_is_not_to_be_trusted_is_not_used_again(first: bytes) -> None:
    upstream = Upstream(first, OK)
    async with serving(upstream.serve) as port, transport() as way:
        assert await whole(way, post(port)) == (200, b"ok")
        assert await whole(way, post(port)) == (200, b"ok")
    assert upstream.connections == 2


async def test_an_unread_answer_costs_its_connection() -> None:
    upstream = Upstream(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", OK)
    async with serving(upstream.serve) as port, transport() as way:
        response = await way.handle_async_request(post(port))
        await response.aclose()
        assert await whole(way, post(port)) == (200, b"ok")
    assert upstream.connections == 2


async def test_an_idle_connection_that_the_upstream_closed_is_not_used() -> None:
    first, second = Upstream(OK, hang_up=True), Upstream(OK)
    servers = iter([first.serve, second.serve])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(servers)(reader, writer)

    async with serving(serve) as port, transport() as way:
        await whole(way, post(port))
        await until(lambda: not way._living)  # the event loop has seen the end
        assert await whole(way, post(port)) == (200, b"ok")


class ClosesOnReuse:
    """A server that ends each connection at its second request, after `said` of an answer to it."""

    def __init__(self, said: bytes = b"") -> None:
        self.said = said
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await read_request(reader))
            writer.write(OK)
            self.requests.append(await read_request(reader))
            writer.write(self.said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def get(port: int) -> httpx.Request:
    return PlainRequest("GET", httpx.URL(f"http://127.0.0.1:{port}/"), [], b"")


def keyed(port: int) -> httpx.Request:
    return post(port, idempotency_key="k")


@pytest.mark.parametrize("make", [get, keyed])
async def test_a_reused_connection_that_ends_without_an_answer_is_made_good_by_a_new_one(make: Any) -> None:
    upstream = ClosesOnReuse()
    async with serving(upstream.serve) as port, transport() as way:
        for _ in range(3):
            assert await whole(way, make(port)) == (200, b"ok")
    assert len(upstream.requests) == 5  # the second and the third were sent twice


@pytest.mark.parametrize(("make", "said"), [(post, b""), (keyed, b"H"), (get, b"HTTP/1.1 103 \r\n\r\n")])
async def test_what_may_have_had_an_effect_is_not_sent_twice(make: Any, said: bytes) -> None:
    upstream = ClosesOnReuse(said)
    async with serving(upstream.serve) as port, transport() as way:
        await whole(way, make(port))
        with pytest.raises(httpx.RemoteProtocolError):
            await whole(way, make(port))
    assert len(upstream.requests) == 2


async def test_a_fresh_connection_that_ends_without_an_answer_is_not_tried_again() -> None:
    upstream = Upstream(hang_up=True)
    async with serving(upstream.serve) as port, transport() as way:
        with pytest.raises(httpx.RemoteProtocolError):
            await whole(way, keyed(port))
    assert upstream.connections == 1


async def test_the_end_of_an_idle_connection_counts_before_the_event_loop_sees_it() -> None:
    upstream, ends = Upstream(OK, OK), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer.get_extra_info("socket"))
        await upstream.serve(reader, writer)

    async with serving(serve) as port, transport() as way:
        await whole(way, post(port))
        with ends[0]._sock.dup() as end:
            end.shutdown(socket.SHUT_WR)  # no turn of the event loop between this and the next request
        assert await whole(way, post(port)) == (200, b"ok")
    assert upstream.connections == 2


@pytest.mark.parametrize(
    ("said", "connections"), [(b"timeout=5", 1), (b"timeout=1", 2), (b"timeout=0, max=9", 2), (b"max=9", 1)]
)
async def test_an_upstreams_word_on_idle_connections_counts(said: bytes, connections: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nKeep-Alive: " + said + b"\r\ncontent-length: 2\r\n\r\nok"
    upstream = Upstream(answer, OK)
    async with serving(upstream.serve) as port, transport() as way:
        await whole(way, post(port))
        await whole(way, post(port))
    assert upstream.connections == connections


@pytest.mark.parametrize("trusted", ["[::1]", "[::1]:{}", "::1"])
async def test_a_trusted_ipv6_address_is_reached(trusted: str) -> None:
    upstream = Upstream(OK)
    try:
        server = await asyncio.start_server(upstream.serve, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = server.sockets[0].getsockname()[1]
    async with server, transport(trusted=frozenset({trusted.format(port)})) as way:
        request = PlainRequest("POST", httpx.URL(f"http://[::1]:{port}/"), [], b"{}")
        assert await whole(way, request) == (200, b"ok")
    assert f"host: [::1]:{port}".encode() in upstream.requests[0]


async def test_an_idle_connection_is_closed_in_time() -> None:
    upstream = Upstream(OK, OK)
    async with serving(upstream.serve) as port, transport(keep_alive=0.0) as way:
        await whole(way, post(port))
        await upstream.gone.wait()
        await whole(way, post(port))
    assert upstream.connections == 2


async def test_an_answer_without_length_ends_with_its_connection() -> None:
    upstream = Upstream(b"HTTP/1.1 200 OK\r\n\r\nall of it", hang_up=True)
    async with serving(upstream.serve) as port, transport() as way:
        assert await whole(way, post(port)) == (200, b"all of it")


async def test_head_and_204_have_no_body() -> None:
    upstream = Upstream(b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    async with serving(upstream.serve) as port, transport() as way:
        assert await whole(way, post(port)) == (204, b"")
        head = PlainRequest("HEAD", httpx.URL(f"http://127.0.0.1:{port}/"), [], b"")
        assert await whole(way, head) == (200, b"")


async def test_large_bodies_pass_both_ways() -> None:
    body = bytes(range(256)) * 20_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, _, came = (await read_request(reader)).partition(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(came) + came)
        await writer.drain()
        writer.close()

    async with serving(serve) as port, transport() as way:
        assert await whole(way, post(port, body=body)) == (200, body)


async def test_what_came_before_a_break_is_given_first() -> None:
    upstream = Upstream(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", hang_up=True)
    async with serving(upstream.serve) as port, transport() as way:
        response = await way.handle_async_request(post(port))
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        chunks = aiter(stream)
        assert await anext(chunks) == b"hello"
        with pytest.raises(httpx.ReadError):
            await anext(chunks)
        await response.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * (MAX_DRY_BYTES + 1),
    ],
)
async def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    upstream = Upstream(answer, hang_up=True)
    async with serving(upstream.serve) as port, transport() as way:
        with pytest.raises(httpx.RemoteProtocolError):
            await whole(way, post(port))
        assert len(upstream.requests) == 1  # it may have been served: it is not sent twice


async def test_endless_trailers_are_an_error() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
    upstream = Upstream(head + b"x: y\r\n" * MAX_DRY_BYTES, hang_up=True)
    async with serving(upstream.serve) as port, transport() as way:
        with pytest.raises(httpx.RemoteProtocolError):
            await whole(way, post(port))


async def test_a_refused_connection_is_no_timeout() -> None:
    server = await asyncio.start_server(Upstream().serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with transport() as way:
        with pytest.raises(httpx.ConnectError):
            await whole(way, post(port))


async def test_a_name_that_is_unknown_is_a_failed_connection() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with transport(resolver=unknown) as way:
        with pytest.raises(httpx.ConnectError):
            await whole(way, PlainRequest("GET", httpx.URL("http://nowhere.example/"), [], b""))


async def test_an_upstream_that_falls_silent_is_a_timeout() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await reader.read()
        await reader.read()
        writer.close()

    async with serving(serve) as port, transport(patience=0.05) as way:
        with pytest.raises(httpx.ReadTimeout):
            await whole(way, post(port))


async def test_giving_up_hangs_up() -> None:
    upstream = Upstream(b"")
    upstream.answers = [b"HTTP/1.1 100 Continue\r\n\r\n", b"never"]
    async with serving(upstream.serve) as port, transport() as way:
        task = asyncio.ensure_future(way.handle_async_request(post(port)))
        await until(lambda: bool(upstream.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await upstream.gone.wait()


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b"])
async def test_a_header_cannot_break_out_of_its_line(value: str) -> None:
    upstream = Upstream(OK)
    async with serving(upstream.serve) as port, transport() as way:
        with pytest.raises(httpx.LocalProtocolError):
            await whole(way, post(port, x_a=value))
    assert upstream.requests == []


# --- TLS


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and a client's that trusts it."""
    paths = write_certificates(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(paths.certificate, paths.key)
    return server, ssl.create_default_context(cafile=str(paths.ca))


def secure(host: str, port: int) -> httpx.Request:
    return PlainRequest("POST", httpx.URL(f"https://{host}:{port}/"), [], b"{}")


async def test_tls_is_spoken_and_connections_are_kept(tmp_path: Path) -> None:
    server, client = contexts(tmp_path)
    upstream = Upstream(OK, CHUNKED)
    trusted = frozenset({"localhost"})
    async with (
        serving(upstream.serve, server) as port,
        transport(trusted=trusted, ssl_context=client, resolver=loopback) as way,
    ):
        assert await whole(way, secure("localhost", port)) == (200, b"ok")
        assert await whole(way, secure("localhost", port)) == (200, b"hello, world")
    assert upstream.connections == 1


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize(("host", "known"), [("localhost", False), ("other.example", True)])
async def test_a_certificate_that_is_not_the_host_s_is_refused(
    tmp_path: Path, host: str, known: bool
) -> None:
    server, client = contexts(tmp_path)
    upstream = Upstream(OK)
    options = {"trusted": frozenset({host}), "resolver": loopback}
    async with (
        serving(upstream.serve, server) as port,
        transport(ssl_context=client if known else ssl.create_default_context(), **options) as way,
    ):
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await whole(way, secure(host, port))
    assert upstream.requests == []


# --- the guard


@pytest.mark.parametrize(
    ("host", "address", "allowed"),
    [
        ("a.example", "127.0.0.1", False),
        ("a.openai.azure.com", "127.0.0.1", False),
        ("a.openai.azure.com", "169.254.169.254", False),
        ("trusted.example", "127.0.0.1", True),
    ],
)
async def test_an_address_must_be_one_that_the_host_may_have(host: str, address: str, allowed: bool) -> None:
    async def answer(name: str, port: int) -> list[str]:
        return [address]

    upstream = Upstream(OK)
    async with (
        serving(upstream.serve) as port,
        transport(trusted=frozenset({"trusted.example"}), resolver=answer) as way,
    ):
        request = PlainRequest("GET", httpx.URL(f"http://{host}:{port}/"), [], b"")
        if allowed:
            assert await whole(way, request) == (200, b"ok")
        else:
            with pytest.raises(httpx.ConnectError, match="not allowed"):
                await whole(way, request)
    assert bool(upstream.requests) is allowed


async def test_of_several_addresses_one_that_answers_is_taken() -> None:
    async def both(name: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    upstream = Upstream(OK)
    async with serving(upstream.serve) as port, transport(resolver=both) as way:
        assert await whole(way, post(port)) == (200, b"ok")


# --- the parser's side, cut anywhere


class Wire(asyncio.Transport):
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.paused = False
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def connected() -> tuple[Connection, Wire]:
    connection, wire = Connection(600.0, set()), Wire()
    connection.connection_made(wire)
    return connection, wire


async def answered(connection: Connection, chunks: list[bytes]) -> tuple[int, bytes]:
    asking = asyncio.ensure_future(connection.exchange(b"head", b"", bodyless=False))
    await asyncio.sleep(0)
    for chunk in chunks:
        connection.data_received(chunk)
    await asking
    body = b""
    while part := await connection.read():
        body += part
    return connection.status, body


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=12))
@settings(deadline=None)
def test_an_answer_cut_anywhere_is_the_same_answer(places: list[int]) -> None:
    edges = [0, *sorted(places), len(CHUNKED)]

    async def check() -> None:
        connection, _ = connected()
        cut = [CHUNKED[a:b] for a, b in pairwise(edges) if a < b]
        assert await answered(connection, cut) == (200, b"hello, world")
        assert connection.usable
        connection.close()

    asyncio.run(check())


async def test_an_upstream_waits_for_a_slow_reader() -> None:
    connection, wire = connected()
    asking = asyncio.ensure_future(connection.exchange(b"head", b"", bodyless=False))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    await asking
    sent = 0
    while not wire.paused:
        connection.data_received(b"x" * 10_000)
        sent += 10_000
    assert sent < 500_000
    assert len(await connection.read()) == sent
    assert not wire.paused
    connection.close()


async def test_words_out_of_turn_end_the_connection() -> None:
    connection, wire = connected()
    await answered(connection, [OK])
    assert connection.usable
    connection.data_received(b"HTTP/1.1 200 OK\r\n")
    assert wire.aborted
    assert not connection.usable
