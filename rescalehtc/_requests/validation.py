"""Checking what is about to be sent, and saying what would be right."""

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


def retention_payload(archive_after_hours: int, delete_after_hours: int) -> dict[str, Any]:
    """Check a retention policy and return what to send.

    Raises:
        HtcValidationError: A number can't be right.
    """
    arguments = {
        "archive_after_hours": archive_after_hours,
        "delete_after_hours": delete_after_hours,
    }
    return check_arguments("TaskRetentionPolicyUpdate", "set_retention_policy", arguments)


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

    Of an object that the service answered, fields that a request does not have are left out.
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
        return None, [((), "must not be nested so deeply")]


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
