"""Tables of text, which fit a terminal if columns may be truncated. No I/O."""

from __future__ import annotations

import json
import operator
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GAP = "  "
MIN_CUT_CELLS = 8
SECONDS_PER_UNIT = (("d", 86400), ("h", 3600), ("m", 60))

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: The title.
        value: A function that returns the value for an item.
        may_be_cut: Whether a narrow terminal may truncate it. Ids must not be truncated, so that
            users can copy them.
        place: Where tables have it: only on a terminal, only elsewhere and in CSV, or both.
        is_name: Whether it is the name of an item.
    """

    title: str
    value: Callable[[Mapping[str, Any]], object]
    may_be_cut: bool = False
    place: Literal["terminal", "pipe", "both"] = "both"
    is_name: bool = False

    @classmethod
    def of_field(cls, name: str, title: str = "") -> Column:
        """Return the column of a field."""
        return cls(title or name, operator.itemgetter(name))


class Table:
    """Titles and rows of text.

    Args:
        columns: The columns.
        rows: The rows, with one string per column.
        cells: The width of the terminal. None if the table may be of any width.
    """

    def __init__(
        self, columns: Sequence[Column], rows: Sequence[Sequence[str]], cells: int | None
    ) -> None:
        if cells is not None and rows:
            shown = _kept_columns(columns, rows, cells)
            columns = [columns[index] for index in shown]
            rows = [[row[index] for index in shown] for row in rows]
        self.titles: list[str] = [column.title for column in columns]
        self.rows: Sequence[Sequence[str]] = rows
        self._widths = _widths(self.titles, rows)
        if cells is not None:
            _shrink(self._widths, columns, cells)

    def line(self, row: Sequence[str], styled: Callable[[str], str]) -> str:
        """Return a row as a line of text.

        Args:
            row: The titles, or a row.
            styled: A function that colors a cell.
        """
        cells: list[str] = []
        for cell, width in zip(row, self._widths, strict=True):
            fitting = cell if cell_len(cell) <= width else set_cell_size(cell, width - 1) + "…"
            cells.append(styled(fitting) + " " * (width - cell_len(fitting)))
        return GAP.join(cells).rstrip(" ")


def text_of(value: object) -> str:
    """A value as one line of text."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(text_of(item) for item in cast("list[object]", value))
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return _BREAKS.sub(" ", str(value))


def parsed_time(value: object) -> datetime | None:
    """A time of the service; None if it is invalid. Without a zone, it is in UTC."""
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def age_of(value: object, now: datetime) -> str:
    """The age of a time of the service, such as 5m; empty if the time is invalid."""
    then = parsed_time(value)
    if then is None:
        return ""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in SECONDS_PER_UNIT:
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, cells)) for cells in zip(titles, *rows, strict=True)]


def _kept_columns(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], cells: int
) -> list[int]:
    """The indices of the columns. If the table is too wide, omit columns without any value."""
    titles = [column.title for column in columns]
    fits = _excess(_widths(titles, rows), cells) <= 0
    return [index for index in range(len(columns)) if fits or any(row[index] for row in rows)]


def _excess(widths: Sequence[int], cells: int) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1) - cells


def _shrink(widths: list[int], columns: Sequence[Column], cells: int) -> None:
    """Reduce the widths of columns that may be truncated, the widest first, until they fit."""
    for index in sorted(range(len(widths)), key=lambda index: -widths[index]):
        excess = _excess(widths, cells)
        if excess > 0 and columns[index].may_be_cut:
            widths[index] -= min(excess, max(widths[index] - MIN_CUT_CELLS, 0))
