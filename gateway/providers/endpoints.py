"""From what a target and the request say to one endpoint: credential, host, deployment."""

from dataclasses import dataclass, field
from functools import lru_cache

from gateway.core.azure_endpoint import deployment_name, read_endpoint, resource_name
from gateway.core.deployments import choose_deployment
from gateway.core.errors import Forbidden, InvalidRequest
from gateway.core.headers import looks_like_jwt
from gateway.core.hosts import Host, Reach, check_host
from gateway.core.ports import SignIn
from gateway.core.targets import NO_CREDENTIALS, InlineCredentials
from gateway.core.virtual_key import AUTH_MODES, Deployment, VirtualKey
from gateway.providers import azure_openai, openai
from gateway.providers.base import Endpoint

_SCOPES = frozenset(
    f"https://{host}/.default"
    for host in (
        "cognitiveservices.azure.com",
        "cognitiveservices.azure.us",
        "cognitiveservices.azure.cn",
        "ai.azure.com",
        "ai.azure.us",
        "ml.azure.com",
    )
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request itself says of the upstream. `token` is the client's own credential for it."""

    virtual_key: str | None = None  # slug
    provider: str | None = None
    credentials: InlineCredentials = NO_CREDENTIALS
    custom_host: str | None = None
    token: str | None = field(default=None, repr=False)
    bearer: bool = False  # forward_headers names authorization: the token goes as it came
    model: str | None = None  # of the body, less its @slug/
    deployment: str | None = None  # of Azure's own path


@dataclass(frozen=True, slots=True)
class Gatekeeping:
    """What the operator allows: hosts besides Azure's, and the app's own identity."""

    trusted_hosts: frozenset[str] = frozenset()
    own_client_id: str | None = None


def from_virtual_key(
    key: VirtualKey, asked: Asked, rules: Gatekeeping, *, images: bool, custom_host: str | None = None
) -> Endpoint:
    """The endpoint of a stored credential. A host from outside must be the operator's."""
    host = _stored_host(key, rules)
    if custom_host:
        host = _host(custom_host, key.provider, rules.trusted_hosts)
        if host.reach is not Reach.ANY:
            raise Forbidden(
                f"custom_host {host.name!r}: a stored credential goes to hosts in GATEWAY_TRUSTED_HOSTS only",
                code="custom_host_forbidden",
                param="custom_host",
            )
    explicit = asked.credentials.deployment_id or asked.deployment
    deployment = choose_deployment(key, explicit=explicit, model=asked.model, images=images)
    version = _version_of(asked) or (deployment.api_version if deployment else None)
    if version is None and key.provider == azure_openai.NAME:
        version = "v1"
    sign_in = _stored_sign_in(key, host, version, rules)
    token = asked.token if asked.bearer else None
    return Endpoint(
        provider=key.provider,
        host=host,
        deployment=deployment.deployment if deployment else None,
        api_version=version,
        secret=token or (key.api_key if sign_in is None else None),
        bearer=token is not None,
        sign_in=None if token else sign_in,
        auth_mode="forwarded" if token else key.auth_mode,
        virtual_key=key.slug,
        price_model=deployment.model if deployment else None,
        pricing=deployment.pricing if deployment else None,
        key=f"vk:{key.slug}/{deployment.deployment if deployment else ''}",
    )


def from_credentials(
    provider: str | None,
    own: InlineCredentials,
    asked: Asked,
    rules: Gatekeeping,
    *,
    custom_host: str | None = None,
    token: str | None = None,
) -> Endpoint:
    """The endpoint of credentials that came with the request or its config."""
    kind = _provider(provider, own)
    if kind == openai.NAME:
        return _openai(own, asked, rules, custom_host, token)
    host = _inline_host(own, custom_host, rules)
    deployment = _inline_deployment(own, asked)
    version = own.api_version or (deployment.api_version if deployment else None)
    secret, bearer, sign_in, mode = _inline_sign_in(own, asked, host, version, rules, token)
    return Endpoint(
        provider=azure_openai.NAME,
        host=host,
        deployment=deployment.deployment if deployment else None,
        api_version=version,
        secret=secret,
        bearer=bearer,
        sign_in=sign_in,
        auth_mode=mode,
        price_model=own.azure_model_name or (deployment.model if deployment else None),
        key=f"{host.name}/{deployment.deployment if deployment else ''}",
    )


def _version_of(asked: Asked) -> str | None:
    """Only what the request says in its headers; its query is looked at when the URL is built."""
    return asked.credentials.api_version


def _stored_host(key: VirtualKey, rules: Gatekeeping) -> Host:
    if key.custom_host:
        return _host(key.custom_host, key.provider, rules.trusted_hosts)
    if key.provider == openai.NAME:
        return Host(openai.BASE_URL, "api.openai.com", Reach.PUBLIC, own_identity=True)
    return _resource_host(key.resource_name or "")


def _resource_host(name: str) -> Host:
    base = azure_openai.base_url(name)
    return Host(base, base.split("/")[2], Reach.AZURE, own_identity=True)


@lru_cache(maxsize=512)
def _host(text: str, provider: str, trusted: frozenset[str]) -> Host:
    """The checked host; one without a path gets the provider's."""
    host = check_host(text, trusted)
    if host.base.count("/") == 2:
        suffix = "/openai" if provider == azure_openai.NAME else "/v1"
    elif host.base.endswith("/openai/v1") and provider == azure_openai.NAME:
        return Host(host.base[:-3], host.name, host.reach, host.own_identity)
    else:
        return host
    return Host(host.base + suffix, host.name, host.reach, host.own_identity)


def _stored_sign_in(key: VirtualKey, host: Host, version: str | None, rules: Gatekeeping) -> SignIn | None:
    scope = key.entra_scope or azure_openai.scope_for(host.name, version)
    if key.auth_mode == "managed-identity":
        _require_own(host)
        return SignIn("managed", scope, client_id=key.managed_client_id or rules.own_client_id)
    if key.auth_mode == "entra":
        return SignIn("entra", scope, key.entra_tenant_id, key.entra_client_id, key.entra_client_secret)
    if key.auth_mode == "workload":
        _require_own(host)
        return SignIn("workload", scope, client_id=key.managed_client_id)
    return None


def _require_own(host: Host) -> None:
    if not host.own_identity:
        raise Forbidden(
            f"the gateway's own identity is not shown to {host.name!r}: name the host in GATEWAY_TRUSTED_HOSTS",
            code="identity_forbidden",
            param="custom_host",
        )


def _provider(provider: str | None, own: InlineCredentials) -> str:
    if provider in (azure_openai.NAME, "azure", "azure_openai"):
        return azure_openai.NAME
    if provider is None and (own.resource_name or own.deployment_id or own.deployments):
        return azure_openai.NAME
    if provider is None:
        raise InvalidRequest(
            "no upstream: send x-portkey-virtual-key (or x-portkey-provider: @slug, or a model @slug/name), or "
            "x-portkey-provider with the provider's own headers",
            code="missing_provider",
            param="x-portkey-virtual-key",
        )
    if provider != openai.NAME:
        raise InvalidRequest(
            f"x-portkey-provider: {provider[:60]!r} is not known; use azure-openai, openai, or @slug of a "
            "virtual key",
            code="unknown_provider",
            param="x-portkey-provider",
        )
    return provider


def _openai(
    own: InlineCredentials, asked: Asked, rules: Gatekeeping, custom_host: str | None, token: str | None
) -> Endpoint:
    secret = own.api_key or token
    if not secret:
        raise _missing_credential("Authorization: Bearer KEY")
    base = Host(openai.BASE_URL, "api.openai.com", Reach.PUBLIC, own_identity=True)
    host = _host(custom_host, openai.NAME, rules.trusted_hosts) if custom_host else base
    return Endpoint(openai.NAME, host, secret=secret, bearer=True, key=f"{host.name}/{asked.model or ''}")


def _inline_host(own: InlineCredentials, custom_host: str | None, rules: Gatekeeping) -> Host:
    if custom_host:
        return _host(custom_host, azure_openai.NAME, rules.trusted_hosts)
    if not own.resource_name:
        raise InvalidRequest(
            "no Azure resource: send x-portkey-azure-resource-name (or x-portkey-custom-host)",
            code="missing_resource_name",
            param="x-portkey-azure-resource-name",
        )
    pasted = read_endpoint(own.resource_name)
    if pasted.custom_host:
        return _host(pasted.custom_host, azure_openai.NAME, rules.trusted_hosts)
    name = pasted.resource_name or own.resource_name
    return _resource_host(resource_name(name, "x-portkey-azure-resource-name"))


def _inline_deployment(own: InlineCredentials, asked: Asked) -> Deployment | None:
    if own.deployments:
        listed = VirtualKey("inline", "inline", deployments=own.deployments)
        return choose_deployment(listed, explicit=own.deployment_id or asked.deployment, model=asked.model)
    name = own.deployment_id or asked.deployment or asked.model
    if not name:
        return None
    return Deployment(deployment_name(name, "x-portkey-azure-deployment-id"))


def _inline_sign_in(
    own: InlineCredentials,
    asked: Asked,
    host: Host,
    version: str | None,
    rules: Gatekeeping,
    token: str | None,
) -> tuple[str | None, bool, SignIn | None, str]:
    """(secret, bearer, sign-in, mode). What is incomplete is an error, never another way to sign in."""
    if own.azure_ad_token:
        return own.azure_ad_token, True, None, "bearer"
    mode = AUTH_MODES.get((own.azure_auth_mode or "").lower())
    if mode is None:
        raise InvalidRequest(
            f"azure-auth-mode: must be default, entra, managed or workload, got {(own.azure_auth_mode or '')[:40]!r}",
            param="x-portkey-azure-auth-mode",
        )
    scope = own.azure_entra_scope or azure_openai.scope_for(host.name, version)
    if mode in ("managed-identity", "workload"):
        _require_own(host)
        _require_scope(scope)
        client = own.azure_managed_client_id or rules.own_client_id
        if mode == "workload":
            return None, False, SignIn("workload", scope, client_id=own.azure_workload_client_id), mode
        return None, False, SignIn("managed", scope, client_id=client), mode
    if mode == "entra":
        return None, False, _entra(own, scope), mode
    secret = own.api_key or token
    if not secret:
        raise _missing_credential("Authorization: Bearer KEY, or api-key: KEY")
    bearer = looks_like_jwt(secret) or (asked.bearer and not own.api_key)
    return secret, bearer, None, "bearer" if bearer else "api-key"


def _entra(own: InlineCredentials, scope: str) -> SignIn:
    for name in ("azure_entra_tenant_id", "azure_entra_client_id", "azure_entra_client_secret"):
        if not getattr(own, name):
            header = f"x-portkey-{name.replace('_', '-')}"
            raise InvalidRequest(
                f"azure-auth-mode entra needs {header}", code="missing_credential", param=header
            )
    return SignIn(
        "entra", scope, own.azure_entra_tenant_id, own.azure_entra_client_id, own.azure_entra_client_secret
    )


def _require_scope(scope: str) -> None:
    """The app's identity may open other doors too; a caller gets tokens for model services only."""
    if scope not in _SCOPES:
        raise InvalidRequest(
            f"azure-entra-scope: with the gateway's own identity it must be one of {', '.join(sorted(_SCOPES))}",
            param="x-portkey-azure-entra-scope",
        )


def _missing_credential(header: str) -> InvalidRequest:
    return InvalidRequest(
        f"no credential for the upstream: send it as {header}, or use a virtual key (x-portkey-virtual-key)",
        code="missing_credential",
        param="authorization",
    )
