"""`python -m gateway`: the gateway on this machine, and the commands that talk to one."""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from gateway.cli import logs, prompts, virtual_keys
from gateway.cli.client import CommandFailed
from gateway.front_door import FrontDoor
from gateway.log_lines import show_fields
from gateway.settings import Settings, SettingsError
from gateway.wiring import compose, ensure_admin_key

COMMANDS = (virtual_keys, logs, prompts)
LOCAL_SETTINGS = Path("local.settings.json")


def environ() -> dict[str, str]:
    """The environment over `Values` of `local.settings.json`, as Core Tools read them."""
    values: dict[str, str] = {}
    if LOCAL_SETTINGS.is_file():
        try:
            found = json.loads(LOCAL_SETTINGS.read_text(encoding="utf-8-sig")).get("Values", {})
        except ValueError as error:
            raise SystemExit(f"{LOCAL_SETTINGS} is not JSON: {error}") from None
        values = {name: str(value) for name, value in found.items()}
    return {**values, **os.environ}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7071, help="port to listen on (7071); 0: any free one")
    commands = parser.add_subparsers(title="commands, instead of serving", metavar="")
    for command in COMMANDS:
        command.add_parser(commands)
    env = environ()
    # Libraries (azure-identity among them) and the commands read the environment themselves.
    os.environ.update(env)
    options = parser.parse_args(arguments)
    if "run" in options:
        try:
            return int(options.run(options))
        except (CommandFailed, SettingsError) as error:
            print(error, file=sys.stderr)
            return 1
    try:
        settings = Settings.from_environ(env)
    except SettingsError as error:
        for problem in error.problems:
            print(f"setting {problem}", file=sys.stderr)
        return 2
    asyncio.run(_announce_key(settings))
    return serve(env, options.host, options.port)


async def _announce_key(settings: Settings) -> None:
    """Show a key that was made just now: the only time it is shown."""
    if settings.key_vault_url is not None:
        return
    services = compose(settings)
    try:
        key, fresh = await ensure_admin_key(services, settings)
    finally:
        await services.aclose()
    if fresh:
        print(f"Your gateway key, shown this once: {key}", flush=True)


class _Server(uvicorn.Server):
    """Says where it listens once it does, so that `--port 0` can be used."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for sock in server.sockets:
                host, port = sock.getsockname()[:2]
                print(f"Gateway on http://{host}:{port}", flush=True)


def serve(env: dict[str, str], host: str, port: int) -> int:
    """Run until told to stop; then every answered request is recorded."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    show_fields()
    config = uvicorn.Config(
        FrontDoor(env),
        host=host,
        port=port,
        access_log=False,  # it prints queries, and function keys stand in them
        log_level="warning",
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # anyone on this machine could claim to be another
        date_header=True,
        timeout_graceful_shutdown=30,
    )
    server = _Server(config)
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    raise SystemExit(main())
