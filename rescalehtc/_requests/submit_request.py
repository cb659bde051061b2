"""Validate a submission before it is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .. import models
from .._facts import (
    ANSWER_MARKS,
    ARGUMENTS,
    MAX_BATCH_SIZE,
    MAX_REQUESTS,
    OPTIONAL_ARGUMENTS,
    SET_BY_SERVICE,
)
from .._problems import MAX_PROBLEMS, Location, expected, shown
from .._raw import is_list, is_mapping, is_object, is_sequence, strings_of
from ..exceptions import HtcValidationError
from .pairs import inspect_request
from .validation import argument_names, fill_in, rename

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Found = list[tuple[Location, str]]
    Positioned = tuple[int, models.HTCJobSubmitRequest]
    """A submit request, and its position in the caller's list."""

MAX_SPLIT_BATCH_SIZE = 10_000_000
SUBJECT = "the payload"

_MODEL = models.HTCJobSubmitRequest.__name__
# A batch has these fields too. `inspect` removes all other fields that requests don't have.
_LEFT_OUT = SET_BY_SERVICE[_MODEL] - {ANSWER_MARKS[_MODEL]}


def from_arguments(
    arguments: Mapping[str, Any], region: Any, project: Mapping[str, Any]
) -> models.HTCJobSubmitRequest:
    """Create a submit request from the arguments of create_job_batch.

    Raises:
        HtcValidationError: Arguments are invalid. The exception lists all problems.
    """
    regions = strings_of(project.get("regions"))
    if region is None and regions and len(regions) == 1:
        region = regions[0]
    fields = {
        name: value
        for name, value in arguments.items()
        if value is not None or name not in OPTIONAL_ARGUMENTS
    }
    # In a request, None would mean "not given".
    nones = [ARGUMENTS[_MODEL][name] for name, value in fields.items() if value is None]
    found: Found = [
        (location, f"must be {expected(models.HTCJobSubmitRequest, location)}, got None")
        for location in nones
    ]
    request = fill_in(_MODEL, fields)
    if region is None:
        found.append((("regions",), _region_needed(regions)))
    else:
        request["regions"] = [region]
        provider = region.split("_")[0] if isinstance(region, str) else None
        if provider in models.CloudProvider.__members__:
            request["cloudProvider"] = provider

    model, problems = inspect_request(request)
    found += [problem for problem in problems if problem[0] not in nones]
    found += _region_problems(model.to_json_dict() if model else request, regions)
    if found or model is None:
        listed = rename(found, {**argument_names(_MODEL), ("regions", 0): "region"})
        in_order = sorted([*arguments, "region"], key=OPTIONAL_ARGUMENTS.__contains__)
        order = {name: position for position, name in enumerate(in_order)}
        listed.sort(key=lambda problem: order.get(re.split(r"[.[]", problem.where)[0], len(order)))
        raise HtcValidationError("the arguments", listed)
    return model


def from_payload(payload: object, project: Mapping[str, Any]) -> list[Positioned]:
    """Create submit requests from the payload of create_job_batch_raw, each with its position.

    Raises:
        HtcValidationError: The payload is invalid. The exception lists all problems.
    """
    items = _items(payload)
    found: Found = []
    if not 1 <= len(items) <= MAX_REQUESTS:
        message = f"must contain 1 to {MAX_REQUESTS} submit requests, got {len(items)}"
        found.append(((), message))
    return list(enumerate(_checked(items, project, found)))


def from_any_number(payload: object, project: Mapping[str, Any]) -> list[Positioned]:
    """Create any number of submit requests of any size. Large ones are split.

    Raises:
        HtcValidationError: The payload is invalid. The exception lists all problems.
    """
    items = _items(payload)
    checked = list(_first_parts(items, project))
    return [
        (position, part)
        for position, (request, item) in enumerate(zip(checked, items, strict=True))
        for part in _parts(request, _part_sizes(item))
    ]


def check_any_number(payload: object, project: Mapping[str, Any]) -> None:
    """Validate submit requests like `from_any_number`, without keeping them.

    Raises:
        HtcValidationError: The payload is invalid. The exception lists all problems.
    """
    for _ in _first_parts(_items(payload), project):
        pass


def _first_parts(
    items: list[Any], project: Mapping[str, Any]
) -> Iterator[models.HTCJobSubmitRequest]:
    """The requests. Requests that are too large are replaced by their first batch."""
    found: Found = [] if items else [((), "must contain at least one submit request")]
    firsts = (
        {**item, "batchSize": sizes[0]} if (sizes := _part_sizes(item)) else item for item in items
    )
    return _checked(firsts, project, found)


def _parts(
    request: models.HTCJobSubmitRequest, sizes: list[int]
) -> list[models.HTCJobSubmitRequest]:
    return [request.model_copy(update={"batch_size": size}) for size in sizes] or [request]


def _part_sizes(item: object) -> list[int]:
    """The batch sizes into which a large request is split. Empty if it is not too large."""
    size = item.get("batchSize") if is_object(item) else None
    if not isinstance(size, int) or not MAX_BATCH_SIZE < size <= MAX_SPLIT_BATCH_SIZE:
        return []
    full, remainder = divmod(size, MAX_BATCH_SIZE)
    return [MAX_BATCH_SIZE] * full + [remainder] * bool(remainder)


def _items(payload: object) -> list[Any]:
    if not is_sequence(payload):
        message = f"must be a list of submit requests, got {type(payload).__name__}"
        raise HtcValidationError(SUBJECT, rename([((), message)], {}))
    return [{**item} if is_mapping(item) else item for item in payload]


def _checked(
    items: Iterable[Any], project: Mapping[str, Any], found: Found
) -> Iterator[models.HTCJobSubmitRequest]:
    """Yield the requests, as models.

    Raises:
        HtcValidationError: Requests are invalid. Lists the first MAX_PROBLEMS problems, in order.
    """
    regions = strings_of(project.get("regions"))
    for index, item in enumerate(items):
        if is_object(item):  # it may be the service's response to another submission
            item = {name: value for name, value in item.items() if name not in _LEFT_OUT}
        model, problems = inspect_request(item)
        if model is not None:
            yield model
            item = model.to_json_dict() if regions is not None else None
        problems += _region_problems(item, regions)
        if regions and len(regions) > 1 and not _regions_given(item):
            names = ", ".join(regions)
            message = f"must have at least one of the project's regions: {names}"
            problems.append((("regions",), message))
        found += [((index, *location), message) for location, message in problems]
        if len(found) > MAX_PROBLEMS:
            found[MAX_PROBLEMS:] = [((), f"has more problems than these {MAX_PROBLEMS:,}")]
            break
    if found:
        raise HtcValidationError(SUBJECT, rename(found, {}))


def _region_needed(regions: list[str] | None) -> str:
    if regions is None:
        return "is missing; the project's record has no regions to choose a default from"
    if not regions:
        return "can't be set, because the project has no regions"
    return f"must be one of the project's regions: {', '.join(regions)}; got None"


def _regions_given(request: object) -> list[Any]:
    regions = request.get("regions") if is_object(request) else None
    return regions if is_list(regions) else []


def _region_problems(request: object, regions: list[str] | None) -> Found:
    """Problems with regions that the project does not have. Invalid names are found elsewhere."""
    if regions is None:
        return []
    allowed = ", ".join(regions) or "it has none"
    return [
        (
            ("regions", index),
            f"must be one of the project's regions: {allowed}; got {shown(('regions',), region)}",
        )
        for index, region in enumerate(_regions_given(request))
        if isinstance(region, str) and region not in regions
    ]
