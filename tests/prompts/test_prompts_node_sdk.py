"""Every method of portkey-ai's (Node) prompt library, labels and collections."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the scripts with their packages."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node") / "scripts"
    shutil.copytree(HERE, folder)
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    return folder


def test_every_method(stage: Any, scripts: Path) -> None:
    command = ["node", "prompts.mjs", stage.url, stage.key]
    done = subprocess.run(command, cwd=scripts, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    slug = seen["created"]["slug"]
    assert slug.startswith("pp-hr-bot-")
    assert [item["slug"] for item in seen["listed"]["data"]] == [slug]
    assert seen["retrieved"]["prompt_version"] == 1
    assert seen["updated"]["prompt_version_id"] != seen["created"]["version_id"]
    assert [one["prompt_version"] for one in seen["versions"]["data"]] == [2, 1]
    assert (seen["version"]["label_id"], seen["version"]["prompt_version"]) == ("production", 1)
    assert seen["rendered"]["success"] is True
    assert seen["rendered"]["data"]["messages"] == [{"role": "user", "content": "Ho Ada"}]
    assert seen["rendered"]["data"]["temperature"] == 2
    assert seen["completion"]["object"] == "chat.completion"
    assert seen["completion"]["trace"]
    assert seen["streamed"]
    assert [item["slug"] for item in seen["partials"]["data"]] == [seen["partial"]["slug"]]
    assert [one["version"] for one in seen["partialVersions"]["data"]] == [2, 1]
    assert seen["partialRetrieved"]["string"] == "Ho"
    assert (seen["label"]["color_code"], seen["label"]["description"]) == ("#fff", "first to try")
    assert seen["labels"]["total"] == 4
    assert seen["collection"]["name"] == "Sales"
    assert seen["collections"]["total"] == 1
    assert seen["error"] == {"status": 404, "message": f'there is no prompt "{slug}"'}

    first, second = stage.azure.log.entries()
    assert first.json()["messages"] == [{"role": "user", "content": "Hi Ada"}]
    assert first.json()["max_tokens"] == 7
    assert second.json()["messages"] == [{"role": "user", "content": "Ho Ada"}]
