"""Azure around the gateway, on loopback: a vault over HTTPS, the identity endpoint, Entra, a model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulators.azure_openai import AzureOpenAI
from emulators.certificates import Certificates, write_certificates
from emulators.identity import Identity
from emulators.key_vault import KeyVault
from emulators.server import Server


@dataclass(slots=True)
class Azure:
    """The emulators with their URLs. Tokens of `identity` and `entra` open the vault and the model."""

    certificates: Certificates
    identity: Identity
    identity_url: str
    entra: Identity
    entra_url: str
    vault: KeyVault
    vault_url: str
    openai: AzureOpenAI
    openai_url: str

    def environ(self, **more: str) -> dict[str, str]:
        """What an app in Azure with a managed identity finds, and the operator's settings."""
        return {
            "KEY_VAULT_URL": self.vault_url,
            "SSL_CERT_FILE": str(self.certificates.ca),
            "IDENTITY_ENDPOINT": f"{self.identity_url}/msi/token",
            "IDENTITY_HEADER": self.identity.identity_header,
            "AZURE_AUTHORITY_HOST": self.entra_url,
            "GATEWAY_TRUSTED_HOSTS": self.openai_url.partition("://")[2],
            **more,
        }


class _Tokens:
    """The tokens of several issuers."""

    def __init__(self, *issuers: Identity) -> None:
        self._issuers = issuers

    def __contains__(self, token: object) -> bool:
        return any(token in issuer.issued for issuer in self._issuers)


@contextmanager
def azure(folder: Path, *, keys: frozenset[str] = frozenset()) -> Iterator[Azure]:
    certificates = write_certificates(folder)
    identity, entra = Identity(), Identity(clients={"client": "client-secret-0123456789"})
    tokens = _Tokens(identity, entra)
    vault, model = KeyVault(tokens=tokens), AzureOpenAI(keys=keys, tokens=tokens)
    with ExitStack() as stack:

        def serve(app: Identity | KeyVault | AzureOpenAI, *, tls: bool = False) -> str:
            return stack.enter_context(Server(app, tls=certificates if tls else None)).url

        yield Azure(
            certificates,
            *(identity, serve(identity)),
            *(entra, serve(entra, tls=True)),
            *(vault, serve(vault, tls=True)),
            *(model, serve(model)),
        )
