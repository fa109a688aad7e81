"""Every route of the real router under every scope: allowed, or 403."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.api.routing import Route
from gateway.core.scopes import ALL
from gateway.settings import Settings
from gateway.wiring import compose

# Routes that ask nobody who they are: the link of an export carries its own secret.
OPEN = {("GET", "/logs/exports/{id}/data")}


def routes() -> list[Route]:
    """Of the composed gateway, as it is deployed."""

    async def composed() -> list[Route]:
        services = compose(Settings(admin_key="gw-" + "a" * 43, data_dir="unused-by-composing"))
        found = list(services.gateway.router.routes)
        await services.aclose()
        return found

    return asyncio.run(composed())


@pytest.fixture(scope="module")
def all_routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("compose"))
    try:
        return routes()
    finally:
        patch.undo()


def test_every_route_names_a_scope_that_exists(all_routes: list[Route]) -> None:
    assert len(all_routes) > 30
    assert {(route.method, route.path) for route in all_routes if not route.scopes} == OPEN
    for route in all_routes:
        assert ALL.issuperset(route.scopes), f"{route.method} {route.path}: {route.scopes}"


def test_every_route_is_allowed_by_its_scope_and_forbidden_by_any_other(
    world: Any, all_routes: list[Route]
) -> None:
    """Two keys for each scope: one has nothing but it, one has everything but it."""
    scopes = sorted({scope for route in all_routes for scope in route.scopes})
    only = {scope: world.make_key(name=f"only {scope}", scopes=[scope])["key"] for scope in scopes}
    without = {
        scope: world.make_key(name=f"not {scope}", scopes=sorted(ALL - {scope}))["key"] for scope in scopes
    }
    nothing = world.make_key(name="nothing", scopes=[])["key"]
    for route in all_routes:
        path = "/" + "/".join("none" if part.startswith("{") else part for part in route.path.split("/")[1:])

        def status(key: str, path: str = path, method: str = route.method) -> int:
            # An empty object: no call does more than being let in.
            return int(world.call(method, path, key=key, json={}).status_code)

        name = f"{route.method} {route.path}"
        assert status(nothing) == 403, name
        for scope in scopes:
            allowed = scope in route.scopes
            assert (status(only[scope]) != 403) == allowed, f"{name} with only {scope}"
        if len(route.scopes) == 1:
            assert status(without[route.scopes[0]]) == 403, name


def test_every_route_refuses_a_caller_that_is_nobody(world: Any, all_routes: list[Route]) -> None:
    for route in all_routes:
        path = "/" + "/".join("none" if part.startswith("{") else part for part in route.path.split("/")[1:])
        for key in (None, "gw-" + "b" * 43, "anything"):
            answer = world.call(route.method, path, key=key, json={})
            assert answer.status_code == (401 if route.scopes else 403), f"{route.method} {route.path}"


def test_inference_needs_its_scope(world: Any) -> None:
    without = world.make_key(scopes=sorted(ALL - {"completions.write"}))["key"]
    paths = ["/chat/completions", "/embeddings", "/responses", "/files", "/images/generations"]
    for path in paths:
        assert world.call("POST", path, key=without, json={"model": "@up/chat"}).status_code == 403, path


def test_composing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    routes()
    assert list(tmp_path.iterdir()) == []
