import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.config import ConfigCache, compile_config
from gateway.core.config_checks import ConfigLimits
from gateway.core.config_errors import InvalidConfig
from gateway.core.targets import (
    NO_CREDENTIALS,
    RETRY_STATUS_CODES,
    BreakerPolicy,
    Conditional,
    Fallback,
    InlineCredentials,
    Leaf,
    LoadBalance,
    ParamRules,
    Retry,
    Sticky,
)
from gateway.core.virtual_key import Deployment


def leaf_of(raw: Any, *path: int) -> Leaf:
    node: Any = compile_config(raw).tree
    for index in path:
        child = node.children[index]
        node = getattr(child, "target", child)
    assert isinstance(node, Leaf)
    return node


def problems_of(raw: Any, limits: ConfigLimits | None = None) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        compile_config(raw, limits or ConfigLimits())
    assert caught.value.status == 400
    return caught.value.problems


def both(**target: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "fallback"}, "targets": [target, {"virtual_key": "b"}]}


def test_an_empty_config_is_the_request_itself() -> None:
    leaf = leaf_of("{}")
    assert leaf.path == "config"
    assert not leaf.brings_own


def test_a_target_carries_all_it_was_told() -> None:
    leaf = leaf_of(
        {
            "name": "n",
            "provider": "azure-openai",
            "api_key": "sesame",
            "resource_name": "r",
            "deployment_id": "d",
            "api_version": "2024-10-21",
            "deployments": [{"deployment_id": "d2", "alias": "a", "api_version": "v1", "is_default": True}],
            "custom_host": "https://h",
            "forward_headers": ["x-a", "x-b"],
            "request_timeout": 1500,
            "strict_open_ai_compliance": False,
            "retry": {"attempts": 3, "on_status_codes": [418], "use_retry_after_headers": True},
            "default_params": {"a": 1},
            "override_params": {"b": 2},
            "drop_params": ["c.d"],
            "prompt_id": "pp-x",
        }
    )
    assert leaf.brings_own
    assert leaf.credentials == InlineCredentials(
        api_key="sesame",
        resource_name="r",
        deployment_id="d",
        api_version="2024-10-21",
        deployments=(Deployment("d2", "a", "v1", None, True),),
    )
    assert (leaf.name, leaf.provider, leaf.custom_host) == ("n", "azure-openai", "https://h")
    assert (leaf.forward_headers, leaf.request_timeout_ms, leaf.strict) == (("x-a", "x-b"), 1500, False)
    assert leaf.retry == Retry(3, frozenset({418}), use_retry_after=True)
    assert leaf.params == ParamRules({"a": 1}, {"b": 2}, (("c", "d"),))
    assert leaf.prompt_id == "pp-x"
    assert "sesame" not in repr(leaf)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"virtualKey": "a"}, {"virtual_key": "a"}),
        ({"requestTimeout": 5}, {"request_timeout": 5}),
        ({"strictOpenAiCompliance": True}, {"strict_open_ai_compliance": True}),
        ({"strict_openai_compliance": True}, {"strict_open_ai_compliance": True}),
        ({"azureDeploymentId": "d"}, {"deployment_id": "d"}),
        ({"azureDeploymendId": "d"}, {"deployment_id": "d"}),
        ({"azure_api_version": "v1"}, {"api_version": "v1"}),
        ({"forwardHeaders": "x-a, x-b"}, {"forward_headers": ["x-a", "x-b"]}),
        (
            {"retry": {"attempts": 1, "onStatusCodes": [500], "useRetryAfterHeader": True}},
            {"retry": {"attempts": 1, "on_status_codes": [500], "use_retry_after_headers": True}},
        ),
    ],
)
def test_spellings_of_one_key_are_one(written: dict[str, Any], meant: dict[str, Any]) -> None:
    compiled, expected = compile_config(written), compile_config(meant)
    assert compiled.warnings == ()
    assert isinstance(compiled.tree, Leaf)
    assert isinstance(expected.tree, Leaf)
    for name in ("virtual_key", "request_timeout_ms", "strict", "credentials", "forward_headers", "retry"):
        assert getattr(compiled.tree, name) == getattr(expected.tree, name)


