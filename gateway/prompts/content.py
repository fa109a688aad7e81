"""What a version of a prompt holds: from a body, checked, and made ready to be rendered."""

from collections.abc import Mapping
from typing import Any

from gateway.core.errors import TemplateInvalid
from gateway.core.prompt_template import Kind
from gateway.core.prompts import CompiledPrompt, PromptSource, check_prompt, compile_prompt
from gateway.prompts.versioned import Head, Version

FIELDS = (
    "string",
    "parameters",
    "virtual_key",
    "model",
    "functions",
    "tools",
    "tool_choice",
    "version_description",
    "template_metadata",
    "is_raw_template",
)
_MERGED = ("parameters", "template_metadata")  # by an update with `patch`
_CHAT = ("chat",)
_TEXT = ("completion", "completions", "text")


def new_content(given: Mapping[str, Any]) -> tuple[dict[str, Any], CompiledPrompt, list[str]]:
    """The content to save, itself compiled, and warnings. Raises `TemplateInvalid`.

    Portkey's SDKs cannot say `is_raw_template`; where it is not said, the string itself tells:
    JSON whose variables stand only in strings is parsed first, other JSON is rendered first.
    """
    content = {name: given[name] for name in FIELDS if given.get(name) is not None}
    if "is_raw_template" in content:
        compiled = _compile(content)
    else:
        content["is_raw_template"] = False
        try:
            compiled = _compile(content)
        except TemplateInvalid:
            content["is_raw_template"] = True
            compiled = _compile(content)
    return content, compiled, check_prompt(compiled)


def revised_content(
    old: Mapping[str, Any], given: Mapping[str, Any], *, patch: bool
) -> tuple[dict[str, Any], CompiledPrompt, list[str]]:
    """The old content with what was given in place of it."""
    changed = {name: given[name] for name in FIELDS if name in given}
    if changed.get("string", "") is None:
        del changed["string"]
    if patch:
        for name in _MERGED:
            if changed.get(name) is not None:
                changed[name] = {**(old.get(name) or {}), **changed[name]}
    merged = {**old, "version_description": None, **changed}
    if "string" in changed and "is_raw_template" not in changed and not old.get("is_raw_template"):
        del merged["is_raw_template"]
    return new_content(merged)


def compiled(head: Head, version: Version) -> CompiledPrompt:
    return _compile(version.content, head.id, head.slug, version.number, version.id)


def _compile(
    content: Mapping[str, Any], id: str = "", slug: str = "", number: int = 0, version_id: str = ""
) -> CompiledPrompt:
    return compile_prompt(
        PromptSource(
            id,
            slug,
            number,
            version_id,
            content["string"],
            bool(content.get("is_raw_template")),
            kind_of(content.get("template_metadata")),
            content.get("parameters") or {},
            content.get("model"),
            content.get("virtual_key"),
            tuple(content.get("functions") or ()),
            tuple(content.get("tools") or ()),
            content.get("tool_choice"),
        )
    )


def kind_of(metadata: Mapping[str, Any] | None) -> Kind | None:
    """What `template_metadata` says the string is, if it says it."""
    if not metadata:
        return None
    kind = str(metadata.get("template_type") or metadata.get("templateType") or "").lower()
    if kind in _CHAT:
        return "chat"
    return "text" if kind in _TEXT else None
