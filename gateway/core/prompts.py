"""A prompt's version, compiled; and the request that it and a caller's variables make."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gateway.core.errors import InvalidRequest, TemplateInvalid
from gateway.core.mustache import DEFAULT_LIMITS, PartialOf, Problem, Renderer, no_partials
from gateway.core.prompt_template import PromptTemplate, compile_list, compile_prompt_string

Kind = Literal["chat", "text"]

# What a body of `completions` and `render` says besides parameters. Node's render repeats the id.
_NOT_PARAMETERS = frozenset({"variables", "hyperparameters", "hyperparams", "prompt_id"})
_PENALTIES = ("presence_penalty", "frequency_penalty")
_TOOL_FIELDS = ("tools", "functions")


@dataclass(frozen=True, slots=True)
class PromptSource:
    """What is saved of one version. Never changed once saved."""

    id: str  # of the prompt
    slug: str
    version: int  # from 1
    version_id: str
    string: str  # chat: JSON text of the messages; text: the prompt itself
    is_raw: bool  # render the JSON text, then parse it; else parse it, then render each string in it
    kind: Kind | None = None  # None: whatever the string is
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    virtual_key: str | None = None
    functions: tuple[Any, ...] = ()
    tools: tuple[Any, ...] = ()
    tool_choice: Any = None


class PromptIdentity(NamedTuple):
    """What a record says of the prompt that made a request."""

    id: str
    slug: str
    version: int
    version_id: str


class PromptRequest(NamedTuple):
    """A request as a client could have sent it itself."""

    path: str  # /v1/chat/completions or /v1/completions
    body: dict[str, Any]
    virtual_key: str | None  # for when the call names no provider, virtual key or config of its own
    prompt: PromptIdentity


@dataclass(frozen=True, slots=True)
class CompiledPrompt:
    """A version ready to be rendered. Immutable, so it may be shared and cached."""

    identity: PromptIdentity
    virtual_key: str | None
    parameters: Mapping[str, Any]  # without the tools
    template: PromptTemplate
    tools: Mapping[str, PromptTemplate]
    partials: frozenset[str]
    variables: frozenset[str]
    problems: tuple[tuple[str, Problem], ...]  # where (`string[0].content`) and what


def compile_prompt(source: PromptSource) -> CompiledPrompt:
    """Compile a version. Raises `TemplateInvalid` when its JSON or its template cannot be read at all."""
    template = compile_prompt_string(source.string, raw=source.is_raw, kind=source.kind)
    tools = {
        name: compile_list(name, list(value))
        for name, value in (("tools", source.tools), ("functions", source.functions))
        if value
    }
    parts = [template, *tools.values()]
    return CompiledPrompt(
        identity=PromptIdentity(source.id, source.slug, source.version, source.version_id),
        virtual_key=source.virtual_key or None,
        parameters=_saved_parameters(source),
        template=template,
        tools=tools,
        partials=frozenset().union(*[part.partials for part in parts]),
        variables=frozenset().union(*[part.variables for part in parts]),
        problems=tuple([problem for part in parts for problem in part.problems]),
    )


def check_prompt(prompt: CompiledPrompt) -> list[str]:
    """What is odd in a template that is to be saved. Raises `TemplateInvalid` for what must be a mistake."""
    texts = [f"{where}: {problem}" for where, problem in prompt.problems]
    fatal = [index for index, (_, problem) in enumerate(prompt.problems) if problem.fatal]
    if fatal:
        raise TemplateInvalid("; ".join([texts[index] for index in fatal]), param="string")
    return texts


def to_request(
    prompt: CompiledPrompt, body: Mapping[str, Any], partial_of: PartialOf = no_partials
) -> PromptRequest:
    """The request that a `completions` call stands for.

    `body` is the call's: `variables`, and at its root what overrides the saved parameters.
    Raises `InvalidRequest` (`TemplateInvalid` for what rendering cannot do).
    """
    merged = render_prompt(prompt, body, partial_of)
    path = "/v1/chat/completions" if "messages" in merged else "/v1/completions"
    return PromptRequest(path, merged, prompt.virtual_key, prompt.identity)


def to_rendering(
    prompt: CompiledPrompt, body: Mapping[str, Any], partial_of: PartialOf = no_partials
) -> dict[str, Any]:
    """The `data` of a `render` call.

    Penalties that are whole are ints: portkey_ai's `PromptRender` types them so, and raises on `0.0`.
    """
    data = render_prompt(prompt, body, partial_of)
    for name in _PENALTIES:
        value = data.get(name)
        if isinstance(value, float) and value.is_integer():
            data[name] = int(value)
    return data


def render_prompt(prompt: CompiledPrompt, body: Mapping[str, Any], partial_of: PartialOf) -> dict[str, Any]:
    """Saved parameters < `hyperparameters` < the body's root; null takes a parameter away."""
    overrides = {name: value for name, value in body.items() if name not in _NOT_PARAMETERS}
    renderer = Renderer(DEFAULT_LIMITS, partial_of, [_mapping(body, "variables")])
    merged: dict[str, Any] = dict(prompt.parameters)
    if "messages" not in overrides and "prompt" not in overrides:
        kind, value = prompt.template.render(renderer)
        merged["messages" if kind == "chat" else "prompt"] = value
    for name, tools in prompt.tools.items():
        if name not in overrides:
            merged[name] = tools.render(renderer)[1]
    merged.update(_mapping(body, "hyperparams"))
    merged.update(_mapping(body, "hyperparameters"))
    merged.update(overrides)
    return {name: value for name, value in merged.items() if value is not None}


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name}: must be an object of names and values", param=name)
    return value


def _saved_parameters(source: PromptSource) -> dict[str, Any]:
    saved = {name: value for name, value in source.parameters.items() if value is not None}
    if source.model:
        saved["model"] = source.model
    if source.tool_choice is not None:
        saved["tool_choice"] = source.tool_choice
    for name in _TOOL_FIELDS:
        if not saved.get(name):
            saved.pop(name, None)
    if not any(saved.get(name) for name in _TOOL_FIELDS) and not source.tools and not source.functions:
        # Azure OpenAI refuses a choice of tools without tools.
        for name in ("tool_choice", "parallel_tool_calls", "function_call"):
            saved.pop(name, None)
    return saved
