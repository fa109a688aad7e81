"""What goes out: the JSON that Portkey's SDKs read, in the field names of its OpenAPI."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.core.ports import Document
from gateway.prompts.versioned import Head, Version

Json = dict[str, Any]


def iso(seconds: int) -> str:
    """`2026-04-01T12:00:00.000Z`, as Portkey writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def prompt_item(head: Head) -> Json:
    return {
        "id": head.id,
        "slug": head.slug,
        "name": head.name,
        "collection_id": head.collection_id,
        "model": head.model,
        "status": head.status,
        "created_at": iso(head.created_at),
        "last_updated_at": iso(head.updated_at),
        "object": "prompt",
    }


def prompt(head: Head, version: Version, labels: Mapping[str, str]) -> Json:
    """A prompt with one of its versions. `labels` are the names of label ids."""
    content = version.content
    own = labels_of(head, version)
    return prompt_item(head) | {
        "string": content["string"],
        "parameters": content.get("parameters") or {},
        "prompt_version": version.number,
        "prompt_version_id": version.id,
        "prompt_version_status": version_status(head, version),
        "prompt_version_description": content.get("version_description"),
        "prompt_version_label_id": own[-1] if own else None,
        "virtual_key": content.get("virtual_key"),
        "model": content.get("model"),
        "functions": content.get("functions") or [],
        "tools": content.get("tools") or [],
        "tool_choice": content.get("tool_choice"),
        "template_metadata": content.get("template_metadata") or {},
        "is_raw_template": int(bool(content.get("is_raw_template"))),
        # Not Portkey's: what an editor and an import need.
        "labels": [labels.get(label, label) for label in own],
        "published_version": head.published,
        "latest_version": head.latest,
    }


def prompt_version(head: Head, version: Version, labels: Mapping[str, str]) -> Json:
    content = version.content
    own = labels_of(head, version)
    return {
        "id": version.id,
        "prompt_id": head.id,
        "prompt_template": {
            "string": content["string"],
            "parameters": content.get("parameters") or {},
            "model": content.get("model"),
            "virtual_key": content.get("virtual_key"),
            "is_raw_template": int(bool(content.get("is_raw_template"))),
        },
        "prompt_version": version.number,
        "prompt_description": content.get("version_description"),
        "label_id": own[-1] if own else None,
        "labels": [labels.get(label, label) for label in own],
        "created_at": iso(version.created_at),
        "status": version_status(head, version),
        "object": "prompt",
    }


def partial_item(head: Head) -> Json:
    item = prompt_item(head) | {"object": "partial"}
    del item["model"]
    return item


def partial(head: Head, version: Version) -> Json:
    return partial_item(head) | {
        "string": version.content["string"],
        "version": version.number,
        "version_description": version.content.get("version_description"),
        "prompt_partial_version_id": version.id,
        "published_version": head.published,
        "latest_version": head.latest,
    }


def partial_version(head: Head, version: Version) -> Json:
    return {
        "prompt_partial_id": head.id,
        "prompt_partial_version_id": version.id,
        "slug": head.slug,
        "version": version.number,
        "string": version.content["string"],
        "description": version.content.get("version_description"),
        "prompt_version_status": version_status(head, version),
        "created_at": iso(version.created_at),
        "object": "partial",
    }


def version_status(head: Head, version: Version) -> str:
    return "active" if version.number == head.published else "archived"


def labels_of(head: Head, version: Version) -> list[str]:
    """Ids; the one given last comes last."""
    return [label for label, number in head.labels.items() if number == version.number]


def label(document: Document) -> Json:
    return {
        "id": document.id,
        **document.value,
        "status": "active",
        "is_universal": False,
        "created_at": iso(document.created_at),
        "last_updated_at": iso(document.updated_at),
        "object": "label",
    }


def builtin_label(name: str) -> Json:
    return {
        "id": name,
        "name": name,
        "description": None,
        "color_code": None,
        "organisation_id": None,
        "workspace_id": None,
        "status": "active",
        "is_universal": True,
        "created_at": None,
        "last_updated_at": None,
        "object": "label",
    }


def collection(document: Document) -> Json:
    return {
        "id": document.id,
        "slug": document.id,
        **document.value,
        "status": "active",
        "created_at": iso(document.created_at),
        "last_updated_at": iso(document.updated_at),
        "object": "collection",
    }
