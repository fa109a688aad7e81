"""The body that goes upstream: the very bytes received, unless something in it must change."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.form_field import with_field
from gateway.core.jsontext import dumps
from gateway.core.params import apply_params
from gateway.core.targets import NO_RULES, ParamRules

_LONG_NUMBER = re.compile(rb"\d{19}")
NO_MODEL = frozenset({"", "portkey-default"})  # what Portkey's Python SDK sends where none was given


@dataclass(frozen=True, slots=True)
class ClientBody:
    """A request's body as it came, with what was parsed of it."""

    raw: bytes
    content_type: str = ""
    json: Mapping[str, Any] | None = None  # of a JSON body
    model: str | None = None  # as asked for, None when not
    stream: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamBody:
    """What is sent. `asked_usage`: the gateway, not the client, asked for the stream's usage."""

    raw: bytes
    asked_usage: bool = False


def split_model(model: str | None) -> tuple[str | None, str | None]:
    """(slug, model) of `@slug/model`; (None, model) of any other; placeholders are no model."""
    if model is None or model in NO_MODEL:
        return None, None
    if not model.startswith("@"):
        return None, model
    slug, _, rest = model[1:].partition("/")
    return slug or None, rest or None


def for_upstream(
    body: ClientBody, *, rules: ParamRules = NO_RULES, model: str | None = None, ask_usage: bool = False
) -> UpstreamBody:
    """The bytes to send, under a config's parameter rules.

    `model` is what must stand there for this upstream (None: the client's, less its `@slug/`).
    """
    if body.json is None:
        return UpstreamBody(_multipart(body, model))
    values = body.json if rules is NO_RULES else apply_params(rules, body.json)
    model = _model(values, model)
    ask = ask_usage and _lacks_usage(values)
    if values is body.json and model is None:
        return UpstreamBody(_with_usage(body, values), asked_usage=True) if ask else UpstreamBody(body.raw)
    if _LONG_NUMBER.search(body.raw):
        # orjson makes floats of integers past 64 bits; what is written anew must not change in passing.
        exact: Mapping[str, Any] = json.loads(body.raw)
        values = exact if rules is NO_RULES else apply_params(rules, exact)
    changed = dict(values)
    if model is not None:
        changed["model"] = model
    if ask:
        changed["stream_options"] = {**(changed.get("stream_options") or {}), "include_usage": True}
    return UpstreamBody(dumps(changed), asked_usage=ask)


def _model(values: Mapping[str, Any], wanted: str | None) -> str | None:
    """The model to write, or None when what stands there is right."""
    given = values.get("model")
    if wanted is None and isinstance(given, str) and given.startswith("@"):
        wanted = split_model(given)[1] or given
    return None if wanted == given else wanted


def _lacks_usage(values: Mapping[str, Any]) -> bool:
    """Whether a stream's usage must be asked for. Azure's "on your data" refuses the question."""
    if values.get("stream") is not True or "data_sources" in values:
        return False
    options = values.get("stream_options")
    if options is None:
        return True
    return isinstance(options, dict) and not options.get("include_usage")


def _with_usage(body: ClientBody, values: Mapping[str, Any]) -> bytes:
    if "stream_options" in values:
        options = {**(values["stream_options"] or {}), "include_usage": True}
        return dumps({**values, "stream_options": options})
    # One key in front of the others: all that the client wrote stays as it was written.
    start = body.raw.index(b"{") + 1
    return body.raw[:start] + b'"stream_options":{"include_usage":true},' + body.raw[start:]


def _multipart(body: ClientBody, model: str | None) -> bytes:
    if not body.content_type.lower().startswith("multipart/form-data"):
        return body.raw
    wanted = model
    if wanted is None and body.model and body.model.startswith("@"):
        wanted = split_model(body.model)[1]
    return with_field(body.raw, body.content_type, "model", wanted) if wanted else body.raw


def check_json_type(content_type: str) -> bool:
    """Whether a content type is JSON's; a missing one counts, as curl's default form type does not."""
    kind = content_type.split(";", 1)[0].strip().lower()
    return kind in ("", "application/json", "text/json") or kind.endswith("+json")
