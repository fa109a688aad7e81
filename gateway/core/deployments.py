"""Which deployment of a virtual key a call goes to."""

from gateway.core.azure_endpoint import deployment_name
from gateway.core.errors import NotFound
from gateway.core.virtual_key import Deployment, VirtualKey


def _image_model(item: Deployment) -> bool:
    text = f"{item.model or ''} {item.deployment} {item.alias or ''}".lower()
    return "image" in text or "dall-e" in text or "dalle" in text


def choose_deployment(
    key: VirtualKey, *, explicit: str | None, model: str | None, images: bool = False
) -> Deployment | None:
    """The deployment a call goes to, or None when the virtual key and the call name none.

    Explicit name, then alias, deployment or catalogue name equal to the body's model, then the
    default, then the only one. A call for images without a model takes an image deployment.
    """
    listed = [item for item in key.deployments if item.deployment != "*"]
    wildcard = next((item for item in key.deployments if item.deployment == "*"), None)
    for asked in (explicit, model):
        match = _match(listed, asked) if asked else None
        if match:
            return match
        if asked and asked is explicit:
            base = wildcard or _default(listed)
            return Deployment(
                deployment_name(explicit, "deployment"), None, base.api_version if base else None
            )
    if images and not model:
        pictures = [item for item in listed if _image_model(item)]
        if pictures:
            return _default(pictures) or pictures[0]
    default = _default(listed)
    if default:
        return default
    if listed and model:
        names = ", ".join(sorted(item.alias or item.deployment for item in listed))
        raise NotFound(
            f"model {model[:80]!r} is no deployment of virtual key {key.slug!r}, which has: {names}",
            code="model_not_found",
            param="model",
        )
    if model:
        return Deployment(deployment_name(model, "model"), None, wildcard.api_version if wildcard else None)
    return None


def _match(listed: list[Deployment], asked: str) -> Deployment | None:
    for attribute in ("alias", "deployment", "model"):
        for item in listed:
            if getattr(item, attribute) == asked:
                return item
    return None


def _default(listed: list[Deployment]) -> Deployment | None:
    if len(listed) == 1:
        return listed[0]
    return next((item for item in listed if item.is_default), None)


def first_deployment(key: VirtualKey) -> str | None:
    """The name of the default deployment, else of the first; None of a key that lists none."""
    listed = [item for item in key.deployments if item.deployment != "*"]
    found = _default(listed) or next(iter(listed), None)
    return found.deployment if found else None
