"""From config JSON to the target tree, inheritance folded in.

A child takes over what it does not say: retry, time-out, host, forwarded headers and breaker as a
whole, parameters key by key. Who signs in is never inherited. Source: Portkey's open gateway.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from gateway.core.conditions import Query, parse_query
from gateway.core.config_checks import Checks, ConfigLimits, vendor
from gateway.core.config_errors import InvalidConfig, path_of, problems_of
from gateway.core.config_schema import UNSERVED, BreakerPart, RetryPart, StrategyPart, TargetPart
from gateway.core.headers import flat_metadata
from gateway.core.params import parse_path
from gateway.core.targets import (
    NO_CREDENTIALS,
    NO_RETRY,
    NO_RULES,
    RETRY_STATUS_CODES,
    BreakerPolicy,
    Conditional,
    Fallback,
    InlineCredentials,
    Leaf,
    LoadBalance,
    ParamRules,
    Retry,
    Share,
    Sticky,
    Target,
)
from gateway.core.virtual_key import Deployment

DEFAULT_LIMITS = ConfigLimits()

# Fields of a target that go into its credentials as they are.
_CREDENTIALS = tuple(name for name in InlineCredentials.__dataclass_fields__ if name != "deployments")
# Any of these makes a target one of its own; the others only refine what the request brought.
_SIGNING = ("api_key", "resource_name", "azure_ad_token", "azure_auth_mode", "azure_entra_client_id")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A config that is ready to route by. `source` is the JSON, for what is served elsewhere."""

    tree: Target
    digest: str
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)  # of each request, unless it says otherwise
    source: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may hold keys


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What a node passes on to those of its children that do not say it themselves."""

    params: ParamRules = NO_RULES
    retry: Retry = NO_RETRY
    request_timeout_ms: int | None = None
    custom_host: str | None = None
    forward_headers: tuple[str, ...] = ()
    strict: bool | None = None
    breaker: BreakerPolicy | None = None


def compile_config(
    source: str | bytes | Mapping[str, Any], limits: ConfigLimits = DEFAULT_LIMITS
) -> Compiled:
    """The tree of a config. `InvalidConfig` (a 400) names every problem, its path and its fix."""
    raw = source if isinstance(source, Mapping) else _parse(source, limits)
    checks = Checks(limits)
    checks.run(raw)
    root = _validate(raw, checks)
    # orjson writes keys in one order, so that the same config in other words keeps its circuits.
    digest = hashlib.sha256(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    tree = _Builder(digest).node(root, "config", _Inherited(), guarded=False)
    warnings = (*checks.warnings, *_unknown(root, ()))
    return Compiled(tree, digest, warnings, flat_metadata(root.metadata or {}), raw)


def _parse(source: str | bytes, limits: ConfigLimits) -> Mapping[str, Any]:
    data = source.encode("utf-8", "replace") if isinstance(source, str) else source
    if len(data) > limits.size:
        raise InvalidConfig([f"config: must have at most {limits.size} bytes of JSON, got {len(data)}"])
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidConfig([f"config: is not JSON (line {error.lineno}, column {error.colno})"]) from None
    if not isinstance(raw, dict):
        raise InvalidConfig(["config: must be a JSON object, or the slug of a saved config"])
    return raw


def _validate(raw: Mapping[str, Any], checks: Checks) -> TargetPart:
    try:
        root = TargetPart.model_validate(raw)
    except ValidationError as error:
        # Not chained: pydantic's own text holds the values, keys among them.
        raise InvalidConfig([*problems_of(error), *checks.problems]) from None
    if checks.problems:
        raise InvalidConfig(checks.problems)
    return root


class _Builder:
    """Builds one config's nodes; `digest` makes the names of their circuits and pins its own."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def node(self, part: TargetPart, path: str, above: _Inherited, *, guarded: bool) -> Target:
        """`guarded`: the strategy above chooses by health, so that a breaker has an effect."""
        if not part.targets:
            return self._leaf(part, path, _pass_on(part, above), guarded)
        own = _pass_on(part, above)
        strategy = part.strategy
        if strategy is None or strategy.mode == "single":
            return self.node(part.targets[0], f"{path}.targets[0]", own, guarded=guarded)
        children = tuple(
            self.node(child, f"{path}.targets[{i}]", own, guarded=strategy.mode != "conditional")
            for i, child in enumerate(part.targets)
        )
        return self._strategy(part, strategy, path, children)

    def _strategy(
        self, part: TargetPart, strategy: StrategyPart, path: str, children: tuple[Target, ...]
    ) -> Target:
        targets = part.targets or []
        if strategy.mode == "fallback":
            codes = frozenset(strategy.on_status_codes) if strategy.on_status_codes else None
            return Fallback(path, part.name, children, codes)
        if strategy.mode == "loadbalance":
            shares = tuple(
                Share(node, child.weight, child.priority)
                for node, child in zip(children, targets, strict=True)
            )
            return LoadBalance(path, part.name, shares, _sticky(strategy), f"{self._digest}|{path}")
        index = {child.name: i for i, child in reversed(list(enumerate(targets))) if child.name is not None}
        default = index[strategy.default] if strategy.default is not None else None
        return Conditional(path, part.name, children, _rules(strategy, index), default)

    def _leaf(self, part: TargetPart, path: str, own: _Inherited, guarded: bool) -> Leaf:
        credentials = _credentials(part)
        virtual_key, provider, params = _who_serves(part, path, own.params, credentials)
        return Leaf(
            path=path,
            name=part.name,
            virtual_key=virtual_key,
            provider=provider,
            credentials=credentials,
            custom_host=own.custom_host,
            forward_headers=own.forward_headers,
            request_timeout_ms=own.request_timeout_ms,
            strict=own.strict,
            retry=own.retry,
            breaker=own.breaker if guarded else None,
            breaker_key=f"{self._digest}|{path}",
            params=params,
            passthrough=part.passthrough,
            prompt_id=part.prompt_id,
        )