def test_metadata_is_kept_as_a_requests_is() -> None:
    given = {"metadata": {"_user": "u", "vip": True, "n": 1, "none": None}}
    assert compile_config(given).metadata == {"_user": "u", "vip": "true", "n": "1"}


def test_dropped_paths_are_bounded_in_number() -> None:
    with pytest.raises(InvalidConfig, match=r"config\.drop_params: "):
        compile_config({"drop_params": [f"messages[*].x{i}" for i in range(101)]})


def test_regular_expressions_are_bounded_in_number() -> None:
    def config(count: int) -> dict[str, Any]:
        queries = [{"$or": [{"params.user": {"$regex": "("}}] * 2}] * (count // 2)
        conditions = [{"query": query, "then": "a"} for query in queries]
        strategy = {"mode": "conditional", "conditions": conditions, "default": "a"}
        return {"strategy": strategy, "targets": [{"name": "a", "virtual_key": "x"}]}

    with pytest.raises(InvalidConfig) as caught:
        compile_config(config(1000))
    told = [problem for problem in caught.value.problems if "$regex in all" in problem]
    assert told == ["config: must have at most 100 $regex in all"]
    with pytest.raises(InvalidConfig) as caught:
        compile_config(config(100))
    assert "$regex in all" not in str(caught.value)


def test_keys_inside_parameters_metadata_and_queries_stay_as_they_are() -> None:
    raw = {
        "metadata": {"userId": "1"},
        "strategy": {
            "mode": "conditional",
            "conditions": [{"query": {"metadata.userId": {"$eq": "1"}}, "then": "a"}],
        },
        "targets": [{"name": "a", "overrideParams": {"maxTokens": 1}, "defaultParams": {"topP": 1}}],
    }
    compiled = compile_config(raw)
    assert compiled.metadata == {"userId": "1"}
    tree = compiled.tree
    assert isinstance(tree, Conditional)
    assert tree.rules[0][0].path == ("metadata", "userId")  # type: ignore[union-attr]
    assert leaf_of(raw, 0).params == ParamRules({"topP": 1}, {"maxTokens": 1})


def test_trees_keep_their_paths() -> None:
    inner = {"strategy": {"mode": "loadbalance"}, "targets": [{"virtual_key": "b"}, {"virtual_key": "c"}]}
    tree = compile_config({"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "a"}, inner]}).tree
    assert isinstance(tree, Fallback)
    balancer = tree.children[1]
    assert isinstance(balancer, LoadBalance)
    assert balancer.path == "config.targets[1]"
    assert [share.target.path for share in balancer.children] == [
        "config.targets[1].targets[0]",
        "config.targets[1].targets[1]",
    ]


def test_a_strategy_of_one_is_its_target() -> None:
    assert leaf_of({"targets": [{"virtual_key": "a"}]}).path == "config.targets[0]"
    compiled = compile_config({"strategy": {"mode": "single"}, "targets": [{"virtual_key": "a"}, {}]})
    assert isinstance(compiled.tree, Leaf)
    assert compiled.warnings == ("config.targets: mode single uses the first of 2 only",)


# --- who serves


@pytest.mark.parametrize(
    ("target", "virtual_key", "provider", "model"),
    [
        ({"virtual_key": "a"}, "a", None, None),
        ({"virtual_key": "@a"}, "a", None, None),
        ({"provider": "@a"}, "a", None, None),
        ({"provider": "openai"}, None, "openai", None),
        ({"provider": "azure"}, None, "azure-openai", None),
        ({"override_params": {"model": "@a/gpt"}}, "a", None, "gpt"),
        ({"override_params": {"model": "@a/org/gpt"}}, "a", None, "org/gpt"),
        ({"virtual_key": "b", "override_params": {"model": "@a/gpt"}}, "b", None, "gpt"),
        ({"provider": "openai", "override_params": {"model": "@a/gpt"}}, None, "openai", "gpt"),
        ({"override_params": {"model": "gpt"}}, None, None, "gpt"),
        ({"api_key": "k", "resource_name": "r"}, None, "azure-openai", None),
        ({"deployment_id": "d"}, None, None, None),
    ],
)
def test_who_serves_a_target(
    target: dict[str, Any], virtual_key: str | None, provider: str | None, model: str | None
) -> None:
    leaf = leaf_of(both(**target), 0)
    assert (leaf.virtual_key, leaf.provider, leaf.params.override.get("model")) == (
        virtual_key,
        provider,
        model,
    )
    assert leaf.brings_own == (virtual_key is not None or provider is not None)


def test_a_root_without_a_provider_is_completed_by_the_request() -> None:
    leaf = leaf_of({"api_key": "k", "resource_name": "r"})
    assert not leaf.brings_own
    assert leaf.credentials.resource_name == "r"


def test_a_passthrough_target_is_served_by_the_request() -> None:
    leaf = leaf_of(both(passthrough=True, virtual_key="a"), 0)
    assert leaf.passthrough
    assert not leaf.brings_own


# --- inheritance

PARENT = {
    "retry": {"attempts": 2},
    "request_timeout": 100,
    "custom_host": "https://parent",
    "forward_headers": ["x-parent"],
    "strict_open_ai_compliance": False,
    "override_params": {"a": "parent", "b": "parent"},
    "default_params": {"c": "parent"},
    "drop_params": ["d"],
    "virtual_key": "parent",
    "api_key": "parent",
}


def test_a_child_takes_over_what_it_does_not_say() -> None:
    leaf = leaf_of({**PARENT, **both()}, 0)
    assert leaf.retry == Retry(2, RETRY_STATUS_CODES)
    assert (leaf.request_timeout_ms, leaf.custom_host) == (100, "https://parent")
    assert (leaf.forward_headers, leaf.strict) == (("x-parent",), False)
    assert leaf.params == ParamRules({"c": "parent"}, {"a": "parent", "b": "parent"}, (("d",),))


def test_who_signs_in_is_not_inherited() -> None:
    leaf = leaf_of({**PARENT, **both()}, 0)
    assert (leaf.virtual_key, leaf.provider) == (None, None)
    assert leaf.credentials is NO_CREDENTIALS


def test_what_a_child_says_wins() -> None:
    child = {
        "retry": {"on_status_codes": [500]},
        "request_timeout": 5,
        "custom_host": "https://child",
        "forward_headers": [],
        "strict_open_ai_compliance": True,
        "override_params": {"b": "child"},
        "default_params": {"e": "child"},
        "drop_params": ["f"],
    }
    leaf = leaf_of({**PARENT, **both(**child)}, 0)
    assert leaf.retry == Retry(0, frozenset({500}))  # whole, not merged
    assert (leaf.request_timeout_ms, leaf.custom_host) == (5, "https://child")
    assert (leaf.forward_headers, leaf.strict) == ((), True)
    assert leaf.params == ParamRules(
        {"c": "parent", "e": "child"}, {"a": "parent", "b": "child"}, (("d",), ("f",))
    )


def test_inheritance_goes_all_the_way_down() -> None:
    inner = {"strategy": {"mode": "fallback"}, "targets": [{}]}
    leaf = leaf_of({**PARENT, "strategy": {"mode": "loadbalance"}, "targets": [inner]}, 0, 0)
    assert leaf.request_timeout_ms == 100


def test_a_breaker_is_inherited_from_the_strategy_or_the_target_itself() -> None:
    raw = both(cb_config={"failure_threshold_percentage": 20, "cooldown_interval": 60_000})
    raw["strategy"]["cb_config"] = {"failure_threshold": 5, "failure_status_codes": [401]}
    assert leaf_of(raw, 0).breaker == BreakerPolicy(None, 20.0, 10, 60.0)
    assert leaf_of(raw, 1).breaker == BreakerPolicy(5, None, 10, 30.0, frozenset({401}))
    assert leaf_of(raw, 0).breaker_key.endswith("|config.targets[0]")


def test_sticky_needs_fields_and_to_be_enabled() -> None:
    def sticky(**said: Any) -> Sticky | None:
        raw = {"strategy": {"mode": "loadbalance", "sticky": said}, "targets": [{}]}
        tree = compile_config(raw).tree
        assert isinstance(tree, LoadBalance)
        return tree.sticky

    assert sticky(hash_fields=["metadata.user_id"]) == Sticky((("metadata", "user_id"),), 3600.0)
    assert sticky(hashFields=["metadata.u"], ttl=5, enabled=True) == Sticky((("metadata", "u"),), 5.0)
    assert sticky(hash_fields=["metadata.u"], enabled=False) is None
    assert sticky(enabled=True) is None


# --- problems


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"targets": [{}, {"weight": -1}]}, "config.targets[1].weight: must be >= 0, got -1"),
        ({"weight": "heavy"}, "config.weight: must be a number, got text"),
        ({"weight": 1e300}, "config.weight: must be <= 1e+09, got 1e+300"),
        ({"retry": {"attempts": 6}}, "config.retry.attempts: must be <= 5, got 6"),
        ({"retry": {"attempts": 1.5}}, "config.retry.attempts: must be a whole number, got a number"),
        ({"retry": {"on_status_codes": [99]}}, "config.retry.on_status_codes[0]: must be >= 100, got 99"),
        ({"retry": 3}, "config.retry: must be an object, got a number"),
        (
            {"strategy": {"mode": "lb"}, "targets": [{}]},
            "config.strategy.mode: must be 'single', 'fallback', 'loadbalance' or 'conditional', got 'lb'",
        ),
        ({"strategy": {}, "targets": [{}]}, "config.strategy.mode: is required"),
        (
            {"strategy": {"mode": "fallback"}},
            "config.targets: is required with a strategy of mode 'fallback'",
        ),
        (
            {"strategy": {"mode": "fallback"}, "targets": []},
            "config.targets: is required with a strategy of mode 'fallback'",
        ),
        ({"targets": [{}, {}]}, 'config.strategy: is required with targets, such as {"mode": "fallback"}'),
        ({"targets": {}}, "config.targets: must be a list, got an object"),
        ({"targets": [1]}, "config.targets[0]: must be an object, got a number"),
        (
            {"strategy": {"mode": "loadbalance"}, "targets": [{"weight": 0}]},
            "config.targets: must have a weight > 0 somewhere, got 0 everywhere",
        ),
        ({"provider": "acme"}, "config.provider: must be azure-openai, openai or @slug, got 'acme'"),
        ({"virtual_key": ""}, "config.virtual_key: must not be empty"),
        ({"request_timeout": -5}, "config.request_timeout: must be >= 0, got -5"),
        ({"override_params": []}, "config.override_params: must be an object, got a list"),
        (
            {"drop_params": ["a["]},
            "config.drop_params[0]: must have [0], [1], ... or [*] in brackets, got 'a['",
        ),
        ({"cb_config": {"failure_threshold": 0}}, "config.cb_config.failure_threshold: must be >= 1, got 0"),
        (
            {"cb_config": {"failure_threshold": 1, "cooldown_interval": 1000}},
            "config.cb_config.cooldown_interval: must be >= 30000, got 1000",
        ),
        ({"cb_config": {}}, "config.cb_config: must have failure_threshold or failure_threshold_percentage"),
        ({"passthrough": "perhaps"}, "config.passthrough: must be true or false, got text"),
        (
            {"strategy": {"mode": "conditional"}, "targets": [{"name": "a"}]},
            "config.strategy.conditions: is required, or a default",
        ),
        (
            {"strategy": {"mode": "conditional", "default": "b"}, "targets": [{"name": "a"}]},
            "config.strategy.default: must be the name of a target ('a'), got 'b'",
        ),
        (
            {
                "strategy": {
                    "mode": "conditional",
                    "conditions": [{"query": {"metadata.a": 1}, "then": "b"}],
                },
                "targets": [{}],
            },
            "config.strategy.conditions[0].then: must be the name of a target (none has a name), got 'b'",
        ),
        ("[1]", "config: must be a JSON object, or the slug of a saved config"),
        ("{", "config: is not JSON (line 1, column 2)"),
    ],
)
def test_a_problem_names_its_path_and_its_fix(raw: Any, problem: str) -> None:
    assert problem in problems_of(raw)


