"""Find all problems of a payload without submitting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._raw import is_sequence, strings_of
from .._requests import submit_request
from .._wire.operations import GET_IMAGE_STATUS, GET_PROJECT_DIMENSIONS
from ..exceptions import HtcNotFoundError, HtcValidationError, Problem
from .records import integer_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .. import models
    from .._client.client import Client


def problems(payload: object, project: Mapping[str, Any]) -> list[Problem]:
    """Return the problems that can be found without sending a request.

    Args:
        payload: Submit requests.
        project: The project's record. Fields that it does not have are not checked.
    """
    try:
        submit_request.check_any_number(payload, project)
    except HtcValidationError as error:
        return error.problems
    return []


async def all_problems(
    client: Client, payload: object, project: Mapping[str, Any], project_id: str
) -> list[Problem]:
    """Return the problems of a payload. Those that need requests to the service come last."""
    all_found = problems(payload, project)
    if not is_sequence(payload):
        return all_found
    answer = await client.send(GET_PROJECT_DIMENSIONS.call({"projectId": project_id}))
    environments = [GET_PROJECT_DIMENSIONS.to_record(environment) for environment in answer]
    images: dict[str, str | None] = {}
    for index, item in enumerate(payload):
        try:
            _, request = submit_request.from_any_number([item], project)[0]
        except HtcValidationError:  # checking an invalid request at the service is pointless
            continue
        definition = request.htc_job_definition
        image = definition.image_name
        if image not in images:
            images[image] = await _image_problem(client, project_id, image)
        if message := images[image]:
            all_found.append(Problem(f"[{index}].htcJobDefinition.imageName", message))
        regions = request.regions or strings_of(project.get("regions")) or []
        if environments and (message := _environment_problem(environments, definition, regions)):
            all_found.append(Problem(f"[{index}].htcJobDefinition", message))
    return all_found


async def _image_problem(client: Client, project_id: str, name: str) -> str | None:
    call = GET_IMAGE_STATUS.call({"projectId": project_id, "imageName": name})
    try:
        status: object = (await client.send(call)).get("status")
    except HtcNotFoundError:
        return f"must be an image of the project; it does not have an image named {name}"
    shown = "PENDING" if status == "PENDING" else "in an unknown status"
    return None if status == "READY" else f"must be ready: image {name} is {shown}"


def _environment_problem(
    environments: Sequence[models.HTCComputeEnvironment],
    definition: models.HTCJobDefinition,
    regions: Sequence[str],
) -> str | None:
    """The reason why no environment fits, if the project is restricted to some."""
    requirements = (
        f"{definition.priority or 'any priority'}, {definition.architecture or 'any architecture'}"
    )
    for region in regions:
        needed = (region, definition.priority, definition.architecture, definition.max_vcpus)
        if not any(_has(environment, *needed) for environment in environments):
            return (
                "must fit a computing environment of the project; no environment in region "
                f"{region} has {requirements}, {definition.max_vcpus or 1} virtual CPUs"
            )
    return None


def environment_problem(
    environments: Sequence[models.HTCComputeEnvironment], job: Mapping[str, Any]
) -> str | None:
    """Why none of the environments that the project is restricted to fits a job's record."""
    needed = (job.get("region"), None, job.get("architecture"), integer_in(job.get("maxVCpus")))
    if not environments or any(_has(environment, *needed) for environment in environments):
        return None
    return (
        f"none of the project's {len(environments)} computing environments is in region "
        f"{job.get('region')} with {job.get('architecture')}, {job.get('maxVCpus') or 1} virtual CPUs"
    )


def _has(
    environment: models.HTCComputeEnvironment,
    region: str | None,
    priority: str | None,
    architecture: str | None,
    vcpus: int | None,
) -> bool:
    """Whether an environment has what is wanted. A property that it does not state fits."""
    derived = getattr(environment, "derived", None)
    stated = [
        (getattr(environment, "region", None), region),
        (getattr(environment, "priority", None), priority),
        (getattr(derived, "architecture", None), architecture),
    ]
    most = getattr(derived, "vcpus", None)
    return all(has is None or required is None or has == required for has, required in stated) and (
        most is None or (vcpus or 1) <= most
    )
