"""The base classes of generated models: strict requests, tolerant records, open enumerations."""

from __future__ import annotations

import enum
import functools
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    cast,
)

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from . import _facts
from ._problems import meant_attribute, place_name, problems_of
from ._raw import is_list, is_object
from .exceptions import HtcResponseError, HtcValidationError, NotFetchedError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import core_schema


EnumT = TypeVar("EnumT")
ModelT = TypeVar("ModelT", bound=BaseModel)
RecordT = TypeVar("RecordT", bound="Record")

if TYPE_CHECKING:
    # Enumerations are open, so type checkers see any string as a valid value. A `match` that lists
    # all members is not exhaustive.
    OrStr: TypeAlias = EnumT | str
else:
    OrStr = Annotated[EnumT, "or a string"]


class StrEnum(enum.StrEnum):
    """An open enumeration: an unknown value becomes an unlisted member.

    Members are strings and equal their values. In a `match` statement, `case _:` covers the values
    that the service added after this release.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member

    def __reduce_ex__(self, _protocol: object) -> tuple[type[Self], tuple[str]]:
        # Python up to 3.11.3 pickles the name, with which it does not find an unlisted member.
        return type(self), (self._value_,)

    @property
    def is_listed(self) -> bool:
        """Whether this release knows the value."""
        return self.name in type(self).__members__

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        # Not strict: a request accepts "AARCH64" for Architecture.AARCH64.
        return cast("core_schema.CoreSchema", {**handler(source), "strict": False})


def validate(model: type[ModelT], value: object, extra: Literal["ignore"] | None = None) -> ModelT:
    """Return the value as a model.

    Raises:
        ValidationError: The value is invalid. Users get HtcValidationError instead.
    """
    validated: ModelT = model.__pydantic_validator__.validate_python(value, extra=extra)
    return validated


def _with_our_errors(method: Callable[..., Any], *, in_code: bool = False) -> Callable[..., Any]:
    """Make a method of a model, or of its class, raise HtcValidationError."""

    @functools.wraps(method)
    def call(owner: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(owner, *args, **kwargs)
        except ValidationError as error:
            model = owner if isinstance(owner, type) else type(owner)
            problems = problems_of(model, error, in_code=in_code)
        raise HtcValidationError(
            model.__name__,
            [Problem(place_name(where) or "it", message) for where, message in problems],
        )

    return call


if TYPE_CHECKING:
    _Base = BaseModel
else:

    class _ModelType(type(BaseModel)):
        __call__ = _with_our_errors(type(BaseModel).__call__, in_code=True)

    class _Base(BaseModel, metaclass=_ModelType):
        __setattr__ = _with_our_errors(BaseModel.__setattr__, in_code=True)
        __delattr__ = _with_our_errors(BaseModel.__delattr__, in_code=True)
        model_validate = classmethod(_with_our_errors(BaseModel.model_validate.__func__))
        model_validate_json = classmethod(_with_our_errors(BaseModel.model_validate_json.__func__))
        model_validate_strings = classmethod(
            _with_our_errors(BaseModel.model_validate_strings.__func__)
        )

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                if name.startswith("_"):
                    raise
            cls = type(self)
            suggestion = meant_attribute(cls, name)
            hint = f"; did you mean {suggestion!r}?" if suggestion else ""
            # Without `obj`, Python does not add its own suggestion.
            raise AttributeError(f"{cls.__name__} has no field {name!r}{hint}", name=name, obj=None)


class _Masked(_Base):
    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            is_secret = f"{type(self).__name__}.{name}" in _facts.SECRET_FIELDS
            yield name, "…" if is_secret else value

    def _repr_html_(self) -> str:
        from . import _html

        return _html.record(type(self).__name__, self.__repr_args__())


class Request(_Masked):
    """A request: unknown fields, wrong types and values out of range are invalid.

    In code, use the Python names of fields. Dictionaries use the service's names. None means "not
    given".
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
    def _check_values(cls, value: Any) -> Any:
        """Reject text that can't be sent, unknown enumeration members, and duplicates."""
        kind = value.__class__
        if kind in _PLAIN_TYPES or (kind is str and value.isascii()):  # most values
            return value
        if isinstance(value, StrEnum):
            if value.is_listed:
                return value
            if not _is_open(value):
                members = list(type(value))
                raise PydanticCustomError("enum", "one of {members}", {"members": members})
        elif kind is list:
            members = [item for item in value if isinstance(item, StrEnum)]
            if len(set(members)) < len(members):
                raise PydanticCustomError("unique", "a list without duplicates")
        if not _has_utf8(value):
            raise PydanticCustomError("utf8", "text that UTF-8 can encode")
        return value

    def to_json_dict(self) -> dict[str, Any]:
        """The dictionary to send, with the service's names and only the fields that were given."""
        return self.model_dump(mode="json", exclude_none=True)


_PLAIN_TYPES = frozenset((int, float, bool, type(None)))


def _has_utf8(value: object) -> bool:
    """Whether UTF-8 can encode all strings here. It can't encode lone surrogates."""
    if isinstance(value, str):
        if value.isascii():
            return True
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    if is_list(value):
        return all(map(_has_utf8, value))
    if is_object(value):
        return all(map(_has_utf8, (*value, *value.values())))
    return True


def _is_open(value: StrEnum) -> bool:
    # Regions are added and removed between releases. The project determines the valid ones.
    return type(value).__name__ in _facts.OPEN_ENUMERATIONS


class Record(_Masked):
    """A record of the service: unknown fields and values are kept.

    Reading a field that the service did not send raises NotFetchedError. A field that the service
    sent as null is None.
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
        """Remove the defaults, so that fields that were not sent are missing."""
        fields = self.__pydantic_fields_set__
        attributes: Any = self.__dict__
        if len(fields) < len(attributes):
            for name in type(self).__pydantic_fields__.keys() - fields:
                attributes.pop(name, None)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            cls = type(self)
            if name in cls.__pydantic_fields__:
                raise NotFetchedError(cls.__name__, name, _facts.FETCHED_BY.get(cls.__name__))
            return super().__getattr__(name)


def check_env_name(name: str) -> str:
    """Reject a reserved or invalid name of an environment variable."""
    if (
        name in _facts.RESERVED_NAMES
        or name.startswith(_facts.RESERVED_PREFIXES)
        or any(part in name for part in _facts.RESERVED_PARTS)
    ):
        raise PydanticCustomError(
            "env_name_reserved",
            "{name} is reserved by the service; choose another name",
            {"name": name},
        )
    if not name or "=" in name or "\0" in name:
        raise PydanticCustomError(
            "env_name", "a name of one or more characters, without '=' and NUL"
        )
    return name


EnvName = Annotated[str, AfterValidator(check_env_name)]


def validated(model: type[RecordT], json: object) -> RecordT:
    """Return the typed view of an object that the service sent.

    Raises:
        HtcResponseError: A field has an unexpected type.
    """
    try:
        return validate(model, json)
    except ValidationError as error:
        wrong = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
    faults = "; ".join(f"{where or 'it'}: {message}" for where, message in wrong)
    raise HtcResponseError(f"the service sent an invalid {model.__name__}: {faults}")
