"""Describe the problems of a model's input, and the valid values."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, get_args

from ._facts import PATTERNS, SET_BY_SERVICE, SHOWN_FIELDS
from ._raw import is_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    Model = type[BaseModel]

Location = tuple[str | int, ...]

MAX_PROBLEMS = 1000
MAX_FAULTS = 20_000
MAX_SHOWN_CHARACTERS = 80
MAX_LISTED_VALUES = 12


def problems_of(
    model: Model, error: ValidationError, *, in_code: bool = False
) -> list[tuple[Location, str]]:
    """The locations and descriptions of all problems.

    Returns at most MAX_PROBLEMS + 1 problems, or a single one if there are more than MAX_FAULTS.

    Args:
        model: The class that was validated.
        error: The errors that pydantic found.
        in_code: Whether to use Python names instead of the service's.
    """
    count = error.error_count()
    if count > MAX_FAULTS:  # a complete list would take too much memory
        return [((), f"has {count:,} problems, too many to list")]
    faults = error.errors(include_url=False, include_context=True)
    return [_problem(model, fault, in_code) for fault in faults[: MAX_PROBLEMS + 1]]


def suggestion(name: str, known: list[str]) -> str | None:
    """The known name that is most similar to a name."""
    import difflib

    folded = [candidate for candidate in known if candidate.lower() == name.lower()]
    start = name[:MAX_SHOWN_CHARACTERS]
    return next(iter(folded or difflib.get_close_matches(start, known, n=1, cutoff=0.6)), None)


def meant_attribute(model: Model, name: str) -> str | None:
    """The field of a model whose Python name or wire name is most similar to a name."""
    names = {field.alias or python: python for python, field in model.model_fields.items()}
    names |= {python: python for python in names.values()}
    match = suggestion(name, list(names))
    return names[match] if match else None


def place_name(location: Location, start: str = "") -> str:
    """A path such as `[0].htcJobDefinition.envs[1].name`."""
    for step in location:
        if isinstance(step, int):
            start += f"[{step}]"
        else:
            start += f".{step}" if start else step
    return start


def expected(model: Model, location: Location) -> str:
    """The description of a field's valid values: its type and range."""
    *_, (schema, _) = _walk(model, location)
    return _expectation(schema, _document(model), _name(location))


def shown(location: Location, value: object) -> str:
    """The description of an invalid value: the value if it is not a secret, otherwise its type."""
    kind = type(value).__name__
    if _name(location) not in SHOWN_FIELDS or not isinstance(value, int | float | str):
        return "None" if value is None else kind
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN_CHARACTERS:
        return "a number far out of range"
    text = str.__repr__(value) if isinstance(value, str) else repr(value)
    if len(text) > MAX_SHOWN_CHARACTERS:
        text = f"{text[:MAX_SHOWN_CHARACTERS]}…"
    return f"{text} ({kind})" if isinstance(value, bool | float) else text


def _problem(model: Model, fault: ErrorDetails, in_code: bool) -> tuple[Location, str]:
    location = _renamed(model, fault["loc"], _wire_name)
    location, message = _described(model, fault, location, in_code)
    return _renamed(model, location, _python_name) if in_code else location, message


def _described(
    model: Model, fault: ErrorDetails, location: Location, in_code: bool
) -> tuple[Location, str]:
    kind = fault["type"]
    if kind in ("extra_forbidden", "no_such_attribute"):
        return location, _unknown_field(model, location, in_code)
    if kind == "invalid_key":
        return location[:-1], "must have strings as its keys"
    if location[-1:] == ("[key]",) and _has_any_names(model, location[:-2]):  # pydantic's mark
        return location[:-2], "must have strings as its keys"
    # "string_unicode" has the location of a value or, for a key, of its dictionary.
    if kind in ("string_unicode", "utf8"):
        return location, "must not contain text that UTF-8 can't encode"
    if kind in ("frozen_instance", "frozen_field"):
        return location, "can't be changed: the service's records are read-only"
    if kind == "json_invalid":
        return location, "must be JSON"
    if kind == "missing":
        return location, f"is missing; must be {expected(model, location)}"
    if kind == "env_name_reserved":
        return location, fault["msg"]
    if kind == "string_pattern_mismatch" and "\0" in fault["input"]:
        return location, "must not contain the character NUL"
    if kind in ("env_name", "unique"):
        return location, f"must be {fault['msg']}"
    return location, f"must be {expected(model, location)}, got {shown(location, fault['input'])}"


