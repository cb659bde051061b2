"""Secrets that tracebacks and logs do not show when they show variables."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class Hidden(str):
    """A secret text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class HiddenList(list[T]):
    """Items with secrets in them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"[{len(self)} items, not shown]"


class HiddenBytes(bytes):
    """Bytes with secrets in them: what is sent and received."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"
