"""The real Key Vault client against the emulator."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.keyvault.secrets.aio import SecretClient

from emulators.answers.vault_errors import forbidden, throttled, unavailable
from emulators.base import ANY
from emulators.steps import Hang


class Known:
    """A credential with one token; notes what it was asked for."""

    def __init__(self, token: str = "right-token") -> None:
        self.token = token
        self.asked: list[tuple[tuple[str, ...], str | None]] = []

    async def get_token_info(self, *scopes, options=None) -> AccessTokenInfo:
        self.asked.append((scopes, (options or {}).get("tenant_id")))
        return AccessTokenInfo(self.token, int(time.time()) + 3600)

    async def get_token(self, *scopes, **kwargs) -> AccessToken:
        raise AssertionError("the client asks by get_token_info")

    async def close(self) -> None: ...

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


def connect(vault, certificates, credential=None, **options) -> SecretClient:
    return SecretClient(
        vault.url,
        credential or Known(),
        verify_challenge_resource=False,
        connection_verify=str(certificates.ca),
        **{"retry_total": 0, **options},
    )


@pytest.fixture
async def client(vault, certificates) -> AsyncIterator[SecretClient]:
    async with connect(vault, certificates) as client:
        yield client


async def test_latest_and_versions_are_read(vault, client):
    first = await client.set_secret("vk-one", "1")
    second = await client.set_secret("vk-one", "2", content_type="application/json", tags={"a": "b"})
    assert (await client.get_secret("vk-one")).value == "2"
    assert (await client.get_secret("VK-One", first.properties.version)).value == "1"
    assert second.properties.tags == {"a": "b"}
    assert first.properties.version != second.properties.version
    assert "/secrets/vk-one/?api-version=" in vault.app.requests[-2].target


async def test_first_request_is_challenged_and_has_no_body(vault, certificates):
    credential = Known()
    async with connect(vault, certificates, credential) as client:
        await client.set_secret("a", "secret-value")
    first, second = vault.app.requests
    assert (first.header("authorization"), first.body) == (None, b"")
    assert second.header("authorization") == "Bearer right-token"
    assert credential.asked == [(("https://vault.azure.net/.default",), vault.app.tenant)]


async def test_unknown_token_is_refused(vault, certificates):
    async with connect(vault, certificates, Known("wrong")) as client:
        with pytest.raises((ClientAuthenticationError, HttpResponseError)):
            await client.get_secret("a")


async def test_unknown_secret_is_not_found(client):
    with pytest.raises(ResourceNotFoundError, match="was not found in this key vault"):
        await client.get_secret("nope")


async def test_list_is_paged_and_tells_no_values(vault, client):
    for number in range(60):
        await client.set_secret(f"vk-{number:02}", "hidden-value")
    vault.app.log.clear()
    names = [item.name async for item in client.list_properties_of_secrets()]
    assert names == [f"vk-{number:02}" for number in range(60)]
    assert len(vault.app.requests) == 3


async def test_versions_are_listed(client):
    for value in ("1", "2"):
        await client.set_secret("a", value)
    assert len([item async for item in client.list_properties_of_secret_versions("a")]) == 2


async def test_deleted_name_conflicts_until_recovered(client):
    await client.set_secret("a", "1")
    deleted = await client.delete_secret("a")
    assert deleted.recovery_id.endswith("/deletedsecrets/a")
    assert [item.name async for item in client.list_deleted_secrets()] == ["a"]
    with pytest.raises(ResourceNotFoundError):
        await client.get_secret("a")
    with pytest.raises(ResourceExistsError, match="deleted but recoverable"):
        await client.set_secret("a", "2")
    assert (await client.get_deleted_secret("a")).name == "a"
    await client.recover_deleted_secret("a")
    assert (await client.get_secret("a")).value == "1"


async def test_purged_name_is_free_again(client):
    await client.set_secret("a", "1")
    await client.delete_secret("a")
    await client.purge_deleted_secret("a")
    with pytest.raises(ResourceNotFoundError):
        await client.get_deleted_secret("a")
    assert (await client.set_secret("a", "2")).value == "2"


async def test_disabled_secret_cannot_be_read(client):
    secret = await client.set_secret("a", "1")
    await client.update_secret_properties("a", secret.properties.version, enabled=False)
    with pytest.raises(HttpResponseError, match="disabled"):
        await client.get_secret("a")


@pytest.mark.parametrize(("name", "value"), [("under_score", "x"), ("a", "x" * 25_601)])
async def test_bad_names_and_long_values_are_refused(client, name, value):
    with pytest.raises(HttpResponseError) as refused:
        await client.set_secret(name, value)
    assert refused.value.status_code == 400


async def test_scripted_failures_change_nothing(vault, client):
    await client.set_secret("a", "1")
    vault.app.script("a", [throttled(0), forbidden()])
    vault.app.script(ANY, [unavailable()])
    statuses = []
    for _ in range(3):
        with pytest.raises(HttpResponseError) as refused:
            await client.set_secret("a", "2")
        statuses.append(refused.value.status_code)
    assert statuses == [429, 403, 503]
    assert (await client.get_secret("a")).value == "1"


async def test_client_retries_throttling_by_itself(vault, certificates):
    async with connect(vault, certificates, retry_total=3) as client:
        await client.set_secret("a", "1")
        vault.app.script("a", [throttled(0), throttled(0)])
        assert (await client.get_secret("a")).value == "1"


async def test_hanging_vault_notices_that_the_client_left(vault, client):
    vault.app.script("a", [Hang()])
    reading = asyncio.create_task(client.get_secret("a"))
    # The second request is the one with the token; the first asks for the challenge.
    assert await asyncio.to_thread(vault.app.log.wait_until, lambda entries: len(entries) == 2)
    reading.cancel()
    assert await asyncio.to_thread(vault.app.log.wait_until, lambda entries: entries[-1].client_left)
