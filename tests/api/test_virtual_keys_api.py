"""Virtual keys over their API: what a change changes, and what it leaves."""

import httpx
import pytest

from tests.support.local import chat_answer, chat_body

URI = "https://other.openai.azure.com/openai/deployments/new/chat/completions?api-version=2025-01-01-preview"
SEVERAL = [{"deploymentName": name, "apiVersion": "2024-10-21", "is_default": name == "a"} for name in "ab"]


async def shown(local, slug):
    config = (await local.client.request("GET", f"/v1/virtual-keys/{slug}")).json()["model_config"]
    found = [(item["deploymentName"], item["apiVersion"]) for item in config["deploymentConfig"]]
    return config["resourceName"], found


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"note": "n"}, ("res", [("d", "2024-10-21")])),
        ({"apiVersion": "v1"}, ("res", [("d", "v1")])),
        ({"api_version": "2024-02-01"}, ("res", [("d", "2024-02-01")])),
        ({"deploymentName": "e"}, ("res", [("e", "2024-10-21")])),
        ({"deploymentName": "e", "apiVersion": "v1"}, ("res", [("e", "v1")])),
        ({"resourceName": "other"}, ("other", [("d", "2024-10-21")])),
        ({"resourceName": URI}, ("other", [("new", "2025-01-01-preview")])),
        ({"deploymentName": URI}, ("other", [("new", "2025-01-01-preview")])),
        ({"apiVersion": URI}, ("other", [("new", "2025-01-01-preview")])),
        ({"targetUri": URI}, ("other", [("new", "2025-01-01-preview")])),
        ({"customHost": URI}, ("other", [("new", "2025-01-01-preview")])),
    ],
)
async def test_a_change_of_one_field_leaves_the_others(local, change, wanted):
    slug = await local.create_key(deploymentName="d", apiVersion="2024-10-21")
    answer = await local.client.request("PUT", f"/v1/virtual-keys/{slug}", json=change)
    assert answer.status == 200, answer.body
    assert await shown(local, slug) == wanted


async def test_one_version_for_several_deployments_is_refused(local):
    slug = await local.create_key(deploymentConfig=SEVERAL)
    answer = await local.client.request("PUT", f"/v1/virtual-keys/{slug}", json={"apiVersion": "v1"})
    assert (answer.status, answer.json()["error"]["param"]) == (400, "api_version")
    assert await shown(local, slug) == ("res", [("a", "2024-10-21"), ("b", "2024-10-21")])


async def test_a_version_in_the_headers_overrides_the_virtual_keys(local):
    slug = await local.create_key(deploymentName="d", apiVersion="2024-10-21")
    seen = local.answer_by(lambda request: httpx.Response(200, json=chat_answer()))
    headers = {"x-portkey-virtual-key": slug, "x-portkey-azure-api-version": "2025-01-01-preview"}
    answer = await local.client.request("POST", "/v1/chat/completions", headers=headers, json=chat_body())
    assert answer.status == 200
    assert seen[0].url.query == b"api-version=2025-01-01-preview"


async def test_several_deployments_without_a_default_may_be_anywhere(local):
    items = [{"deploymentName": name, "apiVersion": "2024-10-21"} for name in "ab"]
    slug = await local.create_key(custom_host="https://res.openai.azure.us", deploymentConfig=items)
    assert await shown(local, slug) == (None, [("a", "2024-10-21"), ("b", "2024-10-21")])
