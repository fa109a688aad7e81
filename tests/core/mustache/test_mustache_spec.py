"""The official suite of https://github.com/mustache/spec, where `MUSTACHE_SPEC` names a checkout of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.core.mustache import compile_template, render

# Prompts are no HTML: values are never written as entities.
NOT_OURS = {"HTML Escaping", "Implicit Iterators - HTML Escaping", "Implicit Iterator - HTML Escaping"}
MODULES = ("comments", "delimiters", "interpolation", "inverted", "partials", "sections")


def suite() -> list[Any]:
    folder = os.environ.get("MUSTACHE_SPEC")
    if folder is None:
        why = "set MUSTACHE_SPEC to a checkout of github.com/mustache/spec"
        return [pytest.param(None, marks=pytest.mark.skip(reason=why))]
    cases = []
    for module in MODULES:
        tests = json.loads(Path(folder, "specs", f"{module}.json").read_bytes())["tests"]
        cases += [
            pytest.param(test, id=f"{module}: {test['name']}")
            for test in tests
            if test["name"] not in NOT_OURS
        ]
    return cases


@pytest.mark.parametrize("case", suite())
def test_official_suite(case: dict[str, Any]) -> None:
    partials = {name: compile_template(text) for name, text in case.get("partials", {}).items()}
    assert render(compile_template(case["template"]), case["data"], partials.get) == case["expected"]
