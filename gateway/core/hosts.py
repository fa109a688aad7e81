"""Which hosts the gateway may be sent to: the guard against server-side request forgery.

A custom host comes from a header, a config or a virtual key. It must be Azure's, or named in
`GATEWAY_TRUSTED_HOSTS`; what its name resolves to is checked again when the connection is made
(`may_connect`), so that a name that changes its address gains nothing.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from gateway.core.errors import InvalidRequest

# Hosts that only Azure hands out. API Management's are chosen by customers, so they never get a token
# of this app's own identity (`own_identity` below).
AZURE_SUFFIXES = (
    ".openai.azure.com",
    ".openai.azure.us",
    ".openai.azure.cn",
    ".cognitiveservices.azure.com",
    ".cognitiveservices.azure.us",
    ".cognitiveservices.azure.cn",
    ".services.ai.azure.com",
    ".services.ai.azure.us",
)
GATEWAY_SUFFIXES = (".azure-api.net",)
PUBLIC_HOSTS = frozenset({"api.openai.com"})

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_MAX_LABELS = 10


class Reach(Enum):
    """What addresses a host's name may resolve to."""

    PUBLIC = "public"
    AZURE = "azure"  # private ones too: a private endpoint in the virtual network
    ANY = "any"  # the operator trusts it


@dataclass(frozen=True, slots=True)
class Host:
    """A host that passed the guard. `base` has scheme, host, port and path, without a trailing slash."""

    base: str
    name: str
    reach: Reach
    own_identity: bool  # may be sent a token of this app's identity or a stored credential


def check_host(text: str, trusted: frozenset[str], where: str = "custom_host") -> Host:
    """The host in `text`, or `InvalidRequest` that says what is wrong with it and how to allow it."""
    base, name, port, scheme = _split(text, where)
    port_text = f":{port}" if port is not None else ""
    if name in trusted or f"{name}{port_text}" in trusted or f"[{name}]{port_text}" in trusted:
        return Host(base, name, Reach.ANY, own_identity=True)
    if scheme != "https":
        raise _refused(where, "only https is allowed", name + port_text)
    _check_name(name, where)
    if name in PUBLIC_HOSTS:
        return Host(base, name, Reach.PUBLIC, own_identity=True)
    if name.endswith(AZURE_SUFFIXES) and port in (None, 443):
        return Host(base, name, Reach.AZURE, own_identity=True)
    if name.endswith(GATEWAY_SUFFIXES) and port in (None, 443):
        return Host(base, name, Reach.AZURE, own_identity=False)
    raise _refused(where, "it is not one of Azure's", name + port_text)


def may_connect(address: str, reach: Reach) -> bool:
    """Whether a resolved address is one the host may have."""
    if reach is Reach.ANY:
        return True
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    # Azure's metadata and wire server live outside the private ranges.
    if (
        ip.is_loopback
        or ip.is_link_local
        or ip.is_multicast
        or ip.is_unspecified
        or str(ip) == "168.63.129.16"
    ):
        return False
    if ip.is_reserved and not ip.is_private:
        return False
    if reach is Reach.AZURE:
        return ip.is_global or _is_private_network(ip)
    return ip.is_global


_PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)


def _is_private_network(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(ip in network for network in _PRIVATE_NETWORKS if network.version == ip.version)


def _split(text: str, where: str) -> tuple[str, str, int | None, str]:
    """(base, name, port, scheme) of a base URL without user, query and fragment."""
    if len(text) > 2048 or not text.isascii() or not text.isprintable() or any(c in text for c in " \\@%"):
        raise _refused(where, "it has characters that no host may have", None)
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        name, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _refused(where, "it is not a URL", None) from None
    if parts.scheme not in ("http", "https") or not name:
        raise _refused(where, "it is not an http(s) URL", None)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _refused(where, "it has a query or a fragment", name)
    if ".." in parts.path.split("/"):
        raise _refused(where, "its path climbs with ..", name)
    netloc = f"[{name}]" if ":" in name else name
    if port is not None:
        netloc += f":{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}", name, port, parts.scheme


def _check_name(name: str, where: str) -> None:
    """Refuse addresses in every spelling and names that no public host has."""
    labels = name.split(".")
    if ":" in name or re.fullmatch(r"[0-9.]+|(0x[0-9a-f]+\.?)+|[0-9a-fx.]*0x[0-9a-fx.]*", name):
        raise _refused(where, "an address is not allowed", name)
    if len(labels) < 2 or len(labels) > _MAX_LABELS or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused(where, "it is not a public host's name", name)


def _refused(where: str, why: str, name: str | None) -> InvalidRequest:
    named = f" {name!r}" if name else ""
    return InvalidRequest(
        f"Invalid custom host{named} in {where}: {why}. Allowed are hosts of Azure OpenAI and those that the "
        "operator names in GATEWAY_TRUSTED_HOSTS (host or host:port).",
        code="invalid_custom_host",
        param=where,
    )
