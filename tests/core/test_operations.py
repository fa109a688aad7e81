"""What a path asks for, in every way that clients spell it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.operations import Operation, inference, known_methods, split_path


def told(method: str, raw: str) -> Any:
    found = inference(method, split_path(raw))
    if found is None:
        return None
    return found.path, found.scope, found.body, found.name, found.deployment, found.azure_path


CHAT = ("/chat/completions", "deployment", "json", "chat/completions", None, None)

OPERATIONS = {
    "/v1/chat/completions": CHAT,
    "/v1//chat/completions": CHAT,
    "//v1/chat/completions/": CHAT,
    "/chat/completions": CHAT,
    "/v1/embeddings": ("/embeddings", "deployment", "json", "embeddings", None, None),
    "/v1/images/edits": ("/images/edits", "deployment", "multipart", "images/edits", None, None),
    "/v1/audio/transcriptions": (
        "/audio/transcriptions",
        "deployment",
        "multipart",
        "audio/transcriptions",
        None,
        None,
    ),
    "/v1/responses": ("/responses", "model", "json", "responses", None, None),
    "/v1/responses/resp_1/cancel": ("/responses/resp_1/cancel", "none", "any", "responses", None, None),
    "/v1/files": ("/files", "none", "any", "proxy", None, None),
    "/openai/deployments/d/chat/completions": (*CHAT[:4], "d", "dated"),
    "/v1/deployments/d/chat/completions": (*CHAT[:4], "d", "dated"),
    "/v1/openai/deployments/d/chat/completions": (*CHAT[:4], "d", "dated"),
    "/openai/deployments/gpt%2D4/chat/completions": (*CHAT[:4], "gpt-4", "dated"),
    "/openai/deployments/%40slug%2Fgpt/chat/completions": (*CHAT[:4], "@slug/gpt", "dated"),
    "/openai/deployments/@slug/gpt/chat/completions": (*CHAT[:4], "@slug/gpt", "dated"),
    "/openai/deployments/d/extensions/x": ("/extensions/x", "deployment", "any", "proxy", "d", "dated"),
    "/openai/v1/chat/completions": (*CHAT[:5], "v1"),
    "/openai/v1/responses": ("/responses", "model", "json", "responses", None, "v1"),
    "/openai/files": ("/files", "none", "any", "proxy", None, "dated"),
    "/v1/nowhere": None,
    "/nowhere": None,
    "/v1": None,
    "/": None,
    "*": None,
    "": None,
}


@pytest.mark.parametrize(("raw", "wanted"), OPERATIONS.items(), ids=OPERATIONS)
def test_post(raw, wanted):
    assert told("POST", raw) == wanted


@pytest.mark.parametrize(
    "raw",
    [
        "/v1/files/../secret",
        "/v1/files/..",
        "/v1/files/./x",
        "/v1/files/%2e%2e/x",
        "/v1/files/%2E%2e%2fx",
        "/v1/files/..%2fx",
        "/v1/files/..%5cx",
        "/v1/files/%252e%252e/x",
        "/openai/deployments/../x/y",
    ],
)
def test_a_path_that_climbs_is_refused(raw):
    with pytest.raises(InvalidRequest, match=r"\.\."):
        inference("GET", split_path(raw))


@pytest.mark.parametrize("raw", ["/v1/files/a..b", "/v1/files/...", "/openai/deployments/gpt-5.4/embeddings"])
def test_dots_elsewhere_are_none(raw):
    assert inference("GET", split_path(raw)) is not None


@pytest.mark.parametrize(
    ("raw", "verbs"),
    [
        ("/v1/chat/completions", ["GET", "POST"]),
        ("/v1/embeddings", ["POST"]),
        ("/openai/deployments/d/images/edits", ["POST"]),
        ("/v1/responses", ["POST"]),
        ("/v1/responses/resp_1", []),
        ("/v1/files", []),
    ],
)
def test_known_methods(raw, verbs):
    assert known_methods(split_path(raw)) == verbs


segments = st.text(alphabet="/%.@*?v1openaideploymentschat\u00e9 2eF", max_size=40)


@given(st.sampled_from(["GET", "POST", "DELETE"]), segments)
def test_any_path_is_read_and_none_leaves_its_base(method, raw):
    path = split_path(raw)
    assert path.rest.startswith("/")
    assert "//" not in path.rest
    known_methods(path)
    try:
        found = inference(method, path)
    except InvalidRequest:
        return
    if isinstance(found, Operation):
        assert found.path.startswith("/")
        assert not {".", ".."} & set(found.path.split("/"))
