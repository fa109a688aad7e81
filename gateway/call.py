"""One inference call as the pipeline sees it: what was asked, by whom, and what came of it."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import httpx

from gateway.core.body import ClientBody, split_model
from gateway.core.caller import Caller
from gateway.core.config import Compiled
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.headers import RequestHeaders
from gateway.core.jsontext import dumps
from gateway.core.operations import Operation
from gateway.core.prompts import PromptRequest
from gateway.core.record import Record
from gateway.core.retry import Outcome
from gateway.core.route_input import RouteInput
from gateway.core.targets import NO_CREDENTIALS, PLAIN, InlineCredentials, Leaf
from gateway.providers.base import Endpoint
from gateway.providers.endpoints import Asked

# Node's SDK makes `/v1//chat/completions` of a base URL that ends in a slash.
_SLASHES = re.compile("//+")


@dataclass(slots=True)
class Call:
    """Built once by the front door; the pipeline only fills `record`."""

    operation: Operation
    query: str
    headers: RequestHeaders
    body: ClientBody
    caller: Caller
    record: Record
    asked: Asked
    config: Compiled | None = None
    secrets: frozenset[str] = frozenset()  # tokens of the gateway's own that came along: never sent on
    prompt: Mapping[str, Any] | None = None  # what was sent to a prompt: its variables and overrides

    def route_input(self) -> RouteInput:
        asked = self.asked
        return RouteInput(
            metadata=self.record.metadata,
            pathname=_SLASHES.sub("/", self.record.path),
            params=self._params,
            model=asked.model,
            operation=self.operation.name,
            origin=asked.virtual_key or asked.custom_host or asked.credentials.resource_name or "request",
        )

    def _params(self) -> Mapping[str, Any]:
        return self.body.json or {}


@dataclass(slots=True)
class Answer:
    """How one try, or the whole call, ended: an upstream's answer, or a fault.

    `body` holds an error answer's bytes; of a good answer, the stream in `response` is still to be
    read, but for what `head` holds already.
    """

    outcome: Outcome
    error: GatewayError | None = None
    endpoint: Endpoint | None = None
    response: httpx.Response | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    head: list[bytes] = field(default_factory=list)
    asked_usage: bool = False
    json: Any = None  # of a whole answer in JSON
    pending: asyncio.Future[bytes] | None = None  # the stream's first bytes, when they are late
    chunks: AsyncIterator[bytes] | None = None

    async def next_chunk(self) -> bytes:
        """The next bytes of a good answer, empty at its end."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            return await pending
        if self.chunks is None:
            assert self.response is not None
            self.chunks = aiter(self.response.stream)  # type: ignore[arg-type]
        return await anext(self.chunks, b"")

    def drop(self) -> None:
        """Let go of the upstream at once. What was read to its end keeps its connection."""
        if self.pending is not None:
            self.pending.cancel()
            self.pending = None
        if self.response is not None:
            close = getattr(self.response.stream, "close", None)
            if close is not None:
                close()


def asked_of(headers: RequestHeaders, body: ClientBody, operation: Operation, token: str | None) -> Asked:
    """What the request says of its upstream, in its headers, its path and before its model."""
    prefix, model = split_model(body.model)
    in_path, deployment = split_model(operation.deployment)
    provider = headers.portkey("provider")
    slug = headers.portkey("virtual-key")
    if provider and provider.startswith("@"):
        slug, provider = slug or provider[1:], None
    slug = slug.removeprefix("@") if slug else None
    if slug is None and provider is None:
        slug = prefix or in_path
    return Asked(
        virtual_key=slug,
        provider=provider,
        credentials=_credentials(headers),
        custom_host=headers.portkey("custom-host"),
        token=token,
        bearer="authorization" in headers.forwarded,
        model=model,
        deployment=deployment,
    )


