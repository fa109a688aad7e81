"""docs/settings.md lists every setting, and only settings."""

import re
from pathlib import Path

from gateway import settings

TABLE = Path(__file__).parent.parent / "docs" / "settings.md"


def rows() -> dict[str, str]:
    lines = TABLE.read_text().splitlines()
    cells = [line.strip("|").split("|") for line in lines if line.startswith("| `")]
    return {cell[0].strip().strip("`"): cell[-1].strip() for cell in cells}


def test_table_lists_every_setting_and_no_other() -> None:
    assert set(rows()) == set(settings.names())


def test_table_tells_the_defaults() -> None:
    for name, told in rows().items():
        default = settings.names()[name]["default"]
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert re.match(rf"{default:g}\b", told), f"{name}: table says {told!r}, default is {default!r}"
        elif isinstance(default, str):
            assert told.startswith(f"`{default}`"), f"{name}: table says {told!r}, default is {default!r}"
