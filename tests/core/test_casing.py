"""Keys in one casing, at every level."""

import pytest

from gateway.core.casing import items_of, snake, snake_keys


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("deploymentConfig", "deployment_config"),
        ("deployment-config", "deployment_config"),
        ("deployment_config", "deployment_config"),
        ("apiVersion", "api_version"),
        ("azureEntraTenantId", "azure_entra_tenant_id"),
        ("is_default", "is_default"),
        ("Name", "name"),
        ("", ""),
    ],
)
def test_snake(name, wanted):
    assert snake(name) == wanted


def test_keys_change_at_every_level_and_values_stay():
    given = {"aB": [{"cD": {"eF": "gH"}}], "camelCase": "camelValue"}
    assert snake_keys(given) == {"a_b": [{"c_d": {"e_f": "gH"}}], "camel_case": "camelValue"}


def test_what_is_opaque_keeps_its_keys():
    assert snake_keys({"overrideParams": {"maxTokens": 1}}, opaque={"override_params"}) == {
        "override_params": {"maxTokens": 1}
    }


def test_depth_is_bounded():
    deep: object = "end"
    for _ in range(5000):
        deep = {"aB": deep}
    assert "a_b" in snake_keys(deep)


@pytest.mark.parametrize(
    ("body", "items"),
    [
        ([1, 2], [1, 2]),
        ([], []),
        ({"0": "a", "1": "b"}, ["a", "b"]),
        ({"0": "a", "2": "b"}, None),
        ({"0": "a", "value": 1}, None),
        ({}, None),
        ("ab", None),
        (None, None),
    ],
)
def test_a_list_may_come_as_an_object_that_counts(body, items):
    assert items_of(body) == items
