"""Checking what is about to be sent, and saying what would be right."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from .._facts import ANSWER_MARKS, ARGUMENTS, PATTERNS, SET_BY_SERVICE, SHOWN_FIELDS
from .._raw import is_object, is_sequence
from ..exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

    from .._model_base import Request

RequestT = TypeVar("RequestT", bound="Request")
Location = tuple[str | int, ...]

MAX_PROBLEMS = 1000
MAX_FAULTS = 20_000
MAX_SHOWN_CHARACTERS = 80
MAX_LISTED_VALUES = 12


def check(model: str, value: object, subject: str, start: str = "") -> dict[str, Any]:
    """Validate a request and return it as JSON.

    Args:
        model: The name of the request's class in `models`.
        value: A dictionary, or a model.
        subject: The call, for the message.
        start: The argument that the request was given as.

    Raises:
        HtcValidationError: It breaks rules; all of them are listed.
    """
    request, problems = inspect(_request_class(model), value)
    if request is None:
        raise HtcValidationError(subject, rename(problems, {**argument_names(model), (): start}))
    return request.to_json_dict()


def check_arguments(model: str, subject: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Validate the request that a function's arguments make, and return it as JSON.

    Raises:
        HtcValidationError: It breaks rules; all of them are listed.
    """
    return check(model, fill_in(model, arguments), subject)


