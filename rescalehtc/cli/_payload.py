"""Read submit requests from JSON and YAML files, with the location of each field."""

from __future__ import annotations

import codecs
import functools
import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from ..exceptions import Problem
from . import _document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._document import Document, Finding, Node

STANDARD_INPUT = "-"
MAX_MIB = 1024
MAX_WHERE_CHARACTERS = 300
MAX_MESSAGE_CHARACTERS = 1000

_MIB = 2**20
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_NOT_TEXT = re.compile("must be a string, got (bool|int|float)$")
_WORD = re.compile(r"\w+")
_INDEX = re.compile(r"\[(\d{1,9})\]")


class Place(NamedTuple):
    """A location in a file: line and column, starting at 1."""

    line: int
    column: int


class FoundProblem(NamedTuple):
    """A problem of a payload and where it is: `file:line:column: where: message`."""

    file: str
    place: Place
    problem: Problem

    def __str__(self) -> str:
        return f"{self.file}:{self.place.line}:{self.place.column}: {self.problem}"


class UnreadableError(Exception):
    """The file can't be read, or is not JSON or YAML."""

    def __init__(self, file: str, place: Place, where: str, message: str) -> None:
        super().__init__(message)
        self.found = FoundProblem(_label(file), place, Problem(where, message))


@dataclass(frozen=True)
class Payload:
    """The content of a file.

    Attributes:
        requests: The submit requests, which are not validated yet.
        is_list: Whether the file contains a list of requests, not a single one.
        document: Its text and locations.
        file: Its name.
    """

    requests: list[object]
    is_list: bool
    document: Document
    file: str

    def sorted_lines(self, problems: Iterable[Problem]) -> list[str]:
        """Return problems of the requests and of the text itself, in the file's order."""
        text = self.document.text
        found_problems = [
            _place_finding(self.file, text, finding) for finding in self.document.findings
        ]
        found_problems += [placed for problem in problems if (placed := self.find_place(problem))]
        return [str(placed) for placed in sorted(found_problems)]

    def line(self, problem: Problem) -> str | None:
        """Return a problem with its place; None if the text has another problem there."""
        placed = self.find_place(problem)
        return placed and str(placed)

    def find_place(self, problem: Problem) -> FoundProblem | None:
        """Add the problem's place in the file; None if the text has another problem there."""
        where = problem.where
        if not self.is_list:
            where = where.removeprefix("[0]").removeprefix(".")
        offset, node = _find(self.document, where)
        if node is not None and node.value is _document.UNREADABLE:
            return None
        message = _document.one_line(problem.message, MAX_MESSAGE_CHARACTERS)
        if _NOT_TEXT.search(message):
            message += "; put it in quotes"
        finding = _document.Finding(offset, where or "request", message)
        return _place_finding(self.file, self.document.text, finding)


def read(name: str) -> Payload:
    """Read submit requests from a file.

    Args:
        name: The path of the file, or `-` for standard input. The suffix determines the format:
            `.json`, `.yaml` or `.yml`, in upper or lower case. Any other file may be either.

    Raises:
        UnreadableError: The file can't be read, or is not JSON or YAML.
    """
    text = _decode(name, _bytes(name))
    readers = {
        ".json": _document.read_json,
        ".yaml": _document.read_yaml,
        ".yml": _document.read_yaml,
    }
    try:
        document = readers.get(Path(name).suffix.lower(), _document.read_either)(text)
    except _document.DocumentError as error:
        raise _unreadable_error(name, text, error) from None
    value = document.root.value
    is_list = isinstance(value, list)
    requests = cast("list[object]", value) if is_list else [value]
    return Payload(requests, is_list, document, name)


def _label(file: str) -> str:
    return "<stdin>" if file == STANDARD_INPUT else file


def _bytes(name: str) -> bytes:
    try:
        if name == STANDARD_INPUT:
            return _standard_input()
        with open(name, "rb") as file:  # noqa: PTH123 - to Path, no name is the working directory
            return _read_limited(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
    except MemoryError:
        reason = "there is not enough memory"
    raise UnreadableError(name, Place(1, 1), "file", f"can't be read: {reason}")


def _standard_input() -> bytes:
    if not sys.stdin:
        raise ValueError("the standard input is closed")
    buffer: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if buffer is None:  # sys.stdin is a StringIO
        return sys.stdin.read().encode(errors="surrogatepass")
    return _read_limited(buffer)


def _read_limited(file: BinaryIO) -> bytes:
    pieces = iter(functools.partial(file.read, _MIB), b"")
    raw = b"".join(itertools.islice(pieces, MAX_MIB))
    if len(raw) >= MAX_MIB * _MIB:
        raise ValueError(f"it has {MAX_MIB} MiB or more; split it into several files")
    return raw


def _decode(name: str, raw: bytes) -> str:
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if raw.startswith(_WIDE_MARKS) or b"\0" in raw[:2]:
        message = "is in UTF-16, UTF-32 or binary; save it as UTF-8"
        raise UnreadableError(name, Place(1, 1), "text", message)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
    place = Place(*_document.line_and_column(before, len(before)))
    raise UnreadableError(name, place, "text", "is not in UTF-8; save it as UTF-8")


def _place_finding(file: str, text: str, finding: Finding) -> FoundProblem:
    place = Place(*_document.line_and_column(text, finding.offset))
    where = _document.one_line(finding.where, MAX_WHERE_CHARACTERS)
    return FoundProblem(_label(file), place, Problem(where, finding.message))


def _unreadable_error(file: str, text: str, error: _document.DocumentError) -> UnreadableError:
    problem = _place_finding(file, text, error.finding)
    return UnreadableError(file, problem.place, *problem.problem)


def _find(document: Document, where: str) -> tuple[int, Node | None]:
    """The offset and the node of the item or key at a path such as `[0].envs[1].name`.

    If the file does not have the path, the offset of its longest existing prefix.
    """
    node = document.root
    offset = node.offset
    while where:
        step = _find_child(document, node, where)
        if step is None:
            return offset, None
        offset, node, length = step
        where = where[length:].removeprefix(".")
    return offset, node


def _find_child(document: Document, node: Node, where: str) -> tuple[int, Node, int] | None:
    """The offset and the node of the first step of a path, and the length of this step."""
    children = document.children(node)
    if isinstance(children, list):
        match = _INDEX.match(where)
        if match is None or int(match[1]) >= len(children):
            return None
        item = children[int(match[1])]
        return item.offset, item, match.end()
    for length in _name_lengths(node):
        entry = children.get(where[:length])
        if entry and where[length : length + 1] in ("", ".", "["):
            return entry.offset, entry.node, length
    match = _WORD.match(where)  # the file may use a field's Python name
    entry = children.get(_python_names().get(match[0], "")) if match else None
    return (entry.offset, entry.node, len(match[0])) if match and entry else None


@functools.cache
def _python_names() -> dict[str, str]:
    """The Python names of the fields of all requests, by the service's names."""
    from .. import models
    from .._model_base import Request

    classes = [value for value in vars(models).values() if isinstance(value, type)]
    return {
        field.alias: name
        for value in classes
        if issubclass(value, Request)
        for name, field in value.model_fields.items()
        if field.alias
    }


@functools.lru_cache(maxsize=8)
def _name_lengths(node: Node) -> list[int]:
    """The lengths of a mapping's keys, longest first, because keys may contain dots."""
    return sorted({len(cast("str", name)) for name in node.children or ()}, reverse=True)
