"""Who may do what, what is reachable, and what shows: evaluated with everything switched on and off."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bicep_eval import Deployment, Resource, read

Provision = Callable[..., Deployment]
ADMIN_KEY = "gw-this-is-the-key-that-must-not-show-up-anywhere"

# learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
}
APP_ROLES = {
    "Microsoft.Insights/components": {"Monitoring Metrics Publisher"},
    "Microsoft.Storage/storageAccounts": {
        "Storage Blob Data Owner",
        "Storage Queue Data Contributor",
        "Storage Table Data Contributor",
    },
    "Microsoft.KeyVault/vaults": {"Key Vault Secrets Officer"},
    "Microsoft.CognitiveServices/accounts": {"Cognitive Services OpenAI User"},
}
# Types that have a door to the internet which can be shut, and the group of their private endpoint.
DOORS = {
    "Microsoft.Storage/storageAccounts": {"blob", "table", "queue"},
    "Microsoft.KeyVault/vaults": {"vault"},
    "Microsoft.CognitiveServices/accounts": {"account"},
    "Microsoft.Cache/redisEnterprise": {"redisEnterprise"},
    "Microsoft.Web/sites": {"sites"},
}
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def walk(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [*value.items(), *(pair for item in value.values() for pair in walk(item))]
    return [pair for item in value for pair in walk(item)] if isinstance(value, list) else []


def granted(result: Deployment, principal: str) -> dict[str, set[str]]:
    """Type of the scope -> names of the roles the principal gets on it."""
    found: dict[str, set[str]] = {}
    for access in result.of("Microsoft.Authorization/roleAssignments"):
        if str(access.properties["principalId"]) == principal:
            role = ROLES[access.properties["roleDefinitionId"].rsplit("/", 1)[1]]
            found.setdefault(access.body["scope"].type, set()).add(role)
    return found


# --- roles


def test_every_role_id_carries_its_name(infra: Path) -> None:
    text = "\n".join(path.read_text() for path in infra.rglob("*.bicep"))
    seen = re.findall(rf"'({UUID})'(?:\s*//\s*(.*))?$", text, re.MULTILINE)
    assert len(seen) >= len(ROLES)
    assert all(ROLES[role] == comment for role, comment in seen)


def test_the_guide_lets_a_deployer_assign_these_roles_and_no_others(root: Path) -> None:
    guide = (root / "docs" / "deploy.md").read_text()
    (listed,) = re.findall(r'^ROLES="(.*)"$', guide, re.MULTILINE)
    assert set(listed.split(", ")) == set(ROLES)


def test_the_app_gets_the_roles_it_needs_and_no_more(provision: Provision) -> None:
    assert granted(provision(redis=True), "<gateway/identity.properties.principalId>") == APP_ROLES


def test_the_app_only_reads_secrets_when_it_may_not_manage_virtual_keys(provision: Provision) -> None:
    result = provision(manageVirtualKeys=False)
    roles = granted(result, "<gateway/identity.properties.principalId>")
    assert roles["Microsoft.KeyVault/vaults"] == {"Key Vault Secrets User"}


@pytest.mark.parametrize(("kind", "secrets"), [("User", True), ("Group", True), ("ServicePrincipal", False)])
def test_people_may_read_the_admin_key_and_pipelines_may_not(
    provision: Provision, kind: str, secrets: bool
) -> None:
    roles = granted(provision(operatorId="someone", operatorType=kind), "someone")
    assert roles == ({"Microsoft.KeyVault/vaults": {"Key Vault Secrets Officer"}} if secrets else {})


def test_nobody_else_gets_a_role(provision: Provision) -> None:
    principals = {
        str(r.properties["principalId"]) for r in provision().of("Microsoft.Authorization/roleAssignments")
    }
    assert principals == {"<gateway/identity.properties.principalId>"}


def test_role_assignments_never_collide(provision: Provision) -> None:
    made = provision(operatorId="someone").of("Microsoft.Authorization/roleAssignments")
    assert len({r.name for r in made}) == len(made)


# --- sign-in


def test_no_service_takes_keys_or_passwords(provision: Provision) -> None:
    result = provision(redis=True)
    account = result.one("Microsoft.CognitiveServices/accounts").properties
    assert account["disableLocalAuth"] is True
    assert account["customSubDomainName"]  # Entra sign-in does not work without it
    assert result.one("Microsoft.Insights/components").properties["DisableLocalAuth"] is True
    workspace = result.one("Microsoft.OperationalInsights/workspaces").properties
    assert workspace["features"]["disableLocalAuth"] is True
    storage = result.one("Microsoft.Storage/storageAccounts").properties
    assert storage["allowSharedKeyAccess"] is False
    assert storage["allowBlobPublicAccess"] is False
    database = result.one("Microsoft.Cache/redisEnterprise/databases").properties
    assert database["accessKeysAuthentication"] == "Disabled"
    publishing = result.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert [(p.name.split("/")[1], p.properties["allow"]) for p in publishing] == [
        ("ftp", False),
        ("scm", False),
    ]
    assert result.one("Microsoft.KeyVault/vaults").properties["enableRbacAuthorization"] is True


def test_every_account_and_component_in_the_files_switches_local_sign_in_off(infra: Path) -> None:
    made = 0
    for path in infra.rglob("*.bicep"):
        for item in read(path).declarations:
            kind = item.target.split("@")[0]
            if item.existing or kind not in (
                "Microsoft.CognitiveServices/accounts",
                "Microsoft.Insights/components",
            ):
                continue
            flat = repr(item.value).lower()
            assert "(('string', ['disablelocalauth']), ('literal', true))" in flat, path
            made += 1
    assert made == 2


@pytest.mark.parametrize("wanted", [True, False])
def test_purge_protection_is_a_parameter_and_never_false(provision: Provision, wanted: bool) -> None:
    vault = provision(purgeProtection=wanted).one("Microsoft.KeyVault/vaults").properties
    assert vault["enablePurgeProtection"] is (True if wanted else None)
    assert vault["enableSoftDelete"] is True


# --- secrets


def test_no_output_of_any_template_holds_a_secret(provision: Provision) -> None:
    result = provision(adminKey=ADMIN_KEY, redis=True, privateNetwork=True)
    assert len(result.shown) > 30
    for place, value in result.shown.items():
        assert ADMIN_KEY not in repr(value), place
        assert not re.search(r"ConnectionString|listKeys|primaryKey|primarySharedKey", repr(value)), place


def test_the_admin_key_goes_into_the_vault_and_nowhere_else(provision: Provision) -> None:
    result = provision(adminKey=ADMIN_KEY)
    holders = [r.name.split("/")[1] for r in result.resources if ADMIN_KEY in repr(r.body)]
    assert holders == ["gateway-admin-key"]


def test_the_admin_key_is_secure_on_every_step_of_its_way(infra: Path) -> None:
    for name in ("main.bicep", "group.bicep", "modules/admin-key.bicep"):
        (item,) = [d for d in read(infra / name).declarations if d.name == "adminKey"]
        assert "secure" in item.decorators, name


def test_the_default_admin_key_is_long_random_and_never_the_same(provision: Provision, infra: Path) -> None:
    def key_of(result: Deployment) -> str:
        (secret,) = [r for r in result.of("Microsoft.KeyVault/vaults/secrets") if "admin" in r.name]
        return str(secret.properties["value"])

    key = key_of(provision())
    assert re.fullmatch(r"gw-[0-9a-f]{64}", key)
    assert key[3:35] != key[35:]  # two calls of newGuid(), not one twice
    (item,) = [d for d in read(infra / "main.bicep").declarations if d.name == "adminKey"]
    assert repr(item.value).count("newGuid") == 2


def test_a_second_deployment_keeps_the_first_admin_key(infra: Path) -> None:
    (secret,) = [d for d in read(infra / "modules/admin-key.bicep").declarations if d.name == "secret"]
    assert "onlyIfNotExists" in secret.decorators


# --- private network


@pytest.fixture(scope="module")
def private(provision: Provision) -> Deployment:
    return provision(privateNetwork=True, redis=True, alertEmail="operator@example.com")


def doors(result: Deployment) -> list[Resource]:
    return [r for r in result.resources if r.type in DOORS and not r.existing]


def test_nothing_is_public_in_the_private_network(private: Deployment) -> None:
    assert {r.type for r in doors(private)} == set(DOORS)
    assert all(r.properties["publicNetworkAccess"] == "Disabled" for r in doors(private))
    for resource in private.resources:
        for key, value in walk(resource.body):
            if key.startswith("publicNetworkAccess"):
                assert value == "Disabled", resource.key
            if key == "networkAcls":
                assert value["defaultAction"] == "Deny", resource.key
                assert value.get("bypass", "None") == "None", resource.key
    assert not private.of("Microsoft.Network/publicIPAddresses")


def test_every_closed_door_has_a_private_endpoint(private: Deployment) -> None:
    groups = {
        group
        for endpoint in private.of("Microsoft.Network/privateEndpoints")
        for connection in endpoint.properties["privateLinkServiceConnections"]
        for group in connection["properties"]["groupIds"]
    }
    assert groups == {"azuremonitor"}.union(*DOORS.values())


def test_every_name_an_endpoint_needs_has_a_linked_zone(private: Deployment) -> None:
    zones = {r.name for r in private.of("Microsoft.Network/privateDnsZones")}
    linked = {
        r.name.split("/")[0] for r in private.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    }
    wanted = {
        config["properties"]["privateDnsZoneId"].rsplit("/", 1)[1]
        for records in private.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
        for config in records.properties["privateDnsZoneConfigs"]
    }
    assert wanted == zones == linked


def test_the_app_calls_through_its_delegated_subnet(private: Deployment) -> None:
    network = private.one("Microsoft.Network/virtualNetworks")
    subnets = {subnet["name"]: subnet["properties"] for subnet in network.properties["subnets"]}
    assert subnets["app"]["delegations"][0]["properties"]["serviceName"] == "Microsoft.App/environments"
    assert subnets["app"]["addressPrefix"] != subnets["endpoints"]["addressPrefix"]
    assert str(private.one("Microsoft.Web/sites").properties["virtualNetworkSubnetId"]).endswith(
        "/subnets/app"
    )


def test_telemetry_stays_in_the_network(private: Deployment) -> None:
    modes = private.one("Microsoft.Insights/privateLinkScopes").properties["accessModeSettings"]
    assert set(modes.values()) == {"PrivateOnly"}
    scoped = {r.name for r in private.of("Microsoft.Insights/privateLinkScopes/scopedResources")}
    assert {name.split("/")[1] for name in scoped} == {"workspace", "insights"}


def test_the_app_alone_can_be_left_open(provision: Provision) -> None:
    result = provision(privateNetwork=True, publicIngress=True)
    shut = {r.type: r.properties["publicNetworkAccess"] for r in doors(result)}
    assert shut.pop("Microsoft.Web/sites") == "Enabled"
    assert set(shut.values()) == {"Disabled"}


def test_without_the_option_there_is_no_network(provision: Provision) -> None:
    result = provision()
    assert not [r for r in result.resources if r.type.startswith("Microsoft.Network/")]
    assert result.one("Microsoft.Web/sites").properties["virtualNetworkSubnetId"] is None
