"""How a command reaches a gateway: its URL, its key, and errors as one line."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import httpx

from gateway.settings import Settings

DEFAULT_URL = "http://127.0.0.1:7071"


class CommandFailed(Exception):
    """Ends a command; its text is the whole message."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--url`, `--key` and `--json`, which every command takes."""
    parser.add_argument(
        "--url", default=os.environ.get("GATEWAY_URL", DEFAULT_URL), help=f"the gateway ({DEFAULT_URL})"
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("GATEWAY_KEY"),
        help="a gateway key (else GATEWAY_KEY, else the admin key of the local data folder)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def connect(options: argparse.Namespace) -> httpx.Client:
    """A client of the gateway's `/v1`."""
    key = options.key or _local_admin_key()
    return httpx.Client(
        base_url=options.url.rstrip("/").removesuffix("/v1") + "/v1",
        headers={"x-portkey-api-key": key},
        timeout=60,
    )


def call(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """The JSON of an answer; raises `CommandFailed` with the gateway's own words."""
    try:
        response = client.request(method, path, **options)
    except httpx.TransportError as error:
        raise CommandFailed(
            f"no gateway at {client.base_url} ({type(error).__name__}): start it, or see --url"
        ) from error
    try:
        value = response.json()
    except ValueError:
        value = {"message": response.text[:300]}
    if response.status_code >= 400:
        raise CommandFailed(f"{response.status_code}: {value.get('message')}")
    return value


def _local_admin_key() -> str:
    """The admin key of this folder's gateway."""
    from gateway.wiring import compose, ensure_admin_key

    settings = Settings.from_environ(os.environ)
    if settings.admin_key:
        return settings.admin_key
    if not (Path(settings.data_dir) / "secrets.sealed").exists():
        raise CommandFailed(
            f"no key: give --key, or set GATEWAY_KEY (there is no {settings.data_dir} folder here)"
        )

    async def read() -> str:
        services = compose(settings)
        try:
            return (await ensure_admin_key(services, settings))[0]
        finally:
            await services.aclose()

    return asyncio.run(read())