def fill_in(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put each argument into the field of the request that it sets."""
    request: dict[str, Any] = {}
    for argument, value in arguments.items():
        *parents, field = ARGUMENTS[model][argument]
        owner = request
        for parent in parents:
            owner = owner.setdefault(parent, {})
        owner[field] = list(value) if is_sequence(value) else value
    return request


def argument_names(model: str) -> dict[Location, str]:
    """The arguments that set fields of a request, by the fields' places."""
    return {location: argument for argument, location in ARGUMENTS.get(model, {}).items()}


def _request_class(name: str) -> type[Request]:
    from .. import models

    kind: type[Request] = getattr(models, name)
    return kind


def inspect(
    model: type[RequestT], value: object
) -> tuple[RequestT | None, list[tuple[Location, str]]]:
    """Return the request as a model or, if it breaks rules, None and the problems.

    There are MAX_PROBLEMS + 1 problems at most; more than MAX_FAULTS become a single one.
    Of an object that the service answered, fields that a request does not have are left out.
    """
    from pydantic import ValidationError

    mark = ANSWER_MARKS.get(model.__name__)
    answered = mark is not None and is_object(value) and mark in value
    try:
        return model.model_validate(value, extra="ignore" if answered else None), []
    except ValidationError as error:
        count = error.error_count()
        if count > MAX_FAULTS:  # a list of them all would take too much memory
            return None, [((), f"has {count:,} problems, too many to list")]
        faults = error.errors(include_url=False, include_context=True)
    except RecursionError:
        return None, [((), "must not be nested so deeply")]
    return None, [_problem(model, fault) for fault in faults[: MAX_PROBLEMS + 1]]


def rename(
    problems: list[tuple[Location, str]], names: Mapping[Location, str], root: str = "payload"
) -> list[Problem]:
    """Say each problem's place by the longest name there is for its beginning."""
    renamed: list[Problem] = []
    for location, message in problems:
        length = next((n for n in range(len(location), -1, -1) if location[:n] in names), 0)
        place = names.get(location[:length], "")
        renamed.append(Problem(place_name(location[length:], place) or root, message))
    return renamed


def place_name(location: Location, start: str = "") -> str:
    """A path such as `[0].htcJobDefinition.envs[1].name`."""
    for step in location:
        if isinstance(step, int):
            start += f"[{step}]"
        else:
            start += f".{step}" if start else step
    return start


def expected(model: type[Request], location: Location) -> str:
    """What belongs at a place of a request, in words: its type and range."""
    *_, (schema, _) = _walk(model, location)
    return _in_words(schema, _document(model), _name(location))


def shown(location: Location, value: object) -> str:
    """What was given: its value where that is no secret, its type everywhere."""
    kind = type(value).__name__
    if _name(location) not in SHOWN_FIELDS or not isinstance(value, int | float | str):
        return "None" if value is None else kind
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN_CHARACTERS:
        return "one far outside of that"
    text = str.__repr__(value) if isinstance(value, str) else repr(value)
    if len(text) > MAX_SHOWN_CHARACTERS:
        text = f"{text[:MAX_SHOWN_CHARACTERS]}…"
    return f"{text} ({kind})" if isinstance(value, bool | float) else text


def _problem(model: type[Request], fault: ErrorDetails) -> tuple[Location, str]:
    kind = fault["type"]
    location = _in_wire_names(model, fault["loc"])
    if kind == "extra_forbidden":
        return location, _unknown_field(model, location)
    if kind == "invalid_key":
        return location[:-1], "must have strings as its keys"
    if location[-1:] == ("[key]",) and _has_any_names(model, location[:-2]):  # pydantic's mark
        return location[:-2], "must have strings as its keys"
    if kind == "string_unicode":  # of a value or, with its dictionary's place, of a key
        return location, "must have no text without a UTF-8 form"
    if kind == "missing":
        return location, f"is missing; must be {expected(model, location)}"
    if kind in ("env_name", "env_name_reserved", "unique", "utf8"):
        return location, f"must be {fault['msg']}"
    return location, f"must be {expected(model, location)}, got {shown(location, fault['input'])}"


def _has_any_names(model: type[Request], location: Location) -> bool:
    """Whether a place holds a dictionary of any names."""
    *_, (schema, _) = _walk(model, location)
    return isinstance(schema.get("additionalProperties"), dict)


def _unknown_field(model: type[Request], location: Location) -> str:
    owner = [found for _, found in _walk(model, location[:-1]) if found][-1]
    name = str(location[-1])
    known = _wire_names(owner)
    if name in known:
        return "is given twice, under both of its names"
    if name in SET_BY_SERVICE.get(owner.__name__, ()):
        return "is set by the service; leave it out"
    import difflib

    start = name[:MAX_SHOWN_CHARACTERS]
    close = difflib.get_close_matches(start, known, n=1, cutoff=0.6)
    folded = [wire for wire in known if wire.lower() == name.lower()]
    hint = (
        f"did you mean {(folded or close)[0]!r}?"
        if folded or close
        else (f"its fields are {', '.join(known)}")
    )
    return f"is not a field of {owner.__name__}; {hint}"


@functools.cache
def _document(model: type[Request]) -> dict[str, Any]:
    return model.model_json_schema()


def _walk(
    model: type[Request], location: Location
) -> Iterator[tuple[dict[str, Any], type[Request] | None]]:
    """The JSON schemas from the request down to a place, each with its class if it has one."""
    document = _document(model)
    schema = document
    owner: type[Request] | None = model
    yield schema, owner
    for step in location:
        if isinstance(step, int):
            schema = schema.get("items", {})
        elif "properties" in schema:
            schema = schema["properties"].get(_wire_name(owner, step), {})
        else:
            schema = schema.get("additionalProperties", {})
        schema, owner = _dereferenced(schema, document)
        yield schema, owner


def _in_wire_names(model: type[Request], location: Location) -> Location:
    owners = [owner for _, owner in _walk(model, location)]
    return tuple(
        _wire_name(owner, step) if isinstance(step, str) else step
        for owner, step in zip(owners, location, strict=False)
    )


def _wire_name(model: type[Request] | None, name: str) -> str:
    """The service's name of a field that may have been given by its Python name."""
    field = model.model_fields.get(name) if model else None
    return (field.alias or name) if field else name


def _wire_names(model: type[Request]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _name(location: Location) -> str:
    """The last name in a path: of `envs[0]`, `envs`."""
    return next((step for step in reversed(location) if isinstance(step, str)), "")


def _dereferenced(
    schema: dict[str, Any], document: dict[str, Any]
) -> tuple[dict[str, Any], type[Request] | None]:
    """The schema without its null, and the class it stands for if it is an object's."""
    for alternative in schema.get("anyOf", []):
        if alternative.get("type") != "null":
            schema = alternative
            break
    if "$ref" not in schema:
        return schema, None
    name = schema["$ref"].rsplit("/", 1)[-1]
    definition = document["$defs"][name]
    return definition, _request_class(name) if "properties" in definition else None


def _in_words(schema: dict[str, Any], document: dict[str, Any], name: str) -> str:
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
        case "string":
            return PATTERNS.get(name, "a string")
        case "array":
            return f"a list, each item {_in_words(schema['items'], document, '')}"
        case "object" if "properties" in schema:
            required = schema.get("required") or list(schema["properties"])
            return f"a dictionary with {' and '.join(map(repr, required))}"
        case "object":
            return "a dictionary of strings"
        case _:
            return "valid"