def test_every_problem_is_told_at_once() -> None:
    raw = {
        "retry": {"attempts": 9},
        "strategy": {"mode": "loadbalance"},
        "targets": [{"weight": -1, "drop_params": ["["]}, {"provider": "acme", "requestTimeout": "soon"}],
    }
    found = problems_of(raw)
    assert len(found) == 5
    message = str(InvalidConfig(found).message)
    assert all(problem in message for problem in found)


def test_a_value_in_the_wrong_place_is_not_shown() -> None:
    raw = {
        "api_key": 1234567,
        "weight": "sk-secret",
        "retry": "sk-secret",
        "azure_ad_token": {"t": "sk-secret"},
    }
    text = " ".join(problems_of(raw))
    assert "1234567" not in text
    assert "sk-secret" not in text


# --- bounds


def nested(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"virtual_key": "a"}
    for _ in range(depth):
        node = {"strategy": {"mode": "fallback"}, "targets": [node]}
    return node


def test_nesting_is_bounded() -> None:
    compile_config(nested(10))
    assert problems_of(nested(11)) == [
        "config" + ".targets[0]" * 10 + ".targets: must be nested at most 10 levels deep"
    ]
    assert problems_of(nested(2), ConfigLimits(nesting=1))


def test_the_number_of_targets_is_bounded() -> None:
    def many(count: int) -> dict[str, Any]:
        return {"strategy": {"mode": "fallback"}, "targets": [{}] * count}

    compile_config(many(100))
    assert problems_of(many(101)) == ["config: must have at most 100 targets in all, got 101"]


