"""One cheap call upstream, to see that a virtual key works before it is stored."""

import httpx

from gateway.core.deployments import first_deployment
from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.jsontext import dumps
from gateway.core.operations import Operation
from gateway.core.virtual_key import VirtualKey
from gateway.pipeline import Pipeline
from gateway.providers.catalog import provider
from gateway.providers.endpoints import Asked, from_virtual_key
from gateway.upstream_answer import read_whole

_LIST_MODELS = Operation("/models", "GET", "none", "any", "models")
_EMPTY_CHAT = Operation("/chat/completions", "POST", "deployment", "json", "chat/completions")


async def probe(pipeline: Pipeline, key: VirtualKey) -> None:
    """Raises `InvalidRequest` that says what does not fit: host, credential or deployment.

    A chat without messages is refused with 400 and costs nothing, but only after Azure has looked at the
    credential and the deployment. Where the key names no deployment, the models are listed instead.
    """
    named = first_deployment(key) if key.provider == "azure-openai" else None
    endpoint = from_virtual_key(key, Asked(model=named or "any"), pipeline.rules, images=False)
    kind = provider(endpoint.provider)
    operation = _EMPTY_CHAT if named else _LIST_MODELS
    address = kind.address(endpoint, operation, "")
    content = dumps({"model": address.model} if address.model else {}) if named else b""
    token = endpoint.secret or ""
    try:
        if endpoint.sign_in is not None:
            token = (await pipeline.tokens.token(endpoint.sign_in)).token
        headers = [("accept-encoding", "identity"), kind.authorize(endpoint, token)]
        headers += [("content-type", "application/json")] if named else []
        response = await pipeline.transport.handle_async_request(
            httpx.Request(operation.method, address.url, headers=headers, content=content)
        )
        said = await read_whole(response, 64 * 1024)
    except httpx.TransportError:
        raise InvalidRequest(
            f"validate: {endpoint.host.name} cannot be reached: see the resource's name or the custom host",
            code="validation_failed",
            param="resource_name",
        ) from None
    except GatewayError as error:
        raise InvalidRequest(f"validate: {error.message}", code="validation_failed") from None
    if response.status_code in (401, 403):
        raise InvalidRequest(
            f"validate: {endpoint.host.name} answered {response.status_code}: the key or the identity is not "
            "allowed there",
            code="validation_failed",
            param="key",
        )
    if response.status_code == 404 and b"DeploymentNotFound" in said:
        raise InvalidRequest(
            f"validate: {endpoint.host.name} has no deployment {named!r}: see its name in the portal",
            code="validation_failed",
            param="deployment_name",
        )
    if response.status_code == 404:
        raise InvalidRequest(
            f"validate: {endpoint.host.name} answered 404: see the host and the API version",
            code="validation_failed",
            param="resource_name",
        )
