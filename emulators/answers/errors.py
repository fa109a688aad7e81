"""Errors in the words and shapes of Azure OpenAI and OpenAI."""

from typing import Any

from emulators.plan import Refused, json_answer

_MANAGEMENT = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
    "Please modify your prompt and retry. To learn more about our content filtering policies please read our "
    "documentation: https://go.microsoft.com/fwlink/?linkid=2198766"
)
_JAILBREAK = {"filtered": True, "detected": True}


def coded(status: int, code: str, message: str) -> Refused:
    """Azure's short shape: `{"error": {"code", "message"}}`."""
    return Refused(json_answer({"error": {"code": code, "message": message}}, status))


def typed(status: int, code: str | None, message: str, param: str | None = None) -> Refused:
    """OpenAI's shape."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Refused(json_answer({"error": error}, status))


def resource_not_found() -> Refused:
    return coded(404, "404", "Resource not found")


def deployment_not_found() -> Refused:
    return coded(
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last "
        "5 minutes, please wait a moment and try again.",
    )


def operation_not_supported(operation: str, model: str) -> Refused:
    return coded(
        400,
        "OperationNotSupported",
        f"The {operation} operation does not work with the specified model, {model}. Please choose different "
        "model and try again. You can learn more about which models can be used with each operation here: "
        "https://go.microsoft.com/fwlink/?linkid=2197993.",
    )


def access_denied() -> Refused:
    return coded(
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid "
        "key for an active subscription and use a correct regional API endpoint for your resource.",
    )


def key_sign_in_disabled() -> Refused:
    return coded(403, "AuthenticationTypeDisabled", "Key based authentication is disabled for this resource.")


def wrong_openai_key() -> Refused:
    return typed(
        401, "invalid_api_key", "Incorrect API key provided. You can find your API key in your account."
    )


def unsupported_max_tokens() -> Refused:
    message = "Unsupported parameter: 'max_tokens' is not supported with this model. "
    message += "Use 'max_completion_tokens' instead."
    return typed(400, "unsupported_parameter", message, "max_tokens")


def unknown_parameter(name: str) -> Refused:
    return typed(400, "unknown_parameter", f"Unknown parameter: '{name}'.", name)


def prompt_filtered(filters: dict[str, Any]) -> Refused:
    inner = {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {**filters, "jailbreak": _JAILBREAK},
    }
    error: dict[str, Any] = {
        "message": _MANAGEMENT,
        "type": None,
        "param": "prompt",
        "code": "content_filter",
    }
    return Refused(json_answer({"error": {**error, "status": 400, "innererror": inner}}, 400))


def image_prompt_filtered() -> Refused:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_results": {"jailbreak": _JAILBREAK}}
    error = {
        "code": "content_policy_violation",
        "inner_error": inner,
        "message": "Your request was rejected as a result of our safety system. Your prompt may contain text "
        "that is not allowed by our safety system.",
        "type": "invalid_request_error",
    }
    return Refused(json_answer({"error": error}, 400))
