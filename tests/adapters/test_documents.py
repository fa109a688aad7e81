"""The contract of `DocumentStore`, held by every implementation."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.adapters.azure_storage import StorageAccount
from gateway.adapters.documents_azure import AzureDocuments
from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.core.errors import BodyTooLarge, Conflict, InvalidRequest
from gateway.core.ports import Document, DocumentStore
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "azure"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[DocumentStore]:
    documents: DocumentStore
    if request.param == "sqlite":
        documents = SqliteDocuments(tmp_path, clock)
    else:
        account, prefix = request.getfixturevalue("azurite"), "t" + secrets.token_hex(8)
        documents = AzureDocuments(account, clock, prefix)
    yield documents
    await documents.aclose()


async def test_a_new_document_has_version_one_and_is_found(store: DocumentStore) -> None:
    made = await store.put("config", "pc-1", {"a": {"b": [1, "é", None]}})
    assert (made.version, made.created_at, made.updated_at) == (1, 1_700_000_000, 1_700_000_000)
    assert await store.get("config", "pc-1") == made
    assert await store.get("config", "pc-2") is None
    assert await store.get("other", "pc-1") is None


async def test_each_write_raises_the_version_and_keeps_the_birthday(
    store: DocumentStore, clock: Clock
) -> None:
    await store.put("config", "x", {"n": 1})
    clock.now += 60
    again = await store.put("config", "x", {"n": 2})
    assert (again.version, again.created_at, again.updated_at) == (2, 1_700_000_000, 1_700_000_060)
    assert (await store.get("config", "x")) == again


async def test_expect_guards_against_lost_updates(store: DocumentStore) -> None:
    await store.put("config", "x", {}, expect=0)
    with pytest.raises(Conflict):
        await store.put("config", "x", {}, expect=0)
    await store.put("config", "x", {"n": 2}, expect=1)
    with pytest.raises(Conflict):
        await store.put("config", "x", {"n": 3}, expect=1)
    with pytest.raises(Conflict):
        await store.put("config", "new", {}, expect=4)
    document = await store.get("config", "x")
    assert document is not None
    assert document.value == {"n": 2}


async def test_delete_tells_whether_there_was_something(store: DocumentStore) -> None:
    await store.put("config", "x", {})
    assert await store.delete("config", "x")
    assert not await store.delete("config", "x")
    assert await store.get("config", "x") is None
    assert (await store.put("config", "x", {}, expect=0)).version == 1


async def test_list_is_ordered_by_id_and_cut_by_prefix(store: DocumentStore) -> None:
    for id in ["b~1", "a@2", "b:0", "a~", "B", "b"]:
        await store.put("prompt", id, {"id": id})
    await store.put("prompts", "zzz", {})
    assert [d.id for d in await store.list("prompt")] == ["B", "a@2", "a~", "b", "b:0", "b~1"]
    assert [d.id for d in await store.list("prompt", prefix="b")] == ["b", "b:0", "b~1"]
    assert await store.list("nothing") == []


@pytest.mark.parametrize(
    ("kind", "id"),
    [("", "a"), ("Config", "a"), ("config", ""), ("config", "a/b"), ("config", "é"), ("config", "a" * 201)],
)
async def test_names_outside_the_alphabet_are_refused(store: DocumentStore, kind: str, id: str) -> None:
    with pytest.raises(InvalidRequest):
        await store.put(kind, id, {})


async def test_a_value_may_have_one_mebibyte(store: DocumentStore) -> None:
    noise = random.Random(1).randbytes(512 * 1024 - 4).hex()  # compresses by half only
    big = {"x": noise}
    await store.put("config", "x", big)
    found = await store.get("config", "x")
    assert found is not None
    assert found.value == big
    with pytest.raises(BodyTooLarge):
        await store.put("config", "x", {"x": noise + "a" * 64})
    await store.put("config", "x", {"small": True})
    assert (await store.list("config"))[0].value == {"small": True}


async def test_of_many_writers_at_once_none_is_lost(store: DocumentStore) -> None:
    await asyncio.gather(*(store.put("config", "x", {"n": n}) for n in range(5)))
    document = await store.get("config", "x")
    assert document is not None
    assert document.version == 5


async def test_a_reader_never_misses_a_large_document_that_is_updated_meanwhile(
    azurite: StorageAccount, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = "t" + secrets.token_hex(8)
    reader, writer = AzureDocuments(azurite, clock, prefix), AzureDocuments(azurite, clock, prefix)
    big = orjson.dumps({"x": random.Random(2).randbytes(400_000).hex()})
    await writer.put("prompt", "x", orjson.loads(big))
    read = reader._document
    updates = iter([1])

    def update_between_the_two_reads(entity: Mapping[str, Any]) -> Document:
        if next(updates, None):
            writer._put("prompt", "x", big, None, 0)  # the row's blob is another one now
        return read(entity)

    monkeypatch.setattr(reader, "_document", update_between_the_two_reads)
    found = await reader.get("prompt", "x")
    assert found is not None
    assert found.version == 2
    updates = iter([1])
    assert [document.version for document in await reader.list("prompt")] == [3]
    await reader.aclose()
    await writer.aclose()
