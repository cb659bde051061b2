"""Read JSON with the standard library's decoder, or as events if the text has a problem."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from .nodes import MAX_DIGITS, TOO_MANY_DIGITS, DocumentError, Entry, Event, InvalidScalar, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .nodes import Children

_BLANKS = re.compile(r"[ \t\n\r]*")


def decode_json(text: str) -> object:
    """Decode JSON whose names are unique and whose numbers are not too long.

    Raises:
        json.JSONDecodeError: The text is not JSON. read_json_events finds the reason.
        ValueError: The text has a problem. read_json_events finds all problems.
        RecursionError: The text is nested too deeply.
    """
    has_problem = False

    def unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal has_problem
        unique = dict(pairs)
        has_problem = has_problem or len(unique) < len(pairs)
        return unique

    def integer(digits: str) -> object:
        nonlocal has_problem
        has_problem = has_problem or len(digits) > MAX_DIGITS
        return _integer_or_problem(digits)

    def refuse_constant(_: str) -> None:
        nonlocal has_problem
        has_problem = True

    value = json.loads(
        text,
        object_pairs_hook=unique_names,
        parse_int=integer,
        parse_constant=refuse_constant,
    )
    if has_problem:
        raise ValueError("a name is repeated, a number is too long, or a constant is not JSON")
    return value


def _integer_or_problem(digits: str) -> object:
    return InvalidScalar(TOO_MANY_DIGITS) if len(digits) > MAX_DIGITS else int(digits)


def _constant_problem(name: str) -> object:
    return InvalidScalar(f'{name} is not JSON; write a number, null or "{name}"')


_SCALARS = json.JSONDecoder(parse_int=_integer_or_problem, parse_constant=_constant_problem)
_VALUE = "a value: a string in double quotes, a number, true, false, null, a list or an object"
_NAME = "a name in double quotes"
_EXPECTED = {
    "value": _VALUE,
    "first value": f"']' or {_VALUE}",
    "name": _NAME,
    "first name": f"'}}' or {_NAME}",
    "colon": "':'",
    "comma": "',' or the closing bracket",
    "nothing": "the end of the file; several requests must be in a list, [..., ...]",
}
_STRING_ERRORS = {
    "Unterminated": "this string needs a closing quote",
    "Invalid control": r"a string must not have this character; write \n, \t or \u and its code",
    "Invalid \\": r"a string must not have this escape sequence; write \\ for a backslash",
}


def read_json_events(text: str) -> Iterator[Event]:
    """Yield the events of a text.

    Raises:
        DocumentError: The text is not JSON.
    """
    closers: list[str] = []
    expected = "value"
    position = 0
    while True:
        start = skip_blanks(text, position)
        char = text[start : start + 1]
        position = start + 1
        if expected == "nothing" and not char:
            return
        if expected in ("first value", "first name", "comma") and char == closers[-1]:
            yield Event("end", start)
            closers.pop()
        elif expected == "comma" and char == ",":
            expected = "name" if closers[-1] == "}" else "value"
            continue
        elif expected == "colon" and char == ":":
            expected = "value"
            continue
        elif expected in ("value", "first value") and char in ("{", "["):
            yield Event(char, start)
            closers.append("}" if char == "{" else "]")
            expected = "first name" if char == "{" else "first value"
            continue
        elif expected in ("name", "first name") and char == '"':
            name, position = _read_scalar(text, start)
            yield Event("scalar", start, name, str(name))
            expected = "colon"
            continue
        elif expected in ("value", "first value") and char and char in '"-0123456789tfnNI':
            value, position = _read_scalar(text, start)
            yield Event("scalar", start, value, value if isinstance(value, str) else "")
        else:
            raise _unexpected(text, start, expected)
        expected = "comma" if closers else "nothing"


def read_json_children(text: str, node: Node) -> Children:
    """Return the nodes of a list or an object in text that is valid JSON."""
    values = cast("dict[Any, object]", node.value)
    is_object = text[node.offset] == "{"
    items: list[Node] = []
    entries: dict[str, Entry] = {}
    start = skip_blanks(text, node.offset + 1)
    try:
        while text[start] not in "]}":
            name: Any = len(items)
            value_start = start
            if is_object:
                name, colon = _SCALARS.raw_decode(text, start)
                value_start = skip_blanks(text, skip_blanks(text, colon) + 1)
            child = Node(value_start, values[name])
            items.append(child)
            entries[name] = Entry(start, child)
            end = skip_blanks(text, _SCALARS.raw_decode(text, value_start)[1])
            start = skip_blanks(text, end + 1) if text[end] == "," else end
    except RecursionError:  # nested to the limit: deeper locations are not found
        pass
    return entries if is_object else items


def _read_scalar(text: str, start: int) -> tuple[object, int]:
    try:
        return _SCALARS.raw_decode(text, start)
    except json.JSONDecodeError as error:
        for beginning, message in _STRING_ERRORS.items():
            if error.msg.startswith(beginning):
                raise DocumentError(error.pos, message) from None
    raise _unexpected(text, start, "value")


def _unexpected(text: str, offset: int, expected: str) -> DocumentError:
    character = repr(text[offset]) if offset < len(text) else "the end of the file"
    return DocumentError(offset, f"got {character}; expected {_EXPECTED[expected]}")


def skip_blanks(text: str, start: int) -> int:
    """Return the offset of the first character from `start` that is not blank."""
    match = _BLANKS.match(text, start)
    return match.end() if match else start
