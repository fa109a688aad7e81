"""Errors in the words and shapes of Key Vault; `throttled` and its neighbours are steps for scripts."""

from typing import Any

from emulators.plan import Refused, json_answer
from emulators.steps import Reply


def throttled(retry_after_s: int | None = None) -> Reply:
    """Key Vault's 429."""
    message = "Request was not processed because too many requests were received. "
    message += "Reason: VaultRequestTypeLimitReached"
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return Reply(429, headers, {"error": {"code": "Throttled", "message": message}})


def forbidden() -> Reply:
    """Its 403 while the caller has no role, or the assignment does not act yet."""
    message = (
        "Caller is not authorized to perform action on resource. If role assignments were changed recently, "
    )
    error = {"code": "Forbidden", "message": message + "please observe propagation time."}
    return Reply(403, {}, {"error": {**error, "innererror": {"code": "ForbiddenByRbac"}}})


def unavailable() -> Reply:
    """Its 503."""
    return Reply(503, {}, {"error": {"code": "ServiceUnavailable", "message": "The service is unavailable."}})


def error(status: int, code: str, message: str, inner: str | None = None) -> Refused:
    error: dict[str, Any] = {"code": code, "message": message}
    if inner:
        error["innererror"] = {"code": inner}
    return Refused(json_answer({"error": error}, status))


def not_found(name: str) -> Refused:
    return error(
        404,
        "SecretNotFound",
        f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted this "
        "secret you may be able to recover it using the correct recovery command. For help resolving this "
        "issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
    )


def deleted_but_recoverable(name: str) -> Refused:
    message = (
        f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in "
        "this state, the secret can only be recovered or purged."
    )
    return error(409, "Conflict", message, "ObjectIsDeletedButRecoverable")
