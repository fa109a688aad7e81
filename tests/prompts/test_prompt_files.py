"""Prompts as files, and `prompts pull` and `push` against a gateway."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.__main__ import main
from gateway.cli import prompts
from gateway.cli.client import CommandFailed
from gateway.cli.prompt_files import PromptFile, from_server, parse, read_folder, write

MESSAGES = '[{"role":"system","content":"Be kind.\\nBe brief."},{"role":"user","content":"{{q}}"}]'
CHAT = """---
name: HR Bot
collection: Support
description: first
model: gpt4
virtual_key: azure-1
parameters:
  temperature: 1
format: messages
---
- role: system
  content: |-
    Be kind.
    Be brief.
- role: user
  content: '{{q}}'
"""


def test_chat_is_readable() -> None:
    fields = {"model": "gpt4", "virtual_key": "azure-1", "parameters": {"temperature": 1}}
    file = PromptFile("prompts", "pp-x", "HR Bot", MESSAGES, False, "Support", "first", fields)
    assert write(file) == CHAT
    assert parse("prompts", "pp-x", CHAT) == file


@pytest.mark.parametrize(
    ("string", "raw", "form"),
    [
        ("Say {{x}}\n\n--- \n---\nend\n", False, "text"),
        ('[{"role":"user","content":"a"},{{{history}}}]', True, "json"),
        ('[ {"role": "user"} ]', True, "json"),
        ("[]", False, "text"),
    ],
)
def test_other_templates_stay_as_they_are(string: str, raw: bool, form: str) -> None:
    file = PromptFile("prompts", "pp-x", "x", string, raw)
    text = write(file)
    assert f"format: {form}\n---\n{string}\n" in text
    assert parse("prompts", "pp-x", text) == file


def test_partial() -> None:
    file = PromptFile("partials", "pl-x", "Greeting", "Hi\n{{name}}")
    assert write(file) == "---\nname: Greeting\n---\nHi\n{{name}}\n"
    assert parse("partials", "pl-x", write(file)) == file


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    assert parse("prompts", "pp-x", "\ufeff" + CHAT.replace("\n", "\r\n")) == parse("prompts", "pp-x", CHAT)


@pytest.mark.parametrize(
    ("slug", "text", "message"),
    [
        ("x", CHAT, 'begins with "pp-"'),
        ("pp-x", "name: x", "must begin with front matter"),
        ("pp-x", "---\n- a\n---\nb", "must be names and values"),
        ("pp-x", "---\nmodel: x\n---\nb", "name: missing"),
        ("pp-x", "---\nname: x\ntemperature: 1\n---\nb", "unknown in the front matter: temperature"),
        ("pp-x", "---\nname: x\nformat: xml\n---\nb", "format: must be one of"),
        ("pp-x", "---\nname: &a x\nmodel: *a\n---\nb", "aliases"),
    ],
)
def test_files_that_say_nothing_usable(slug: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse("prompts", slug, text)


def test_dates_stay_text() -> None:
    text = "---\nname: x\nparameters:\n  stop: 2024-01-01\n---\nb"
    assert parse("prompts", "pp-x", text).fields == {"parameters": {"stop": "2024-01-01"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---\nname: x\n---\n{{#a}}", 'pp-x.md: string: line 1, column 1: the section "a" is never closed'),
        ("---\nname: x\nformat: messages\n---\n- 1", "pp-x.md: string.0.: a message is"),
        ("---\nname: [\n---\nb", "pp-x.md: "),
    ],
)
def test_faults_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "pp-x.md").write_text(text)
    with pytest.raises(CommandFailed, match=message):
        read_folder(tmp_path)


contents = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@example(contents=["0\n"], name="0")
@example(contents=["a\n\n", "\n"], name="\x85")
@settings(max_examples=300, deadline=None)
@given(contents=st.lists(contents, min_size=1, max_size=3), name=contents.filter(bool))
def test_any_messages_come_back(contents: list[str], name: str) -> None:
    string = json.dumps([{"role": "user", "content": content} for content in contents])
    file = parse("prompts", "pp-x", write(PromptFile("prompts", "pp-x", name, string)))
    assert (json.loads(file.string), file.name) == (json.loads(string), name)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff"), max_size=60))
def test_any_text_comes_back(string: str) -> None:
    file = PromptFile("partials", "pl-x", "x", string)
    assert parse("partials", "pl-x", write(file)) == file


class Command:
    """`python -m gateway prompts ...` against a stage."""

    def __init__(self, stage: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.stage, self.folder, self.capsys = stage, folder, capsys

    def __call__(self, action: str, *options: str) -> str:
        parser = argparse.ArgumentParser()
        prompts.add_parser(parser.add_subparsers())
        where = ["--url", self.stage.url, "--key", self.stage.key]
        arguments = parser.parse_args(["prompts", action, str(self.folder), *options, *where])
        assert arguments.run(arguments) == 0
        return self.capsys.readouterr().out

    def write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


@pytest.fixture
def command(stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(stage, tmp_path / "library", capsys)


def test_push_makes_what_the_files_say_and_pull_brings_it_back(command: Command) -> None:
    command.write("prompts/pp-hr-bot.md", CHAT)
    command.write("partials/pl-greeting.md", "---\nname: Greeting\n---\nHi\n")
    shown = command("push", "--yes")
    assert "+    Be kind." in shown
    assert "created   prompts/pp-hr-bot.md  version 1" in shown
    assert command("push", "--yes") == "nothing differs\n"

    stage = command.stage
    answer = stage.call("POST", "/prompts/pp-hr-bot/render", {"variables": {"q": "why?"}}).json()
    assert answer["data"]["messages"][1] == {"role": "user", "content": "why?"}
    assert stage.call("GET", "/collections").json()["data"][0]["name"] == "Support"

    for path in command.folder.glob("*/*.md"):
        path.unlink()
    assert "2 written, 0 unchanged" in command("pull")
    assert (command.folder / "prompts" / "pp-hr-bot.md").read_text() == CHAT
    assert "0 written, 2 unchanged" in command("pull")


def test_push_publishes_a_new_version(command: Command) -> None:
    command.write("prompts/pp-x.md", CHAT)
    command("push", "--yes")
    command.write("prompts/pp-x.md", CHAT.replace("Be brief.", "Be long.").replace("model: gpt4\n", ""))
    shown = command("push", "--yes")
    assert "-    Be brief." in shown
    assert "+    Be long." in shown
    assert "updated   prompts/pp-x.md  version 2" in shown
    now = command.stage.call("GET", "/prompts/pp-x").json()
    assert (now["prompt_version"], now["model"]) == (2, None)
    command.write("prompts/pp-x.md", CHAT)
    command("push", "--yes", "--no-publish")
    assert command.stage.call("GET", "/prompts/pp-x").json()["published_version"] == 2


def test_push_changes_nothing_unasked(command: Command) -> None:
    command.write("prompts/pp-x.md", CHAT)
    with pytest.raises(CommandFailed, match="say --yes"):
        command("push")
    assert "+name: HR Bot" in command("push", "--dry-run")
    assert command.stage.call("GET", "/prompts").json()["total"] == 0


class Terminal:
    """Someone who answers."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "total"), [("y", 1), ("", 0), ("no", 0)])
