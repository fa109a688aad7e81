"""The config object as it is written: names, types, bounds. What it means is `gateway.core.config`.

Both casings of a key are one (`requestTimeout`, `request_timeout`). Unknown keys are kept apart, so
that they become warnings; bodies of parameters, metadata and queries are left as they are.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Status = Annotated[int, Field(ge=100, le=599)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
Slug = Annotated[str, Field(min_length=1, max_length=200)]

# Other spellings that docs and SDKs of Portkey use for the same thing.
_ALIASES = {
    "useretryafterheader": "use_retry_after_headers",
    "strictopenaicompliance": "strict_open_ai_compliance",
    "azureresourcename": "resource_name",
    "azuredeploymentid": "deployment_id",
    "azuredeploymendid": "deployment_id",
    "azuredeploymentname": "deployment_id",
    "deploymentname": "deployment_id",
    "deployment": "deployment_id",
    "azureapiversion": "api_version",
    "azureadtokenprovider": "azure_ad_token",
}


def fold(key: str) -> str:
    """A key without what tells casings apart."""
    return key.replace("_", "").replace("-", "").lower()


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _one_casing(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        names = {fold(name): name for name in cls.model_fields}
        return {_spelled(key, names): value for key, value in data.items()}


def _spelled(key: str, names: Mapping[str, str]) -> str:
    folded = fold(key)
    name = names.get(folded)
    if name is None:
        alias = _ALIASES.get(folded)
        name = alias if alias is not None and fold(alias) in names else None
    return name or key


class BreakerPart(_Part):
    failure_threshold: Annotated[int, Field(ge=1)] | None = None
    failure_threshold_percentage: Annotated[float, Field(gt=0, le=100)] | None = None
    minimum_requests: Annotated[int, Field(ge=1)] = 10
    # Portkey's minimum: less would let a dead target be asked too often.
    cooldown_interval: Annotated[int, Field(ge=30_000, le=86_400_000)] = 30_000  # ms
    failure_status_codes: list[Status] | None = None

    @model_validator(mode="after")
    def _some_limit(self) -> "BreakerPart":
        if self.failure_threshold is None and self.failure_threshold_percentage is None:
            raise ValueError("must have failure_threshold or failure_threshold_percentage")
        return self


class StickyPart(_Part):
    enabled: bool = True
    hash_fields: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=10)] = []
    ttl: Seconds = 3600.0


class ConditionPart(_Part):
    query: Any
    then: str


class StrategyPart(_Part):
    mode: Literal["single", "fallback", "loadbalance", "conditional"]
    on_status_codes: list[Status] | None = None
    conditions: list[ConditionPart] | None = None
    default: str | None = None
    cb_config: BreakerPart | None = None
    sticky: StickyPart | None = None


class RetryPart(_Part):
    attempts: Annotated[int, Field(ge=0, le=5)] = 0
    on_status_codes: list[Status] | None = None
    use_retry_after_headers: bool = False


class DeploymentPart(_Part):
    deployment_id: Slug
    alias: str | None = None
    api_version: str | None = None
    model: str | None = None
    is_default: bool = False


class TargetPart(_Part):
    """A target, and the root of a config, which has the same shape."""

    strategy: StrategyPart | None = None
    targets: list["TargetPart"] | None = None
    name: str | None = None
    # The bound keeps sums finite; nobody weighs finer.
    weight: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 1.0
    priority: int = 0

    provider: Slug | None = None
    virtual_key: Slug | None = None
    prompt_id: Slug | None = None
    passthrough: bool = False

    api_key: str | None = None
    resource_name: str | None = None
    deployment_id: str | None = None
    api_version: str | None = None
    azure_auth_mode: str | None = None
    azure_ad_token: str | None = None
    azure_entra_tenant_id: str | None = None
    azure_entra_client_id: str | None = None
    azure_entra_client_secret: str | None = None
    azure_entra_scope: str | None = None
    azure_managed_client_id: str | None = None
    azure_workload_client_id: str | None = None
    azure_model_name: str | None = None
    deployments: list[DeploymentPart] | None = None

    custom_host: str | None = None
    forward_headers: list[str] | None = None
    request_timeout: Annotated[int, Field(ge=0, le=86_400_000)] | None = None  # ms; 0 is none
    strict_open_ai_compliance: bool | None = None
    override_params: dict[str, Any] | None = None
    default_params: dict[str, Any] | None = None
    # Each path walks the body: more of them would hold up all callers.
    drop_params: Annotated[list[str], Field(max_length=100)] | None = None
    retry: RetryPart | None = None
    cb_config: BreakerPart | None = None
    metadata: dict[str, Any] | None = None

    # Caching and guardrails: whoever serves them reads them raw.
    cache: Any = None
    before_request_hooks: Any = None
    after_request_hooks: Any = None
    input_guardrails: Any = None
    output_guardrails: Any = None

    @field_validator("forward_headers", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [name.strip() for name in value.split(",") if name.strip()]
        return value


UNSERVED = (
    "cache",
    "before_request_hooks",
    "after_request_hooks",
    "input_guardrails",
    "output_guardrails",
)
