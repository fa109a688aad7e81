"""The headers that go upstream: a short list, so that nothing of the gateway's leaks."""

import re

from gateway.call import Call
from gateway.core.errors import InvalidRequest
from gateway.core.headers import forward_names, forwardable, normal_name
from gateway.core.targets import Leaf
from gateway.providers.base import Endpoint

USER_AGENT = "llm-gateway"

# What the client may say to the upstream without being asked to forward it.
_PASSED = (
    "accept",
    "idempotency-key",
    "openai-beta",
    "extra-parameters",
    "x-ms-client-request-id",
    "x-ms-spillover-deployment",
    "x-ms-oai-image-generation-deployment",
    "x-ms-oai-response-timeout",
)
# Portkey's names for headers of the provider itself.
_RENAMED = (("openai-beta", "openai-beta"),)
_RENAMED_OPENAI = (
    ("openai-organization", "openai-organization"),
    ("openai-project", "openai-project"),
)
_CREDENTIALS = frozenset({"authorization", "api-key"})


_NO_HEADER = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def upstream_headers(
    call: Call, leaf: Leaf, endpoint: Endpoint, credential: tuple[str, str]
) -> list[tuple[bytes, bytes]]:
    """Pairs of name and value, as bytes. The credential is the target's; the client's are never passed.

    Raises `InvalidRequest` for what no header may hold: a credential out of JSON may have line ends.
    """
    return [_encoded(*pair) for pair in _pairs(call, leaf, endpoint, credential)]


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    try:
        pair = name.encode("ascii"), value.encode("latin-1")
    except UnicodeEncodeError:
        pair = b"", b"\0"
    if _NO_HEADER.search(pair[1]):
        # The value is left out: it may be the credential.
        raise InvalidRequest(
            f"{name[:60]!r}: its value has characters that no header may have; see that the credential was "
            "pasted whole and alone",
            code="invalid_header",
        )
    return pair


def _pairs(call: Call, leaf: Leaf, endpoint: Endpoint, credential: tuple[str, str]) -> list[tuple[str, str]]:
    headers = call.headers
    # Nothing is decompressed on the way, and what a record counts must be readable.
    pairs = [("accept-encoding", "identity"), ("user-agent", USER_AGENT), credential]
    if call.body.raw or call.body.content_type:
        pairs.append(("content-type", call.body.content_type or "application/json"))
    pairs += [(name, value) for name in _PASSED if (value := headers.get(name)) is not None]
    renamed = _RENAMED + _RENAMED_OPENAI if endpoint.provider == "openai" else _RENAMED
    pairs += [(name, value) for ours, name in renamed if (value := headers.portkey(ours)) is not None]
    wanted = headers.forwarded or (
        forward_names(list(leaf.forward_headers)) if leaf.forward_headers else None
    )
    if wanted:
        pairs += _forwarded(call, wanted, {name for name, _ in pairs})
    return pairs


def _forwarded(call: Call, wanted: frozenset[str], there: set[str]) -> list[tuple[str, str]]:
    """The client's headers it asked to pass on; a header that stands already is not sent twice."""
    pairs = []
    for raw_name, raw_value in call.headers.raw:
        # Node's SDK sends `CustomHeader` as `-custom-header`.
        name = normal_name(raw_name.decode("latin-1"))
        if name in wanted and name not in there and name not in _CREDENTIALS and forwardable(name):
            value = raw_value.decode("latin-1").strip()
            if not any(secret in value for secret in call.secrets):
                pairs.append((name, value))
    return pairs
