"""The gateway's own faults, one tree. What an upstream answers is a value, never one of these.

GatewayError
├── InvalidRequest          400  what the caller sent cannot be used
│   ├── UnsupportedMediaType 415
│   ├── TemplateInvalid     400  a prompt's template cannot be compiled or rendered
│   └── BodyTooLarge        413
├── Unauthenticated         401  no caller could be told from the request
├── Forbidden               403  the caller may not do this
├── NotFound                404  path, slug or id
│   └── MethodNotAllowed    405
├── Conflict                409  exists already, or was changed meanwhile
├── BudgetExhausted         412
├── RateLimited             429
├── UpstreamFault                the upstream gave no usable answer
│   ├── UpstreamTimeout     408  the deadline of a try passed
│   ├── UpstreamUnreachable 503  never received: connecting failed
│   ├── UpstreamBroken      502  perhaps started: the connection or the answer broke
│   └── SignInFailed        502  no token could be had for the upstream
├── StoreUnavailable        503  Key Vault, storage or Redis did not answer
└── InternalError           500  a bug of ours
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class GatewayError(Exception):
    """A fault that ends a call, or a try, with a JSON error.

    `message` is shown to the caller: it says what, where and the fix, and never holds a secret.
    `headers` are added to the response (names in lower case).
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "gateway_error"
    code: str = "internal_error"
    ends_call: bool = False  # no other target can do better: set where the caller itself is at its limit

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers: dict[str, str] = dict(headers or {})
        if code is not None:
            self.code = code


class InvalidRequest(GatewayError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class UnsupportedMediaType(InvalidRequest):
    status = 415
    code = "unsupported_media_type"


class BodyTooLarge(InvalidRequest):
    status = 413
    code = "body_too_large"


class TemplateInvalid(InvalidRequest):
    code = "invalid_template"


class Unauthenticated(GatewayError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(GatewayError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(GatewayError):
    status = 404
    type = "not_found_error"
    code = "not_found"


class MethodNotAllowed(NotFound):
    status = 405
    code = "method_not_allowed"


class Conflict(GatewayError):
    status = 409
    type = "invalid_request_error"
    code = "conflict"


class BudgetExhausted(GatewayError):
    status = 412
    type = "budget_exceeded"
    code = "budget_exceeded"


class RateLimited(GatewayError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class UpstreamFault(GatewayError):
    """The upstream gave no usable answer; a fallback may still find one that does."""

    status = 502


class UpstreamTimeout(UpstreamFault):
    status = 408
    type = "timeout_error"
    code = "upstream_timeout"


class UpstreamUnreachable(UpstreamFault):
    status = 503
    code = "upstream_unreachable"


class UpstreamBroken(UpstreamFault):
    status = 502
    code = "upstream_broken"


class SignInFailed(UpstreamFault):
    status = 502
    code = "upstream_sign_in_failed"


class StoreUnavailable(GatewayError):
    status = 503
    code = "store_unavailable"


class InternalError(GatewayError):
    status = 500


# Portkey's management API numbers its errors; its clients read them from `data.errorCode`.
_ADMIN_CODES = {400: "AB01", 401: "AB05", 403: "AB03", 404: "AB02", 409: "AB07", 429: "AB06"}


def error_body(error: GatewayError, *, provider: str | None = None, admin: bool = False) -> dict[str, Any]:
    """The JSON body that Portkey's, OpenAI's and Azure's clients all find their message in.

    Source: portkey_ai's native clients read top-level `message` (Node) or `error.message` (Python);
    openai's clients read `error`; Portkey's management clients read `data.message`.
    """
    body: dict[str, Any] = {
        "status": "failure",
        "message": error.message,
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        },
        "provider": provider,
        "success": False,
    }
    if admin:
        body["data"] = {"message": error.message, "errorCode": _ADMIN_CODES.get(error.status, "AB04")}
    return body
