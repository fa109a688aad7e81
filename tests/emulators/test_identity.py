"""The real azure-identity credentials against the emulator, and tokens that tests sign."""

import json
import os
import subprocess
import sys
import time

import httpx
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential as BlockingClientSecretCredential
from azure.identity import CredentialUnavailableError
from azure.identity.aio import ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential
from cryptography.hazmat.primitives.asymmetric import rsa

from emulators.identity import TENANT
from emulators.key_vault import KeyVault
from emulators.server import Server
from emulators.steps import Reply

SCOPE = "https://cognitiveservices.azure.com/.default"

# Run in a process of its own: aiohttp reads SSL_CERT_FILE once, when it is imported.
STORE_A_SECRET = """
import asyncio, sys
from azure.identity.aio import ClientSecretCredential
from azure.keyvault.secrets.aio import SecretClient

async def main(vault, tenant):
    async with (
        ClientSecretCredential(tenant, "client", "secret") as credential,
        SecretClient(vault, credential, verify_challenge_resource=False, retry_total=0) as client,
    ):
        print((await client.set_secret("a", "1")).name)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def managed(identity, monkeypatch):
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identity.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", identity.app.identity_header)
    return identity


@pytest.fixture
def trust(certificates) -> dict[str, str]:
    return {"connection_verify": str(certificates.ca)}


async def test_system_assigned_identity_gets_a_token(managed):
    async with ManagedIdentityCredential() as credential:
        token = await credential.get_token_info(SCOPE)
    assert token.token in managed.app.issued
    assert 3500 < token.expires_on - time.time() < 3700
    request = managed.app.requests[0]
    assert request.query == {"api-version": "2019-08-01", "resource": "https://cognitiveservices.azure.com"}


async def test_user_assigned_identity_is_named(managed):
    async with ManagedIdentityCredential(client_id="managed") as credential:
        token = await credential.get_token(SCOPE)
    assert jwt.decode(token.token, options={"verify_signature": False})["appid"] == "managed"


async def test_unknown_identity_and_wrong_header_are_refused(managed, monkeypatch):
    async with ManagedIdentityCredential(client_id="other") as credential:
        with pytest.raises((ClientAuthenticationError, CredentialUnavailableError)):
            await credential.get_token(SCOPE)
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    async with ManagedIdentityCredential() as credential:
        with pytest.raises((ClientAuthenticationError, CredentialUnavailableError)):
            await credential.get_token(SCOPE)
    assert managed.app.issued == set()


async def test_scripted_failure_is_retried_by_the_client(managed):
    managed.app.script("msi", [Reply(500, {}, {"error": "busy"})])
    async with ManagedIdentityCredential(retry_backoff_factor=0) as credential:
        await credential.get_token(SCOPE)
    assert len(managed.app.requests) == 2


async def test_client_secret_gets_a_token(entra, trust):
    async with ClientSecretCredential(TENANT, "client", "secret", authority=entra.url, **trust) as credential:
        token = await credential.get_token(SCOPE)
    claims = jwt.decode(token.token, options={"verify_signature": False})
    assert (claims["aud"], claims["appid"], claims["tid"]) == (
        "https://cognitiveservices.azure.com",
        "client",
        TENANT,
    )
    assert [request.target for request in entra.app.requests] == [f"/{TENANT}/oauth2/v2.0/token"]


async def test_authority_may_come_from_the_environment(entra, trust, monkeypatch):
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", entra.url)
    async with ClientSecretCredential(TENANT, "client", "secret", **trust) as credential:
        assert (await credential.get_token(SCOPE)).token in entra.app.issued


@pytest.mark.parametrize(
    ("client", "secret", "code"), [("client", "wrong", "AADSTS7000215"), ("x", "y", "AADSTS700016")]
)
async def test_wrong_client_secret_is_refused_in_entras_words(entra, trust, client, secret, code):
    async with ClientSecretCredential(TENANT, client, secret, authority=entra.url, **trust) as credential:
        with pytest.raises(ClientAuthenticationError, match=code):
            await credential.get_token(SCOPE)


async def test_workload_identity_shows_its_assertion(entra, trust, tmp_path):
    file = tmp_path / "assertion"
    file.write_text("a.b.c")
    async with WorkloadIdentityCredential(
        tenant_id=TENANT, client_id="client", token_file_path=str(file), authority=entra.url, **trust
    ) as credential:
        assert (await credential.get_token(SCOPE)).token in entra.app.issued
    assert b"client_assertion=a.b.c" in entra.app.requests[-1].body


def test_blocking_credential_discovers_the_authority(entra, trust):
    entra.app.authority = entra.url
    with BlockingClientSecretCredential(
        TENANT, "client", "secret", authority=entra.url, disable_instance_discovery=True, **trust
    ) as credential:
        assert credential.get_token(SCOPE).token in entra.app.issued
    assert entra.app.requests[0].target.endswith("/v2.0/.well-known/openid-configuration")


def test_environment_alone_makes_vault_and_authority_trusted(entra, certificates):
    with Server(KeyVault(tokens=entra.app.issued), tls=certificates) as vault:
        environment = os.environ | {"SSL_CERT_FILE": str(certificates.ca), "AZURE_AUTHORITY_HOST": entra.url}
        command = [sys.executable, "-W", "error", "-c", STORE_A_SECRET, vault.url, TENANT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("a", 0), done.stderr


def read_keys(identity) -> dict[str, jwt.PyJWK]:
    found = httpx.get(f"{identity.url}/{TENANT}/discovery/v2.0/keys").json()
    return {key.key_id: key for key in jwt.PyJWKSet.from_dict(found).keys}


def verify(identity, token: str) -> dict:
    key = read_keys(identity)[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key, algorithms=["RS256"], audience="gateway")


def test_minted_token_verifies_by_the_key_set(identity):
    claims = verify(identity, identity.app.mint({"aud": "gateway", "roles": ["admin"], "nbf": None}))
    assert claims["roles"] == ["admin"]
    assert claims["iss"] == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert "nbf" not in claims


def test_token_may_be_expired_or_signed_by_a_stranger(identity):
    with pytest.raises(jwt.ExpiredSignatureError):
        verify(identity, identity.app.mint({"aud": "gateway"}, lifetime_s=-1))
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(jwt.InvalidSignatureError):
        verify(identity, identity.app.mint({"aud": "gateway"}, key=stranger))


def test_keys_rotate(identity):
    old = identity.app.mint({"aud": "gateway"})
    identity.app.rotate_key()
    assert verify(identity, identity.app.mint({"aud": "gateway"}))
    assert verify(identity, old)
    identity.app.rotate_key(keep_old=False)
    assert jwt.get_unverified_header(old)["kid"] not in read_keys(identity)


def test_discovery_names_the_key_set(identity):
    found = httpx.get(f"{identity.url}/{TENANT}/v2.0/.well-known/openid-configuration").json()
    assert found["issuer"] == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert httpx.get(found["jwks_uri"]).json()["keys"]
    instance = httpx.get(f"{identity.url}/common/discovery/instance?api-version=1.1").json()
    assert json.dumps(instance["metadata"]).count(identity.url.removeprefix("http://")) == 3
