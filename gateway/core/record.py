"""What one request leaves behind: exactly one record, with its tries inside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Usage:
    """Tokens as the upstream counted them; None is "not told", never zero by accident."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


@dataclass(slots=True)
class Attempt:
    """One try at one target. `status` is the upstream's, `error` the code of a gateway fault."""

    target: str  # "config", "config.targets[1].targets[0]"
    provider: str | None = None
    virtual_key: str | None = None
    deployment: str | None = None
    resource: str | None = None  # host of the upstream
    api_version: str | None = None
    auth_mode: str | None = None
    started_at: float = 0.0  # unix seconds
    duration_ms: float = 0.0  # until the response's headers, or the fault
    status: int | None = None
    error: str | None = None
    message: str | None = None
    request_id: str | None = None  # apim-request-id, else x-request-id
    region: str | None = None
    skipped: str | None = None  # why no request was made: "throttled", "dead", "open"


@dataclass(slots=True)
class Record:
    """Filled while the call runs, frozen by habit once it is handed to the recorder.

    Bodies and headers are raw here: the recorder's thread redacts, assembles and encodes them, so
    that the request's path pays for none of it.
    """

    id: str
    trace_id: str
    created_at: float  # unix seconds
    method: str
    path: str  # as asked for, without the query
    operation: str | None = None  # "chat/completions", ...
    span_id: str | None = None
    span_name: str | None = None
    parent_span_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    caller_id: str | None = None  # API key id, "admin", or the subject of a token
    caller_name: str | None = None
    source: str | None = None  # x-portkey-package-version, else the user agent
    runtime: str | None = None
    runtime_version: str | None = None
    provider: str | None = None
    virtual_key: str | None = None
    deployment: str | None = None
    resource: str | None = None
    api_version: str | None = None
    auth_mode: str | None = None
    model: str | None = None  # as asked for
    response_model: str | None = None
    price_model: str | None = None  # label for the price, from the virtual key or azure-model-name
    pricing: Mapping[str, Any] | None = None  # prices of the deployment, where the virtual key has its own
    mode: str = "single"
    config_slug: str | None = None
    config_version: int | None = None
    prompt_id: str | None = None
    prompt_slug: str | None = None
    prompt_version: int | None = None
    option_index: str = "config"  # x-portkey-last-used-option-index
    retry_count: int = 0  # x-portkey-retry-attempt-count
    cache_status: str = "DISABLED"
    status: int = 0
    stream: bool = False
    complete: bool = True  # False: the upstream broke off, or the client left
    error_class: str | None = None
    error_message: str | None = None
    duration_ms: float = 0.0  # until the last byte was sent
    ttfb_ms: float | None = None  # until the first byte of the answer's body, time to first token
    upstream_ms: float = 0.0  # spent waiting for response headers of upstreams, all tries
    usage: Usage = field(default_factory=Usage)
    attempts: list[Attempt] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    request_id: str | None = None  # upstream's apim-request-id
    region: str | None = None  # upstream's x-ms-region
    keep_bodies: bool = True  # False: metrics only
    sensitive_headers: frozenset[str] = frozenset()  # masked besides those that always are
    request_headers: list[tuple[bytes, bytes]] | None = field(default=None, repr=False)
    request_body: bytes | None = field(default=None, repr=False)
    prompt_variables: bytes | None = field(default=None, repr=False)  # JSON of what a prompt was filled with
    response_headers: list[tuple[bytes, bytes]] | None = field(default=None, repr=False)
    response_body: list[bytes] = field(default_factory=list, repr=False)  # chunks as relayed
    response_bytes: int = 0  # of the whole answer, kept or not
