"""Azure OpenAI: the dated API with deployments in the URL, and the v1 API with them in `model`."""

from urllib.parse import parse_qs, quote

from gateway.core.errors import InvalidRequest
from gateway.core.operations import Operation
from gateway.providers.base import Address, Endpoint, with_query

NAME = "azure-openai"

_VERSION = frozenset({"api-version"})
# Versions of the v1 API. Source: Azure OpenAI, "API version lifecycle".
_V1 = frozenset({"v1", "preview", "latest"})

_SCOPE_DATED = "https://cognitiveservices.azure.com/.default"
_SCOPE_V1 = "https://ai.azure.com/.default"
_SCOPES_BY_CLOUD = (
    (".azure.us", "https://cognitiveservices.azure.us/.default"),
    (".azure.cn", "https://cognitiveservices.azure.cn/.default"),
)


def base_url(resource_name: str) -> str:
    """Of a resource in the public cloud; other clouds are custom hosts."""
    return f"https://{resource_name}.openai.azure.com/openai"


def is_v1(api_version: str | None) -> bool:
    return (api_version or "").strip().lower() in _V1


def scope_for(host: str, api_version: str | None) -> str:
    """The scope a token for this host is asked for with."""
    for suffix, scope in _SCOPES_BY_CLOUD:
        if host.endswith(suffix):
            return scope
    return _SCOPE_V1 if is_v1(api_version) else _SCOPE_DATED


class AzureOpenAI:
    """Source of the URL shapes: Azure OpenAI REST reference, data plane, 2024-10-21 and v1."""

    name = NAME

    def address(self, endpoint: Endpoint, operation: Operation, query: str) -> Address:
        asked = parse_qs(query).get("api-version", [None])[0] if "api-version" in query else None
        version = (endpoint.api_version or "").strip() or asked
        if operation.azure_path == "v1" and (operation.scope == "none" or not version):
            version = asked or "v1"
        base = endpoint.host.base
        if is_v1(version):
            # `v1` itself is in the path; only the preview of it is named in the query.
            extra = "" if (version or "").lower() == "v1" else f"api-version={quote(version or '', safe='')}"
            url = with_query(f"{base}/v1{operation.path}", query, drop=_VERSION, add=extra)
            return Address(url, None if operation.scope == "none" else endpoint.deployment)
        if operation.scope == "none":
            return Address(self._dated(base + operation.path, query, asked or version))
        if operation.scope == "model":
            return Address(self._dated(base + operation.path, query, version), endpoint.deployment)
        if not endpoint.deployment:
            raise InvalidRequest(
                "no deployment: send x-portkey-azure-deployment-id, or the deployment's name as `model`",
                code="missing_deployment",
                param="x-portkey-azure-deployment-id",
            )
        url = f"{base}/deployments/{quote(endpoint.deployment, safe='')}{operation.path}"
        return Address(self._dated(url, query, version))

    def _dated(self, url: str, query: str, version: str | None) -> str:
        if not version:
            raise InvalidRequest(
                "no API version: send x-portkey-azure-api-version (such as 2024-10-21, or v1), or set it on "
                "the virtual key's deployment",
                code="missing_api_version",
                param="x-portkey-azure-api-version",
            )
        return with_query(url, query, drop=_VERSION, add=f"api-version={quote(version, safe='')}")

    def authorize(self, endpoint: Endpoint, token: str) -> tuple[str, str]:
        if endpoint.bearer or endpoint.sign_in is not None:
            return "authorization", f"Bearer {token}"
        return "api-key", token
