"""Nodes, which are values with their places; the events they are made from; problems."""

from __future__ import annotations

import bisect
import functools
import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_DIGITS = 100
MAX_SHOWN_CHARACTERS = 80

_LINE_END = re.compile(r"\r\n?|\n")

# Stands for a value that has a problem already.
UNREADABLE = object()
# Stands for the YAML key `<<` without quotes.
MERGE_KEY = object()

TOO_MANY_DIGITS = f"must have at most {MAX_DIGITS} digits; put it in quotes if it is text"


class Finding(NamedTuple):
    """A problem of a text, at a number of characters from its start."""

    offset: int
    where: str
    message: str


class DocumentError(Exception):
    """The text is not JSON or YAML, or exceeds what is read."""

    def __init__(self, offset: int, message: str, where: str = "syntax") -> None:
        super().__init__(message)
        self.finding = Finding(offset, where, message)


@dataclass(slots=True, eq=False)
class Node:
    """A value and its place.

    Attributes:
        offset: Where it begins.
        value: The plain value; UNREADABLE if it has a problem.
        children: The nodes of a list's items, or by name of a mapping's entries; None of
            other values, and of JSON whose children were not read yet.
        size: How many values it stands for, aliases included; 0 until its end was read.
    """

    offset: int
    value: object
    children: Children | None = None
    size: int = 1


class Entry(NamedTuple):
    """An entry of a mapping: where its key begins, and its value."""

    offset: int
    node: Node


Children = list[Node] | dict[str, Entry]


class InvalidScalar(NamedTuple):
    """Takes the place of a scalar's value that has a problem."""

    message: str


class Event(NamedTuple):
    """A step through a text: `{`, `[`, their `end`, a `scalar`, or an `alias` of an anchor."""

    kind: str
    offset: int
    value: object = None
    text: str = ""
    anchor: str | None = None


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The line and the column of a character, both from 1, as editors count them."""
    starts = _line_starts(text)
    line = bisect.bisect_right(starts, offset)
    return line, offset - starts[line - 1] + 1


@functools.lru_cache(maxsize=1)
def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in _LINE_END.finditer(text))]


def one_line(text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """The text, cut at a number of characters and with escape sequences for the unprintable."""
    cut = text[: limit + 1]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
    return cut if len(cut) <= limit else f"{cut[:limit]}…"