def test_the_size_is_bounded() -> None:
    text = json.dumps({"name": "x" * 66_000})
    assert problems_of(text) == [f"config: must have at most 65536 bytes of JSON, got {len(text)}"]


@pytest.mark.parametrize(
    "text", ['{"a":' * 500 + "1" + "}" * 500, '{"override_params":{"a":' + "[" * 900 + "]" * 900 + "}}"]
)
def test_the_depth_of_everything_is_bounded(text: str) -> None:
    assert problems_of(text) == ["config: must be nested at most 100 levels deep"]


# --- warnings


def test_unknown_keys_are_warnings() -> None:
    raw = both(aws_region="x", retry={"attempts": 1, "jitter": 1})
    raw["cache"] = {"mode": "simple"}
    assert sorted(compile_config(raw).warnings) == [
        "config.cache: not supported yet, ignored",
        "config.targets[0].aws_region: unknown key, ignored",
        "config.targets[0].retry.jitter: unknown key, ignored",
    ]


# --- cache


def test_a_config_is_compiled_once() -> None:
    cache = ConfigCache(size=2)
    text = json.dumps(nested(1))
    assert cache.get(text) is cache.get(text)


def test_the_cache_is_bounded() -> None:
    cache = ConfigCache(size=2)
    first = cache.get("{}")
    cache.get('{"name":"a"}')
    assert cache.get("{}") is first
    cache.get('{"name":"b"}')
    assert cache.get("{}") is first
    cache.get('{"name":"c"}')
    cache.get('{"name":"d"}')
    assert cache.get("{}") is not first


def test_the_digest_is_of_what_is_said_not_how() -> None:
    one = compile_config('{"name": "a", "retry": {"attempts": 1}}')
    two = compile_config('{"retry":{"attempts":1},"name":"a"}')
    assert one.digest == two.digest
    assert one.digest != compile_config('{"name":"b"}').digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 40_000) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["strategy", "mode", "targets", "retry", "query", "conditions", "then", "weight", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(st.sampled_from(["strategy", "targets", "retry", "cache", "api_key", "dropParams"]), JSON)
)
def test_any_json_compiles_or_is_refused_with_paths(raw: dict[str, Any]) -> None:
    problems = []
    try:
        compile_config(json.dumps(raw))
    except InvalidConfig as error:
        problems = error.problems or ["none told"]
    assert all(problem.startswith("config") for problem in problems)
