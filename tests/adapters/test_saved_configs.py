import secrets
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.config_source import ConfigSource
from gateway.adapters.documents_azure import AzureDocuments
from gateway.adapters.documents_sqlite import SqliteDocuments
from gateway.adapters.saved_configs import KIND, TTL, VERSION_KIND, SavedConfigs, shown
from gateway.core.config_errors import InvalidConfig
from gateway.core.errors import Conflict, InvalidRequest, NotFound
from gateway.core.ports import DocumentStore
from gateway.core.targets import Leaf
from tests.support.clock import Clock

CONFIG: dict[str, Any] = {"retry": {"attempts": 1}, "virtual_key": "a"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "azure"])
async def documents(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[DocumentStore]:
    store: SqliteDocuments | AzureDocuments
    if request.param == "sqlite":
        store = SqliteDocuments(tmp_path, clock)
    else:
        store = AzureDocuments(request.getfixturevalue("azurite"), clock, "t" + secrets.token_hex(8))
    yield store
    await store.aclose()


def library_of(documents: DocumentStore, clock: Clock, start: int = 0) -> SavedConfigs:
    ids = count(start + 1)
    return SavedConfigs(documents, clock, lambda: f"{next(ids):032x}"[::-1])


@pytest.fixture
def library(documents: DocumentStore, clock: Clock) -> SavedConfigs:
    return library_of(documents, clock)


async def make(library: SavedConfigs, config: Any = CONFIG) -> str:
    document, _ = await library.create("Team A: Chat!", config, by="me")
    return str(document.value["slug"])


async def test_a_saved_config_is_found_by_its_slug_and_compiled_once(library: SavedConfigs) -> None:
    slug = await make(library)
    assert slug == "pc-team-a-cha-100000"
    saved = await library.resolve(slug)
    assert (saved.slug, saved.version) == (slug, 1)
    assert isinstance(saved.compiled.tree, Leaf)
    assert saved.compiled.tree.virtual_key == "a"
    assert await library.resolve(slug) is saved


async def test_each_update_is_a_new_version_and_the_old_ones_stay(
    library: SavedConfigs, clock: Clock
) -> None:
    slug = await make(library)
    clock.now += 60
    document, _ = await library.update(slug, config={"virtual_key": "b"}, by="you")
    assert document.value["version"] == 2
    rows = [shown(item) for item in await library.versions(slug)]
    assert [(row["version"], row["config"], row["updated_by"]) for row in rows] == [
        (2, {"virtual_key": "b"}, "you"),
        (1, CONFIG, "me"),
    ]
    assert len({row["version_id"] for row in rows}) == 2
    assert (await library.resolve(slug)).version == 2


async def test_a_new_name_is_no_new_version(library: SavedConfigs) -> None:
    slug = await make(library)
    document, _ = await library.update(slug, name="Other", by="me")
    assert (document.value["name"], document.value["version"]) == ("Other", 1)
    assert len(await library.versions(slug)) == 1


async def test_a_config_is_shown_in_portkeys_shape(library: SavedConfigs) -> None:
    row = shown(await library.get(await make(library)))
    assert row["config"] == CONFIG
    assert row["created_at"] == row["last_updated_at"] == "2023-11-14T22:13:20Z"
    assert (row["name"], row["status"], row["is_default"], row["object"]) == (
        "Team A: Chat!",
        "active",
        0,
        "config",
    )


async def test_an_archived_config_serves_nobody_and_can_be_brought_back(library: SavedConfigs) -> None:
    slug = await make(library)
    await library.resolve(slug)
    await library.archive(slug, by="me")
    assert await library.list() == []
    with pytest.raises(NotFound, match="archived"):
        await library.resolve(slug)
    assert (await library.get(slug)).value["status"] == "archived"
    await library.update(slug, status="active", by="me")
    assert (await library.resolve(slug)).version == 1


async def test_other_instances_see_a_change_after_some_seconds(
    library: SavedConfigs, documents: DocumentStore, clock: Clock
) -> None:
    slug = await make(library)
    await library.resolve(slug)
    await library_of(documents, clock, 1000).update(slug, config={"virtual_key": "b"}, by="you")
    assert (await library.resolve(slug)).version == 1
    clock.now += TTL
    assert (await library.resolve(slug)).version == 2


async def test_of_two_changes_at_once_one_wins(library: SavedConfigs, documents: DocumentStore) -> None:
    slug = await make(library)
    stale = await documents.get(KIND, slug)
    assert stale is not None
    await library.update(slug, config={"virtual_key": "b"}, by="one")
    with pytest.raises(Conflict):
        await library._write(slug, stale.value, 2, CONFIG, "two", expect=stale.version)
    newest = await documents.get(VERSION_KIND, f"{slug}~000002")
    assert newest is not None
    assert newest.value["config"] == {"virtual_key": "b"}


async def test_configs_are_listed_newest_first_by_workspace(library: SavedConfigs, clock: Clock) -> None:
    await library.create("one", CONFIG, by="me", workspace_id="ws-a")
    clock.now += 1
    await library.create("two", CONFIG, by="me", workspace_id="ws-b")
    assert [item.value["name"] for item in await library.list()] == ["two", "one"]
    assert [item.value["name"] for item in await library.list("ws-a")] == ["one"]


@pytest.mark.parametrize("slug", ["pc-none-000000", "none", "", "pc-" + "x" * 500, "pc-../../x", "pc-ü"])
async def test_an_unknown_slug_is_not_found(library: SavedConfigs, slug: str) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        await library.resolve(slug)


@pytest.mark.parametrize("config", [{"weight": -1}, [], "{", 7, '"text"'])
async def test_what_is_no_config_is_not_saved(library: SavedConfigs, config: Any) -> None:
    with pytest.raises(InvalidConfig):
        await make(library, config)
    assert await library.list() == []


async def test_a_secret_is_not_saved_and_not_repeated(library: SavedConfigs) -> None:
    config = {
        "strategy": {"mode": "fallback"},
        "targets": [{"apiKey": "sesame"}, {"azure_entra_client_secret": "sesame"}],
    }
    with pytest.raises(InvalidConfig) as caught:
        await make(library, config)
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0].startswith("config.targets[0].api_key: must not be saved")
    assert "sesame" not in caught.value.message


async def test_an_unknown_status_is_refused(library: SavedConfigs) -> None:
    slug = await make(library)
    with pytest.raises(InvalidRequest, match="status: must be active or archived, got 'gone'"):
        await library.update(slug, status="gone", by="me")


async def test_warnings_are_told_to_who_saves(library: SavedConfigs) -> None:
    _, warnings = await library.create("n", {"foo": 1}, by="me")
    assert warnings == ("config.foo: unknown key, ignored",)


async def test_a_request_names_a_config_by_json_or_slug(library: SavedConfigs) -> None:
    source = ConfigSource(library)
    slug = await make(library)
    assert (await source.compiled(slug)).digest == (
        await source.compiled('{"virtual_key":"a","retry":{"attempts":1}}')
    ).digest
    assert await source.identity(slug) == (slug, 1)
    assert await source.identity(' {"virtual_key":"a"}') is None
    with pytest.raises(NotFound):
        await source.compiled("pc-none")
    for text in ("[1]", '"pc-none"'):
        with pytest.raises(InvalidConfig, match="must be a JSON object, or the slug"):
            await source.compiled(text)


async def test_utf_8_in_a_header_is_read_as_such(library: SavedConfigs) -> None:
    text = '{"name":"Zürich"}'
    compiled = await ConfigSource(library).compiled(text.encode().decode("latin-1"))
    assert compiled.source == {"name": "Zürich"}