def _has_any_names(model: Model, location: Location) -> bool:
    """Whether the field at a location is a dictionary with arbitrary keys."""
    *_, (schema, _) = _walk(model, location)
    return isinstance(schema.get("additionalProperties"), dict)


def _unknown_field(model: Model, location: Location, in_code: bool) -> str:
    owner = [model_ for _, model_ in _walk(model, location[:-1]) if model_][-1]
    name = str(location[-1])
    known = list(owner.model_fields) if in_code else _wire_names(owner)
    if name in _wire_names(owner):
        return "is set twice, under both of its names"
    if name in SET_BY_SERVICE.get(owner.__name__, ()):
        return "is set by the service; remove it"
    meant = meant_attribute(owner, name) if in_code else suggestion(name, known)
    hint = f"did you mean {meant!r}?" if meant else f"its fields are {', '.join(known)}"
    return f"is not a field of {owner.__name__}; {hint}"


@functools.cache
def _classes(model: Model) -> dict[str, Model]:
    """A model and all models that it contains, by name."""
    found: dict[str, Model] = {}
    pending: list[Any] = [model]
    while pending:
        kind = pending.pop()
        fields = getattr(kind, "model_fields", None)
        if fields is None:
            pending += get_args(kind)
        elif kind.__name__ not in found:
            found[kind.__name__] = kind
            pending += [field.annotation for field in fields.values()]
    return found


@functools.cache
def _document(model: Model) -> dict[str, Any]:
    return model.model_json_schema()


def _walk(model: Model, location: Location) -> Iterator[tuple[dict[str, Any], Model | None]]:
    """The JSON schemas from the request down to a location, each with its class, if any."""
    document = _document(model)
    schema = document
    owner: Model | None = model
    yield schema, owner
    for step in location:
        if isinstance(step, int):
            schema = schema.get("items", {})
        elif "properties" in schema:
            schema = schema["properties"].get(_wire_name(owner, step), {})
        else:
            values = schema.get("additionalProperties")
            schema = values if is_object(values) else {}
        schema, name = _dereferenced(schema, document)
        owner = _classes(model).get(name)
        yield schema, owner


def _renamed(
    model: Model, location: Location, rename: Callable[[Model | None, str], str]
) -> Location:
    owners = [owner for _, owner in _walk(model, location)]
    return tuple(
        rename(owner, step) if isinstance(step, str) else step
        for owner, step in zip(owners, location, strict=False)
    )


def _wire_name(model: Model | None, name: str) -> str:
    """The wire name of a field, given its wire name or its Python name."""
    field = model.model_fields.get(name) if model else None
    return (field.alias or name) if field else name


def _python_name(model: Model | None, name: str) -> str:
    fields = model.model_fields if model else {}
    return next((python for python, field in fields.items() if field.alias == name), name)


def _wire_names(model: Model) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _name(location: Location) -> str:
    """The last name in a location: `envs` for `envs[0]`."""
    return next((step for step in reversed(location) if isinstance(step, str)), "")


def _dereferenced(schema: dict[str, Any], document: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The schema without null, and the name of its class, if any."""
    for alternative in schema.get("anyOf", []):
        if alternative.get("type") != "null":
            schema = alternative
            break
    if "$ref" not in schema:
        return schema, ""
    name = str(schema["$ref"]).rsplit("/", 1)[-1]
    return document["$defs"][name], name


def _expectation(schema: dict[str, Any], document: dict[str, Any], name: str) -> str:
    schema, _ = _dereferenced(schema, document)
    if "enum" in schema:
        values: list[str] = schema["enum"]
        if len(values) > MAX_LISTED_VALUES:
            return f"a name such as {values[0]!r}"
        return f"one of {', '.join(values)}"
    match schema.get("type"):
        case "integer":
            low, high = schema.get("minimum"), schema.get("maximum")
            if high is not None:
                return f"an integer from {low} to {high}"
            return "an integer" if low is None else f"an integer of at least {low}"
        case "boolean":
            return "True or False"
        case "number":
            return "a number"
        case "string" if schema.get("format") == "date-time":
            return "a time such as '2026-01-31T12:00:00Z'"
        case "string":
            return PATTERNS.get(name, "a string")
        case "array":
            return f"a list, each item {_expectation(schema['items'], document, '')}"
        case "object" if "properties" in schema:
            required = schema.get("required") or list(schema["properties"])
            return f"a dictionary with {' and '.join(map(repr, required))}"
        case "object":
            return "a dictionary of strings"
        case _:
            return "valid"
