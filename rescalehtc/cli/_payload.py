"""Submit requests in JSON and YAML files, and where in the file each of their fields is."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import yaml

from ..exceptions import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_INPUT = "-"

# The YAML reader takes JSON too, but for tabs and other odd characters, and what it takes for
# the end of a line.
_NOT_YAML = re.compile(
    "[^\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
# Nor does it take a character that is written as two halves. Another one in the place of each
# half keeps all columns as they are.
_HALF = re.compile(r"\\(?:u[dD](?P<digit>[89a-fA-F])|.)")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Place(NamedTuple):
    """A place in a file: line and column from 1."""

    line: int
    column: int


_START = Place(1, 1)


class FoundProblem(NamedTuple):
    """A problem of a payload and where in its file it is."""

    place: Place
    problem: Problem

    def __str__(self) -> str:
        return f"{self.place.line}:{self.place.column}: {self.problem}"


class UnreadableError(Exception):
    """The file can't be read, or is not JSON or YAML."""

    def __init__(self, place: Place, where: str, message: str) -> None:
        super().__init__(message)
        self.found = FoundProblem(place, Problem(where, message))


@dataclass(frozen=True)
class Payload:
    """What a file holds.

    Attributes:
        requests: The submit requests; nothing of them is checked yet.
        root: The file's YAML nodes, which know their places.
        is_list: Whether the file holds a list of requests, not a single one.
    """

    requests: list[object]
    root: yaml.Node
    is_list: bool

    def located(self, problem: Problem) -> FoundProblem:
        """Add the problem's place in the file."""
        where = problem.where
        if not self.is_list:
            where = where.removeprefix("[0]").removeprefix(".") or "request"
        return FoundProblem(_place(self.root, where), Problem(where, problem.message))


def read(name: str) -> Payload:
    """Read submit requests from a file: YAML if its name says so, else JSON.

    Args:
        name: The file; `-` for the standard input.

    Raises:
        UnreadableError: It can't be read, or is not JSON or YAML.
    """
    try:
        raw = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableError(_START, "file", f"can't be read: {reason}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        place = Place(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise UnreadableError(place, "text", "is not in UTF-8") from None
    try:
        value, root = _yaml(text) if name.endswith((".yaml", ".yml")) else _json(text)
    except RecursionError:
        raise UnreadableError(_START, "syntax", "is nested too deeply") from None
    requests = cast("list[object]", value) if isinstance(value, list) else [value]
    return Payload(requests, root, isinstance(value, list))


def repeated(payload: Payload) -> list[FoundProblem]:
    """Names that a mapping of the file has twice: a reader keeps one and drops the other."""
    return [
        FoundProblem(_mark(key), Problem(key.value, "is given twice in the same place"))
        for mapping in _mappings(payload.root, set())
        for key in _second_keys(mapping)
    ]


def _json(text: str) -> tuple[object, yaml.Node]:
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableError(Place(error.lineno, error.colno), "syntax", error.msg) from None
    as_yaml = _HALF.sub(_other_character, _NOT_YAML.sub("?", text.replace("\t", " ")))
    return value, _composed(as_yaml)[0]


def _other_character(escape: re.Match[str]) -> str:
    return f"\\ue{int(escape['digit'], 16) - 8}" if escape["digit"] else escape[0]


def _yaml(text: str) -> tuple[object, yaml.Node]:
    root, loader = _composed(text)
    try:
        return loader.construct_document(root), root
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None


def _composed(text: str) -> tuple[yaml.Node, Any]:
    loader: Any = _Loader(text)
    try:
        root: yaml.Node | None = loader.get_single_node()
    except yaml.YAMLError as error:
        raise _syntax_error(error) from None
    if root is None:
        raise UnreadableError(_START, "file", "holds no submit request")
    return root, loader


def _syntax_error(error: yaml.YAMLError) -> UnreadableError:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return UnreadableError(_place_of(mark), "syntax", error.problem or "")
    return UnreadableError(_START, "syntax", "; ".join(str(error).splitlines()))


def _place(node: yaml.Node, where: str) -> Place:
    """The place of the item or key that a path such as `[0].envs[1].name` leads to.

    Where the path goes on to what the file does not have, that of the last that it has.
    """
    place = _mark(node)
    while where:
        step = _step(node, where)
        if step is None:
            break
        place, node, where = step
    return place


def _step(node: yaml.Node, where: str) -> tuple[Place, yaml.Node, str] | None:
    """The place of what the path's beginning names, its node, and the rest of the path."""
    if isinstance(node, yaml.SequenceNode):
        match = re.match(r"\[(\d+)\]\.?", where)
        if match is None or int(match[1]) >= len(node.value):
            return None
        item: yaml.Node = node.value[int(match[1])]
        return _mark(item), item, where[match.end() :]
    if isinstance(node, yaml.MappingNode):
        entries: list[tuple[yaml.Node, yaml.Node]] = node.value
        for key, value in sorted(entries, key=lambda entry: -len(str(entry[0].value))):
            name = str(key.value)
            if where == name or where.startswith((f"{name}.", f"{name}[")):
                return _mark(key), value, where[len(name) :].removeprefix(".")
    return None


def _mappings(node: yaml.Node, seen: set[int]) -> Iterator[yaml.MappingNode]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _mappings(item, seen)


def _second_keys(mapping: yaml.MappingNode) -> Iterator[yaml.ScalarNode]:
    names: set[str] = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in names:
                yield key
            names.add(key.value)


def _mark(node: yaml.Node) -> Place:
    return _place_of(node.start_mark)


def _place_of(mark: yaml.error.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)
