"""`python -m gateway virtual-keys`: add an Azure resource, see what there is."""

import argparse
import getpass
import json
import os
import sys
from typing import Any

from gateway.cli.client import CommandFailed, add_options, call, connect

_EXAMPLE = (
    "https://NAME.openai.azure.com/openai/deployments/DEPLOYMENT/chat/completions?api-version=2024-10-21"
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("virtual-keys", help="add, list and delete virtual keys")
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="add an Azure OpenAI deployment by its Target URI")
    add.add_argument("slug", help="the name callers use: letters, digits, hyphens")
    add.add_argument("--target-uri", required=True, help=f"as the portal shows it: {_EXAMPLE}")
    add.add_argument(
        "--api-key-env", default="AZURE_OPENAI_API_KEY", help="variable with the key, else asked"
    )
    add.add_argument(
        "--managed-identity", action="store_true", help="sign in with the app's identity, no key"
    )
    add.add_argument("--validate", action="store_true", help="make one cheap call upstream first")
    add_options(add)
    add_options(actions.add_parser("list", help="list virtual keys"))
    delete = actions.add_parser("delete", help="delete a virtual key")
    delete.add_argument("slug")
    add_options(delete)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with connect(options) as client:
        if options.action == "add":
            body = _new_key(options)
            result = call(client, "POST", "/virtual-keys", json=body)
            text = f"virtual key {options.slug!r} added: send x-portkey-virtual-key: {options.slug}"
        elif options.action == "delete":
            result = call(client, "DELETE", f"/virtual-keys/{options.slug}")
            text = f"virtual key {options.slug!r} deleted"
        else:
            result = call(client, "GET", "/virtual-keys")
            text = _table(result["data"])
    print(json.dumps(result, indent=2) if options.json else text)
    return 0


def _new_key(options: argparse.Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": options.slug,
        "slug": options.slug,
        "provider": "azure-openai",
        "target_uri": options.target_uri,
        "validate": options.validate,
    }
    if options.managed_identity:
        return {**body, "azure_auth_mode": "managed"}
    return {**body, "key": os.environ.get(options.api_key_env) or _ask(options.api_key_env)}


def _ask(variable: str) -> str:
    if not sys.stdin.isatty():
        raise CommandFailed(f"no key: set {variable}, or use --managed-identity")
    return getpass.getpass("Azure OpenAI key: ")


def _table(rows: list[dict[str, Any]]) -> str:
    """Columns as wide as they need; the header only where a person reads."""
    header = ("SLUG", "PROVIDER", "STATUS", "WHERE", "DEPLOYMENTS")
    lines = [_line(row) for row in rows]
    if sys.stdout.isatty():
        lines.insert(0, header)
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _line(row: dict[str, Any]) -> tuple[str, str, str, str, str]:
    config = row.get("model_config") or {}
    names = ",".join(
        item.get("alias") or item["deploymentName"] for item in config.get("deploymentConfig", [])
    )
    where = config.get("resourceName") or config.get("customHost") or ""
    return row["slug"], row.get("provider", ""), row.get("status", ""), where, names
