"""What the first run prints must work when it is pasted."""

import re
import shlex

import pytest

from emulators.first_run import _welcome


@pytest.mark.parametrize(("port", "named"), [(7071, False), (7072, True)])
def test_the_commands_reach_this_gateway_from_any_shell(port, named):
    text = _welcome("gw-key", "127.0.0.1", port)
    commands = [
        shlex.split(line)
        for line in text.replace("\\\n", " ").splitlines()
        if line.startswith("curl") or "virtual-keys" in line
    ]
    assert len(commands) == 3
    for command in commands[:2]:
        assert any(word.startswith(f"http://127.0.0.1:{port}/v1/") for word in command)
    assert ("--url" in commands[2]) is named
    # zsh takes a bare question mark for a pattern, and runs nothing.
    assert not re.search(r"\s[^\"'\s]*\?", text.split("Add your own")[0].replace("Hello!", ""))
