import pytest

from gateway.core.errors import InvalidRequest
from gateway.core.prompt_refs import Reference, check_label, make_slug, parse_reference


@pytest.mark.parametrize(
    ("prefix", "name", "slug"),
    [
        ("pp", "HR Bot!", "pp-hr-bot-5c8c6e"),
        ("pp", "Customer Support Summary", "pp-customer-s-5c8c6e"),
        ("pp", "customer  -- x", "pp-customer-x-5c8c6e"),
        ("pp", "日本", "pp-5c8c6e"),
        ("pl", "Greeting text", "pl-greeti-5c8c6e"),
    ],
)
def test_slug(prefix: str, name: str, slug: str) -> None:
    assert make_slug(prefix, name, "5c8c6e") == slug  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("pp-x", Reference("pp-x")),
        ("pp-x@12", Reference("pp-x", version=12)),
        ("pp-x%4012", Reference("pp-x", version=12)),
        ("pp-x@latest", Reference("pp-x", label="latest")),
        ("pp-x@production", Reference("pp-x", label="production")),
        ("pp-x@v1.2", Reference("pp-x", label="v1.2")),
        ("8b2d2a4e-4b7c-4c57-9b3e-1f6a8d0c1e55", Reference("8b2d2a4e-4b7c-4c57-9b3e-1f6a8d0c1e55")),
    ],
)
def test_reference(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert str(reference) == text.replace("%40", "@")


@pytest.mark.parametrize("text", ["", "@1", "pp-x@", "pp x", "pp-x@a b", "pp-x@1@2", "../x", "x" * 200])
def test_no_reference(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_reference(text)


@pytest.mark.parametrize("name", ["canary", "v1.2", "2026-04", "1st"])
def test_label(name: str) -> None:
    assert check_label(name) == name


@pytest.mark.parametrize("name", ["12", "latest", "Latest", "", "a b", "a@b", "x" * 65])
def test_no_label(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_label(name)
