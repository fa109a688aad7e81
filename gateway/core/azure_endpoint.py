"""Azure OpenAI endpoints as people paste them: a resource's name, its URL, a deployment's Target URI."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.core.errors import InvalidRequest

_RESOURCE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", re.IGNORECASE)
_DEPLOYMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,127})")
_VERSION = re.compile(r"v1|preview|latest|\d{4}-\d{2}-\d{2}(?:-preview)?")
_RESOURCE_SUFFIX = ".openai.azure.com"


@dataclass(frozen=True, slots=True)
class Pasted:
    """What a pasted text tells. A host that is not the usual one comes as `custom_host`."""

    resource_name: str | None = None
    custom_host: str | None = None
    deployment: str | None = None
    api_version: str | None = None


def read_endpoint(text: str) -> Pasted:
    """Read a URL, or a host, or a Target URI; a plain word tells nothing.

    `https://res.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21`
    gives resource `res`, deployment `gpt` and version `2024-10-21`.
    """
    text = text.strip()
    if "/" not in text and "." not in text:
        return Pasted()
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return Pasted()
    if not host:
        return Pasted()
    version = next(iter(parse_qs(parts.query).get("api-version", [])), None)
    match = re.search(r"/deployments/([^/]+)", parts.path)
    deployment = unquote(match[1]) if match else None
    if re.search(r"/openai/v1(?:/|$)", parts.path):
        version = version if version == "preview" else "v1"
    if host.endswith(_RESOURCE_SUFFIX) and host.count(".") == 3 and port in (None, 443):
        return Pasted(host.split(".", 1)[0], None, deployment, version)
    # What stands before `/openai` is part of the host's base: API Management publishes under a path.
    prefix = re.split(r"/openai(?:/|$)|/deployments/", parts.path, maxsplit=1)[0].rstrip("/")
    port_text = f":{port}" if port is not None else ""
    return Pasted(None, f"{parts.scheme}://{host}{port_text}{prefix}/openai", deployment, version)


def resource_name(text: str, where: str) -> str:
    """A plain resource name, or `InvalidRequest`: it becomes part of a host's name."""
    if not _RESOURCE.fullmatch(text):
        raise InvalidRequest(
            f"{where}: must be the resource's name (letters, digits, hyphens; as in "
            f"https://NAME.openai.azure.com) or its endpoint URL, got {text[:80]!r}",
            param=where,
        )
    return text.lower()


def deployment_name(text: str, where: str) -> str:
    """A plain deployment name, or `InvalidRequest`: it becomes part of a path."""
    if not _DEPLOYMENT.fullmatch(text):
        raise InvalidRequest(
            f"{where}: must be a deployment's name (letters, digits, '.', '-', '_'), got {text[:80]!r}",
            param=where,
        )
    return text


def api_version(text: str, where: str) -> str:
    """A version of Azure OpenAI's API: a date, or `v1`, or `preview` (of v1)."""
    version = text.strip().lower().rstrip("/").removeprefix("?").removeprefix("api-version=")
    if not _VERSION.fullmatch(version):
        raise InvalidRequest(
            f"{where}: must be a date version such as 2024-10-21, or v1, got {text[:40]!r}", param=where
        )
    return version
