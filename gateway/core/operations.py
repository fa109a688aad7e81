"""What a path asks for: the operation, and for Azure's own paths the deployment in it."""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from gateway.core.errors import InvalidRequest

Body = Literal["json", "multipart", "any"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One inference call. `path` starts after `/v1`, `/openai/v1` or `/openai/deployments/{d}`.

    `scope` says where the upstream keeps the deployment: in the URL (`deployment`), in the body's
    model (`model`), or nowhere (`none`). `deployment` is the one named by Azure's own path.
    """

    path: str
    method: str
    scope: Literal["deployment", "model", "none"]
    body: Body
    name: str  # for records: "chat/completions", "responses", "proxy", ...
    deployment: str | None = None
    azure_path: Literal["dated", "v1"] | None = None  # how Azure's own path was spelt
    prompt: str | None = None  # reference of the prompt that makes the request


_DEPLOYMENT_OPERATIONS: dict[str, Body] = {
    "/chat/completions": "json",
    "/completions": "json",
    "/embeddings": "json",
    "/images/generations": "json",
    "/images/edits": "multipart",
    "/images/variations": "multipart",
    "/audio/speech": "json",
    "/audio/transcriptions": "multipart",
    "/audio/translations": "multipart",
}
_MODEL_OPERATIONS = frozenset({"/responses", "/responses/compact", "/responses/input_tokens"})

# First segments that Azure OpenAI or OpenAI serve and the gateway passes on as they are.
PROXIED = frozenset(
    {
        "assistants",
        "audio",
        "batches",
        "chat",
        "chatkit",
        "completions",
        "containers",
        "conversations",
        "deployments",
        "embeddings",
        "evals",
        "files",
        "fine-tunes",
        "fine_tuning",
        "images",
        "moderations",
        "realtime",
        "responses",
        "skills",
        "threads",
        "uploads",
        "vector_stores",
        "video",
        "videos",
    }
)

_PROMPT_PATH = re.compile(r"/prompts/([^/]{1,400})/completions")
# `@slug/name` counts as one, since Azure's clients write the model there: some escape its slash, some not.
_DEPLOYMENT_PATH = re.compile(r"/deployments/((?:@[^/%]{1,128}/)?[^/]{1,256})(/.+)")


@dataclass(frozen=True, slots=True)
class Path:
    """A request's path after its prefix. `family` tells which prefix it had."""

    family: Literal["v1", "openai", "bare"]
    rest: str  # "/chat/completions"
    v1: bool = field(default=False)  # of family "openai": had `/v1`


def split_path(raw_path: str) -> Path:
    """Tolerates `//`, a trailing `/`, a missing `/v1`, and an Azure endpoint set to `.../v1`.

    `%40` becomes `@`; other escapes stay, so that an escaped slash never makes a segment.
    """
    path = re.sub(r"/{2,}", "/", raw_path) if "//" in raw_path else raw_path
    if path[:1] != "/":  # `OPTIONS *`
        path = "/" + path
    if "%40" in path:
        path = path.replace("%40", "@")
    if len(path) > 1 and path.endswith("/"):
        path = path[:-1]
    if path.startswith("/v1/openai/"):
        path = path[3:]
    if path.startswith("/openai/v1/") or path == "/openai/v1":
        return Path("openai", path[10:] or "/", v1=True)
    if path.startswith("/openai/"):
        return Path("openai", path[7:])
    if path.startswith("/v1/") or path == "/v1":
        return Path("v1", path[3:] or "/")
    return Path("bare", path)


def inference(method: str, path: Path) -> Operation | None:
    """The inference operation a path names, or None when it is not one.

    Raises `InvalidRequest` for a path that climbs: it would leave the upstream's base.
    """
    if _climbs(path.rest):
        raise InvalidRequest("the path has . or .. in it: write it out", code="invalid_path", param="path")
    azure: Literal["dated", "v1"] | None = None
    if path.family == "openai":
        azure = "v1" if path.v1 else "dated"
    rest, deployment = path.rest, None
    if method == "POST" and (prompt := _PROMPT_PATH.fullmatch(rest)) and path.family != "openai":
        # Most prompts are chats; what this one is shows when it is rendered.
        name = "/chat/completions"
        return Operation(name, method, "deployment", "json", name[1:], prompt=unquote(prompt[1]))
    match = _DEPLOYMENT_PATH.fullmatch(rest)
    if match and not path.v1:
        deployment, rest, azure = unquote(match[1]), match[2], "dated"
    if method == "POST":
        body = _DEPLOYMENT_OPERATIONS.get(rest)
        if body is not None:
            return Operation(rest, method, "deployment", body, rest[1:], deployment, azure)
        if rest in _MODEL_OPERATIONS:
            return Operation(rest, method, "model", "json", rest[1:], deployment, azure)
    segment = rest.split("/", 2)[1]
    if deployment is not None:  # an operation we do not know, on a deployment
        return Operation(rest, method, "deployment", "any", "proxy", deployment, azure)
    if segment == "responses":
        return Operation(rest, method, "none", "any", "responses", None, azure)
    if segment in PROXIED or (path.family == "openai" and segment):
        return Operation(rest, method, "none", "any", "proxy", None, azure)
    return None


def _climbs(path: str) -> bool:
    """Whether a segment is `.` or `..`, in any spelling that a server on the way may resolve."""
    if "." not in path and "%2" not in path:
        return False
    while (plain := unquote(path)) != path:
        path = plain
    return any(segment in (".", "..") for segment in re.split(r"[/\\]", path))


def known_methods(path: Path) -> list[str]:
    """The verbs of an inference path that has just one: for the `Allow` header of a 405."""
    match = _DEPLOYMENT_PATH.fullmatch(path.rest)
    rest = match[2] if match and not path.v1 else path.rest
    if _PROMPT_PATH.fullmatch(rest) and path.family != "openai":
        return ["POST"]
    if rest == "/chat/completions":  # Azure lists stored completions there
        return ["GET", "POST"]
    return ["POST"] if rest in _DEPLOYMENT_OPERATIONS or rest in _MODEL_OPERATIONS else []
