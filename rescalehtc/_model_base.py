"""What the generated models inherit: strict requests, tolerant records, open enumerations."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from .exceptions import NotFetchedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import core_schema


class StrEnum(enum.StrEnum):
    """An enumeration that grows: a value it does not list becomes a member that is not listed.

    Members are strings and equal to them. In a `match` statement a `case _:` covers the
    values that the service added after this release.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member

    @property
    def is_listed(self) -> bool:
        """Whether this release knows the value."""
        return self.name in type(self).__members__

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        # Not strict: in a request "AARCH64" is as good as Architecture.AARCH64.
        return cast("core_schema.CoreSchema", {**handler(source), "strict": False})


class _Masked(BaseModel):
    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        secret = _SECRETS.get(type(self).__name__)
        for name, value in super().__repr_args__():
            yield name, "…" if name == secret else value


class Request(_Masked):
    """An object to be sent: unknown fields, wrong types and values out of range are refused.

    Fields are given by their Python names or by the service's. None means not given.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        strict=True,
        revalidate_instances="always",
        validate_assignment=True,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    @field_validator("*")
    @classmethod
    def _check_what_types_allow(cls, value: object) -> object:
        """Refuse text that can't be sent, members that are not listed or listed twice."""
        if not _has_utf8(value):
            raise PydanticCustomError("utf8", "text that has a UTF-8 form")
        if isinstance(value, StrEnum) and not value.is_listed and not _is_region(value):
            raise PydanticCustomError("enum", "one of {members}", {"members": list(type(value))})
        if isinstance(value, list):
            members = [item for item in cast("list[object]", value) if isinstance(item, StrEnum)]
            if len(set(members)) < len(members):
                raise PydanticCustomError("unique", "without repetitions")
        return value  # pyright: ignore[reportUnknownVariableType]

    def to_json_dict(self) -> dict[str, Any]:
        """The dictionary to send, with the service's names and without what was not given."""
        return self.model_dump(mode="json", exclude_none=True)


def _has_utf8(value: object) -> bool:
    """Whether the texts here can be sent: half a surrogate pair has no UTF-8 form."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, list):
        return all(_has_utf8(item) for item in cast("list[object]", value))
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value).items()
        return all(_has_utf8(key) and _has_utf8(item) for key, item in pairs)
    return True


def _is_region(value: StrEnum) -> bool:
    # Regions come and go between releases. Whether one may be used is for the project to say.
    return type(value).__name__ == "RescaleRegion"


class Record(_Masked):
    """An object that the service sent: unknown fields and values are kept.

    Reading a field that the service did not send raises NotFetchedError; one that it sent
    as null is None.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow",
        validate_by_alias=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,
        frozen=True,
    )

    def model_post_init(self, context: Any, /) -> None:  # noqa: ARG002 - pydantic's signature
        """Forget the defaults, so that a field that was not sent is not there."""
        sent = self.__pydantic_fields_set__
        attributes: Any = self.__dict__
        if len(sent) < len(attributes):
            for name in type(self).__pydantic_fields__.keys() - sent:
                attributes.pop(name, None)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            cls = type(self)
            if name in cls.__pydantic_fields__:
                raise NotFetchedError(cls.__name__, name, _FETCHED_BY.get(cls.__name__))
            return super().__getattr__(name)


# Fields whose values stay out of every repr.
_SECRETS = {
    "EnvPair": "value",
    "ClaimPair": "value",
    "NameValuePair": "value",
    "HTCToken": "token_value",
    "OAuth2Token": "access_token",
    "PresignedPutUrlResponse": "url",
    "RegionalStore": "credentials",
    "StorageAccessToken": "credentials",
}

# Which call returns a record whole.
_FETCHED_BY = {
    "HTCJob": "job.get_update(rescale)",
    "HTCTask": "htctasks.get_task_with_id(rescale, project, task_id)",
    "HTCProject": "htcprojects.get_project_with_id(rescale, project_id)",
}

_RESERVED_ENV_NAMES = frozenset(
    {"RESCALE_HTC_REGION", "RESCALE_HTC_TASK_ID", "RESCALE_HTC_PROJECT_ID"}
    | {"RESCALE_HTC_BEARER_TOKEN"}
)
_RESERVED_ENV_PATTERN = re.compile(
    r".*AWS_BATCH_|RESCALE_PROJECT_ID|RESCALE_TASK_ID|RESCALE_JOB_ID|PROJECT_SHARED_FOLDER"
    r"|TASK_SHARED_FOLDER|AWS_SESSION_TOKEN|AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|RDF_",
    re.DOTALL,
)


def check_env_name(name: str) -> str:
    """Refuse a name that the service reserves, or that no environment variable can have.

    Reserved are RESCALE_HTC_REGION, RESCALE_HTC_TASK_ID, RESCALE_HTC_PROJECT_ID and
    RESCALE_HTC_BEARER_TOKEN, names that contain AWS_BATCH_, and names that begin with
    RESCALE_PROJECT_ID, RESCALE_TASK_ID, RESCALE_JOB_ID, PROJECT_SHARED_FOLDER,
    TASK_SHARED_FOLDER, AWS_SESSION_TOKEN, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or RDF_.
    """
    if name in _RESERVED_ENV_NAMES or _RESERVED_ENV_PATTERN.match(name):
        raise PydanticCustomError(
            "env_name_reserved", "another name: {name} is reserved by the service", {"name": name}
        )
    if not name or "=" in name or "\0" in name:
        raise PydanticCustomError(
            "env_name", "a name of one or more characters, without '=' and NUL"
        )
    return name


EnvName = Annotated[str, AfterValidator(check_env_name)]
