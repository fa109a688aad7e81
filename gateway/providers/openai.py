"""OpenAI itself, and every host that speaks its API."""

from gateway.core.operations import Operation
from gateway.providers.base import Address, Endpoint, with_query

NAME = "openai"
BASE_URL = "https://api.openai.com/v1"

_AZURE_ONLY = frozenset({"api-version"})


class OpenAI:
    """Source of the URL shapes: OpenAI API reference."""

    name = NAME

    def address(self, endpoint: Endpoint, operation: Operation, query: str) -> Address:
        url = with_query(endpoint.host.base + operation.path, query, drop=_AZURE_ONLY)
        return Address(url, None if operation.scope == "none" else endpoint.deployment)

    def authorize(self, endpoint: Endpoint, token: str) -> tuple[str, str]:
        return "authorization", f"Bearer {token}"
