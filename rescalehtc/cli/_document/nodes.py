"""Nodes, which are values with their locations, and events and problems of a text."""

from __future__ import annotations

import bisect
import functools
import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_DIGITS = 100
MAX_SHOWN_CHARACTERS = 80

_LINE_END = re.compile(r"\r\n?|\n")

# Replaces a value that has a problem.
UNREADABLE = object()
# Stands for the YAML key `<<` without quotes.
MERGE_KEY = object()

TOO_MANY_DIGITS = f"must have at most {MAX_DIGITS} digits; put it in quotes if it is text"


class Finding(NamedTuple):
    """A problem of a text, with its offset in characters."""

    offset: int
    where: str
    message: str


class DocumentError(Exception):
    """The text is not JSON or YAML, or exceeds a limit."""

    def __init__(self, offset: int, message: str, where: str = "syntax") -> None:
        super().__init__(message)
        self.finding = Finding(offset, where, message)


@dataclass(slots=True, eq=False)
class Node:
    """A value and its location.

    Attributes:
        offset: The offset of its first character.
        value: The plain value; UNREADABLE if it has a problem.
        children: The nodes of a list's items, or of a mapping's entries by name. None for other
            values, and for JSON whose children have not been read yet.
        size: The number of values in it, including aliases; 0 until its end has been read.
    """

    offset: int
    value: object
    children: Children | None = None
    size: int = 1


class Entry(NamedTuple):
    """An entry of a mapping: the offset of its key, and its value."""

    offset: int
    node: Node


Children = list[Node] | dict[str, Entry]


class InvalidScalar(NamedTuple):
    """Replaces the value of a scalar that has a problem."""

    message: str


class Event(NamedTuple):
    """An event of a text: `{`, `[`, their `end`, a `scalar`, or an `alias` of an anchor."""

    kind: str
    offset: int
    value: object = None
    text: str = ""
    anchor: str | None = None


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The line and the column of a character, starting at 1 as in editors."""
    starts = _line_starts(text)
    line = bisect.bisect_right(starts, offset)
    return line, offset - starts[line - 1] + 1


@functools.lru_cache(maxsize=1)
def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in _LINE_END.finditer(text))]


def one_line(text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """The text, truncated, and with escape sequences for characters that can't be printed."""
    cut = text[: limit + 1]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
    return cut if len(cut) <= limit else f"{cut[:limit]}…"
