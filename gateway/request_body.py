"""A request's body: read within its bounds, parsed as far as the gateway looks into it."""

from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from gateway.core.body import ClientBody, check_json_type
from gateway.core.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType
from gateway.core.form_field import read_field
from gateway.core.headers import RequestHeaders, to_bool
from gateway.core.jsontext import loads_object
from gateway.core.operations import Operation

_DRAIN_LIMIT = 256 * 1024 * 1024  # bytes read and dropped so that a refused client hears the refusal


@dataclass(frozen=True, slots=True)
class Bodies:
    """Reads bodies of at most `most` bytes."""

    most: int

    async def parse(self, request: Request, headers: RequestHeaders, operation: Operation) -> ClientBody:
        """The body as the operation takes it; raises `InvalidRequest` and its kinds."""
        raw = await self.read(request, headers)
        content_type = headers.get("content-type") or ""
        is_form = content_type.lower().startswith("multipart/form-data")
        if operation.body == "multipart" or (operation.body == "any" and is_form):
            return _form(raw, content_type, operation)
        is_json = check_json_type(content_type)
        if operation.body == "json" and not is_json:
            raise UnsupportedMediaType(
                f"Content-Type {content_type.split(';')[0][:60]!r} is not JSON: send application/json",
                param="content-type",
            )
        if operation.body == "json" or (is_json and raw.lstrip()[:1] == b"{"):
            return _json(raw, content_type)
        return ClientBody(raw, content_type)

    async def read(self, request: Request, headers: RequestHeaders) -> bytes:
        """The whole body; raises `BodyTooLarge` as soon as it is known to be."""
        length = headers.get("content-length")
        if length is not None and length.isascii() and length.isdigit() and int(length[:18]) > self.most:
            raise self._too_large()
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self.most:
                raise self._too_large()
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def drain(self, request: Request) -> None:
        """Read what the client still sends: in Azure the front end fails when it is answered sooner."""
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DRAIN_LIMIT:
                    return
        except (ClientDisconnect, RuntimeError):  # gone, or read already
            return

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"the request body is larger than {self.most // 1024 // 1024} MiB (GATEWAY_MAX_BODY_MB)"
        )


def _json(raw: bytes, content_type: str) -> ClientBody:
    values = loads_object(raw)
    model = values.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("model: must be a text", param="model")
    return ClientBody(raw, content_type, values, model, values.get("stream") is True)


def _form(raw: bytes, content_type: str, operation: Operation) -> ClientBody:
    if not content_type.lower().startswith("multipart/form-data"):
        raise UnsupportedMediaType(
            f"{operation.path} takes multipart/form-data, got {content_type.split(';')[0][:60]!r}",
            param="content-type",
        )
    model = read_field(raw, content_type, "model")
    stream = to_bool(read_field(raw, content_type, "stream"), default=False)
    return ClientBody(raw, content_type, None, model, stream)