def _pass_on(part: TargetPart, above: _Inherited) -> _Inherited:
    strategy_breaker = part.strategy.cb_config if part.strategy is not None else None
    breaker = strategy_breaker or part.cb_config
    return _Inherited(
        params=_merge(part, above.params),
        retry=_retry(part.retry) if part.retry is not None else above.retry,
        request_timeout_ms=part.request_timeout or above.request_timeout_ms,
        custom_host=part.custom_host or above.custom_host,
        forward_headers=above.forward_headers
        if part.forward_headers is None
        else tuple(part.forward_headers),
        strict=above.strict if part.strict_open_ai_compliance is None else part.strict_open_ai_compliance,
        breaker=_breaker(breaker) if breaker is not None else above.breaker,
    )


def _merge(part: TargetPart, above: ParamRules) -> ParamRules:
    if not (part.default_params or part.override_params or part.drop_params):
        return above
    drops = tuple(parse_path(text) for text in part.drop_params or ())
    return ParamRules(
        default={**above.default, **(part.default_params or {})},
        override={**above.override, **(part.override_params or {})},
        drop=(*above.drop, *(path for path in drops if path not in above.drop)),
    )


def _who_serves(
    part: TargetPart, path: str, params: ParamRules, credentials: InlineCredentials
) -> tuple[str | None, str | None, ParamRules]:
    """Slug, vendor and the rules without a slug before the model: what is said outright wins over it."""
    slug, provider = part.virtual_key, part.provider
    if provider is not None and provider.startswith("@"):
        slug, provider = slug or provider, None
    provider = vendor(provider) if provider is not None else None
    model = params.override.get("model")
    if isinstance(model, str) and model.startswith("@") and "/" in model and not part.passthrough:
        prefix, _, name = model.partition("/")
        params = replace(params, override={**params.override, "model": name})
        if slug is None and provider is None:
            slug = prefix
    if slug is None and provider is None and path != "config" and _signs_in(credentials):
        provider = "azure-openai"
    return (slug.removeprefix("@") if slug else None), provider, params


def _signs_in(credentials: InlineCredentials) -> bool:
    return any(getattr(credentials, name) for name in _SIGNING)


def _credentials(part: TargetPart) -> InlineCredentials:
    said = {name: value for name in _CREDENTIALS if (value := getattr(part, name)) is not None}
    deployments = tuple(
        Deployment(d.deployment_id, d.alias, d.api_version, d.model, d.is_default)
        for d in part.deployments or ()
    )
    if not said and not deployments:
        return NO_CREDENTIALS
    return InlineCredentials(**said, deployments=deployments)


def _retry(part: RetryPart) -> Retry:
    codes = RETRY_STATUS_CODES if part.on_status_codes is None else frozenset(part.on_status_codes)
    return Retry(part.attempts, codes, part.use_retry_after_headers)


def _breaker(part: BreakerPart) -> BreakerPolicy:
    return BreakerPolicy(
        failure_threshold=part.failure_threshold,
        failure_threshold_percentage=part.failure_threshold_percentage,
        minimum_requests=part.minimum_requests,
        cooldown=part.cooldown_interval / 1000,
        failure_status_codes=None
        if part.failure_status_codes is None
        else frozenset(part.failure_status_codes),
    )


def _sticky(strategy: StrategyPart) -> Sticky | None:
    part = strategy.sticky
    if part is None or not part.enabled or not part.hash_fields:
        return None
    return Sticky(tuple(tuple(text.split(".")) for text in part.hash_fields), part.ttl)


def _rules(strategy: StrategyPart, index: Mapping[str, int]) -> tuple[tuple[Query, int], ...]:
    rules = []
    for condition in strategy.conditions or ():
        query = parse_query(condition.query, "", _no_report, 100)
        assert query is not None  # the checks have parsed it before
        rules.append((query, index[condition.then]))
    return tuple(rules)


def _no_report(path: str, problem: str) -> None:
    raise AssertionError(f"{path}: {problem}")


def _unknown(part: BaseModel, loc: tuple[int | str, ...]) -> Iterator[str]:
    """A warning for each key that has no effect."""
    for name in part.model_extra or ():
        yield f"{path_of((*loc, name))}: unknown key, ignored"
    for name in type(part).model_fields:
        value = getattr(part, name)
        if name in UNSERVED and value is not None:
            yield f"{path_of((*loc, name))}: not supported yet, ignored"
        yield from _unknown_below(value, (*loc, name))


def _unknown_below(value: Any, loc: tuple[int | str, ...]) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from _unknown(value, loc)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_below(item, (*loc, index))


class ConfigCache:
    """Compiled configs by their text; the least recently used go first."""

    def __init__(self, limits: ConfigLimits = DEFAULT_LIMITS, *, size: int = 256) -> None:
        self._limits = limits
        self._size = size
        self._known: OrderedDict[str, Compiled] = OrderedDict()

    def get(self, text: str) -> Compiled:
        """`InvalidConfig` each time anew: a wrong config is not worth its place."""
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        compiled = compile_config(text, self._limits)
        self._known[text] = compiled
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return compiled
