"""One request to the OpenAI emulator, parsed: dialect, deployment, operation, body."""

import enum
from dataclasses import dataclass, field
from typing import Any

import orjson

from emulators.answers.errors import typed
from emulators.multipart import Part, parse_multipart
from emulators.request_log import Received


class Dialect(enum.Enum):
    """Which of the three URL schemes the path follows."""

    DATED = "dated"  # /openai/deployments/{d}/{operation}?api-version=, /openai/{operation}?api-version=
    V1 = "v1"  # /openai/v1/{operation}
    OPENAI = "openai"  # /v1/{operation}, as OpenAI itself and compatible hosts have it


@dataclass(slots=True)
class Call:
    """`fields` are the JSON body, or the text fields of a multipart one, whose files are in `files`."""

    received: Received
    dialect: Dialect
    operation: str  # such as "chat/completions", without slashes at the ends
    deployment: str | None  # from the path, else the body's `model`
    in_path: bool  # the path names the deployment
    fields: dict[str, Any] = field(default_factory=dict)
    files: list[Part] = field(default_factory=list)

    @property
    def azure(self) -> bool:
        return self.dialect is not Dialect.OPENAI


def split_path(path: str) -> tuple[Dialect, str | None, str] | None:
    """Dialect, deployment and operation of a path; None if it is none of ours."""
    match path.strip("/").split("/"):
        case ["openai", "deployments", deployment, first, *rest]:
            return Dialect.DATED, deployment, "/".join([first, *rest])
        case ["openai", "v1", first, *rest]:
            return Dialect.V1, None, "/".join([first, *rest])
        case ["openai", first, *rest] if first != "deployments":
            return Dialect.DATED, None, "/".join([first, *rest])
        case ["v1", first, *rest]:
            return Dialect.OPENAI, None, "/".join([first, *rest])
    return None


def parse_call(received: Received, dialect: Dialect, deployment: str | None, operation: str) -> Call:
    """Raises Refused (400) for a body that is neither JSON nor multipart as its content type says."""
    call = Call(received, dialect, operation, deployment, deployment is not None)
    content_type = received.header("content-type") or ""
    if received.body:
        try:
            if content_type.startswith("multipart/"):
                _take_parts(call, parse_multipart(content_type, received.body))
            else:
                _take_json(call, received.json())
        except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
            raise typed(400, None, f"We could not parse the JSON body of your request: {error}") from error
        except ValueError as error:
            raise typed(400, None, str(error)) from error
    if call.deployment is None and isinstance(call.fields.get("model"), str):
        call.deployment = call.fields["model"]
    return call


def _take_json(call: Call, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    call.fields = value


def _take_parts(call: Call, parts: list[Part]) -> None:
    call.files = [part for part in parts if part.filename is not None]
    for part in parts:
        if part.filename is None:
            name = part.name.removesuffix("[]")
            text = part.text
            call.fields[name] = text if name not in call.fields else [*_listed(call.fields[name]), text]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
