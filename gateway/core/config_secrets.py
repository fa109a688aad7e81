"""Where a config holds secrets: those live in the vault, never in a saved config."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.core.config_checks import read

SECRET_FIELDS = ("api_key", "azure_ad_token", "azure_entra_client_secret")


def secrets_in(config: Mapping[str, Any]) -> list[str]:
    """Paths of the secrets in a valid config: `config.targets[0].api_key`."""
    return list(_below(config, "config"))


def _below(node: Any, path: str) -> Iterator[str]:
    for name in SECRET_FIELDS:
        if read(node, name):
            yield f"{path}.{name}"
    for index, child in enumerate(read(node, "targets") or ()):
        yield from _below(child, f"{path}.targets[{index}]")
