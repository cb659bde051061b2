"""The raw dictionary of an object, and its typed view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from .._raw import is_mapping
from ..exceptions import HtcValidationError, Problem
from .session_methods import SessionMethods

if TYPE_CHECKING:
    from .._wire.operation import Operation

T = TypeVar("T")
JsonT = TypeVar("JsonT")
RecordT = TypeVar("RecordT")


class JsonObject(SessionMethods, Generic[JsonT, RecordT]):
    """An object of the service."""

    _operation: ClassVar[Operation[Any]]  # the one that answers such an object
    _validated: tuple[JsonT, RecordT] | None = None
    # Not pickled: it is made again, or means nothing in another process.
    _not_pickled: ClassVar[tuple[str, ...]] = ("_validated",)

    def __init__(self, json: JsonT | dict[str, Any]) -> None:
        """Create the object from its dictionary.

        Args:
            json: The dictionary, with the service's names.
        """
        self.json: JsonT = cast("JsonT", json)
        """The raw dictionary, with the service's names. If you replace it, `record` changes too. If
        you change its content, `record` does not change.
        """

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(self._not_pickled)}

    def _repr_html_(self) -> str:
        from .. import _html

        return _html.json_object(type(self).__name__, cast("dict[str, Any]", self.json))

    @property
    def record(self) -> RecordT:
        """The typed view of `json`.

        Reading a field that was not fetched raises NotFetchedError.

        Raises:
            HtcResponseError: A field has an unexpected type.
        """
        if self._validated is None or self._validated[0] is not self.json:
            self._validated = (self.json, self._operation.to_record(self.json))
        return self._validated[1]


class Listing(list[T]):
    """A list of objects of one class, which notebooks show as a table."""

    def _repr_html_(self) -> str:
        from .. import _html

        return _html.listing(self)


def id_of(json_object: JsonObject[Any, Any], name: str) -> str:
    """Return an id from an object's dictionary.

    Raises:
        HtcValidationError: The dictionary does not contain the id.
    """
    json: object = getattr(json_object, "json", None)  # a job's task may be any object
    value = json.get(name) if is_mapping(json) else None
    if not isinstance(value, str):
        problem = Problem(f"json[{name!r}]", "must be the id, a string")
        raise HtcValidationError(type(json_object).__name__, [problem])
    return value


def task_ids(json_object: JsonObject[Any, Any]) -> dict[str, str]:
    """Return the path parameters of a task, from the dictionary of the task or of one of its jobs.

    Raises:
        HtcValidationError: The dictionary does not contain an id.
    """
    return {name: id_of(json_object, name) for name in ("projectId", "taskId")}


def require_list(value: object, argument: str, subject: str) -> None:
    """Check that an argument is a list or a tuple.

    Raises:
        HtcValidationError: It has another type.
    """
    if not isinstance(value, list | tuple):
        message = f"must be a list, got {type(value).__name__}"
        raise HtcValidationError(subject, [Problem(argument, message)])


def require_instance(value: T, kind: type[T], argument: str, subject: str) -> None:
    """Check the type of an argument.

    Raises:
        HtcValidationError: It has another type.
    """
    if not isinstance(value, kind):
        message = f"must be of type {kind.__name__}, got {type(value).__name__}"
        raise HtcValidationError(subject, [Problem(argument, message)])
