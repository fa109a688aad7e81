"""Puts the events of a stream together into the one answer they spell.

Chat and completions: the choices' pieces are joined. Responses, images and transcriptions: their last
event holds the answer whole; what came before it stands in when the stream broke off.
"""

import re
from typing import Any

import orjson

from gateway.core.record import Usage
from gateway.core.sse import Splitter, data_of
from gateway.core.usage import merge, usage_of

_FIRST = 3  # events
_TEXT = b'"delta":{"content":"'
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*')  # the rest of a JSON string
_MOST_CHOICES = 128  # OpenAI's own limit of `n`
_MOST_CALLS = 128  # tool calls of one message


def assemble(stream: bytes) -> tuple[dict[str, Any], Usage, int]:
    """The answer that a stream's bytes spell, its usage (None fields when it told none), its pieces of text.

    A piece of text is about a token: it stands in for the usage of a stream that broke off before it.
    """
    events, spared = _events(_datas(stream))
    usage = Usage()
    pieces = sum(map(_is_text, events)) + spared
    for event in events:
        if event.get("usage") or "response" in event:
            usage = merge(usage, usage_of(event))
    if any("choices" in event for event in events[:8]):
        return _chat(events), usage, pieces
    return _typed(events), usage, pieces


def _is_text(event: dict[str, Any]) -> bool:
    choices = event.get("choices")
    if isinstance(choices, list):
        first = choices[0] if choices else None
        delta = first.get("delta") if isinstance(first, dict) else None
        return bool(isinstance(delta, dict) and delta.get("content")) or bool(
            isinstance(first, dict) and first.get("text")
        )
    return isinstance(event.get("delta"), str)


def _events(datas: list[bytes]) -> tuple[list[dict[str, Any]], int]:
    """The events, runs of them as one; pieces of text spared by that."""
    merged, spared = _merged(datas)
    try:
        # One call for all of them costs a fifth of a call for each.
        parsed = orjson.loads(b"[%b]" % b",".join(merged))
    except orjson.JSONDecodeError:
        parsed, spared = [_object(data) for data in datas], 0
    return [event for event in parsed if isinstance(event, dict)], spared


def _datas(stream: bytes) -> list[bytes]:
    """The data of the events that hold a JSON object."""
    lines = stream.split(b"\n")
    if b"\r" in stream or any(lines[1::2]):  # not one line an event, and a blank one after each
        splitter = Splitter()
        pieces = [*splitter.feed(stream), splitter.rest()]
        return [data for piece in pieces if (data := data_of(piece)).startswith(b"{")]
    return [line[6:] for line in lines[::2] if line.startswith(b"data: {")]


def _merged(datas: list[bytes]) -> tuple[list[bytes], int]:
    """Runs of events that differ in nothing but their text as one event each; pieces of text spared by it.

    Nearly all of a chat stream is such runs, and reading an event as JSON costs five times this.
    """
    merged: list[bytes] = []
    before = after = b""  # the event that the run's are like, around its text
    texts: list[bytes] = []
    spared = 0
    for data in datas:
        if texts and data.startswith(before) and data.endswith(after):
            text = data[len(before) : len(data) - len(after)]
            if b'"' not in text and len(data) >= len(before) + len(after):
                texts.append(text)
                continue
        start = data.find(_TEXT) + len(_TEXT)
        end = _STRING.match(data, start).end() if start >= len(_TEXT) else 0  # type: ignore[union-attr]
        if texts and data[:start] == before and data[end:] == after:
            texts.append(data[start:end])
            continue
        spared += _close_run(merged, before, texts, after)
        before, after = data[:start], data[end:]
        texts = [data[start:end]] if end and _adds_nothing(before, after) else []
        if not texts:
            merged.append(data)
    return merged, spared + _close_run(merged, before, texts, after)


def _close_run(merged: list[bytes], before: bytes, texts: list[bytes], after: bytes) -> int:
    if not texts:
        return 0
    merged.append(before + b"".join(texts) + after)
    return max(0, sum(map(bool, texts)) - 1)


def _adds_nothing(before: bytes, after: bytes) -> bool:
    """Whether an event holds one delta, with a text alone, and nothing else that is collected."""
    return (
        after.startswith(b'"}')
        and before.count(b'"delta"') == 1
        and b'"delta"' not in after
        and b'"logprobs":{' not in before + after
        and b'"usage":{' not in before + after
    )


