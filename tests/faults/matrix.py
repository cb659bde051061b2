"""The rows of the tables in docs/reliability.md, one per test."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


class Row(NamedTuple):
    """A fault, the affected calls, and the expected result."""

    fault: str
    place: str
    expected: str
    module: str
    test: str


rows: list[Row] = []


def row(fault: str, place: str, expected: str) -> Callable[[F], F]:
    """Add the table row of a test."""

    def add(test: F) -> F:
        rows.append(Row(fault, place, expected, test.__module__, test.__name__))
        return test

    return add
