"""An upstream's error, whatever its shape, as the one JSON body that every client reads."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
}
_MAX_TEXT = 2000  # characters of a text or page that is quoted


def normalise_error(body: bytes, status: int, provider: str | None) -> dict[str, Any]:
    """The universal body, with all that the upstream's `error` object said (content filter results too)."""
    error = _error_of(body, status)
    message = error["message"]
    return {"status": "failure", "message": message, "error": error, "provider": provider, "success": False}


def _error_of(body: bytes, status: int) -> dict[str, Any]:
    told = _parse(body)
    inner = told.get("error") if isinstance(told, dict) else None
    if isinstance(inner, Mapping):
        return _filled(inner, status)
    if isinstance(inner, str):
        return _filled({"message": inner}, status)
    if isinstance(told, dict):  # API Management: {"statusCode": 401, "message": "..."}
        return _filled({"message": told.get("message"), "code": told.get("code"), "upstream": told}, status)
    return _filled({"message": _quote(body, status)}, status)


def _filled(error: Mapping[str, Any], status: int) -> dict[str, Any]:
    message = error.get("message")
    if not isinstance(message, str) or not message:
        message = f"the upstream answered {status} and gave no message"
    defaults = {"type": _TYPES.get(status, "upstream_error"), "param": None, "code": None}
    filled: dict[str, Any] = {**error, "message": message}
    for name, value in defaults.items():
        if filled.get(name) is None:
            filled[name] = value
    return filled


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _quote(body: bytes, status: int) -> str:
    """What a page or a text says, without its tags."""
    text = body[: 8 * _MAX_TEXT].decode("utf-8", "replace").strip()
    if not text:
        return f"the upstream answered {status} with an empty body"
    if text.startswith("<"):
        text = _without_tags(text)
    text = re.sub(r"\s+", " ", text).strip()[:_MAX_TEXT]
    return (
        f"the upstream answered {status} with no JSON: {text}" if text else f"the upstream answered {status}"
    )


def _without_tags(page: str) -> str:
    """The page's text. Plain searches: a regular expression takes quadratic time on hostile pages."""
    lowered, texts, position = page.lower(), [], 0
    while (start := page.find("<", position)) >= 0:
        texts.append(page[position:start])
        hidden = next((name for name in ("script", "style") if lowered.startswith(name, start + 1)), None)
        if hidden is not None:
            start = lowered.find(f"</{hidden}", start)
        end = page.find(">", start) if start >= 0 else -1
        position = end + 1 if end >= 0 else len(page)
    return " ".join([*texts, page[position:]])
