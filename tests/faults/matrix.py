"""The rows of the table in docs/reliability.md: tests, with what they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


class Row(NamedTuple):
    """A fault, where it strikes, and what is to be expected."""

    fault: str
    place: str
    expected: str
    module: str
    test: str


rows: list[Row] = []


def row(fault: str, place: str, expected: str) -> Callable[[F], F]:
    """Say what a test is a proof of."""

    def add(test: F) -> F:
        rows.append(Row(fault, place, expected, test.__module__, test.__name__))
        return test

    return add
