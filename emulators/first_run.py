"""`python -m emulators.first_run`: a gateway to try, with an emulated Azure OpenAI behind it.

The data stays in `GATEWAY_DATA_DIR` (`.gateway`), so a second start knows the same key.
"""

import argparse
import asyncio
import os
import socket
import sys
from urllib.parse import urlsplit

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server
from gateway.__main__ import environ, serve
from gateway.cli.client import DEFAULT_URL
from gateway.core.virtual_key import dump, secret_name
from gateway.core.virtual_key_input import build
from gateway.settings import Settings, SettingsError
from gateway.wiring import compose, ensure_admin_key

SLUG = "demo"
MODELS = ("gpt-5.4-mini", "text-embedding-3-small", "gpt-image-2")


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m emulators.first_run", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7071)
    options = parser.parse_args(arguments)
    if _taken(options.host, options.port):
        print(
            f"Port {options.port} is taken: stop what runs there, or choose another: make run PORT=7072",
            file=sys.stderr,
        )
        return 1
    with Server(AzureOpenAI()) as azure:
        env = environ()
        trusted = ",".join(filter(None, (env.get("GATEWAY_TRUSTED_HOSTS"), urlsplit(azure.url).netloc)))
        env["GATEWAY_TRUSTED_HOSTS"] = os.environ["GATEWAY_TRUSTED_HOSTS"] = trusted
        try:
            settings = Settings.from_environ(env)
        except SettingsError as error:
            print("\n".join(f"setting {problem}" for problem in error.problems), file=sys.stderr)
            return 2
        key = asyncio.run(_prepare(settings, azure.url))
        print(_welcome(key, options.host, options.port), flush=True)
        return serve(env, options.host, options.port)


async def _prepare(settings: Settings, azure_url: str) -> str:
    """Store the virtual key of the emulator; the gateway's admin key."""
    services = compose(settings)
    try:
        key, _ = await ensure_admin_key(services, settings)
        demo = build(
            SLUG,
            {
                "name": "Emulated Azure OpenAI",
                "provider": "azure-openai",
                "key": "emulator",
                "custom_host": f"{azure_url}/openai",
                "deployments": [
                    {
                        "deployment": name,
                        "alias": name,
                        "model": name,
                        "api_version": "v1",
                        "is_default": i == 0,
                    }
                    for i, name in enumerate(MODELS)
                ],
            },
        )
        await services.secrets.store.put(secret_name(SLUG), dump(demo))
        return key
    finally:
        await services.aclose()


def _taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def _welcome(key: str, host: str, port: int) -> str:
    base = f"http://{host}:{port}"
    where = "" if base == DEFAULT_URL else f" --url {base}"
    bold, dim, plain = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() else ("", "", "")
    return f"""
{bold}Your gateway key{plain}  {key}
{dim}Azure OpenAI is emulated: the virtual key `{SLUG}` answers by echo.{plain}

{bold}Try it{plain} in another terminal:

curl -N {base}/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -H "x-portkey-api-key: {key}" \\
  -H "x-portkey-virtual-key: {SLUG}" \\
  -d '{{"model": "{MODELS[0]}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

{bold}See its record{plain}:

curl -s "{base}/v1/logs?page_size=1" -H "x-portkey-api-key: {key}"

{bold}Add your own Azure resource{plain} (a deployment's Target URI, from the portal):

{sys.executable} -m gateway virtual-keys add azure{where} --target-uri "https://..."
"""


if __name__ == "__main__":
    raise SystemExit(main())
