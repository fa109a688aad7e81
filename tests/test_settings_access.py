"""The settings that say who may call."""

import json
from typing import Any

import pytest

from gateway.settings import Settings, SettingsError

TENANT = "00000000-0000-4000-8000-0000000000AA"


def read(**environ: str) -> Settings:
    return Settings.from_environ(environ)


def test_a_tenant_and_its_audiences() -> None:
    found = read(
        GATEWAY_ENTRA_TENANT_ID=TENANT,
        GATEWAY_ENTRA_AUDIENCE="api://gateway, 1234",
        GATEWAY_ENTRA_ROLES=json.dumps({"Admin": ["*"]}),
        AZURE_AUTHORITY_HOST="login.microsoftonline.us",
    )
    assert found.entra_tenant_id == TENANT.lower()
    assert found.entra_audience == ("api://gateway", "1234")
    assert found.entra_roles.caller({"roles": ["Admin"]}).scopes is None
    assert found.entra_authority == "https://login.microsoftonline.us"


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"GATEWAY_ENTRA_TENANT_ID": TENANT}, "GATEWAY_ENTRA_AUDIENCE"),
        ({"GATEWAY_ENTRA_AUDIENCE": "api://x"}, "GATEWAY_ENTRA_TENANT_ID"),
        (
            {"GATEWAY_ENTRA_TENANT_ID": "contoso.example", "GATEWAY_ENTRA_AUDIENCE": "x"},
            "GATEWAY_ENTRA_TENANT_ID",
        ),
        ({"GATEWAY_ENTRA_ROLES": '{"a": ["no.such"]}'}, "GATEWAY_ENTRA_ROLES"),
        ({"GATEWAY_ENTRA_ROLES": "Admin"}, "GATEWAY_ENTRA_ROLES"),
        ({"GATEWAY_LIMITS_ON_ERROR": "maybe"}, "GATEWAY_LIMITS_ON_ERROR"),
        ({"GATEWAY_METADATA_SCHEMA": '{"pattern": "x"}'}, "GATEWAY_METADATA_SCHEMA"),
        ({"GATEWAY_METADATA_SCHEMA": "{"}, "GATEWAY_METADATA_SCHEMA"),
        ({"GATEWAY_AUDIT_RETENTION_DAYS": "0"}, "GATEWAY_AUDIT_RETENTION_DAYS"),
    ],
)
def test_a_bad_setting_is_named(environ: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**environ)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [name]