def asked_of_target(asked: Asked, leaf: Leaf) -> Asked:
    """What is asked of one target: its own words, else the request's.

    A target that names its upstream takes no credential from the request, unless it forwards one; of
    any other, the request's words win over the same ones in the config. Source: Portkey's open gateway.
    """
    if leaf is PLAIN:
        return asked
    override = leaf.params.override.get("model")
    named = override or asked.model or leaf.params.default.get("model")
    prefix, model = split_model(named) if isinstance(named, str) else (None, asked.model)
    host = asked.custom_host or leaf.custom_host
    if leaf.brings_own:
        token = asked.token if asked.bearer else None
        slug, provider, credentials = leaf.virtual_key, leaf.provider, leaf.credentials
    else:
        token, provider = asked.token, asked.provider
        slug = asked.virtual_key or (prefix if provider is None else None)
        credentials = asked.credentials
        if leaf.credentials is not NO_CREDENTIALS and not leaf.passthrough:
            credentials = _over(asked, leaf.credentials)
    # Azure's own path names a deployment, which is as much as a model in the body.
    deployment = None if override else asked.deployment
    return Asked(slug, provider, credentials, host, token, asked.bearer, model, deployment)


def _over(asked: Asked, config: InlineCredentials) -> InlineCredentials:
    """The request's credentials over a config's; its `Authorization` stands for an `api_key`."""
    said = {
        item.name: value
        for item in fields(InlineCredentials)
        if (value := getattr(asked.credentials, item.name) or getattr(config, item.name))
    }
    if asked.token is not None:
        said.pop("api_key", None)
    return InlineCredentials(**said)


def of_prompt(call: Call, made: PromptRequest) -> Call:
    """The call with the request that a prompt makes of it in place of its body.

    The prompt's virtual key serves where the request names no upstream; a config's target that
    names one of its own wins over both.
    """
    model = made.body.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("model: must be a text", param="model")
    path = made.path.removeprefix("/v1")
    operation = replace(call.operation, path=path, name=path[1:])
    stream = made.body.get("stream") is True
    body = ClientBody(dumps(made.body), "application/json", made.body, model, stream)
    asked = asked_of(call.headers, body, operation, call.asked.token)
    if asked.virtual_key is None and asked.provider is None and asked.credentials is NO_CREDENTIALS:
        asked = replace(asked, virtual_key=made.virtual_key)
    record = call.record
    record.prompt_id, record.prompt_slug, record.prompt_version, _ = made.prompt
    record.operation, record.stream, record.model = operation.name, stream, model
    if record.keep_bodies:
        record.request_body = body.raw
        record.prompt_variables = dumps((call.prompt or {}).get("variables") or {})
    return replace(call, operation=operation, body=body, asked=asked)


_HEADERS = {
    "resource_name": "azure-resource-name",
    "deployment_id": "azure-deployment-id",
    "api_version": "azure-api-version",
    "azure_auth_mode": "azure-auth-mode",
    "azure_ad_token": "azure-ad-token",
    "azure_entra_tenant_id": "azure-entra-tenant-id",
    "azure_entra_client_id": "azure-entra-client-id",
    "azure_entra_client_secret": "azure-entra-client-secret",
    "azure_entra_scope": "azure-entra-scope",
    "azure_managed_client_id": "azure-managed-client-id",
    "azure_workload_client_id": "azure-workload-client-id",
    "azure_model_name": "azure-model-name",
}


def _credentials(headers: RequestHeaders) -> InlineCredentials:
    if not any(name.startswith("azure-") for name in headers.portkey_names()):
        return NO_CREDENTIALS
    said: dict[str, Any] = {
        name: value for name, header in _HEADERS.items() if (value := headers.portkey(header)) is not None
    }
    # The misspelling stands in Portkey's own documentation, and so in what people copied from it.
    if "deployment_id" not in said and (misspelt := headers.portkey("azure-deploymend-id")):
        said["deployment_id"] = misspelt
    if token := said.get("azure_ad_token"):
        said["azure_ad_token"] = token.removeprefix("Bearer ").strip()
    return InlineCredentials(**said) if said else NO_CREDENTIALS
