"""What a caller may do."""

import pytest

from gateway.core.caller import ADMIN, Caller
from gateway.core.errors import Forbidden

LIMITED = Caller(
    "k1",
    "key",
    kind="api-key",
    scopes=frozenset({"completions.write"}),
    virtual_keys=frozenset({"azure"}),
    models=frozenset({"gpt"}),
)


def test_the_admin_may_do_everything():
    ADMIN.require("anything.at.all")
    ADMIN.may_use("any")
    ADMIN.may_use(None)
    ADMIN.may_call([None])


def test_a_scope_that_is_missing_is_named():
    LIMITED.require("completions.write")
    with pytest.raises(Forbidden, match=r"virtual_keys\.create") as caught:
        LIMITED.require("virtual_keys.create")
    assert (caught.value.status, caught.value.code) == (403, "missing_scope")


def test_one_of_several_scopes_is_enough():
    LIMITED.require("prompts.render", "completions.write")


def test_a_limited_key_uses_its_own_virtual_keys_only():
    LIMITED.may_use("azure")
    for slug in ("other", None):
        with pytest.raises(Forbidden) as caught:
            LIMITED.may_use(slug)
        assert caught.value.code == "virtual_key_not_allowed"


def test_a_limited_key_calls_its_own_models_only():
    LIMITED.may_call(["alias", "gpt"])
    for names in (["other"], [None], []):
        with pytest.raises(Forbidden) as caught:
            LIMITED.may_call(names)
        assert caught.value.code == "model_not_allowed"