def _object(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None  # the stream was cut here


def _chat(events: list[dict[str, Any]]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for number, event in enumerate(events):
        pieces = event.get("choices")
        # What stands beside the choices is the same in every event but the first ones and the last.
        if number < _FIRST or not pieces or event.get("usage"):
            answer.update((k, v) for k, v in event.items() if k != "choices" and v not in (None, "", []))
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                _join_choice(choices, piece)
    if isinstance(kind := answer.get("object"), str):
        answer["object"] = kind.removesuffix(".chunk")
    answer["choices"] = [_finished(choices[index]) for index in sorted(choices)]
    return answer


def _join_choice(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.get("index", 0)
    if not isinstance(index, int) or not 0 <= index < _MOST_CHOICES:
        return
    choice = choices.setdefault(index, {"index": index})
    delta = piece.get("delta")
    if (
        isinstance(delta, dict)
        and len(delta) == 1
        and not (piece.get("finish_reason") or piece.get("logprobs"))
    ):
        text = delta.get("content")  # nearly every event of a stream is this
        if isinstance(text, str):
            choice.setdefault("message", {}).setdefault("content", []).append(text)
            if results := piece.get("content_filter_results"):
                choice["content_filter_results"] = results
            return
    for name, value in piece.items():
        if name == "delta" and isinstance(value, dict):
            _join_message(choice.setdefault("message", {}), value)
        elif name == "text" and isinstance(value, str):
            choice.setdefault("text", []).append(value)
        elif name == "logprobs" and isinstance(value, dict):
            _join_lists(choice.setdefault("logprobs", {}), value)
        elif value not in (None, {}) or name not in choice:
            choice[name] = value


def _join_message(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Texts are collected as lists of pieces; `_finished` joins them once."""
    for name, value in delta.items():
        if name in ("content", "refusal", "reasoning_content") and isinstance(value, str):
            message.setdefault(name, []).append(value)
        elif name == "tool_calls" and isinstance(value, list):
            calls = message.setdefault("tool_calls", {})
            for call in value:
                if isinstance(call, dict):
                    _join_call(calls, call)
        elif name == "function_call" and isinstance(value, dict):
            _join_text_fields(message.setdefault("function_call", {}), value)
        elif value is not None:
            message[name] = value


def _join_call(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.get("index", 0)
    if not isinstance(index, int) or not 0 <= index < _MOST_CALLS:
        return
    call = calls.setdefault(index, {})
    for name, value in piece.items():
        if name == "function" and isinstance(value, dict):
            _join_text_fields(call.setdefault("function", {}), value)
        elif name != "index" and value is not None:
            call[name] = value


def _join_text_fields(target: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        if name == "arguments" and isinstance(value, str):
            target.setdefault(name, []).append(value)
        elif value is not None:
            target[name] = value


def _join_lists(target: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        if isinstance(value, list) and isinstance(target.get(name), list):
            target[name].extend(value)
        elif value is not None:
            target[name] = value


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    if isinstance(choice.get("text"), list):
        choice["text"] = "".join(choice["text"])
    message: Any = choice.get("message")
    if isinstance(message, dict):
        for name in ("content", "refusal", "reasoning_content"):
            if isinstance(message.get(name), list):
                message[name] = "".join(message[name])
        calls = message.get("tool_calls")
        if isinstance(calls, dict):
            message["tool_calls"] = [_call(calls[index]) for index in sorted(calls)]
        if isinstance(message.get("function_call"), dict):
            message["function_call"] = _call({"function": message["function_call"]})["function"]
    return choice


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments"), list):
        function["arguments"] = "".join(function["arguments"])
    return call


def _typed(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of a stream whose events have a `type`."""
    for event in events[::-1]:
        kind = str(event.get("type"))
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            response = event.get("response")
            return dict(response) if isinstance(response, dict) else event
        if kind.endswith((".completed", ".done")) and not kind.startswith("response."):
            return event
    return _broken(events)


def _broken(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What there is of a stream without its last event: the first event, the text so far, the last image."""
    answer: dict[str, Any] = {}
    text = []
    for event in events:
        response = event.get("response")
        if isinstance(response, dict):
            answer.update(response)
        elif isinstance(delta := event.get("delta"), str):
            text.append(delta)
        elif "error" in event or "b64_json" in event or "partial_image_b64" in event:
            answer.update(event)
    if text:
        answer["output_text"] = "".join(text)
    return answer
