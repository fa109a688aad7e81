"""One cheap call upstream, to see that a virtual key works before it is stored."""

import httpx

from gateway.core.errors import GatewayError, InvalidRequest
from gateway.core.operations import Operation
from gateway.core.virtual_key import VirtualKey
from gateway.pipeline import Pipeline
from gateway.providers.catalog import provider
from gateway.providers.endpoints import Asked, from_virtual_key
from gateway.upstream_answer import read_whole

_LIST_MODELS = Operation("/models", "GET", "none", "any", "models")


async def probe(pipeline: Pipeline, key: VirtualKey) -> None:
    """Lists the upstream's models. Raises `InvalidRequest` that says what does not fit."""
    endpoint = from_virtual_key(key, Asked(model="any"), pipeline.rules, images=False)
    kind = provider(endpoint.provider)
    address = kind.address(endpoint, _LIST_MODELS, "")
    token = endpoint.secret or ""
    try:
        if endpoint.sign_in is not None:
            token = (await pipeline.tokens.token(endpoint.sign_in)).token
        headers = [("accept-encoding", "identity"), kind.authorize(endpoint, token)]
        response = await pipeline.transport.handle_async_request(
            httpx.Request("GET", address.url, headers=headers)
        )
        await read_whole(response, 64 * 1024)
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
    if response.status_code == 404:
        raise InvalidRequest(
            f"validate: {endpoint.host.name} answered 404: see the host and the API version",
            code="validation_failed",
            param="resource_name",
        )
