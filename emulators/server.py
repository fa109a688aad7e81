"""Runs an ASGI app on loopback, in a thread with a loop of its own."""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from emulators.certificates import Certificates

START_S = 10  # a loop that does not listen after this never will


class _Protocol(HttpToolsProtocol):
    """Shows the app its transport (`scope["state"]["transport"]`), so that it can break the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that says when it listens, and that stops at once (uvicorn looks each 0.1 s)."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        ticking = asyncio.create_task(super().main_loop())
        await self._stopped.wait()
        ticking.cancel()

    def stop(self) -> None:
        """Callable from any thread."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)


class Server:
    """`with Server(app) as server:` serves `app` at `server.url` until the block ends.

    Port 0 takes a free one; it is known before `start`. With `tls` the URL is https.
    """

    def __init__(
        self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, tls: Certificates | None = None
    ) -> None:
        self._socket = _listen(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._uvicorn = _Uvicorn(_config(app, tls))
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"server-{self.port}", daemon=True)

    def start(self) -> Self:
        """Returns once the server accepts connections; raises RuntimeError if it could not start."""
        self._thread.start()
        if not self._uvicorn.ready.wait(START_S):
            self.stop()
            raise RuntimeError(f"{self.url} did not start within {START_S} s") from self._failure
        if self._failure is not None or self._uvicorn.should_exit:  # uvicorn only logs a failed lifespan
            self.stop()
            raise RuntimeError(f"{self.url} did not start: the app's start-up failed") from self._failure
        return self

    def stop(self) -> None:
        """Closes idle connections at once and cancels what still runs after a second."""
        self._uvicorn.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._uvicorn.serve(sockets=[self._socket]))
        except BaseException as failure:  # shown in the thread that waits in `start`
            self._failure = failure
        finally:
            self._uvicorn.ready.set()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY on sockets that name their protocol only; without it answers take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: ASGIApp, tls: Certificates | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        access_log=False,
        log_config=None,
        log_level="critical",  # a broken connection is what a test asked for, not an error to print
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
