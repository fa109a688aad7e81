"""The trail of management calls."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.audit import KIND, AuditTrail
from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.core.errors import StoreUnavailable

ADMIN = "gw-" + "a" * 43


def trail(world: Any, **query: str) -> list[dict[str, Any]]:
    answer = world.call("GET", "/audit-logs", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["records"] == answer.json()["data"]
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_a_change_is_told_with_before_and_after(world: Any) -> None:
    made = world.make_key(name="before")
    world.call("PUT", f"/api-keys/{made['id']}", json={"name": "after"})
    entry = trail(world)[0]
    assert (entry["user_id"], entry["user_type"]) == ("admin", "admin")
    assert (entry["method"], entry["uri"]) == ("PUT", "/v1/api-keys/{id}")
    assert entry["resource"] == {"id": made["id"]}
    assert (entry["resource_type"], entry["action"]) == ("api-keys", "update")
    assert entry["response_status_code"] == 200
    assert entry["client_ip"] == "127.0.0.1"
    assert entry["user_agent"].startswith("python-httpx/")
    assert (entry["before"]["name"], entry["after"]["name"]) == ("before", "after")
    assert entry["timestamp"].startswith("20")


def test_no_secret_stands_in_the_trail(world: Any) -> None:
    made = world.make_key(name="gw-" + "c" * 43, description=world.environ["GATEWAY_ADMIN_KEY"])
    rotated = world.call("POST", f"/api-keys/{made['id']}/rotate", json={}).json()
    world.make_virtual_key("second", key="very-secret-upstream-key")
    world.call("PUT", "/virtual-keys/second", json={"key": "another-secret-key"})
    world.call("DELETE", "/virtual-keys/second")
    text = world.call("GET", "/audit-logs").text
    for secret in (
        made["key"],
        rotated["key"],
        ADMIN,
        "gw-" + "c" * 43,
        "very-secret-upstream-key",
        "another-secret-key",
    ):
        assert secret not in text


def test_refused_calls_leave_entries_too(world: Any) -> None:
    key = world.make_key(name="weak")
    world.call("GET", "/virtual-keys", key=key["key"])
    world.call("DELETE", "/virtual-keys/up", key="gw-" + "b" * 43)
    nobody, weak = trail(world)[:2]
    assert (nobody["response_status_code"], nobody["user_type"], nobody["user_id"]) == (401, "none", None)
    assert (weak["response_status_code"], weak["user_id"], weak["user_name"]) == (403, key["id"], "weak")


def test_guessing_does_not_fill_the_trail(world: Any) -> None:
    for _ in range(150):
        world.call("GET", "/configs", key="gw-" + "b" * 43)
    # At most sixty a minute, and a minute may end meanwhile.
    assert 0 < len(trail(world, response_status_code="401", page_size="1000")) <= 120


def test_the_trail_is_filtered_and_paged(world: Any) -> None:
    made = world.make_key()
    for _ in range(5):
        world.call("GET", "/configs")
    assert [entry["resource_type"] for entry in trail(world, resource_type="configs")] == ["configs"] * 5
    assert {entry["method"] for entry in trail(world, method="POST")} == {"POST"}
    assert trail(world, user_id=made["id"]) == []
    page = world.call("GET", "/audit-logs", params={"page_size": "2", "current_page": "1"}).json()
    assert len(page["data"]) == 2
    assert page["total"] > 5
    times = [entry["created_at"] for entry in trail(world)]
    assert times == sorted(times, reverse=True)
    assert trail(world, start_time="2001-01-01T00:00:00Z", end_time="2001-02-01T00:00:00Z") == []
    assert world.call("GET", "/audit-logs", params={"start_time": "soon"}).status_code == 400


def test_the_trail_survives_a_restart(world: Any) -> None:
    world.make_key(name="kept")
    world.restart()
    assert any((entry["after"] or {}).get("name") == "kept" for entry in trail(world, method="POST"))


class Failing(SqliteDocuments):
    """A store that cannot be written until told otherwise."""

    away = True

    async def put(self, *arguments: Any, **options: Any) -> Any:
        if self.away:
            raise StoreUnavailable("away")
        return await super().put(*arguments, **options)


async def test_entries_wait_while_the_store_is_away(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    store = Failing(tmp_path, lambda: now)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        store.away = len(waits) < 3
        await asyncio.sleep(0)

    made = AuditTrail(store, retention_days=30, clock=lambda: now, sleep=sleep)
    made.put({"id": "1", "created_at": now})
    assert made._task is not None
    await made._task
    assert len(waits) == 3
    assert [row["id"] for row in await made.page(now - 1, now + 1, 10)] == ["1"]
    await made.aclose()
    await store.aclose()


async def test_what_is_older_than_the_retention_is_deleted(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    store = SqliteDocuments(tmp_path, lambda: now)
    made = AuditTrail(store, retention_days=30, clock=lambda: now)
    for days in (0, 29, 31, 33):
        made.put({"id": f"d{days}", "created_at": now - days * 86_400})
    await made.flush()
    await made.purge()
    assert [document.value["id"] for document in await store.list(KIND)] == ["d29", "d0"]
    await made.aclose()
    await store.aclose()


async def test_an_entry_that_is_too_large_loses_its_before_and_after(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    store = SqliteDocuments(tmp_path, lambda: now)
    made = AuditTrail(store, retention_days=30, clock=lambda: now)
    made.put({"id": "1", "created_at": now, "before": None, "after": {"x": "y" * 1_000_000}})
    assert (await made.page(now - 1, now + 1, 10))[0]["after"] == "left out: too large"
    await made.aclose()
    await store.aclose()


def test_a_trail_that_fails_fails_no_call(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    gateway = world.door.services().gateway
    trail_of_gateway = gateway.audit._trail

    def broken(entry: Any) -> None:
        raise RuntimeError("broken")

    trail_of_gateway.put = broken
    with caplog.at_level(logging.ERROR, logger="gateway.audit"):
        assert world.call("GET", "/configs").status_code == 200
    assert any(record.message == "audit.failed" for record in caplog.records)


def test_what_applications_do_beside_their_calls_is_no_management(world: Any) -> None:
    key = world.make_key(scopes=["completions.write"])["key"]
    world.call("GET", "/models", key=key)
    world.call("POST", "/feedback", key=key, json={"trace_id": "t", "value": 1})
    assert trail(world, user_type="api-key") == []


def test_what_is_deleted_is_told(world: Any) -> None:
    config = world.call("POST", "/configs", json={"name": "gone", "config": {"virtual_key": "up"}}).json()
    world.call("DELETE", f"/configs/{config['slug']}")
    world.call("DELETE", "/virtual-keys/up")
    key, gone = trail(world, method="DELETE")
    assert (key["before"]["slug"], gone["before"]["name"]) == ("up", "gone")
