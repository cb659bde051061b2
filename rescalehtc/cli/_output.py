"""Print tables, JSON and log lines to a terminal or a pipe.

A pipe or file gets the service's strings unchanged. On a terminal, control characters are replaced,
so that they can't move the cursor or change colors.
"""

from __future__ import annotations

import codecs
import contextlib
import enum
import io
import json
import math
import operator
import os
import re
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import typer
from rich.cells import cell_len, set_cell_size

from .._console import discard, is_terminal
from ..exceptions import HtcException, HtcResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from typing import TextIO

MIN_CUT_CELLS = 8
GAP = "  "

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_COLOUR_CHANGE = re.compile(r"\x1b\[[0-9;:]*m")
STATUS_COLOURS = {
    "SUCCEEDED": "green",
    "POD_SUCCEEDED": "green",
    "READY": "green",
    "FAILED": "red",
    "POD_FAILED": "red",
    "RUNNING": "cyan",
    "STARTING": "cyan",
    "PENDING": "yellow",
}


class OutputError(HtcException):
    """The output can't be written.

    Attributes:
        is_closed_pipe: Whether the reader has closed the pipe, which needs no message.
    """

    def __init__(self, error: OSError | ValueError) -> None:
        self.is_closed_pipe: bool = isinstance(error, BrokenPipeError)
        reason = error.strerror if isinstance(error, OSError) else error
        super().__init__(f"the output can't be written: {reason}")


class Format(enum.StrEnum):
    """The output formats."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"
    CSV = "csv"
    NAME = "name"


class Form(NamedTuple):
    """How results are printed.

    Attributes:
        format: The format.
        fields: The fields that JSON objects are reduced to; None for all of them.
    """

    format: Format = Format.TABLE
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: The title.
        value: A function that returns the string for an item.
        may_be_cut: Whether it may be truncated on a narrow terminal. Ids may not, so that users
            can copy them.
    """

    title: str
    value: Callable[[Mapping[str, Any]], object]
    may_be_cut: bool = False


def show_items(items: Iterable[Mapping[str, Any]], columns: Sequence[Column], form: Form) -> None:
    """Print a listing. JSON lines and names are printed as the items come.

    Args:
        items: The items.
        columns: The columns of a table or of CSV. The first one names an item.
        form: The format.
    """
    match form.format:
        case Format.JSONL:
            for item in items:
                _emit_json(_reduced(item, form), None)
        case Format.JSON:
            _emit_json([_reduced(item, form) for item in items], 2)
        case Format.YAML:
            _emit_yaml([_reduced(item, form) for item in items])
        case Format.NAME:
            for item in items:
                show_line(_text(columns[0].value(item)))
        case Format.CSV:
            _emit_csv(columns, items)
        case Format.TABLE:
            _emit_table(columns, list(items))


def show_item(item: Mapping[str, Any], form: Form) -> None:
    """Print one object: in a table, one line per field; in CSV, a head and one row."""
    match form.format:
        case Format.TABLE | Format.NAME:
            width = max(map(len, item), default=0)
            for name, value in item.items():
                _emit(f"{name:{width}}{GAP}{_text(value)}".rstrip(" ") + "\n")
        case Format.CSV:
            _emit_csv([Column(name, operator.itemgetter(name)) for name in item], [item])
        case Format.YAML:
            _emit_yaml(_reduced(item, form))
        case _:
            _emit_json(_reduced(item, form), 2 if form.format is Format.JSON else None)


def _reduced(item: Mapping[str, Any], form: Form) -> Mapping[str, Any]:
    return item if form.fields is None else {name: item.get(name) for name in form.fields}


def show_line(text: str) -> None:
    """Print a line of a log or of a result."""
    _emit(f"{_escape_controls(text, sys.stdout)}\n")


def say(text: str) -> None:
    """Print a message to standard error."""
    sys.stderr.write(f"{_escape_controls(text, sys.stderr, breaks=True)}\n")
    sys.stderr.flush()


def say_error(text: str) -> None:
    """Print an error message to standard error."""
    say(f"rescalehtc: error: {text}")


def flush() -> None:
    """Flush the output.

    Raises:
        OutputError: The output can't be written.
    """
    with _output_errors():
        sys.stdout.flush()


def failed(error: OSError | ValueError) -> OutputError:
    """Discard the unwritten output, and return the exception to raise."""
    discard(sys.stdout)
    return OutputError(error)


