"""Every method of portkey_ai's prompt library, labels and collections."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from portkey_ai import AsyncPortkey, Portkey
from portkey_ai.api_resources.exceptions import BadRequestError, ConflictError, NotFoundError

CHAT = '[{"role":"user","content":"Hi {{name}}"}]'
ADA = {"name": "Ada"}


@contextmanager
def connected(stage: Any, **options: Any) -> Iterator[Portkey]:
    client = Portkey(api_key=stage.key, base_url=stage.url, **options)
    try:
        yield client
    finally:  # it holds two HTTP clients
        client.close()
        client.openai_client.close()


@pytest.fixture
def client(stage: Any) -> Iterator[Portkey]:
    with connected(stage) as client:
        yield client


def make(client: Portkey, string: str = CHAT, **fields: Any) -> Any:
    return client.prompts.create(
        name="HR Bot",
        collection_id="c-1",
        string=string,
        parameters={"temperature": 1, "presence_penalty": 0.0},
        virtual_key="azure-1",
        model="chat",
        version_description="first",
        template_metadata={"template_type": "chat"},
        **fields,
    )


def test_prompt_life(client: Portkey) -> None:
    made = make(client)
    assert made.slug.startswith("pp-hr-bot-")
    assert made.id
    assert made.version_id
    assert made.object == "prompt"

    listed = client.prompts.list()
    assert (listed.total, listed.data[0]["slug"]) == (1, made.slug)
    assert client.prompts.list(search="hr", current_page=0, page_size=10, collection_id="c-1").total == 1

    shown = client.prompts.retrieve(prompt_slug=made.slug)
    assert (shown.string, shown.prompt_version, shown.virtual_key) == (CHAT, 1, "azure-1")
    assert shown.parameters == {"temperature": 1, "presence_penalty": 0.0}

    changed = client.prompts.update(prompt_slug=made.slug, string=CHAT.replace("Hi", "Ho"))
    assert changed.prompt_version_id != made.version_id
    assert client.prompts.retrieve(prompt_slug=made.slug).prompt_version == 1
    client.prompts.publish(prompt_slug=made.slug, version=2)
    assert client.prompts.retrieve(prompt_slug=made.slug).prompt_version == 2

    versions = client.prompts.versions.list(prompt_slug=made.slug)
    assert [version["prompt_version"] for version in versions.data] == [2, 1]
    label = client.labels.create(name="canary", description="first to try", color_code="#fff")
    client.prompts.versions.update(prompt_slug=made.slug, version_id=made.version_id, label_id=label.id)
    version = client.prompts.versions.retrieve(prompt_slug=made.slug, version_id=made.version_id)
    assert (version.label_id, version.string) == (label.id, CHAT)
    answer = client.prompts.completions.create(prompt_id=f"{made.slug}@canary", variables=ADA)
    assert answer.choices[0].message.role == "assistant"

    client.prompts.delete(prompt_slug=made.slug)
    with pytest.raises(NotFoundError, match="there is no prompt"):
        client.prompts.retrieve(prompt_slug=made.slug)


def test_completions(client: Portkey, stage: Any) -> None:
    slug = make(client).slug
    answer = client.prompts.completions.create(prompt_id=slug, variables=ADA, max_tokens=9, top_p=0.5)
    assert answer.object == "chat.completion"
    assert answer.get_headers()["trace-id"]
    assert stage.last()["messages"] == [{"role": "user", "content": "Hi Ada"}]
    assert (stage.last()["max_tokens"], stage.last()["top_p"]) == (9, 0.5)


def test_completions_by_the_clients_virtual_key(stage: Any) -> None:
    with connected(stage, virtual_key="azure-2") as client:
        client.prompts.completions.create(prompt_id=make(client).slug, variables=ADA)
    assert stage.azure.log.entries()[-1].header("api-key") == "key-of-azure-2"


def test_empty_variables_which_the_client_leaves_out(client: Portkey, stage: Any) -> None:
    client.prompts.completions.create(prompt_id=make(client).slug, variables={"name": ""})
    assert stage.last()["messages"][0]["content"] == "Hi "


def test_completions_stream(client: Portkey) -> None:
    stream = client.prompts.completions.create(prompt_id=make(client).slug, variables=ADA, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices])
    assert text


def test_render(client: Portkey) -> None:
    slug = make(client).slug
    rendered = client.prompts.render(prompt_id=slug, variables=ADA, temperature=2)
    assert rendered.success is True
    assert rendered.data.messages[0].content == "Hi Ada"
    assert (rendered.data.temperature, rendered.data.presence_penalty, rendered.data.model) == (2, 0, "chat")


def test_what_was_rendered_can_be_sent(stage: Any) -> None:
    # Portkey documents this as the way to use a prompt with another client.
    with connected(stage, virtual_key="azure-1") as client:
        data = client.prompts.render(prompt_id=make(client).slug, variables=ADA).data
        sent = data.model_dump(exclude_none=True)
        sent["messages"] = [{"role": one["role"], "content": one["content"]} for one in sent["messages"]]
        assert client.chat.completions.create(**sent).choices
    assert stage.last()["messages"] == [{"role": "user", "content": "Hi Ada"}]


def test_partials(client: Portkey) -> None:
    made = client.prompts.partials.create(name="Greeting", string="Hi", version_description="first")
    assert made.slug.startswith("pl-greeti-")
    assert made.version_id
    assert client.prompts.partials.list().data[0]["slug"] == made.slug
    assert client.prompts.partials.retrieve(partial_slug=made.slug).string == "Hi"
    client.prompts.partials.update(partial_slug=made.slug, string="Ho", description="second")
    versions = client.prompts.partials.versions.list(partial_slug=made.slug)
    assert [version["version"] for version in versions.data] == [2, 1]
    slug = make(client, CHAT.replace("Hi", "{{>" + made.slug + "}}")).slug
    assert client.prompts.render(prompt_id=slug, variables=ADA).data.messages[0].content == "Hi Ada"
    client.prompts.partials.publish(partial_slug=made.slug, version=2)
    assert client.prompts.render(prompt_id=slug, variables=ADA).data.messages[0].content == "Ho Ada"
    client.prompts.partials.delete(partial_slug=made.slug)
    with pytest.raises(NotFoundError):
        client.prompts.partials.retrieve(partial_slug=made.slug)


def test_labels(client: Portkey) -> None:
    made = client.labels.create(name="canary")
    names = [label["name"] for label in client.labels.list().data]
    assert names == ["production", "staging", "development", "canary"]
    client.labels.update(made.id, name="beta", color_code="#000")
    assert client.labels.retrieve(made.id).name == "beta"
    with pytest.raises(ConflictError, match="already"):
        client.labels.create(name="beta")
    client.labels.delete(made.id)
    with pytest.raises(NotFoundError):
        client.labels.retrieve(made.id)


def test_collections(client: Portkey) -> None:
    made = client.collections.create(name="Support")
    client.collections.update(made.id, name="Sales")
    assert client.collections.retrieve(made.id).name == "Sales"
    assert client.collections.list(search="sale").total == 1
    client.collections.delete(made.id)
    assert client.collections.list().total == 0


def test_errors_say_what_and_where(client: Portkey) -> None:
    with pytest.raises(
        BadRequestError, match=r'string\[0\].content: line 1, column 1: the section "a" is never'
    ):
        make(client, '[{"role":"user","content":"{{#a}}"}]')
    with pytest.raises(NotFoundError, match='there is no prompt "pp-none"'):
        client.prompts.completions.create(prompt_id="pp-none", variables={})


async def test_async_client(stage: Any, client: Portkey) -> None:
    slug = make(client).slug
    again = AsyncPortkey(api_key=stage.key, base_url=stage.url)
    answer = await again.prompts.completions.create(prompt_id=slug, variables=ADA)
    assert answer.choices[0].message.content
    rendered = await again.prompts.render(prompt_id=slug, variables=ADA)
    await again.close()
    await again.openai_client.close()
    assert rendered.data.messages[0].content == "Hi Ada"
