"""Secrets in Azure Key Vault, read with the app's identity."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.secrets import KeyVaultSecret
from azure.keyvault.secrets.aio import SecretClient

from gateway.core.errors import StoreUnavailable
from gateway.core.ports import Secret, SecretInfo

T = TypeVar("T")

_TIMEOUT = 10.0  # seconds for one call, retries included
_CONTENT_TYPE = "application/json"


class KeyVaultSecrets:
    """A `SecretStore` in a vault. The vault retries its own throttling inside the time limit."""

    def __init__(self, url: str, credential: Any, **client_options: Any) -> None:
        self._client = SecretClient(
            url,
            credential,
            retry_total=3,
            retry_backoff_factor=0.4,
            retry_backoff_max=2,
            connection_timeout=5,
            read_timeout=5,
            **client_options,
        )

    async def get(self, name: str) -> Secret | None:
        async def call() -> Secret | None:
            try:
                return _secret(await self._client.get_secret(name))
            except ResourceNotFoundError:
                return None

        return await _bounded(call)

    async def put(self, name: str, value: str) -> Secret:
        async def call() -> Secret:
            try:
                found = await self._client.set_secret(name, value, content_type=_CONTENT_TYPE)
            except ResourceExistsError:
                # Deleted, but recoverable: the name is taken until it is recovered.
                await self._client.recover_deleted_secret(name)
                found = await self._client.set_secret(name, value, content_type=_CONTENT_TYPE)
            return _secret(found)

        return await _bounded(call, seconds=60.0)

    async def delete(self, name: str) -> bool:
        async def call() -> bool:
            try:
                await self._client.delete_secret(name)
            except ResourceNotFoundError:
                return False
            return True

        return await _bounded(call, seconds=60.0)

    async def list(self, prefix: str) -> list[SecretInfo]:
        async def call() -> list[SecretInfo]:
            return [
                SecretInfo(item.name, _seconds(item.created_on), _seconds(item.updated_on))
                async for item in self._client.list_properties_of_secrets()
                if item.name and item.name.startswith(prefix)
            ]

        return sorted(await _bounded(call, seconds=30.0), key=lambda info: info.name)

    async def aclose(self) -> None:
        await self._client.close()


def _secret(found: KeyVaultSecret) -> Secret:
    properties = found.properties
    return Secret(
        found.name or "", found.value or "", _seconds(properties.created_on), _seconds(properties.updated_on)
    )


def _seconds(moment: Any) -> int:
    return int(moment.timestamp()) if moment else 0


async def _bounded(call: Callable[[], Awaitable[T]], seconds: float = _TIMEOUT) -> T:
    """The call's result, or `StoreUnavailable` that tells the operator what to look at."""
    try:
        async with asyncio.timeout(seconds):
            return await call()
    except TimeoutError:
        raise StoreUnavailable(f"Key Vault did not answer within {seconds:g} s; try again") from None
    except HttpResponseError as error:
        raise StoreUnavailable(f"Key Vault answered {error.status_code}: {_advice(error)}") from error
    except AzureError as error:
        raise StoreUnavailable(
            f"Key Vault cannot be reached or signed in to ({type(error).__name__}): see KEY_VAULT_URL, the "
            "network and the app's identity"
        ) from error


def _advice(error: HttpResponseError) -> str:
    if error.status_code == 403:
        return (
            "the app's identity lacks a role on the vault (Key Vault Secrets Officer, or Secrets User to only "
            "read), or the role was given minutes ago and does not act yet, or the vault's network is closed"
        )
    if error.status_code == 429:
        return "the vault throttles; try again"
    return "try again"


def key_vault(url: str, credential: Any) -> KeyVaultSecrets:
    """The vault at `url`. A vault outside Azure's domains (an emulator) is not held to the challenge's host."""
    host = url.split("/")[2].split(":")[0]
    azure = host.endswith((".vault.azure.net", ".vault.usgovcloudapi.net", ".vault.azure.cn"))
    return KeyVaultSecrets(url, credential, verify_challenge_resource=azure)