def is_live(stream: TextIO) -> bool:
    """Whether the output is a terminal that can update lines."""
    return is_terminal(stream) and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def time_text(value: object) -> str:
    """A time of the service without fractions of a second, "T" and "Z"."""
    return str(value)[:19].replace("T", " ") if value else ""


def _emit(text: str) -> None:
    with _output_errors():
        sys.stdout.write(text)


@contextlib.contextmanager
def _output_errors() -> Generator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: the stream is closed
        failure = failed(error)
    else:
        return
    raise failure


def _emit_json(value: object, indent: int | None) -> None:
    try:
        text = json.dumps(_json_value(value), indent=indent, ensure_ascii=not _is_unicode())
    except RecursionError:
        raise HtcResponseError("the service sent data that is nested too deeply") from None
    # Escape sequences do not change the meaning of JSON, and are safe on a terminal.
    _emit("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n")


def _emit_yaml(value: object) -> None:
    import yaml

    text = yaml.safe_dump(_json_value(value), allow_unicode=_is_unicode(), sort_keys=False)
    _emit(text)


def _emit_csv(columns: Sequence[Column], items: Iterable[Mapping[str, Any]]) -> None:
    """Print comma-separated values, as spreadsheets read them."""
    import csv

    with io.StringIO(newline="") as buffer:
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([column.title for column in columns])
        for item in items:
            writer.writerow([_text(column.value(item)) for column in columns])
            _emit(buffer.getvalue())
            buffer.seek(0)
            buffer.truncate()
        _emit(buffer.getvalue())


def _json_value(value: object) -> object:
    """The value with infinite numbers and NaN, which JSON does not have, replaced by null."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            items = cast("dict[str, object]", value).items()
            return {name: _json_value(item) for name, item in items}
        case list():
            return [_json_value(item) for item in cast("list[object]", value)]
        case _:
            return value


def _is_unicode() -> bool:
    """Whether the encoding of the output supports all characters."""
    encoding = cast("str | None", sys.stdout.encoding)  # a StringIO has none
    return encoding is None or codecs.lookup(encoding).name.startswith("utf-")


def _emit_table(columns: Sequence[Column], items: Sequence[Mapping[str, Any]]) -> None:
    rows = [[_text(column.value(item)) for column in columns] for item in items]
    titles = [column.title for column in columns]
    widths = [max(map(cell_len, cells)) for cells in zip(titles, *rows, strict=True)]
    if is_terminal(sys.stdout):
        _shrink_columns(widths, columns)
    _emit_row(titles, widths, lambda cell: _style(cell, bold=True))
    for row in rows:
        _emit_row(row, widths, lambda cell: _style(cell, fg=STATUS_COLOURS.get(cell)))


def _shrink_columns(widths: list[int], columns: Sequence[Column]) -> None:
    """Truncate columns, the widest first, until the table fits the terminal."""
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - shutil.get_terminal_size().columns
    for index in sorted(range(len(widths)), key=lambda index: -widths[index]):
        if excess > 0 and columns[index].may_be_cut:
            less = min(excess, max(widths[index] - MIN_CUT_CELLS, 0))
            widths[index] -= less
            excess -= less


def _emit_row(cells: Sequence[str], widths: Sequence[int], styled: Callable[[str], str]) -> None:
    shown: list[str] = []
    for cell, width in zip(cells, widths, strict=True):
        fitting = cell if cell_len(cell) <= width else set_cell_size(cell, width - 1) + "…"
        shown.append(styled(fitting) + " " * (width - cell_len(fitting)))
    _emit(GAP.join(shown).rstrip(" ") + "\n")


def _style(text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
    plain = not is_live(sys.stdout) or bool(os.environ.get("NO_COLOR")) or not (fg or bold)
    return text if plain else typer.style(text, fg=fg, bold=bold)


def _text(value: object) -> str:
    """A value as a single line of text, for a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(_text(item) for item in cast("list[object]", value))
        case _:
            return _escape_controls(_BREAKS.sub(" ", str(value)), sys.stdout)


def _escape_controls(text: str, stream: TextIO, *, breaks: bool = False) -> str:
    if not is_terminal(stream) or text.isprintable():
        return text
    kept = "\t\n" if breaks else "\t"
    text = _COLOUR_CHANGE.sub("", text)
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
