"""Where the templates and the app meet: settings, the secrets' JSON, configs, what the workbook reads."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bicep_eval import Deployment, deploy, exported, parameters_of

from gateway import settings
from gateway.core import virtual_key, virtual_key_input
from gateway.core.config import compile_config

Provision = Callable[..., Deployment]
ALL_ON = {
    "redis": True,
    "authClientId": "client-1",
    "trustedHosts": ["10.0.0.4:8443"],
    "pythonVersion": "3.12",
    "entraRoles": {"Gateway.User": ["completions.write"]},
    "metadataSchema": {"type": "object", "required": ["team"]},
}

# Read by the Functions host, by its Python worker or by the Azure Monitor exporter, not by the gateway.
PLATFORM = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsDisableHomepage",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "PYTHON_ENABLE_INIT_INDEXING",
}
# What Azure fills in, so that the values can be parsed here.
FILLED = {
    "<gateway/vault/vault.properties.vaultUri>": "https://kv-test.vault.azure.net/",
    "<gateway/storage/storage.properties.primaryEndpoints.table>": "https://sttest.table.core.windows.net/",
    "<gateway/storage/storage.properties.primaryEndpoints.blob>": "https://sttest.blob.core.windows.net/",
    "<gateway/identity.properties.principalId>": "00000000-0000-0000-0000-0000000000bb",
    "<gateway/redisCache/cache.properties.hostName>": "redis-test.swedencentral.redis.azure.net",
}


def environ_of(deployment: Deployment) -> dict[str, str]:
    (found,) = [r for r in deployment.of("Microsoft.Web/sites/config") if r.name.endswith("/appsettings")]
    values = {name: str(value) for name, value in found.properties.items()}
    for unknown, value in FILLED.items():
        values = {name: text.replace(unknown, value) for name, text in values.items()}
    return values


# --- settings


def test_every_setting_that_azure_needs_is_set(provision: Provision) -> None:
    wanted = {name for name, about in settings.names().items() if about["azure"]}
    assert wanted
    assert wanted - set(environ_of(provision(**ALL_ON))) == set()


def test_every_setting_that_is_set_is_read(provision: Provision) -> None:
    assert set(environ_of(provision(**ALL_ON))) - set(settings.names()) - PLATFORM == set()


def test_settings_without_a_parameter_go_into_the_extra_ones(provision: Provision, root: Path) -> None:
    """The guide names them all; what is left is for the local gateway, or a secret."""
    about = settings.names()
    local = {"GATEWAY_DATA_DIR"} | {name for name, one in about.items() if one["secret"]}
    wanted = {name for name, one in about.items() if not one["azure"]} - local
    (text,) = re.findall(
        r"go into `extraSettings`:(.*?)\n\n", (root / "docs" / "deploy.md").read_text(), re.DOTALL
    )
    assert set(re.findall(r"`([A-Z_]+)`", text)) == wanted
    extra = {"GATEWAY_REDACT": '["[0-9]{3}-[0-9]{2}-[0-9]{4}"]', "GATEWAY_OTEL_CAPTURE_CONTENT": "true"}
    read = settings.Settings.from_environ(environ_of(provision(extraSettings=extra)))
    assert (read.redact, read.otel_capture_content) == (extra["GATEWAY_REDACT"], "true")


def test_no_app_setting_holds_a_secret(provision: Provision) -> None:
    environ = environ_of(provision(**ALL_ON))
    secret = {name for name, about in settings.names().items() if about["secret"]}
    # The Redis address may hold a password in general; the one that is set has a user name only.
    assert secret & set(environ) == {"GATEWAY_REDIS_URL"}
    assert environ["GATEWAY_REDIS_URL"] == (
        "rediss://00000000-0000-0000-0000-0000000000bb@redis-test.swedencentral.redis.azure.net:10000"
    )


@pytest.mark.parametrize("options", [{}, ALL_ON, {"logBodies": "none", "maxBodyMb": 20}])
def test_the_gateway_accepts_the_settings(provision: Provision, options: dict[str, Any]) -> None:
    read = settings.Settings.from_environ(environ_of(provision(**options)))
    assert read.key_vault_url == "https://kv-test.vault.azure.net"
    assert read.tables_url == "https://sttest.table.core.windows.net"
    assert read.blobs_url == "https://sttest.blob.core.windows.net"
    assert read.log_bodies == options.get("logBodies", "all")
    assert read.max_body_mb == options.get("maxBodyMb", 100)
    assert (read.redis_url is not None) is options.get("redis", False)


def test_defaults_agree(provision: Provision) -> None:
    read = settings.Settings.from_environ(environ_of(provision()))
    default = settings.Settings()
    for field in ("trusted_hosts", "log_bodies", "log_retention_days", "max_body_mb"):
        assert getattr(read, field) == getattr(default, field), field


# --- virtual keys


def secrets_of(deployment: Deployment) -> dict[str, Any]:
    return {
        r.name.split("/")[1]: r.properties
        for r in deployment.of("Microsoft.KeyVault/vaults/secrets")
        if "/vk-" in r.name
    }


def test_the_secret_of_an_account_is_a_virtual_key(provision: Provision) -> None:
    ((name, secret),) = secrets_of(provision()).items()
    assert name == virtual_key.secret_name("main")
    assert secret["contentType"] == "application/json"
    key = virtual_key_input.parse("main", secret["value"])
    assert (key.provider, key.auth_mode) == ("azure-openai", "managed-identity")
    assert key.managed_client_id == "<gateway/identity.properties.clientId>"
    assert key.resource_name
    assert key.resource_name.startswith("oai-")
    assert [d.deployment for d in key.deployments] == [
        "gpt-5.4-mini",
        "text-embedding-3-small",
        "gpt-image-2",
    ]
    assert {d.api_version for d in key.deployments} == {"v1"}
    assert [d.is_default for d in key.deployments] == [True, False, False]
    assert key.api_key is None
    assert key.entra_client_secret is None


def test_the_secret_holds_no_key(provision: Provision) -> None:
    ((_, secret),) = secrets_of(provision()).items()
    assert set(json.loads(secret["value"])) == {
        "name",
        "provider",
        "auth_mode",
        "managed_client_id",
        "resource_name",
        "deployments",
        "note",
    }


def test_an_existing_account_gets_a_virtual_key_for_its_own_name(provision: Provision) -> None:
    resource_id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/contoso"
    model = {"name": "chat", "model": "gpt-5.4", "version": "1", "sku": "Standard", "capacity": 1}
    result = provision(accounts=[{"name": "old", "resourceId": resource_id, "deployments": [model]}])
    key = json.loads(secrets_of(result)["vk-old"]["value"])
    # The subdomain is what the address is made of; it need not equal the account's name.
    assert key["resource_name"].endswith("account.properties.customSubDomainName>")


def test_virtual_keys_can_be_left_alone(provision: Provision) -> None:
    assert secrets_of(provision(writeVirtualKeys=False)) == {}


@pytest.mark.parametrize(
    ("models", "default"),
    [
        (["gpt-5.4", "gpt-5.4-mini"], 0),
        (["text-embedding-3-small", "gpt-image-2", "gpt-5.4"], 2),
        (["text-embedding-3-small", "gpt-image-2"], 0),
        (["gpt-4o-transcribe", "gpt-realtime", "o5"], 2),
        (["gpt-5.4", ("gpt-5.4-mini", True)], 1),
        ([("gpt-5.4", True), ("gpt-5.4-mini", True)], 0),
    ],
)
def test_exactly_one_deployment_is_the_default(infra: Path, models: list[Any], default: int) -> None:
    pairs = [model if isinstance(model, tuple) else (model, False) for model in models]
    deployments = [
        {"name": f"d{i}", "model": model, **({"isDefault": True} if marked else {})}
        for i, (model, marked) in enumerate(pairs)
    ]
    make = exported(infra / "modules" / "types.bicep", "virtualKey")
    value = make("main", "oai-test", "client", deployments)
    assert [d["is_default"] for d in value["deployments"]] == [i == default for i in range(len(models))]


def test_an_alias_is_what_callers_write(infra: Path) -> None:
    make = exported(infra / "modules" / "types.bicep", "virtualKey")
    value = make("main", "oai-test", "c", [{"name": "gpt-5.4-ptu", "model": "gpt-5.4", "alias": "big"}])
    assert virtual_key_input.parse("main", json.dumps(value)).deployments[0].alias == "big"


# --- configs


@pytest.mark.parametrize("sample", ["try-out", "team", "production"])
def test_each_config_names_virtual_keys_and_deployments_that_exist(infra: Path, sample: str) -> None:
    result = deploy(infra / "main.bicep", parameters_of(infra / "samples" / f"{sample}.bicepparam"))
    keys = {name: json.loads(s["value"]) for name, s in secrets_of(result).items()}
    configs = json.loads(result.outputs["GATEWAY_CONFIGS"])
    for config in configs.values():
        for target in config["targets"]:
            deployments = keys[f"vk-{target['virtual_key']}"]["deployments"]
            assert target["override_params"]["model"] in [d["alias"] for d in deployments]


@pytest.mark.parametrize("sample", ["try-out", "team", "production"])
def test_the_gateway_takes_each_config_without_a_warning(infra: Path, sample: str) -> None:
    result = deploy(infra / "main.bicep", parameters_of(infra / "samples" / f"{sample}.bicepparam"))
    for config in json.loads(result.outputs["GATEWAY_CONFIGS"]).values():
        assert compile_config(config).warnings == ()


def test_the_gateway_takes_the_configs_of_the_guide(root: Path, infra: Path) -> None:
    blocks = re.findall(r"```json\n(.*?)```", (root / "docs" / "deploy.md").read_text(), re.DOTALL)
    configs = [json.loads(block) for block in blocks]
    assert len(configs) == 2
    assert all(compile_config(config).warnings == () for config in configs)
    result = deploy(infra / "main.bicep", parameters_of(infra / "samples" / "production.bicepparam"))
    assert configs[0] == json.loads(result.outputs["GATEWAY_CONFIGS"])["gpt-5.4"]


# --- the workbook


def test_the_workbook_shows_requests_tokens_cost_latency_and_throttles(infra: Path) -> None:
    items = json.loads((infra / "workbook.json").read_text())["items"]
    queries = {item["name"]: item["content"]["query"] for item in items if item["type"] == 3}
    assert {"requests", "tokens", "cost", "latency", "throttles"} <= set(queries)
    assert all("{TimeRange}" in query for query in queries.values())
    assert all("deployment" in queries[name] for name in ("tokens", "cost", "throttles"))
