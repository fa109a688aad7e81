"""Virtual keys as people write them, as the vault keeps them, and the deployment they lead to."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.core.deployments import choose_deployment
from gateway.core.errors import GatewayError, InvalidRequest, NotFound
from gateway.core.virtual_key import Deployment, VirtualKey, check_slug, dump, masked, slug_for
from gateway.core.virtual_key_input import build, parse

KEY = "azure-key-0123456789abcdef"
BASE = {"name": "Azure", "provider": "azure-openai", "key": KEY, "resourceName": "res"}
URI = "https://res.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21"


def test_one_deployment_in_the_short_form():
    key = build("s", {**BASE, "deploymentName": "gpt", "apiVersion": "2024-10-21"})
    assert key.deployments == (Deployment("gpt", None, "2024-10-21", None, True),)
    assert (key.resource_name, key.custom_host, key.api_key, key.auth_mode) == ("res", None, KEY, "api-key")


@pytest.mark.parametrize(
    "items",
    [
        [{"apiVersion": "v1", "alias": "a", "deploymentName": "d", "is_default": True}],
        [{"api_version": "v1", "alias": "a", "deployment_name": "d", "isDefault": True}],
        [{"azure_api_version": "v1", "alias": "a", "azure_deployment_name": "d", "is_default": True}],
    ],
)
@pytest.mark.parametrize(
    "name", ["deploymentConfig", "deployment_config", "deployments", "azure_deployment_config"]
)
def test_several_deployments_in_either_casing(name, items):
    assert build("s", {**BASE, name: items}).deployments == (Deployment("d", "a", "v1", None, True),)


@pytest.mark.parametrize("field", ["resourceName", "target_uri", "deploymentName", "apiVersion"])
def test_a_target_uri_is_understood_in_any_field(field):
    key = build("s", {**BASE, "resourceName": "res", field: URI})
    assert key.resource_name == "res"
    assert [(item.deployment, item.api_version) for item in key.deployments] == [("gpt", "2024-10-21")]


@pytest.mark.parametrize(
    "text", ["https://res.openai.azure.com", "res.openai.azure.com/", "RES", " res ", "res/"]
)
def test_a_resource_is_understood_however_it_is_pasted(text):
    assert build("s", {**BASE, "resourceName": text}).resource_name == "res"


@pytest.mark.parametrize(
    "given",
    [
        {"custom_host": URI},
        {"deploymentConfig": [{"deploymentName": URI}]},
        {"deploymentConfig": [{"deploymentName": "gpt", "apiVersion": URI}]},
    ],
)
def test_a_target_uri_alone_says_it_all(given):
    key = build("s", {"name": "Azure", "provider": "azure-openai", "key": KEY, **given})
    assert (key.resource_name, key.custom_host) == ("res", None)
    assert [(item.deployment, item.api_version) for item in key.deployments] == [("gpt", "2024-10-21")]


def test_a_target_uri_of_another_host_is_understood_as_custom_host():
    uri = URI.replace("https://res.openai.azure.com", "http://127.0.0.1:9000")
    key = build("s", {**BASE, "custom_host": uri})
    assert (key.resource_name, key.custom_host) == (None, "http://127.0.0.1:9000/openai")
    assert [(item.deployment, item.api_version) for item in key.deployments] == [("gpt", "2024-10-21")]


@pytest.mark.parametrize(("name", "version"), [("gpt/", "2024-10-21/"), (" gpt", "?api-version=2024-10-21")])
def test_what_came_along_with_a_name_is_taken_off(name, version):
    key = build("s", {**BASE, "deploymentName": name, "apiVersion": version})
    assert key.deployments == (Deployment("gpt", None, "2024-10-21", None, True),)


def test_another_cloud_becomes_a_custom_host():
    key = build("s", {**BASE, "resourceName": "https://res.openai.azure.us/"})
    assert (key.resource_name, key.custom_host) == (None, "https://res.openai.azure.us/openai")


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({"azure_auth_mode": "managed"}, "managed-identity"),
        ({"azureAuthMode": "managed", "azureManagedClientId": "c"}, "managed-identity"),
        ({"azure_auth_mode": "workload"}, "workload"),
        (
            {
                "azure_auth_mode": "entra",
                "azure_entra_tenant_id": "t",
                "azureEntraClientId": "c",
                "azure_entra_client_secret": "s",
            },
            "entra",
        ),
        (
            {"configurations": {"azure_auth_mode": "managed", "azure_resource_name": "res"}},
            "managed-identity",
        ),
    ],
)
def test_sign_in_without_a_key(given, mode):
    key = build("s", {"name": "n", "resource_name": "res", **given})
    assert (key.auth_mode, key.api_key) == (mode, None)


BAD: dict[str, tuple[Any, str]] = {
    "no object": ([], "JSON object"),
    "no key": ({**BASE, "key": ""}, "key: missing"),
    "no resource": ({**BASE, "resourceName": None}, "resource_name: missing"),
    "a resource that is none": ({**BASE, "resourceName": "a_b"}, "resource_name: must be"),
    "a version that is none": ({**BASE, "apiVersion": "soon", "deploymentName": "d"}, "api_version: must be"),
    "a deployment that is none": ({**BASE, "deploymentName": "a/b"}, "must be a deployment's name"),
    "an unknown provider": ({**BASE, "provider": "acme"}, "provider: must be one of"),
    "an unknown sign-in": ({**BASE, "azure_auth_mode": "magic"}, "azure_auth_mode: must be"),
    "half of entra": ({**BASE, "azure_auth_mode": "entra"}, "azure_entra_tenant_id: missing"),
    "two defaults": (
        {
            **BASE,
            "deployments": [{"deployment": "a", "is_default": True}, {"deployment": "b", "is_default": True}],
        },
        "only one may be the default",
    ),
    "an alias twice": (
        {**BASE, "deployments": [{"deployment": "a", "alias": "x"}, {"deployment": "b", "alias": "x"}]},
        "alias 'x' stands for two",
    ),
    "a deployment without a name": (
        {**BASE, "deployments": [{"alias": "x"}]},
        "deployments[0].deployment_name",
    ),
    "deployments that are no list": ({**BASE, "deployments": "x"}, "deployments: "),
    "a key that is no text": ({**BASE, "key": {"secret": "hush-hush-secret"}}, "key: "),
    "a date that is none": ({**BASE, "expires_at": "soon"}, "expires_at: must be"),
    "a key over several lines": ({**BASE, "key": "abc\ndef-0123456789"}, "key: "),
    "a key in other letters": ({**BASE, "key": "\u043a\u043b\u044e\u0447-0123456789"}, "key: "),
}


@pytest.mark.parametrize(("given", "said"), BAD.values(), ids=BAD)
def test_a_bad_virtual_key_says_which_field_and_never_the_key(given, said):
    with pytest.raises(InvalidRequest) as caught:
        build("s", given)
    assert said in caught.value.message
    assert KEY not in caught.value.message
    assert "hush-hush" not in caught.value.message
    assert "0123456789" not in caught.value.message


def test_every_fault_is_named_at_once():
    with pytest.raises(InvalidRequest) as caught:
        build("s", {"name": "n", "provider": "azure-openai"})
    assert "resource_name: missing" in caught.value.message
    assert "key: missing" in caught.value.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_800_000_000, 1_800_000_000),
        (1_800_000_000_000, 1_800_000_000),
        ("2027-01-15T08:00:00Z", 1_800_000_000),
        ("2027-01-15T08:00:00", 1_800_000_000),
        ("2027-01-15T10:00:00+02:00", 1_800_000_000),
        (None, None),
        ("", None),
    ],
)
def test_expiry(value, seconds):
    assert build("s", {**BASE, "expires_at": value}).expires_at == seconds


KEYS = [
    VirtualKey("s", "n", api_key=KEY, resource_name="res"),
    VirtualKey(
        "s",
        "n",
        auth_mode="entra",
        custom_host="https://res.openai.azure.us/openai",
        entra_tenant_id="t",
        entra_client_id="c",
        entra_client_secret="hush",
        deployments=(
            Deployment("d", "a", "v1", "gpt-5.4", True, {"input": "1"}),
            Deployment("e"),
            Deployment("*", None, "v1"),
        ),
        note="note",
        usage_limits={"credit_limit": 5},
        rate_limits=({"type": "requests", "unit": "rpm", "value": 3},),
        expires_at=1_800_000_000,
        created_at=1_700_000_000,
    ),
    VirtualKey("s", "n", provider="openai", api_key=KEY),
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.provider + key.auth_mode)
def test_what_the_vault_keeps_comes_back_the_same(key):
    text = dump(key)
    assert isinstance(orjson.loads(text), dict)
    assert replace(parse("s", text), digest="", limits=None) == key


def test_no_secret_shows_in_a_repr():
    assert KEY not in repr(KEYS[0])
    assert "hush" not in repr(KEYS[1])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', '{"name": "n"}', "plain-key"])
def test_a_secret_written_by_hand_that_is_no_virtual_key_is_a_clear_error(text):
    with pytest.raises(InvalidRequest):
        parse("s", text)


TWO = (Deployment("d1", "fast", "v1", "gpt-5.4-mini"), Deployment("d2", "good", "v1", "gpt-5.4"))
DEFAULT = (TWO[0], replace(TWO[1], is_default=True))
PICTURES = (*DEFAULT, Deployment("p", None, "v1", "gpt-image-2"))
ANY = (Deployment("*", None, "2024-10-21"),)


@pytest.mark.parametrize(
    ("deployments", "explicit", "model", "images", "wanted"),
    [
        (TWO, None, "fast", False, "d1"),
        (TWO, None, "d2", False, "d2"),
        (TWO, None, "gpt-5.4", False, "d2"),
        (TWO, "good", "fast", False, "d2"),
        (TWO, "elsewhere", "fast", False, "elsewhere"),
        (DEFAULT, None, "unknown", False, "d2"),
        (DEFAULT, None, None, False, "d2"),
        (PICTURES, None, None, True, "p"),
        (PICTURES, None, "fast", True, "d1"),
        ((*PICTURES, Deployment("dall-e-3", None, "v1")), None, None, True, "p"),
        ((*PICTURES, Deployment("dall-e-3", None, "v1")), None, None, False, "d2"),
        (TWO[:1], None, "custom_model_name", False, "d1"),
        (TWO[:1], None, None, False, "d1"),
        (ANY, None, "any-name", False, "any-name"),
        ((), None, "any-name", False, "any-name"),
        ((), None, None, False, None),
        (TWO, None, None, False, None),
    ],
)
def test_the_deployment_of_a_call(deployments, explicit, model, images, wanted):
    key = VirtualKey("s", "n", deployments=deployments)
    found = choose_deployment(key, explicit=explicit, model=model, images=images)
    assert (found.deployment if found else None) == wanted


def test_a_name_not_listed_takes_the_version_of_the_key():
    found = choose_deployment(VirtualKey("s", "n", deployments=ANY), explicit=None, model="x")
    assert found == Deployment("x", None, "2024-10-21")


def test_an_unknown_model_of_several_without_a_default_names_those_there_are():
    with pytest.raises(NotFound, match="fast, good"):
        choose_deployment(VirtualKey("s", "n", deployments=TWO), explicit=None, model="unknown")


@pytest.mark.parametrize("model", ["a/b", "a b", "..", "\u00e9", "x" * 300])
def test_a_model_that_is_no_deployment_name_never_reaches_a_url(model):
    for deployments in ((), ANY):
        with pytest.raises(GatewayError):
            choose_deployment(VirtualKey("s", "n", deployments=deployments), explicit=None, model=model)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Azure Prod EU", "azure-prod-eu-1f2e3d"),
        ("  ", "key-1f2e3d"),
        ("\u65e5\u672c", "key-1f2e3d"),
        ("A very long name indeed", "a-very-long-nam-1f2e3d"),
        ("fourteen chars - x", "fourteen-chars-1f2e3d"),
    ],
)
def test_slugs(name, slug):
    assert slug_for(name, "1f2e3d") == slug
    assert check_slug(slug) == slug


@pytest.mark.parametrize("slug", ["", "-a", "a b", "a/b", "../x", "a" * 101, "\u00e9", "a\n"])
def test_what_cannot_be_a_slug_names_nothing(slug):
    with pytest.raises(NotFound):
        check_slug(slug)


@pytest.mark.parametrize(
    ("secret", "shown"), [(None, None), ("", None), ("short", "********"), (KEY, "********ef")]
)
def test_masked(secret, shown):
    assert masked(secret) == shown
