"""What the templates deploy, evaluated with parameters as a person would give them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bicep_eval import Deployment, Resource, deploy, exported, parameters_of, read
from bicep_parser import BicepError

Provision = Callable[..., Deployment]
SAMPLES = ["try-out", "team", "production"]
EVERYTHING: dict[str, Any] = {
    "privateNetwork": True,
    "redis": True,
    "authClientId": "00000000-0000-0000-0000-00000000c11e",
    "alertEmail": "operator@example.com",
    "monthlyBudget": 100,
    "purgeProtection": True,
    "operatorId": "00000000-0000-0000-0000-0000000000aa",
    "alwaysReady": 2,
}
MODEL = {"name": "gpt", "model": "gpt-5.4", "version": "1", "sku": "GlobalStandard", "capacity": 1}
EXISTING = (
    "/subscriptions/00000000-0000-0000-0000-00000000000b/resourceGroups/rg-models"
    "/providers/Microsoft.CognitiveServices/accounts/contoso-eastus"
)

# learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
NAME_RULES = {
    "Microsoft.CognitiveServices/accounts": r"[a-zA-Z0-9][a-zA-Z0-9-]{1,63}",
    "Microsoft.CognitiveServices/accounts/deployments": r"[\w.-]+/[a-zA-Z0-9][\w.-]{1,63}",
    "Microsoft.Insights/actionGroups": r".{1,260}",
    "Microsoft.Insights/components": r".{1,260}",
    "Microsoft.KeyVault/vaults": r"[a-zA-Z](?!.*--)[a-zA-Z0-9-]{1,22}[a-zA-Z0-9]",
    "Microsoft.KeyVault/vaults/secrets": r"[\w-]+/[a-zA-Z0-9-]{1,127}",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[a-zA-Z0-9][\w-]{2,127}",
    "Microsoft.Network/privateEndpoints": r"[a-zA-Z0-9][\w.-]{0,62}\w",
    "Microsoft.Network/virtualNetworks": r"[a-zA-Z0-9][\w.-]{0,62}\w",
    "Microsoft.OperationalInsights/workspaces": r"[a-zA-Z0-9][a-zA-Z0-9-]{2,61}[a-zA-Z0-9]",
    "Microsoft.Resources/resourceGroups": r"[\w().-]{0,89}[\w()-]",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.Web/serverfarms": r"[a-zA-Z0-9-]{1,60}",
    "Microsoft.Web/sites": r"[a-zA-Z0-9][a-zA-Z0-9-]{0,58}[a-zA-Z0-9]",
    "Microsoft.Cache/redisEnterprise": r"[a-zA-Z0-9](?!.*--)[a-zA-Z0-9-]{0,58}[a-zA-Z0-9]",
}


def settings_of(deployment: Deployment) -> dict[str, Any]:
    (found,) = [r for r in deployment.of("Microsoft.Web/sites/config") if r.name.endswith("/appsettings")]
    return found.properties


# --- one template, three ways to start it


def test_the_group_template_gives_the_same_resources_as_the_subscription_template(
    infra: Path, provision: Provision
) -> None:
    alone = deploy(infra / "group.bicep", {})
    inside = [r.type for r in provision().resources if r.type != "Microsoft.Resources/resourceGroups"]
    assert [r.type for r in alone.resources] == inside


def test_the_subscription_template_hands_every_parameter_down(infra: Path) -> None:
    main = {d.name: d for d in read(infra / "main.bicep").declarations}
    group = {d.name: d for d in read(infra / "group.bicep").declarations if d.kind == "param"}
    passed = next(value for key, value in main["gateway"].value[1] if key == ("string", ["params"]))
    assert {key[1][0] for key, _ in passed[1]} == set(group)
    for name in set(group) - {"location", "tags"}:
        assert (main[name].value, main[name].decorators) == (group[name].value, group[name].decorators), name


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_sample_deploys(infra: Path, sample: str) -> None:
    path = infra / "samples" / f"{sample}.bicepparam"
    assert read(path).using == "../main.bicep"
    result = deploy(infra / "main.bicep", parameters_of(path))
    assert result.one("Microsoft.Web/sites")


def test_the_samples_grow_from_nothing_to_private(infra: Path) -> None:
    given = {name: parameters_of(infra / "samples" / f"{name}.bicepparam") for name in SAMPLES}
    assert "alwaysReady" not in given["try-out"]
    assert "redis" not in given["try-out"]
    assert given["team"]["redis"] is True
    assert given["production"]["redis"] is True
    assert given["production"]["privateNetwork"] is True


def test_the_parameters_azd_fills_in_exist_and_hold_no_secret(infra: Path) -> None:
    document = json.loads((infra / "main.parameters.json").read_text())["parameters"]
    declared = {d.name for d in read(infra / "main.bicep").declarations if d.kind == "param"}
    assert set(document) <= declared
    assert all(re.fullmatch(r"\$\{[A-Z_]+(=[A-Za-z]*)?\}", item["value"]) for item in document.values())
    assert "adminKey" not in document


def test_no_file_needs_a_registry(infra: Path) -> None:
    for path in infra.rglob("*.bicep"):
        assert not re.search(r"'(br|ts)[:/]", path.read_text()), path


# --- names


@pytest.mark.parametrize("options", [{}, EVERYTHING])
def test_names_obey_azures_rules_at_their_longest(provision: Provision, options: dict[str, Any]) -> None:
    accounts = [{"name": "a" * 40, "deployments": [{**MODEL, "name": "d" * 64}]}]
    result = provision(environmentName="e" * 64, accounts=accounts, **options)
    seen = set()
    for resource in result.resources:
        if rule := NAME_RULES.get(resource.type):
            assert re.fullmatch(rule, resource.name), (resource.type, resource.name)
            seen.add(resource.type)
    assert seen == set(NAME_RULES) or not options


def test_names_differ_between_groups_and_stay_the_same_within_one(provision: Provision) -> None:
    first, again = provision(), provision()
    assert [r.name for r in first.resources] == [r.name for r in again.resources]
    assert len({(r.type, r.name, r.key) for r in first.resources}) == len(first.resources)


def test_everything_that_takes_tags_has_the_environments_tag(provision: Provision) -> None:
    tagged = [r for r in provision(tags={"team": "ai"}, **EVERYTHING).resources if "tags" in r.body]
    assert len(tagged) > 20
    assert all(r.body["tags"]["azd-env-name"] == "test" and r.body["tags"]["team"] == "ai" for r in tagged)
    untagged = {
        r.type for r in provision(**EVERYTHING).resources if "location" in r.body and "tags" not in r.body
    }
    assert untagged <= {"Microsoft.Network/privateDnsZones/virtualNetworkLinks"}


# --- the app


def test_the_app_is_a_flex_consumption_app_as_its_parameters_say(provision: Provision) -> None:
    result = provision(alwaysReady=3, maximumInstanceCount=80, instanceMemoryMB=4096, httpConcurrency=32)
    assert result.one("Microsoft.Web/serverfarms").body["sku"]["name"] == "FC1"
    app = result.one("Microsoft.Web/sites")
    config = app.properties["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": "3.13"}
    assert config["scaleAndConcurrency"] == {
        "instanceMemoryMB": 4096,
        "maximumInstanceCount": 80,
        "alwaysReady": [{"name": "http", "instanceCount": 3}],
        "triggers": {"http": {"perInstanceConcurrency": 32}},
    }
    assert config["siteUpdateStrategy"] == {"type": "RollingUpdate"}
    assert config["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity"
    assert app.properties["httpsOnly"] is True
    assert app.properties["siteConfig"]["minTlsVersion"] == "1.2"
    assert app.body["identity"]["type"] == "UserAssigned"
    assert app.body["tags"]["azd-service-name"] == "gateway"


def test_the_package_container_is_the_one_that_is_made(provision: Provision) -> None:
    result = provision()
    container = result.one("Microsoft.Storage/storageAccounts/blobServices/containers").name.split("/")[-1]
    url = result.one("Microsoft.Web/sites").properties["functionAppConfig"]["deployment"]["storage"]["value"]
    assert url.endswith(f".blob>{container}")


@pytest.mark.parametrize(("version", "needed"), [("3.11", True), ("3.12", True), ("3.13", False)])
def test_init_indexing_is_set_where_the_worker_needs_it(
    provision: Provision, version: str, needed: bool
) -> None:
    assert ("PYTHON_ENABLE_INIT_INDEXING" in settings_of(provision(pythonVersion=version))) is needed


def test_the_app_waits_for_its_roles_its_secrets_and_its_network(infra: Path) -> None:
    app = next(d for d in read(infra / "group.bicep").declarations if d.name == "app")
    entries = {key[1][0]: value for key, value in app.value[1]}
    waits = {name for _, name in entries["dependsOn"][1]}
    assert waits == {
        "endpoints",
        "adminKeySecret",
        "newAccounts",
        "existingAccounts",
        "newKeys",
        "existingKeys",
    }
    # Storage, vault and telemetry with their role assignments are waited for through their outputs.
    text = repr(entries["params"])
    assert all(f"('name', '{module}')" in text for module in ("storage", "vault", "monitoring"))


def test_extra_settings_are_added(provision: Provision) -> None:
    assert settings_of(provision(extraSettings={"OTEL_SERVICE_NAME": "x"}))["OTEL_SERVICE_NAME"] == "x"


# --- models


def test_deployments_are_made_one_at_a_time(infra: Path) -> None:
    models = next(d for d in read(infra / "modules" / "openai.bicep").declarations if d.name == "models")
    assert models.decorators["batchSize"] == [("literal", 1)]


def test_the_default_account_has_chat_embeddings_and_images(provision: Provision) -> None:
    made = provision().of("Microsoft.CognitiveServices/accounts/deployments")
    assert [r.properties["model"]["name"] for r in made] == [
        "gpt-5.4-mini",
        "text-embedding-3-small",
        "gpt-image-2",
    ]
    assert all(r.body["sku"]["capacity"] >= 1 for r in made)


def test_an_existing_account_gets_a_role_and_nothing_else(provision: Provision) -> None:
    result = provision(accounts=[{"name": "old", "resourceId": EXISTING, "deployments": [MODEL]}])
    assert not result.of("Microsoft.CognitiveServices/accounts")
    assert not result.of("Microsoft.CognitiveServices/accounts/deployments")
    (account,) = [r for r in result.resources if r.type == "Microsoft.CognitiveServices/accounts"]
    assert (account.existing, account.name) == (True, "contoso-eastus")
    (access,) = [
        r for r in result.of("Microsoft.Authorization/roleAssignments") if r.body["scope"] is account
    ]
    assert "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd" in access.properties["roleDefinitionId"]


def test_a_second_region_is_one_more_entry(provision: Provision) -> None:
    result = provision(
        accounts=[
            {"name": "main", "deployments": [MODEL]},
            {"name": "second", "location": "eastus2", "deployments": [MODEL]},
        ]
    )
    accounts = result.of("Microsoft.CognitiveServices/accounts")
    assert [a.body["location"] for a in accounts] == ["swedencentral", "eastus2"]


# --- options


def test_nothing_optional_is_made_by_default(provision: Provision) -> None:
    kinds = {r.type for r in provision().resources}
    assert not any(
        k.startswith(("Microsoft.Network", "Microsoft.Cache", "Microsoft.Consumption")) for k in kinds
    )
    assert "Microsoft.Insights/scheduledQueryRules" not in kinds
    assert not [r for r in provision().resources if r.name.endswith("authsettingsV2")]
    assert "Microsoft.Insights/workbooks" in kinds  # costs nothing


def test_alerts_and_budget_come_with_an_address(provision: Provision) -> None:
    result = provision(alertEmail="operator@example.com", monthlyBudget=50)
    assert [r.properties["criteria"]["allOf"][0]["threshold"] for r in alerts_of(result)] == [5, 10, 20000]
    budget = result.one("Microsoft.Consumption/budgets")
    assert budget.properties["amount"] == 50
    # Its start cannot be changed later, and the default start moves with the calendar.
    assert "onlyIfNotExists" in budget.decorators
    assert not provision(alertEmail="operator@example.com").of("Microsoft.Consumption/budgets")


def alerts_of(result: Deployment) -> list[Resource]:
    return result.of("Microsoft.Insights/scheduledQueryRules")


def test_alert_queries_measure_what_they_compare(provision: Provision) -> None:
    for rule in alerts_of(provision(alertEmail="operator@example.com")):
        (criterion,) = rule.properties["criteria"]["allOf"]
        assert f"extend {criterion['metricMeasureColumn']} = " in criterion["query"]


def test_easy_auth_refuses_callers_without_a_token_but_for_the_probe(provision: Provision) -> None:
    result = provision(authClientId="client-1")
    (auth,) = [r for r in result.resources if r.name.endswith("authsettingsV2")]
    validation = auth.properties["globalValidation"]
    assert validation["requireAuthentication"] is True
    assert validation["unauthenticatedClientAction"] == "Return401"
    assert validation["excludedPaths"] == ["/health"]
    assert settings_of(result)["GATEWAY_ENTRA_AUDIENCE"] == "client-1"
    both = provision(authClientId="client-1", easyAuth=False)
    assert not [r for r in both.resources if r.name.endswith("authsettingsV2")]
    assert settings_of(both)["GATEWAY_ENTRA_AUDIENCE"] == "client-1"


def test_redis_signs_in_with_entra(provision: Provision) -> None:
    result = provision(redis=True)
    database = result.one("Microsoft.Cache/redisEnterprise/databases")
    assert database.properties["accessKeysAuthentication"] == "Disabled"
    access = result.one("Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments")
    principal = access.properties["user"]["objectId"]
    # The user name is the principal's object id; there is no password, so a token takes its place.
    assert settings_of(result)["GATEWAY_REDIS_URL"].startswith(f"rediss://{principal}@")


def test_every_store_and_account_sends_diagnostics_to_the_workspace(provision: Provision) -> None:
    result = provision(redis=True)
    scopes = {
        r.body["scope"].type
        for r in result.of("Microsoft.Insights/diagnosticSettings")
        if r.properties.get("logs") or r.properties.get("metrics")
    }
    assert scopes >= {
        "Microsoft.KeyVault/vaults",
        "Microsoft.CognitiveServices/accounts",
        "Microsoft.Storage/storageAccounts",
        "Microsoft.Web/sites",
        "Microsoft.Cache/redisEnterprise",
    }


# --- what must not be wrong


@pytest.mark.parametrize(
    "wrong",
    [
        {"accounts": []},
        {"instanceMemoryMB": 1024},
        {"maximumInstanceCount": 10},
        {"adminKey": "gw-short"},
        {"environmentName": ""},
        {"logRetentionDays": 0},
    ],
)
def test_wrong_parameters_stop_the_deployment(provision: Provision, wrong: dict[str, Any]) -> None:
    with pytest.raises(BicepError):
        provision(**wrong)


def test_the_config_of_a_model_follows_the_priorities(infra: Path) -> None:
    result = deploy(infra / "main.bicep", parameters_of(infra / "samples" / "production.bicepparam"))
    config = json.loads(result.outputs["GATEWAY_CONFIGS"])["gpt-5.4"]
    assert config["strategy"]["mode"] == "fallback"
    assert 429 in config["strategy"]["on_status_codes"]
    assert [(t["virtual_key"], t["override_params"]["model"]) for t in config["targets"]] == [
        ("main", "gpt-5.4-ptu"),
        ("main", "gpt-5.4"),
        ("second", "gpt-5.4"),
    ]


def test_priorities_sort_as_numbers_and_equals_share_by_capacity(infra: Path) -> None:
    config_of = exported(infra / "modules" / "types.bicep", "configOf")
    places = [
        {"account": a, "deployment": "d", "model": "m", "priority": p, "weight": w}
        for a, p, w in [("ten", 10, 1), ("two", 2, 5), ("also-two", 2, 7)]
    ]
    first, second = config_of(places)["targets"]
    assert first["strategy"] == {"mode": "loadbalance"}
    assert [(t["virtual_key"], t["weight"]) for t in first["targets"]] == [("two", 5), ("also-two", 7)]
    assert second["virtual_key"] == "ten"
