"""Puts the events of a stream together into the one answer they spell.

Chat and completions: the choices' pieces are joined. Responses, images and transcriptions: their last
event holds the answer whole; what came before it stands in when the stream broke off.
"""

from typing import Any

import orjson

from gateway.core.record import Usage
from gateway.core.sse import Splitter, data_of
from gateway.core.usage import merge, usage_of

_FIRST = 3  # events
_MOST_CHOICES = 128  # OpenAI's own limit of `n`
_MOST_CALLS = 128  # tool calls of one message


def assemble(stream: bytes) -> tuple[dict[str, Any], Usage, int]:
    """The answer that a stream's bytes spell, its usage (None fields when it told none), its pieces of text.

    A piece of text is about a token: it stands in for the usage of a stream that broke off before it.
    """
    events = _events(stream)
    usage = Usage()
    pieces = sum(map(_is_text, events))
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


def _events(stream: bytes) -> list[dict[str, Any]]:
    datas = _datas(stream)
    try:
        # One call for all of them costs a fifth of a call for each.
        parsed = orjson.loads(b"[%b]" % b",".join(datas))
    except orjson.JSONDecodeError:
        parsed = [_object(data) for data in datas]
    return [event for event in parsed if isinstance(event, dict)]


def _datas(stream: bytes) -> list[bytes]:
    """The data of the events that hold a JSON object."""
    pieces = stream.split(b"\n\n")
    if b"\r" in stream or any(b"\n" in piece for piece in pieces):
        splitter = Splitter()
        pieces = [*splitter.feed(stream), splitter.rest()]
        return [data for piece in pieces if (data := data_of(piece)).startswith(b"{")]
    return [piece[6:] for piece in pieces if piece.startswith(b"data: {")]


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
