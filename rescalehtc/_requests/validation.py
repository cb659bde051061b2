"""Validate requests, and describe their problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .._facts import ANSWER_MARKS, ARGUMENTS
from .._problems import Location, place_name, problems_of
from .._raw import is_object, is_sequence
from ..exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._model_base import Request

RequestT = TypeVar("RequestT", bound="Request")


def check(model: str, value: object, subject: str, start: str = "") -> dict[str, Any]:
    """Validate a request and return it as JSON.

    Args:
        model: The name of the request's class in `models`.
        value: A dictionary or a model.
        subject: The call, for the message.
        start: The name of the argument that contains the request.

    Raises:
        HtcValidationError: The request is invalid. The exception lists all problems.
    """
    request, problems = inspect(_request_class(model), value)
    if request is None:
        raise HtcValidationError(subject, rename(problems, {**argument_names(model), (): start}))
    return request.to_json_dict()


def check_arguments(model: str, subject: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Validate the request that is made from a function's arguments, and return it as JSON.

    Raises:
        HtcValidationError: Arguments are invalid. The exception lists all problems.
    """
    return check(model, fill_in(model, arguments), subject)


def retention_payload(archive_after_hours: int, delete_after_hours: int) -> dict[str, Any]:
    """Validate a retention policy, and return the JSON to send.

    Raises:
        HtcValidationError: A number is invalid.
    """
    arguments = {
        "archive_after_hours": archive_after_hours,
        "delete_after_hours": delete_after_hours,
    }
    return check_arguments("TaskRetentionPolicyUpdate", "set_retention_policy", arguments)


def fill_in(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Set the fields of a request from the arguments."""
    request: dict[str, Any] = {}
    for argument, value in arguments.items():
        *parents, field = ARGUMENTS[model][argument]
        owner = request
        for parent in parents:
            owner = owner.setdefault(parent, {})
        owner[field] = list(value) if is_sequence(value) else value
    return request


def argument_names(model: str) -> dict[Location, str]:
    """The arguments that set fields of a request, by the fields' locations."""
    return {location: argument for argument, location in ARGUMENTS.get(model, {}).items()}


def _request_class(name: str) -> type[Request]:
    from .. import models

    kind: type[Request] = getattr(models, name)
    return kind


def inspect(
    model: type[RequestT], value: object
) -> tuple[RequestT | None, list[tuple[Location, str]]]:
    """Return the request as a model or, if it is invalid, None and the problems.

    Fields that a request does not have are removed from an object that the service sent.
    """
    from pydantic import ValidationError

    from .._model_base import validate

    mark = ANSWER_MARKS.get(model.__name__)
    answered = mark is not None and is_object(value) and mark in value
    try:
        return validate(model, value, "ignore" if answered else None), []
    except ValidationError as error:
        return None, problems_of(model, error)
    except RecursionError:
        return None, [((), "is nested too deeply")]


def rename(
    problems: list[tuple[Location, str]], names: Mapping[Location, str], root: str = "payload"
) -> list[Problem]:
    """Replace the start of each problem's location by its longest name."""
    renamed: list[Problem] = []
    for location, message in problems:
        length = next((n for n in range(len(location), -1, -1) if location[:n] in names), 0)
        place = names.get(location[:length], "")
        renamed.append(Problem(place_name(location[length:], place) or root, message))
    return renamed
