"""What becomes of records when the gateway's process ends, kindly or not."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server
from emulators.steps import Slow
from gateway.adapters.azure_storage import StorageAccount
from gateway.adapters.records_azure import AzureRecords
from gateway.adapters.records_sqlite import SqliteRecords
from gateway.adapters.sqlite_file import connect
from gateway.core.log_query import LogQuery
from gateway.core.ports import RecordStore

ADMIN = "gw-" + "c" * 43
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
FLUSH = 1.0  # seconds that a killed process may lose
SLACK = 1.0  # seconds for a busy machine to get a flush done


@dataclass
class Process:
    """A gateway process with four clients at it. `answered` is the time of each answer by its id."""

    url: str
    process: "subprocess.Popen[str]"
    upstream: AzureOpenAI
    answered: dict[str, float] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)

    def load(self) -> None:
        self.threads = [threading.Thread(target=self._client) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def _client(self) -> None:
        headers = {"x-portkey-api-key": ADMIN, "x-portkey-virtual-key": "azure"}
        with httpx.Client(headers=headers) as http:
            while True:
                try:
                    response = http.post(f"{self.url}/v1/chat/completions", json=BODY)
                except httpx.TransportError:
                    return  # the gateway is gone
                if response.status_code == 200:
                    self.answered[response.headers["x-portkey-request-id"]] = time.monotonic()

    def until_answered(self, number: int) -> None:
        while len(self.answered) < number:
            assert self.process.poll() is None
            time.sleep(0.01)

    def end(self, number: int) -> float:
        """Send a signal and wait for the end; the time it was sent."""
        sent = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        for thread in self.threads:
            thread.join(30)
        return sent


@contextmanager
def gateway(folder: Path, **environ: str) -> Iterator[Process]:
    azure = AzureOpenAI(keys={"azure-key"})
    upstream = Server(azure).start()
    env = {
        **os.environ,
        "GATEWAY_ADMIN_KEY": ADMIN,
        "GATEWAY_DATA_DIR": str(folder),
        "GATEWAY_TRUSTED_HOSTS": f"127.0.0.1:{upstream.port}",
        **environ,
    }
    command = [sys.executable, "-m", "gateway", "--port", "0"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = next(
            found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
        )
        threading.Thread(target=process.stdout.read, daemon=True).start()
        key = {"name": "azure", "slug": "azure", "provider": "azure-openai", "key": "azure-key"}
        key |= {"customHost": f"{upstream.url}/openai"}
        deployment = {"deploymentName": "chat", "apiVersion": "2024-10-21", "is_default": True}
        body = {**key, "deploymentConfig": [deployment]}
        made = httpx.post(f"{url}/v1/virtual-keys", json=body, headers={"x-portkey-api-key": ADMIN})
        assert made.status_code == 200, made.text
        try:
            yield Process(url, process, azure)
        finally:
            if process.poll() is None:
                process.kill()
            upstream.stop()


def stored(store: RecordStore) -> set[str]:
    async def read() -> set[str]:
        ids, cursor = set(), None
        while True:
            page = await store.page(LogQuery(page_size=1000, cursor=cursor))
            ids |= {row["id"] for row in page.rows}
            cursor = page.next_cursor
            if cursor is None:
                await store.aclose()
                return ids

    return asyncio.run(read())


def test_an_orderly_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        running.load()
        running.until_answered(200)
        running.end(signal.SIGTERM)
    assert set(running.answered) <= stored(SqliteRecords(tmp_path))


def test_an_orderly_stop_loses_nothing_in_azure_either(tmp_path: Path, azurite: StorageAccount) -> None:
    assert azurite.connection_string is not None
    environ = {"GATEWAY_STORAGE_CONNECTION_STRING": azurite.connection_string}
    with gateway(tmp_path, **environ) as running:
        running.load()
        running.until_answered(200)
        running.end(signal.SIGTERM)
    assert set(running.answered) <= stored(AzureRecords(azurite))


def test_a_killed_process_loses_a_second_at_most_and_leaves_a_sound_file(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        running.load()
        running.until_answered(50)
        begun = time.monotonic()
        while time.monotonic() < begun + 2 * (FLUSH + SLACK):
            time.sleep(0.05)
        killed = running.end(signal.SIGKILL)
    safe = {id for id, at in running.answered.items() if at < killed - FLUSH - SLACK}
    assert len(safe) >= 50
    assert safe <= stored(SqliteRecords(tmp_path))
    connection = connect(tmp_path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_client_that_leaves_a_stream_leaves_a_record_with_what_it_saw(tmp_path: Path) -> None:
    headers = {"x-portkey-api-key": ADMIN, "x-portkey-virtual-key": "azure"}
    with gateway(tmp_path) as running:
        running.upstream.script("*", [Slow(between_chunks_s=0.1)], forever=True)
        body = {**BODY, "stream": True}
        url = f"{running.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=headers) as response:
            id = response.headers["x-portkey-request-id"]
            next(
                chunk for chunk in response.iter_text() if '"content":"' in chunk.replace('"content":""', "")
            )
        running.end(signal.SIGTERM)
    doc = asyncio.run(found(SqliteRecords(tmp_path), id))
    assert (doc["complete"], doc["usage_estimated"]) == (False, True)
    assert doc["completion_tokens"] >= 1


def recorder_of(url: str) -> dict[str, int]:
    counters: dict[str, int] = httpx.get(
        f"{url}/v1/logs/recorder", headers={"x-portkey-api-key": ADMIN}
    ).json()
    return counters


def ask(url: str) -> str:
    headers = {"x-portkey-api-key": ADMIN, "x-portkey-virtual-key": "azure"}
    response = httpx.post(f"{url}/v1/chat/completions", json=BODY, headers=headers)
    assert response.status_code == 200
    return str(response.headers["x-portkey-request-id"])


def until(done: Callable[[], bool]) -> None:
    for _ in range(1200):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that within a minute")


def test_requests_go_on_while_the_store_is_down_and_are_recorded_afterwards(tmp_path: Path) -> None:
    """Another process holds the file, as long as it takes until writes fail and then some."""
    with gateway(tmp_path) as running:
        before = ask(running.url)
        until(lambda: recorder_of(running.url)["waiting"] == 0)
        holder = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        during = [ask(running.url) for _ in range(20)]
        until(lambda: recorder_of(running.url)["failed_writes"] >= 2)
        during += [ask(running.url) for _ in range(20)]
        assert recorder_of(running.url)["waiting"] >= 40
        holder.execute("ROLLBACK")
        holder.close()
        until(lambda: recorder_of(running.url)["waiting"] == 0)
        counters = recorder_of(running.url)
        assert (counters["dropped_records"], counters["dropped_bodies"]) == (0, 0)
        running.end(signal.SIGTERM)
    assert {before, *during} <= stored(SqliteRecords(tmp_path))


async def found(store: RecordStore, id: str) -> Mapping[str, Any]:
    entry = await store.get(id)
    await store.aclose()
    assert entry is not None
    return entry.doc
