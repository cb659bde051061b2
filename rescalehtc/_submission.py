"""All that is checked of a submission before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from . import models
from ._validation import MAX_PROBLEMS, Location, expected, inspect, rename, shown
from .exceptions import HtcValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import ParamSpec, TypeVar

    from .htcprojects import HtcProject

    P = ParamSpec("P")
    T = TypeVar("T")
    Found = list[tuple[Location, str]]

MAX_REQUESTS = 100
MAX_BATCH_SIZE = 1000
MAX_SPLIT_BATCH_SIZE = 10_000_000
SUBJECT = "the payload"

# Where the arguments of create_job_batch stand in a submit request.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "batch_size": ("batchSize",),
    "priority": ("htcJobDefinition", "priority"),
    "image_name": ("htcJobDefinition", "imageName"),
    "exec_timeout_seconds": ("htcJobDefinition", "execTimeoutSeconds"),
    "job_name": ("jobName",),
    "max_vcpus": ("htcJobDefinition", "maxVCpus"),
    "max_memory_mib": ("htcJobDefinition", "maxMemory"),
    "max_swap_mib": ("htcJobDefinition", "maxSwap"),
    "max_disk_gib": ("htcJobDefinition", "maxDiskGiB"),
    "job_tags": ("htcJobDefinition", "tags"),
    "batch_tags": ("tags",),
    "commands": ("htcJobDefinition", "commands"),
    "envs": ("htcJobDefinition", "envs"),
    "claims": ("htcJobDefinition", "claims"),
    "architecture": ("htcJobDefinition", "architecture"),
}
# Those that are left to the service where they are None.
OPTIONAL_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "max_retries": ("retryStrategy", "maxRetries"),
    "working_dir": ("htcJobDefinition", "workingDir"),
}
# With `parentJobId` an item is an answer, of which all that requests do not have is left out.
_SET_BY_SERVICE = frozenset(
    {"taskId", "projectId", "createdBy", "workspaceId", "group"}
    | {"rescaleTimeReceived", "jobDefinitionName"}
)
_NAMES: dict[Location, str] = {
    **{location: argument for argument, location in ARGUMENTS.items()},
    ("regions", 0): "region",
    ("regions",): "region",
    **{location: argument for argument, location in OPTIONAL_ARGUMENTS.items()},
}


def tried(check: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | HtcValidationError:
    """The result of a check, or its error without the frames in which secrets can be seen."""
    try:
        return check(*args, **kwargs)
    except HtcValidationError as error:
        return error.with_traceback(None)


def passed(tried: T | HtcValidationError) -> T:
    """The result, when nothing secret is left in the caller's variables.

    Raises:
        HtcValidationError: There was an error.
    """
    if isinstance(tried, HtcValidationError):
        raise tried
    return tried


def from_arguments(
    arguments: Mapping[str, object], region: str | None, project: HtcProject
) -> models.HTCJobSubmitRequest:
    """Make a submit request of create_job_batch's arguments.

    Raises:
        HtcValidationError: Arguments break rules; all of them are listed.
    """
    regions = _project_regions(project)
    chosen = regions[0] if region is None and regions and len(regions) == 1 else region
    request: dict[str, Any] = {}
    found: Found = []
    for argument, location in {**ARGUMENTS, **OPTIONAL_ARGUMENTS}.items():
        value = arguments.get(argument)
        if value is None and argument in OPTIONAL_ARGUMENTS:
            continue
        if isinstance(value, tuple):
            value = list(value)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
        owner = request
        for name in location[:-1]:
            owner = owner.setdefault(name, {})
        owner[location[-1]] = value
        if value is None:  # None stands for "not given" in a request, not among arguments
            words = expected(models.HTCJobSubmitRequest, location)
            found.append((location, f"must be {words}, got None"))
    if chosen is not None:
        request["regions"] = [chosen]
        provider = chosen.split("_")[0] if isinstance(chosen, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if provider in models.CloudProvider.__members__:
            request["cloudProvider"] = provider
    else:
        found.append((("regions",), _region_needed(regions)))

    model, problems = inspect(models.HTCJobSubmitRequest, request)
    nones = {location for location, _ in found}
    found += [problem for problem in problems if problem[0] not in nones]
    found += _region_problems(model.to_json_dict() if model else request, regions)
    if found or model is None:
        raise HtcValidationError("the arguments", rename(_in_order(found), _NAMES))
    return model


def from_payload(payload: object, project: HtcProject) -> list[models.HTCJobSubmitRequest]:
    """Make submit requests of create_job_batch_raw's payload.

    Raises:
        HtcValidationError: The payload breaks rules; all of them are listed.
    """
    items = _items(payload)
    found: Found = []
    if not 1 <= len(items) <= MAX_REQUESTS:
        message = f"must hold 1 to {MAX_REQUESTS} submit requests, has {len(items)}"
        found.append(((), message))
    return list(_checked(items, project, found))


def from_any_number(payload: object, project: HtcProject) -> list[models.HTCJobSubmitRequest]:
    """Make submit requests of any number of them, each of any size.

    Raises:
        HtcValidationError: The payload breaks rules; all of them are listed.
    """
    items = _items(payload)
    checked = list(_first_parts(items, project))
    return [
        part
        for request, item in zip(checked, items, strict=True)
        for part in _parts(request, _part_sizes(item))
    ]


def check_any_number(payload: object, project: HtcProject) -> None:
    """Check submit requests as `from_any_number` does, without keeping any.

    Raises:
        HtcValidationError: The payload breaks rules; all of them are listed.
    """
    for _ in _first_parts(_items(payload), project):
        pass


def _first_parts(items: list[Any], project: HtcProject) -> Iterator[models.HTCJobSubmitRequest]:
    """The requests, of each that is too large for one batch the first part."""
    found: Found = [] if items else [((), "must hold at least one submit request")]
    firsts = (
        {**item, "batchSize": sizes[0]} if (sizes := _part_sizes(item)) else item for item in items
    )
    return _checked(firsts, project, found)


def _parts(
    request: models.HTCJobSubmitRequest, sizes: list[int]
) -> list[models.HTCJobSubmitRequest]:
    return [request.model_copy(update={"batch_size": size}) for size in sizes] or [request]


def positions(payload: Sequence[object]) -> list[int]:
    """For each request of `from_any_number`, the index of the one that it was made of."""
    return [i for i, item in enumerate(payload) for _ in _part_sizes(item) or [0]]


def _part_sizes(item: object) -> list[int]:
    """The sizes of the batches that a larger one is sent as; nothing if it is not larger."""
    size: object = item.get("batchSize") if isinstance(item, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(size, int) or not MAX_BATCH_SIZE < size <= MAX_SPLIT_BATCH_SIZE:
        return []
    full, rest = divmod(size, MAX_BATCH_SIZE)
    return [MAX_BATCH_SIZE] * full + [rest] * bool(rest)


def _items(payload: object) -> list[Any]:
    if not isinstance(payload, list | tuple):
        message = f"must be a list of submit requests, got {type(payload).__name__}"
        raise HtcValidationError(SUBJECT, rename([((), message)], {}))
    return list(payload)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _checked(
    items: Iterable[Any], project: HtcProject, found: Found
) -> Iterator[models.HTCJobSubmitRequest]:
    """The requests, as models.

    Raises:
        HtcValidationError: Some break rules; it lists the first MAX_PROBLEMS, in their order.
    """
    regions = _project_regions(project)
    for index, item in enumerate(items):
        if isinstance(item, dict):  # the answer to a submission may be submitted again
            given = cast("dict[object, object]", item)
            item = {name: value for name, value in given.items() if name not in _SET_BY_SERVICE}
        model, problems = inspect(models.HTCJobSubmitRequest, item)
        if model is not None:
            yield model
            item = model.to_json_dict() if regions is not None else None
        problems += _region_problems(item, regions)
        if regions and len(regions) > 1 and not _regions_given(item):
            names = ", ".join(regions)
            problems.append((("regions",), f"must be given, one or more of the project's: {names}"))
        found += [((index, *location), message) for location, message in problems]
        if len(found) > MAX_PROBLEMS:
            found[MAX_PROBLEMS:] = [((), f"has more problems than the first {MAX_PROBLEMS:,}")]
            break
    if found:
        raise HtcValidationError(SUBJECT, rename(found, {}))


def _project_regions(project: HtcProject) -> list[str] | None:
    """The project's regions; None if its record does not carry them."""
    regions: object = project.json.get("regions")
    if not isinstance(regions, list):
        return None
    return [region for region in regions if isinstance(region, str)]  # pyright: ignore[reportUnknownVariableType]


def _region_needed(regions: list[str] | None) -> str:
    if regions is None:
        return "must be given: the project's record does not carry its regions"
    if not regions:
        return "can't be given: the project has no regions"
    return f"must be one of the project's regions: {', '.join(regions)}; got None"


def _regions_given(request: object) -> list[Any]:
    given = cast("dict[object, Any]", request) if isinstance(request, dict) else {}
    regions = given.get("regions")
    return regions if isinstance(regions, list) else []  # pyright: ignore[reportUnknownVariableType]


def _region_problems(request: object, regions: list[str] | None) -> Found:
    """Regions that the project does not have. What is no region at all is found elsewhere."""
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


def _in_order(found: Found) -> Found:
    """In the order of the arguments."""
    order = list(_NAMES)

    def position(problem: tuple[Location, str]) -> int:
        location = problem[0]
        beginnings = (location[:length] for length in range(len(location), 0, -1))
        return next((order.index(start) for start in beginnings if start in order), len(order))

    return sorted(found, key=position)
