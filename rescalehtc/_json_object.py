"""What the facade's objects share: the raw dictionary and its typed view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .exceptions import HtcResponseError, HtcValidationError, Problem

if TYPE_CHECKING:
    from ._model_base import Record

    RecordT = TypeVar("RecordT", bound=Record)

T = TypeVar("T")


class JsonObject:
    """An object of the service.

    Attributes:
        json: The raw dictionary, with the service's names. The record is made of it on first
            use and again when it is replaced; a change inside it does not change the record.
    """

    _validated: tuple[dict[str, Any], Record] | None = None

    def __init__(self, json: dict[str, Any]) -> None:
        self.json: dict[str, Any] = json

    # What a pickle does not carry: it is made again, or means nothing in another process.
    _not_pickled: ClassVar[tuple[str, ...]] = ("_validated",)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(self._not_pickled)}

    def _record(self, model: type[RecordT]) -> RecordT:
        """Validate `json` on first use, and again when it was replaced by another dictionary."""
        if self._validated is None or self._validated[0] is not self.json:
            self._validated = (self.json, validated(model, self.json))
        record = self._validated[1]
        assert isinstance(record, model)
        return record


def id_of(json_object: JsonObject, name: str) -> str:
    """An id that an object needs to be asked about.

    Raises:
        HtcValidationError: Its dictionary has none.
    """
    value: object = json_object.json.get(name)
    if not isinstance(value, str):
        problem = Problem(f"json[{name!r}]", "must be the id, a string")
        raise HtcValidationError(type(json_object).__name__, [problem])
    return value


def require_list(value: object, argument: str, subject: str) -> None:
    """Refuse what is no list or tuple.

    Raises:
        HtcValidationError: It is neither.
    """
    if not isinstance(value, list | tuple):
        message = f"must be a list, got {type(value).__name__}"
        raise HtcValidationError(subject, [Problem(argument, message)])


def validated(model: type[RecordT], json: object) -> RecordT:
    """Return the typed view of what the service sent.

    Raises:
        HtcResponseError: A field has a type that it is not described to have.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(json)
    except ValidationError as error:
        wrong = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
    del json  # a traceback that shows variables must not show secrets
    faults = "; ".join(f"{where or 'it'}: {message}" for where, message in wrong)
    raise HtcResponseError(f"the service sent no valid {model.__name__}: {faults}")


def require_instance(value: T, kind: type[T], argument: str, subject: str) -> None:
    """Refuse an argument of another type.

    Raises:
        HtcValidationError: The value is not of this type.
    """
    if not isinstance(value, kind):
        message = f"must be of type {kind.__name__}, got {type(value).__name__}"
        raise HtcValidationError(subject, [Problem(argument, message)])
