"""Variables, claims and labels as plain dictionaries instead of lists of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import models
from .._facts import PAIRS
from .._problems import MAX_SHOWN_CHARACTERS, Location
from .._raw import is_mapping, is_object
from .validation import inspect

if TYPE_CHECKING:
    from collections.abc import Mapping


def inspect_request(
    value: object,
) -> tuple[models.HTCJobSubmitRequest | None, list[tuple[Location, str]]]:
    """Return the submit request as a model or, if it is invalid, None and the problems.

    The location of a problem in a plain dictionary contains the name of the entry.
    """
    if not is_object(value):
        return inspect(models.HTCJobSubmitRequest, value)
    request = value
    found: list[tuple[Location, str]] = []
    names: dict[Location, list[str]] = {}
    for place, first in PAIRS.items():
        named = _at(value, place)
        if not is_mapping(named):
            continue
        message = _not_pairs(named, first)
        if message:
            found.append((place, message))
        names[place] = [] if message else list(named)
        pairs = [{first: name, "value": named[name]} for name in names[place]]
        request = _replaced(request, place, pairs)
    model, problems = inspect(models.HTCJobSubmitRequest, request)
    found += [(_by_name(location, names), message) for location, message in problems]
    return (None if found else model), found


def _not_pairs(pairs: Mapping[Any, Any], first: str) -> str | None:
    if not all(isinstance(name, str) for name in pairs):
        return "must have strings as its keys"
    if set(pairs) == {first, "value"}:  # probably a pair, not variables named `name` and `value`
        return f"must be {{name: value}}, or a list of such dictionaries with {first!r} and 'value'"
    return None


def _at(request: dict[str, Any], place: tuple[str, ...]) -> object:
    value: Any = request
    for step in place:
        value = value.get(step) if is_object(value) else None
    return value


def _replaced(request: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    name, *rest = place
    return {**request, name: _replaced(request[name], tuple(rest), value) if rest else value}


def _by_name(location: Location, names: Mapping[Location, list[str]]) -> Location:
    for place, pairs in names.items():
        position = location[len(place)] if location[: len(place)] == place != location else None
        if isinstance(position, int):
            name = pairs[position]
            if name.isprintable() and 0 < len(name) <= MAX_SHOWN_CHARACTERS:
                return (*place, name)
    return location
