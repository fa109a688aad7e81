"""How many tokens a call may use, guessed before it is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TEXT_FIELDS = ("messages", "input", "prompt", "instructions", "tools", "functions", "response_format")
_BYTES_PER_TOKEN = 4  # OpenAI's rule of thumb for English; three bytes of Chinese are about a token
_FILE_TOKENS = 1000  # an image or a sound in a message: 85 to 1,500 for the models there are
_LONGEST_PLAIN = 100_000  # characters; base64 of this length is a file wherever it stands
_CEILINGS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_MOST = 10**9
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a call: `ceiling` is what its answer may have at most, 0 where the call does not say."""

    prompt: int = 0
    ceiling: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.ceiling


def estimate(body: Mapping[str, Any] | None) -> Estimate:
    """What a JSON body asks for; other bodies (forms with files) are told by their answer alone."""
    if body is None:
        return Estimate()
    size = sum(_size(body[name], 0) for name in _TEXT_FIELDS if name in body)
    ceiling = next((value for name in _CEILINGS if (value := _count(body.get(name)))), 0)
    choices = max(1, _count(body.get("n")))
    return Estimate(size // _BYTES_PER_TOKEN + 1, min(ceiling * choices, _MOST))


def _size(value: Any, depth: int) -> int:
    """Bytes of all text in a value; a file counts for what it costs."""
    if isinstance(value, str):
        if value.startswith("data:") or (len(value) > _LONGEST_PLAIN and " " not in value[:1000]):
            return _FILE_TOKENS * _BYTES_PER_TOKEN
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if depth > _DEEPEST:
        return 0
    if isinstance(value, dict):
        return sum(len(name) + _size(item, depth + 1) for name, item in value.items())
    if isinstance(value, list):
        return sum(_size(item, depth + 1) for item in value)
    return _BYTES_PER_TOKEN if isinstance(value, int | float) else 0


def _count(value: Any) -> int:
    return min(value, _MOST) if type(value) is int and value > 0 else 0
