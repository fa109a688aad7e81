"""What is refused before any upstream is looked for leaves a record too."""

import pytest


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/v1/nope", 404), ("PUT", "/v1/chat/completions", 405), ("GET", "/openai/v1/embeddings", 405)],
)
async def test_a_path_or_verb_that_is_none_leaves_a_record(local, method, path, status):
    answer = await local.client.request(method, path)
    assert answer.status == status
    assert [(record.path, record.status) for record in local.records.all] == [(path, status)]
