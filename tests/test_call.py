"""What one target of a config is asked for, by the config and by the request."""

import pytest

from gateway.call import Call, asked_of_target
from gateway.core.body import ClientBody
from gateway.core.caller import ADMIN
from gateway.core.headers import RequestHeaders
from gateway.core.operations import Operation
from gateway.core.record import Record
from gateway.core.targets import PLAIN, InlineCredentials, Leaf, ParamRules
from gateway.providers.endpoints import Asked


def default(model: str) -> ParamRules:
    return ParamRules(default={"model": model})


def override(model: str) -> ParamRules:
    return ParamRules(override={"model": model})


@pytest.mark.parametrize(
    ("asked", "leaf", "slug", "model"),
    [
        (Asked(), Leaf(params=default("@a/m")), "a", "m"),
        (Asked(model="own"), Leaf(params=default("@a/m")), None, "own"),
        (Asked(virtual_key="b"), Leaf(params=default("@a/m")), "b", "m"),
        (Asked(provider="openai"), Leaf(params=default("@a/m")), None, "m"),
        (Asked(), Leaf(virtual_key="c", params=default("@a/m")), "c", "m"),
        (Asked(virtual_key="b", model="own"), Leaf(virtual_key="c"), "c", "own"),
        (Asked(), Leaf(passthrough=True, params=override("@a/m")), "a", "m"),
        (Asked(virtual_key="b"), Leaf(passthrough=True, params=override("@a/m")), "b", "m"),
    ],
)
def test_a_slug_before_the_model_names_the_key_unless_it_is_named(
    asked: Asked, leaf: Leaf, slug: str | None, model: str | None
) -> None:
    told = asked_of_target(asked, leaf)
    assert (told.virtual_key, told.model) == (slug, model)


def test_the_request_goes_over_a_config_without_upstream() -> None:
    config = InlineCredentials(api_key="config", resource_name="theirs", api_version="v1")
    request = InlineCredentials(resource_name="mine", deployment_id="d")
    told = asked_of_target(Asked(credentials=request), Leaf(credentials=config))
    assert told.credentials == InlineCredentials(
        api_key="config", resource_name="mine", deployment_id="d", api_version="v1"
    )
    signed = asked_of_target(Asked(credentials=request, token="mine"), Leaf(credentials=config))
    assert (signed.credentials.api_key, signed.token) == (None, "mine")


def test_a_target_with_an_upstream_takes_no_credential_of_the_request() -> None:
    request = Asked(credentials=InlineCredentials(api_key="mine"), token="mine", custom_host="https://h")
    told = asked_of_target(request, Leaf(provider="openai", credentials=InlineCredentials(api_key="theirs")))
    assert (told.provider, told.token, told.credentials.api_key) == ("openai", None, "theirs")
    assert told.custom_host == "https://h"


def test_a_model_that_overrides_counts_more_than_a_deployment_in_the_path() -> None:
    asked = Asked(model="chat", deployment="chat")
    assert asked_of_target(asked, Leaf(virtual_key="a")).deployment == "chat"
    told = asked_of_target(asked, Leaf(virtual_key="a", params=override("other")))
    assert (told.deployment, told.model) == (None, "other")


def test_doubled_slashes_are_one_in_the_path_that_conditions_see() -> None:
    record = Record("r", "t", 0.0, "POST", "/v1//chat/completions")
    operation = Operation("/chat/completions", "POST", "deployment", "json", "chat/completions")
    call = Call(operation, "", RequestHeaders([]), ClientBody(b""), ADMIN, record, Asked())
    assert call.route_input().pathname == "/v1/chat/completions"


def test_without_a_config_nothing_is_made_anew() -> None:
    asked = Asked(virtual_key="a", model="m")
    assert asked_of_target(asked, PLAIN) is asked
