"""What comes in: the JSON bodies of the prompt routes, in either casing."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gateway.core.casing import snake_keys
from gateway.core.errors import InvalidRequest
from gateway.core.mustache import DEFAULT_LIMITS

# What stands under these is the user's own, and keeps its spelling.
_OPAQUE = frozenset({"parameters", "template_metadata", "functions", "tools", "tool_choice"})


def _not_empty(value: Any) -> Any:
    """The SDKs leave out what is empty; other clients send it."""
    return None if value == "" else value


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.strip().isdigit() and len(value) < 10 else value


Name = Annotated[str, Field(min_length=1, max_length=200)]
Id = Annotated[str | None, Field(max_length=200), BeforeValidator(_not_empty)]
Template = Annotated[str, Field(max_length=DEFAULT_LIMITS.template_chars)]
Note = Annotated[str | None, Field(max_length=2_000)]
PromptSlug = Annotated[str, Field(pattern=r"^pp-[a-z0-9][a-z0-9-]{0,100}$")]
PartialSlug = Annotated[str, Field(pattern=r"^pl-[a-z0-9][a-z0-9-]{0,40}$")]
VersionNumber = Annotated[int, Field(ge=1), BeforeValidator(_number)]
Status = Literal["active", "archived"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _PromptContent(_Body):
    """What a version of a prompt is made of. None of it is required in an update."""

    string: Template | None = None
    parameters: dict[str, Any] | None = None
    virtual_key: Id = None
    model: Id = None
    functions: list[Any] | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    version_description: Note = None
    template_metadata: dict[str, Any] | None = None
    is_raw_template: bool | None = None  # Portkey's documents write 0 and 1


class PromptCreate(_PromptContent):
    name: Name
    slug: PromptSlug | None = None  # not Portkey's: for a library that moves between gateways
    string: Template
    collection_id: Id = None


class PromptUpdate(_PromptContent):
    name: Name | None = None
    collection_id: Id = None
    status: Status | None = None
    patch: bool = False  # merge `parameters` and `template_metadata` with the saved ones
    expected_version: VersionNumber | None = None


class PartialCreate(_Body):
    name: Name
    slug: PartialSlug | None = None
    string: Template
    collection_id: Id = None
    version_description: Note = None


class PartialUpdate(_Body):
    name: Name | None = None
    string: Template | None = None
    collection_id: Id = None
    version_description: Note = None
    description: Note = None  # what Portkey's SDKs call the same
    status: Status | None = None
    expected_version: VersionNumber | None = None


class Publish(_Body):
    version: VersionNumber


class VersionUpdate(_Body):
    label_id: Id = None


class LabelCreate(_Body):
    name: Name
    description: Note = None
    color_code: Annotated[str | None, Field(max_length=50)] = None
    organisation_id: Id = None
    workspace_id: Id = None


class LabelUpdate(_Body):
    name: Name | None = None
    description: Note = None
    color_code: Annotated[str | None, Field(max_length=50)] = None


class CollectionCreate(_Body):
    name: Name
    workspace_id: Id = None
    parent_collection_id: Id = None


class CollectionUpdate(_Body):
    name: Name | None = None
    parent_collection_id: Id = None


_B = TypeVar("_B", bound=_Body)


def read(model: type[_B], body: Any) -> _B:
    """The body as `model`. Raises `InvalidRequest` that names the first wrong field and all others."""
    if not isinstance(body, Mapping):
        raise InvalidRequest("the body must be a JSON object")
    try:
        return model.model_validate(snake_keys(dict(body), opaque=_OPAQUE))
    except ValidationError as error:
        faults = [(".".join([str(part) for part in fault["loc"]]), fault["msg"]) for fault in error.errors()]
        message = "; ".join([f"{where}: {what}" for where, what in faults[:10]])
        raise InvalidRequest(message, param=faults[0][0]) from error


def sent(body: _Body) -> dict[str, Any]:
    """What the caller sent, without what the model filled in."""
    return body.model_dump(exclude_unset=True)
