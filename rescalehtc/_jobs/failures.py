"""The failed jobs of a batch, and submit requests for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._facts import FAILED_STATUSES
from .._raw import is_list, is_object
from ..exceptions import HtcValidationError, Problem
from .records import job_listing, parent_and_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .. import models
    from .._client.client import Client

    Json = Mapping[str, Any]


async def fetch_failed(
    client: Client, task_ids: Mapping[str, str], parents: Sequence[str], group: str | None
) -> list[dict[str, Any]]:
    """Fetch the records of the failed jobs with these parents, in order."""
    order = {parent: position for position, parent in enumerate(parents)}
    by_position: dict[tuple[int, int], dict[str, Any]] = {}
    for status in FAILED_STATUSES:  # the service lists one status at a time
        call = job_listing(task_ids, status=status, group=group)
        async for page in client.pages(call):
            for record in page:
                parent, index = parent_and_index(record["jobUUID"])
                if parent in order:
                    by_position[order[parent], index] = record
    return [by_position[place] for place in sorted(by_position)]


def resubmission(
    parts: Sequence[Json], failed: Sequence[Json], index_variable: str | None, project: Json
) -> tuple[list[models.HTCJobSubmitRequest], list[str]]:
    """Build submit requests for the failed jobs of a batch.

    Args:
        parts: The service's response to each submit request of the batch.
        failed: The records of the failed jobs, in order.
        index_variable: A variable for the old index of each job, or None.
        project: The project.

    Returns:
        The requests, and the id of the job that each new job repeats.

    Raises:
        HtcValidationError: The batch's record is not a valid request, or the variable is invalid.
    """
    by_parent: dict[str, list[Json]] = {}
    for record in failed:
        by_parent.setdefault(parent_and_index(record["jobUUID"])[0], []).append(record)
    requests: list[models.HTCJobSubmitRequest] = []
    for part in parts:
        jobs = by_parent.get(str(part.get("parentJobId")), [])
        if index_variable is None:
            requests += [_request(part, jobs, project)] if jobs else []
        else:
            requests += [single_request(part, job, index_variable, project) for job in jobs]
    return requests, [record["jobUUID"] for record in failed]


def _request(
    part: Json, jobs: Sequence[Json], project: Json, changes: Json | None = None
) -> models.HTCJobSubmitRequest:
    """The part's request with fewer jobs and a changed definition."""
    from .._requests import submit_request

    request = {**part, "batchSize": len(jobs)}
    if changes is not None:
        request["htcJobDefinition"] = {**_definition(part), **changes}
    if not request.get("regions"):  # the service may omit them
        request |= _where(jobs)
    return submit_request.from_payload([request], project)[0][1]


def _definition(part: Json) -> dict[str, Any]:
    definition = part.get("htcJobDefinition")
    return definition if is_object(definition) else {}


def _envs(part: Json) -> list[Any]:
    envs = _definition(part).get("envs")
    return envs if is_list(envs) else []


def _where(jobs: Iterable[Json]) -> dict[str, Any]:
    """The regions of the jobs. The service chooses the cloud provider."""
    regions = dict.fromkeys(region for job in jobs if (region := job.get("region")))
    return {"regions": list(regions), "cloudProvider": None} if regions else {}


def single_request(
    part: Json, job: Json, variable: str, project: Json
) -> models.HTCJobSubmitRequest:
    """The part's request for a single job, with its old index in a variable."""
    envs = [*_envs(part)]
    if not has_variable(part, variable):
        envs.append({"name": variable, "value": str(parent_and_index(job["jobUUID"])[1])})
    elif part.get("batchSize", 1) != 1:
        message = f"{variable} is already a variable of the batch; choose another name"
        raise HtcValidationError("resubmit_failed", [Problem("index_variable", message)])
    return _request(part, [job], project, {"envs": envs})


def has_variable(part: Json, name: str) -> bool:
    """Whether a submit request gives its jobs this environment variable."""
    return any(_is_named(env, name) for env in _envs(part))


def _is_named(env: Any, name: str) -> bool:
    match env:
        case {"name": str(given)}:
            return given == name
        case _:
            return False
