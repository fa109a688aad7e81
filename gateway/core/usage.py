"""Tokens, read from what an upstream answers: whole JSON bodies and single events of a stream.

Chat, completions and embeddings count `prompt_tokens` and `completion_tokens`; responses, images and
audio count `input_tokens` and `output_tokens`. Source: OpenAI's and Azure OpenAI's API references.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gateway.core.record import Usage

_MOST = 2**53  # JSON readers keep whole numbers exact up to here


def usage_of(answer: Any) -> Usage:
    """The usage an answer or a stream's event tells; all None when it tells none."""
    told = _usage_object(answer)
    if told is None:
        return Usage()
    inputs = _details(told, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    outputs = _details(told, "completion_tokens_details", "output_tokens_details", "output_token_details")
    prompt = _first(told, "prompt_tokens", "input_tokens")
    completion = _first(told, "completion_tokens", "output_tokens")
    total = _count(told.get("total_tokens"))
    if total is None and (prompt is not None or completion is not None):
        total = (prompt or 0) + (completion or 0)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cached_tokens=_count(inputs.get("cached_tokens")),
        reasoning_tokens=_count(outputs.get("reasoning_tokens")),
        audio_tokens=_sum(inputs.get("audio_tokens"), outputs.get("audio_tokens")),
        image_tokens=_sum(inputs.get("image_tokens"), outputs.get("image_tokens")),
    )


def is_usage_only(event: Any) -> bool:
    """Whether a chat or completions event is the extra one that `include_usage` adds.

    Such an event has no choices and a usage object. Azure's first event has no choices either, but
    no usage.
    """
    return isinstance(event, dict) and event.get("choices") == [] and bool(event.get("usage"))


def merge(older: Usage, newer: Usage) -> Usage:
    """What the newer one tells, and the older one where the newer is silent."""
    return Usage(*(_told(getattr(newer, f), getattr(older, f)) for f in _NAMES))


def _usage_object(answer: Any) -> Mapping[str, Any] | None:
    if not isinstance(answer, dict):
        return None
    told = answer.get("usage")
    if told is None and isinstance(answer.get("response"), dict):
        told = answer["response"].get("usage")  # the events of the responses API wrap the answer
    return told if isinstance(told, dict) else None


def _details(told: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(details := told.get(name), dict):
            return details
    return {}


def _first(told: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        if (count := _count(told.get(name))) is not None:
            return count
    return None


def _sum(*values: Any) -> int | None:
    counts = [count for value in values if (count := _count(value)) is not None]
    return sum(counts) if counts else None


def _count(value: Any) -> int | None:
    if type(value) is int and 0 <= value <= _MOST:
        return value
    if type(value) is float and value.is_integer() and 0 <= value <= _MOST:
        return int(value)
    return None


def _told(newer: int | None, older: int | None) -> int | None:
    return older if newer is None else newer


_NAMES = tuple(field.name for field in fields(Usage))
