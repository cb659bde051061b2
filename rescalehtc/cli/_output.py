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
import os
import re
import shutil
import sys
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import typer

from .._console import discard, is_terminal
from ..exceptions import HtcException, HtcResponseError
from ._tables import GAP, Column, Table, age_of, parsed_time, text_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from typing import TextIO

__all__ = [
    "STATUS_COLORS",
    "Column",
    "Form",
    "Format",
    "OutputError",
    "age_text",
    "failed",
    "flush",
    "is_live",
    "parsed_time",
    "printable",
    "say",
    "say_error",
    "show_item",
    "show_items",
    "show_line",
    "time_text",
]  # fmt: skip

_COLOR_CHANGE = re.compile(r"\x1b\[[0-9;:]*m")
STATUS_COLORS = {
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
    """How to print results.

    Attributes:
        format: The format.
        fields: The fields of JSON and YAML objects; None for all fields.
        sort: The field to sort by, with a - in front for descending order; None for the
            service's order.
        limit: The maximum number of results; None for all.
    """

    format: Format = Format.TABLE
    fields: tuple[str, ...] | None = None
    sort: str | None = None
    limit: int | None = None


def show_items(items: Iterable[Mapping[str, Any]], columns: Sequence[Column], form: Form) -> None:
    """Print a listing. JSON lines, names and CSV are printed as the items come.

    Args:
        items: The items.
        columns: The columns of a table or of CSV. One of them is the name of an item, by default
            the first.
        form: How to print them.
    """
    if form.sort is not None:
        items = _sorted(items, form.sort)
    if form.limit is not None:
        items = islice(items, min(form.limit, sys.maxsize))
    match form.format:
        case Format.JSONL:
            for item in items:
                _emit_json(_reduced(item, form), None)
        case Format.JSON:
            _emit_json([_reduced(item, form) for item in items], 2)
        case Format.YAML:
            _emit_yaml([_reduced(item, form) for item in items])
        case Format.NAME:
            name = next((column for column in columns if column.is_name), columns[0])
            for item in items:
                show_line(text_of(name.value(item)))
        case Format.CSV:
            _emit_csv([column for column in columns if column.place != "terminal"], items)
        case Format.TABLE:
            _emit_table(columns, list(items))


def show_item(item: Mapping[str, Any], form: Form) -> None:
    """Print one object: in a table one line per field, in CSV a header and one row."""
    match form.format:
        case Format.TABLE | Format.NAME:
            width = max(map(len, item), default=0)
            for name, value in item.items():
                show_line(f"{name:{width}}{GAP}{text_of(value)}".rstrip(" "))
        case Format.CSV:
            _emit_csv([Column.of_field(name) for name in item], [item])
        case Format.YAML:
            _emit_yaml(_reduced(item, form))
        case _:
            _emit_json(_reduced(item, form), 2 if form.format is Format.JSON else None)


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


def age_text(value: object) -> str:
    """The age of a time of the service, such as 5m."""
    return age_of(value, datetime.now(UTC))


def printable(text: str) -> str:
    """Text without control characters and line breaks."""
    return "".join(c if c.isprintable() else " " for c in text)


def _sorted(items: Iterable[Mapping[str, Any]], sort: str) -> list[Mapping[str, Any]]:
    name = sort.removeprefix("-")
    return sorted(items, key=lambda item: _sort_key(item.get(name)), reverse=sort != name)


def _sort_key(value: object) -> tuple[bool, bool, Any]:
    """Numbers in order of size, then strings in alphabetical order, then missing values."""
    is_number = isinstance(value, int | float)
    return value is None, not is_number, value if is_number else str(value)


def _reduced(item: Mapping[str, Any], form: Form) -> Mapping[str, Any]:
    return item if form.fields is None else {name: item.get(name) for name in form.fields}


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
            writer.writerow([text_of(column.value(item)) for column in columns])
            _emit(_escape_controls(buffer.getvalue(), sys.stdout, breaks=True))
            buffer.seek(0)
            buffer.truncate()
        _emit(buffer.getvalue())


def _emit_table(columns: Sequence[Column], items: Sequence[Mapping[str, Any]]) -> None:
    cells = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    excluded = "terminal" if cells is None else "pipe"
    columns = [column for column in columns if column.place != excluded]
    rows = [[_cell(column.value(item)) for column in columns] for item in items]
    table = Table(columns, rows, cells)
    _emit(f"{table.line(table.titles, lambda cell: _style(cell, bold=True))}\n")
    for row in table.rows:
        _emit(f"{table.line(row, lambda cell: _style(cell, fg=STATUS_COLORS.get(cell)))}\n")


def _cell(value: object) -> str:
    return _escape_controls(text_of(value), sys.stdout)


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


def _style(text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
    plain = not is_live(sys.stdout) or bool(os.environ.get("NO_COLOR")) or not (fg or bold)
    return text if plain else typer.style(text, fg=fg, bold=bold)


def _escape_controls(text: str, stream: TextIO, *, breaks: bool = False) -> str:
    if not is_terminal(stream) or text.isprintable():
        return text
    allowed = "\t\n" if breaks else "\t"
    text = _COLOR_CHANGE.sub("", text)
    return "".join(c if c.isprintable() or c in allowed else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
