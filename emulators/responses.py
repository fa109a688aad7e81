"""The Responses API, with the stored responses in memory."""

from collections.abc import Iterator
from typing import Any

from emulators.answers import errors
from emulators.answers.chat import FILTERED_PROMPT, SAFE, Said, say
from emulators.answers.text import CREATED, flatten, named_event, pieces, short_id
from emulators.call import Call
from emulators.inference import stream
from emulators.plan import Answer, json_answer


class Responses:
    """`POST /responses` and what one does with a stored one."""

    def __init__(self) -> None:
        self._stored: dict[str, dict[str, Any]] = {}
        self._inputs: dict[str, list[dict[str, Any]]] = {}
        self._count = 0

    def serve(self, call: Call, model: str) -> Answer:
        match call.received.method, call.operation.split("/")[1:]:
            case "POST", []:
                return self._create(call.fields, model)
            case "GET", [name]:
                return json_answer(self._read(name))
            case "DELETE", [name]:
                del self._stored[self._find(name)["id"]]
                return json_answer({"id": name, "object": "response", "deleted": True})
            case "POST", [name, "cancel"]:
                return json_answer(self._cancel(name))
            case "GET", [name, "input_items"]:
                return json_answer(self._input_items(name))
        raise errors.resource_not_found()

    def _create(self, body: dict[str, Any], model: str) -> Answer:
        previous = body.get("previous_response_id")
        if previous is not None:
            self._find(previous)
        items = _items(body.get("input"))
        prompt = "\n".join(
            [str(body.get("instructions") or ""), *(flatten(item.get("content")) for item in items)]
        )
        if FILTERED_PROMPT in prompt:
            raise errors.prompt_filtered(SAFE)
        said = say(_as_chat(body), prompt, flatten(items[-1].get("content")) if items else "")
        self._count += 1
        response = _response(body, said, model, f"resp_{short_id(self._count, body)}")
        if body.get("store", True):
            self._stored[response["id"]] = response
            self._inputs[response["id"]] = items
        if body.get("stream"):
            return stream([named_event(event) for event in _events(response)])
        if body.get("background"):
            response |= {"status": "queued"}
        return json_answer(response)

    def _find(self, name: str) -> dict[str, Any]:
        if name not in self._stored:
            raise errors.typed(404, None, f"Response with id '{name}' not found.")
        return self._stored[name]

    def _read(self, name: str) -> dict[str, Any]:
        response = self._find(name)
        if response["status"] == "queued":  # a background response is done when it is next looked at
            response |= {"status": "completed"}
        return response

    def _cancel(self, name: str) -> dict[str, Any]:
        response = self._find(name)
        if not response["background"]:
            raise errors.typed(400, None, "Cannot cancel a synchronous response.")
        response |= {"status": "cancelled"}
        return response

    def _input_items(self, name: str) -> dict[str, Any]:
        self._find(name)
        data = [
            {"type": "message", "status": "completed", **item, "id": f"msg_{short_id(name, index)}"}
            for index, item in enumerate(self._inputs[name])
        ][::-1]
        ends = (
            {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
            if data
            else {"first_id": None, "last_id": None}
        )
        return {"object": "list", "data": data, **ends, "has_more": False}


def _items(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}]
    if not isinstance(value, list) or not value:
        raise errors.typed(400, "missing_required_parameter", "Missing required parameter: 'input'.", "input")
    return [item for item in value if isinstance(item, dict)]


def _as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """The parameters under the names chat has for them."""
    tools = [
        {"type": "function", "function": tool}
        for tool in body.get("tools") or []
        if tool.get("type") == "function"
    ]
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and "name" in choice:
        choice = {"type": "function", "function": {"name": choice["name"]}}
    form = (body.get("text") or {}).get("format") or {}
    wanted = {"type": form.get("type"), "json_schema": {"schema": form.get("schema")}}
    limit = body.get("max_output_tokens")
    return {"tools": tools, "tool_choice": choice, "response_format": wanted, "max_tokens": limit}


def _response(body: dict[str, Any], said: Said, model: str, name: str) -> dict[str, Any]:
    cut = said.finish in ("length", "content_filter")
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(said.finish)
    return {
        "id": name,
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if cut else "completed",
        "background": bool(body.get("background")),
        "error": None,
        "incomplete_details": {"reason": reason} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": [_output(said, name)],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": {
            "input_tokens": said.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": said.prompt_tokens + said.completion_tokens,
        },
        "user": body.get("user"),
    }


def _output(said: Said, name: str) -> dict[str, Any]:
    if said.tool:
        call = {"name": said.tool[0], "arguments": said.tool[1], "call_id": f"call_{short_id(name)}"}
        return {"id": f"fc_{short_id(name)}", "type": "function_call", "status": "completed", **call}
    text = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
    shown = {"id": f"msg_{short_id(name)}", "type": "message", "role": "assistant", "status": "completed"}
    return {**shown, "content": [text]}


def _events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *_item_events(response["output"][0]),
        {"type": f"response.{response['status']}", "response": response},
    ]
    return ({"sequence_number": number, **event} for number, event in enumerate(events))


def _item_events(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    at = {"output_index": 0, "item_id": item["id"]}
    nothing: dict[str, Any] = {"content": []} if "content" in item else {"arguments": ""}
    empty = {**item, "status": "in_progress", **nothing}
    yield {"type": "response.output_item.added", "output_index": 0, "item": empty}
    if "content" in item:
        yield from _text_events(item["content"][0], {**at, "content_index": 0})
    else:
        for start in range(0, len(item["arguments"]), 8):
            delta = item["arguments"][start : start + 8]
            yield {"type": "response.function_call_arguments.delta", **at, "delta": delta}
        whole = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **at, **whole}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}


def _text_events(part: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}
