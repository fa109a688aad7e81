"""Azure OpenAI on loopback: every operation, its quirks and error shapes, and scripted failures.

Also stands in for OpenAI and compatible hosts under `/v1/...`. A prompt with the word of
`answers.chat.FILTERED_PROMPT` is refused by the content filter.
"""

from collections.abc import Container, Mapping

from emulators.answers import errors
from emulators.base import Emulator
from emulators.call import Call, Dialect, parse_call, split_path
from emulators.inference import OPERATIONS, model_kind
from emulators.plan import Answer, Ordinary
from emulators.request_log import Received
from emulators.resources import Resources
from emulators.responses import Responses

_CONSTANT_HEADERS = (
    ("x-ms-region", "North Central US"),
    ("x-ratelimit-limit-requests", "100"),
    ("x-ratelimit-limit-tokens", "100000"),
    ("x-ratelimit-remaining-requests", "79"),
    ("x-ratelimit-remaining-tokens", "61353"),
    ("x-ratelimit-reset-requests", "1"),
    ("x-ratelimit-reset-tokens", "1"),
    ("azureml-model-session", "v20260305-emulator"),
    ("x-content-type-options", "nosniff"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
)


class AzureOpenAI(Emulator):
    """An ASGI app.

    deployments: name to model; None takes any name, and takes it for the model's name.
    keys: the API keys that work; None: any that is not empty. tokens: the same of bearer tokens, so
    `Identity.issued` can be given. local_auth=False refuses all keys, as a resource with Entra only does.
    Scripts are keyed by deployment, else by the first word of the operation (`files`, `models`, ...).
    """

    def __init__(
        self,
        *,
        deployments: Mapping[str, str] | None = None,
        keys: Container[str] | None = None,
        tokens: Container[str] | None = None,
        local_auth: bool = True,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(delay_s=delay_s)
        self.deployments = deployments
        self.keys, self.tokens, self.local_auth = keys, tokens, local_auth
        self._responses = Responses()
        self._resources = Resources(self._infer)

    def respond(self, received: Received) -> tuple[str | None, Ordinary]:
        where = split_path(received.path)
        if where is None:
            raise errors.resource_not_found()
        dialect, deployment, operation = where
        call = parse_call(received, dialect, deployment, operation)
        return call.deployment or operation.split("/")[0], lambda: self._checked(call)

    def headers(self, received: Received) -> list[tuple[str, str]]:
        """Those Azure sends with every answer, errors included."""
        number = f"{received.number:012d}"
        client_id = received.header("x-ms-client-request-id") or f"00000000-0000-4000-a000-{number}"
        return [
            ("apim-request-id", f"00000000-0000-4000-8000-{number}"),
            ("x-request-id", f"00000000-0000-4000-9000-{number}"),
            ("x-ms-client-request-id", client_id),
            *_CONSTANT_HEADERS,
        ]

    def _checked(self, call: Call) -> Answer:
        self._sign_in(call)
        return self._serve(call)

    def _sign_in(self, call: Call) -> None:
        """Azure takes `api-key` or a token, OpenAI a key as bearer."""
        scheme, _, bearer = (call.received.header("authorization") or "").partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""
        if not call.azure:
            if not _known(bearer, self.keys):
                raise errors.wrong_openai_key()
            return
        key = call.received.header("api-key")
        if key is not None and not self.local_auth:
            raise errors.key_sign_in_disabled()
        if not (_known(key or "", self.keys) if key is not None else _known(bearer, self.tokens)):
            raise errors.access_denied()

    def _serve(self, call: Call) -> Answer:
        if call.dialect is Dialect.DATED and "api-version" not in call.received.query:
            raise errors.resource_not_found()
        first = call.operation.split("/")[0]
        if call.operation in OPERATIONS:
            if call.dialect is Dialect.DATED and not call.in_path:
                raise errors.resource_not_found()
            return self._infer(call)
        if call.in_path:
            raise errors.resource_not_found()
        if first == "responses":
            model = self._model(call) if call.operation == "responses" else ""
            return self._responses.serve(call, model)
        if first == "models":
            return self._resources.models(call, self.deployments)
        return self._resources.serve(call)

    def _infer(self, call: Call) -> Answer:
        if call.received.method != "POST":
            raise errors.coded(405, "405", "Method not allowed")
        handler, kind, name = OPERATIONS[call.operation]
        model = self._model(call)
        if model_kind(model) not in (kind, None):
            raise errors.operation_not_supported(name, model)
        return handler(call, model)

    def _model(self, call: Call) -> str:
        """The model behind the call's deployment."""
        if not call.deployment:
            raise errors.typed(
                400, "missing_required_parameter", "Missing required parameter: 'model'.", "model"
            )
        if self.deployments is None:
            return call.deployment
        if call.deployment not in self.deployments:
            if call.azure:
                raise errors.deployment_not_found()
            message = f"The model `{call.deployment}` does not exist or you do not have access to it."
            raise errors.typed(404, "model_not_found", message)
        return self.deployments[call.deployment]


def _known(secret: str, known: Container[str] | None) -> bool:
    return bool(secret) if known is None else secret in known
