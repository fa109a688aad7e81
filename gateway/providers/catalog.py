"""The providers there are, by name: the one place a new one is entered."""

from gateway.core.errors import InvalidRequest
from gateway.providers.azure_openai import AzureOpenAI
from gateway.providers.base import Provider
from gateway.providers.openai import OpenAI

_PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (AzureOpenAI(), OpenAI())}
# What clients also call them.
_PROVIDERS["azure"] = _PROVIDERS["azure_openai"] = _PROVIDERS["azure-openai"]


def provider(name: str) -> Provider:
    found = _PROVIDERS.get(name)
    if found is None:
        raise InvalidRequest(
            f"provider {name[:60]!r} is not known: use azure-openai or openai, or @slug of a virtual key",
            code="unknown_provider",
            param="provider",
        )
    return found
