"""Chat completions and completions, whole and streamed, as Azure OpenAI shapes them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from emulators.answers.text import CREATED, data_event, flatten, pieces, sample, short_id, tokens

FILTERED_PROMPT = "filter-this-prompt"  # a prompt with this word is refused by the content filter
FILTERED_ANSWER = "filter-this-answer"  # an answer to this word is cut off by the content filter
DONE = b"data: [DONE]\n\n"
SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_HIT = {**SAFE, "violence": {"filtered": True, "severity": "medium"}}
PROMPT_FILTER = [
    {
        "prompt_index": 0,
        "content_filter_results": {**SAFE, "jailbreak": {"filtered": False, "detected": False}},
    }
]


@dataclass(frozen=True, slots=True)
class Said:
    """What the model says: text, or one tool call `(name, arguments as JSON)`."""

    text: str
    tool: tuple[str, str] | None
    finish: str
    prompt_tokens: int
    completion_tokens: int

    @property
    def filters(self) -> dict[str, Any]:
        return _HIT if self.finish == "content_filter" else SAFE


def prompt_text(body: dict[str, Any]) -> str:
    """All the caller wrote, for the filter and the token count."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return "\n".join(flatten(item.get("content")) for item in messages if isinstance(item, dict))
    prompt = body.get("prompt", "")
    return "\n".join(map(str, prompt)) if isinstance(prompt, list) else str(prompt)


def say(body: dict[str, Any], prompt: str, last: str) -> Said:
    """The answer to `last`, cut to the caller's token limit."""
    spent = tokens(prompt)
    if tool := _tool(body, last):
        return Said("", tool, "tool_calls", spent, tokens(tool[1]))
    text = _formatted(body.get("response_format"), last) or f"You said: {last}"
    words = pieces(text)
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(words)
    if FILTERED_ANSWER in last:
        return Said("".join(words[:2]), None, "content_filter", spent, 2)
    cut = len(words) > limit
    return Said(
        "".join(words[:limit]),
        None,
        "length" if cut else "stop",
        spent,
        min(limit, tokens(text)) if cut else tokens(text),
    )


def chat_reply(body: dict[str, Any]) -> Said:
    messages = [item for item in body["messages"] if isinstance(item, dict)]
    last = flatten(messages[-1].get("content")) if messages else ""
    return say(body, prompt_text(body), last)


def chat_body(body: dict[str, Any], said: Said, model: str, *, azure: bool) -> dict[str, Any]:
    """The whole answer; `azure` adds the content filter's results."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    if said.tool:
        message |= {"content": None, "tool_calls": [_call(said.tool, said.tool[1], body)]}
    choice = {"finish_reason": said.finish, "logprobs": None, "message": message}
    choices = [{"index": index, **choice} for index in range(body.get("n") or 1)]
    answer = _frame("chat.completion", body, model) | {"choices": choices, "usage": usage(said, len(choices))}
    return _filtered(answer, said) if azure else answer


def chat_events(body: dict[str, Any], said: Said, model: str, *, azure: bool) -> list[bytes]:
    """The events of a stream, `[DONE]` included."""
    frame = _frame("chat.completion.chunk", body, model)
    deltas = [*_deltas(body, said)]
    choices = [
        {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
        for delta, finish in deltas
        for index in range(body.get("n") or 1)
    ]
    return _events(frame, choices, said, body, azure=azure)


def completion_body(body: dict[str, Any], said: Said, model: str, *, azure: bool) -> dict[str, Any]:
    choice = {"text": said.text, "index": 0, "finish_reason": said.finish, "logprobs": None}
    answer = _frame("text_completion", body, model) | {"choices": [choice], "usage": usage(said)}
    return _filtered(answer, said) if azure else answer


def completion_events(body: dict[str, Any], said: Said, model: str, *, azure: bool) -> list[bytes]:
    frame = _frame("text_completion", body, model)
    parts = [(piece, None) for piece in pieces(said.text)] + [("", said.finish)]
    choices = [{"text": text, "index": 0, "finish_reason": end, "logprobs": None} for text, end in parts]
    return _events(frame, choices, said, body, azure=azure)


def usage(said: Said, choices: int = 1) -> dict[str, Any]:
    spent = said.completion_tokens * choices
    return {
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": spent,
        "total_tokens": said.prompt_tokens + spent,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _events(
    frame: dict[str, Any], choices: list[dict[str, Any]], said: Said, body: dict[str, Any], *, azure: bool
) -> list[bytes]:
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    frame |= {"usage": None} if wants_usage else {}
    events = [data_event(_first_chunk())] if azure else []
    for choice in choices:
        filters = said.filters if choice["finish_reason"] else SAFE
        extra = {"content_filter_results": filters} if azure else {}
        events.append(data_event(frame | {"choices": [choice | extra]}))
    if wants_usage:
        count = len({choice["index"] for choice in choices})
        events.append(data_event(frame | {"choices": [], "usage": usage(said, count)}))
    return [*events, DONE]


def _first_chunk() -> dict[str, Any]:
    # Azure's first chunk: no choices, empty id, object and model, the prompt's filter results.
    head = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
    return head | {"prompt_filter_results": PROMPT_FILTER}


def _deltas(body: dict[str, Any], said: Said) -> Iterator[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": None if said.tool else "", "refusal": None}, None
    if said.tool:
        yield {"tool_calls": [{"index": 0, **_call(said.tool, "", body)}]}, None
        text = said.tool[1]
        for start in range(0, len(text), 8):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": text[start : start + 8]}}]}, None
    else:
        for piece in pieces(said.text):
            yield {"content": piece}, None
    yield {}, said.finish


def _frame(kind: str, body: dict[str, Any], model: str) -> dict[str, Any]:
    name = f"chatcmpl-{short_id(body)}" if kind.startswith("chat") else f"cmpl-{short_id(body)}"
    return {
        "id": name,
        "object": kind,
        "created": CREATED,
        "model": model,
        "system_fingerprint": "fp_emulator",
    }


def _filtered(answer: dict[str, Any], said: Said) -> dict[str, Any]:
    choices = [choice | {"content_filter_results": said.filters} for choice in answer["choices"]]
    return answer | {"choices": choices, "prompt_filter_results": PROMPT_FILTER}


def _tool(body: dict[str, Any], last: str) -> tuple[str, str] | None:
    """The call the caller asks for: the named function, or the first one when a call is required."""
    functions = [tool["function"] for tool in body.get("tools") or [] if tool.get("type") == "function"]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        functions = [function for function in functions if function["name"] == name]
    elif choice != "required":
        return None
    if not functions:
        return None
    return functions[0]["name"], json.dumps(
        sample(functions[0].get("parameters") or {"type": "object"}, last)
    )


def _call(tool: tuple[str, str], arguments: str, body: dict[str, Any]) -> dict[str, Any]:
    function = {"name": tool[0], "arguments": arguments}
    return {"id": f"call_{short_id(tool, body)}", "type": "function", "function": function}


def _formatted(wanted: Any, last: str) -> str | None:
    """JSON where the caller asks for it by `response_format`."""
    match wanted:
        case {"type": "json_object"}:
            return json.dumps({"said": last})
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return json.dumps(sample(schema, last))
    return None
