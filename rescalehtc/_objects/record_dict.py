"""Dictionaries of the service that are records too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from .._wire.operation import Operation

RecordT = TypeVar("RecordT")


class RecordDict(dict[str, Any], Generic[RecordT]):
    """A dictionary with the service's names whose typed fields are attributes too.

    Attributes read the dictionary as it is now.

    Raises:
        NotFetchedError: The service did not send the field.
        HtcResponseError: A field has an unexpected type.
    """

    _operation: ClassVar[Operation[Any]]  # the one that answers such an object

    def _repr_html_(self) -> str:
        from .. import _html

        return _html.record(type(self).__name__.removesuffix("Record"), self.items())

    @property
    def record(self) -> RecordT:
        """The dictionary as a model."""
        record: RecordT = self._operation.to_record(self)
        return record
