"""portkey-ai 1.8.2, for which Portkey's page on Azure OpenAI was written, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import AZURE_KEY, AZURE_TOKEN, VERSION
from tests.support.process import base_environ
from tests.support.sdks import NotInstalled, seed_python

# Answers lines of JSON, as importing the SDK takes longer than all its calls.
SCRIPT = """
import json, sys
from portkey_ai import Portkey
messages = [{"role": "user", "content": "Say this is a test"}]

def show(what, portkey):
    if what == "chat":
        return portkey.chat.completions.create(messages=messages, model="gpt4").choices[0].message.content
    if what == "stream":
        stream = portkey.chat.completions.create(messages=messages, model="gpt4", stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    if what == "images":
        image = portkey.images.generate(prompt="Lucy in the sky with diamonds", size="1024x1024")
        return image.data[0].b64_json
    return len(portkey.embeddings.create(input="hello", model="vectors").data)

for line in sys.stdin:
    given = json.loads(line)
    try:
        shown = {"ok": show(given["what"], Portkey(**given["options"]))}
    except Exception as error:
        shown = {"error": type(error).__name__, "message": str(error)}
    print("answer " + json.dumps(shown), flush=True)
"""


@pytest.fixture(scope="session")
def packages() -> Path:
    try:
        return seed_python()
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def worker(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[subprocess.Popen[str]]":
    with (
        (tmp_path_factory.mktemp("seed") / "stderr").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**base_environ(), "PYTHONPATH": str(packages)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def seed(worker: "subprocess.Popen[str]", gateway) -> Callable[..., Any]:
    def run(what: str, **options: Any) -> Any:
        given = {"api_key": gateway.key, "base_url": f"{gateway.url}/v1", **options}
        assert worker.stdin is not None
        assert worker.stdout is not None
        print(json.dumps({"what": what, "options": given}), file=worker.stdin, flush=True)
        for line in worker.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise AssertionError("the SDK's process ended")

    return run


@pytest.mark.parametrize("what", ["chat", "stream"])
def test_chat_by_virtual_key(seed, azure_slug, upstream, what):
    assert seed(what, virtual_key=azure_slug) == {"ok": "You said: Say this is a test"}
    assert (upstream.last.header("api-key"), upstream.last.header("authorization")) == (AZURE_KEY, None)


def test_images_and_embeddings_by_virtual_key(seed, azure_slug, pictures_slug):
    assert seed("images", virtual_key=pictures_slug)["ok"]
    assert seed("embeddings", virtual_key=azure_slug) == {"ok": 1}


@pytest.mark.parametrize("authorization", ["authorization", "Authorization"])
@pytest.mark.parametrize("deployment", ["azure_deploymend_id", "azure_deployment_id"])
def test_direct_credentials(seed, upstream, authorization, deployment):
    answer = seed(
        "chat",
        provider="azure-openai",
        custom_host=upstream.url,
        azure_api_version=VERSION,
        **{deployment: "chat", authorization: f"Bearer {AZURE_KEY}"},
    )
    assert answer == {"ok": "You said: Say this is a test"}
    assert upstream.last.target == f"/openai/deployments/chat/chat/completions?api-version={VERSION}"
    assert (upstream.last.header("api-key"), upstream.last.header("authorization")) == (AZURE_KEY, None)


def test_a_forwarded_jwt(seed, upstream):
    answer = seed(
        "chat",
        provider="azure-openai",
        custom_host=upstream.url,
        azure_deploymend_id="chat",
        azure_api_version=VERSION,
        authorization=f"Bearer {AZURE_TOKEN}",
        forward_headers=["authorization"],
    )
    assert answer == {"ok": "You said: Say this is a test"}
    assert upstream.last.header("authorization") == f"Bearer {AZURE_TOKEN}"
    assert upstream.last.header("api-key") is None


def test_an_inline_config(seed, azure_slug):
    assert seed("chat", config={"virtual_key": azure_slug}) == {"ok": "You said: Say this is a test"}


def test_an_unknown_slug_is_named_in_the_error(seed):
    answer = seed("chat", virtual_key="azure-nowhere")
    assert answer["error"] == "NotFoundError"
    assert "azure-nowhere" in answer["message"]
