"""`function_app.py` in a process of its own, served as the Functions worker does: uvicorn set up after the import."""

import os
import signal
import sqlite3
from pathlib import Path

import httpx
import pytest

from tests.support.local import ADMIN_KEY
from tests.support.process import GatewayProcess

# As the worker's `initialize_http_server` and the extension's `WebServer`: uvicorn's own defaults.
_SERVED = """
import asyncio, fastapi, uvicorn
from azurefunctions.extensions.http.fastapi import WebApp
import function_app

async def catch_all(request: fastapi.Request):
    return await function_app.door.handle(request)

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("Gateway on http://127.0.0.1:%d" % self.servers[0].sockets[0].getsockname()[1], flush=True)

web = WebApp()
web.route(catch_all)
asyncio.run(Server(uvicorn.Config(web.get_app(), host="127.0.0.1", port=0)).serve())
"""


def served(folder: Path) -> GatewayProcess:
    return GatewayProcess(folder, {"GATEWAY_ADMIN_KEY": ADMIN_KEY}, script=_SERVED)


def records(folder: Path) -> int:
    """How many a store on disk has, once its process is gone."""
    found = list((folder / "data").rglob("*.db"))
    if not found:
        return 0
    with sqlite3.connect(found[0]) as db:
        return int(db.execute("select count(*) from records").fetchone()[0])


def test_no_line_shows_a_query_since_function_keys_stand_there(tmp_path):
    with served(tmp_path) as worker:
        assert httpx.get(f"{worker.url}/health?code=FUNCTION-KEY").status_code == 200
        worker.stop()
        assert "Uvicorn running" in worker.output  # its loggers do print
        assert "FUNCTION-KEY" not in worker.output


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_told_to_end_writes_what_it_answered(tmp_path, number):
    with served(tmp_path) as worker:
        for _ in range(3):
            worker.api("POST", "/v1/chat/completions", json={"model": "gpt", "messages": []}, status=400)
        worker.stop(number)
    assert records(tmp_path) == 3