def test_push_asks_at_a_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch, answer: str, total: int
) -> None:
    command.write("prompts/pp-x.md", CHAT)
    monkeypatch.setattr("sys.stdin", Terminal())
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or answer)
    if total:
        command("push")
    else:
        with pytest.raises(CommandFailed, match="nothing was changed"):
            command("push")
    assert asked == ["Make 1 change? [y/N] "]
    assert command.stage.call("GET", "/prompts").json()["total"] == total


@pytest.mark.parametrize("slug", ["../../etc/x", "pp-/x", "pl-x", ".ssh"])
def test_a_gateway_cannot_write_outside_the_folder(slug: str) -> None:
    with pytest.raises(CommandFailed, match="cannot name a file"):
        from_server("prompts", {"slug": slug, "name": "x", "string": "y"}, {})


def test_push_prunes_only_when_told(command: Command) -> None:
    command.write("prompts/pp-x.md", CHAT)
    command("push", "--yes")
    (command.folder / "prompts" / "pp-x.md").unlink()
    assert command("push", "--yes") == "nothing differs\n"
    assert "archived  prompts/pp-x.md" in command("push", "--yes", "--prune")
    assert command.stage.call("GET", "/prompts").json()["total"] == 0


def test_pull_prunes_only_when_told(command: Command) -> None:
    command.write("prompts/pp-gone.md", CHAT)
    assert "not there  prompts/pp-gone.md" in command("pull")
    assert "deleted    prompts/pp-gone.md" in command("pull", "--prune")
    assert not (command.folder / "prompts" / "pp-gone.md").exists()


def test_json_for_programs(command: Command) -> None:
    command.write("prompts/pp-x.md", CHAT)
    pushed = json.loads(command("push", "--json", "--yes"))
    assert pushed["done"] == [{"path": "prompts/pp-x.md", "action": "create", "version": 1}]
    assert pushed["changes"][0]["diff"].startswith("--- /dev/null\n+++ prompts/pp-x.md")
    pulled = json.loads(command("pull", "--json"))
    assert pulled == {"written": [], "unchanged": 1, "not_on_the_gateway": []}


def test_prompts_of_other_clients_can_be_pulled_and_pushed(command: Command) -> None:
    raw = '[{"role":"user","content":"{{q}}"},\n {{{history}}}]'
    body = {"name": "Raw: 'x' #1", "string": raw, "collection_id": "elsewhere", "parameters": {"n": 1}}
    slug = command.stage.call("POST", "/prompts", body).json()["slug"]
    command("pull")
    assert f"format: json\n---\n{raw}\n" in (command.folder / "prompts" / f"{slug}.md").read_text()
    # The collection's id is unknown to this gateway: pushed, it would be the name of a new one.
    assert command("push", "--yes") == "nothing differs\n"


def test_a_wrong_key_is_one_line(stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prompts", "pull", str(tmp_path), "--url", stage.url, "--key", "gw-wrong"]
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith("401: ")
