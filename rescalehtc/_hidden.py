"""Secrets that tracebacks and logs do not show when they show variables."""

from __future__ import annotations


class Hidden(str):
    """A secret text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class HiddenBytes(bytes):
    """Bytes with secrets in them: what is sent and received."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"
