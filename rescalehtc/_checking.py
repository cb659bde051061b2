"""All problems of a payload that is not sent, with what only the project and the service know."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from . import _submission, api
from ._json_object import id_of, validated
from .exceptions import HtcNotFoundError, HtcValidationError, Problem
from .htcprojects import HtcProject

if TYPE_CHECKING:
    from . import models
    from .htcsession import HtcSession


def problems(
    payload: object, project: HtcProject | None, rescale: HtcSession | None
) -> list[Problem]:
    """Return the problems of a payload; those that the service knows of come last."""
    # A project of which nothing is known has no say in what is right.
    known = project or HtcProject({})
    found = _problems(payload, known)
    if rescale is None or project is None or not isinstance(payload, list | tuple):
        return found
    service = _Service(rescale, project)
    for index, item in enumerate(cast("list[object]", payload)):
        try:
            request = _submission.from_any_number([item], known)[0]
        except HtcValidationError:  # the service is not asked about what breaks rules
            continue
        found += [Problem(f"[{index}]{where}", text) for where, text in service.problems(request)]
    return found


def _problems(payload: object, project: HtcProject) -> list[Problem]:
    try:
        _submission.check_any_number(payload, project)
    except HtcValidationError as error:
        return error.problems
    return []


class _Service:
    """What only the service knows, asked for once."""

    def __init__(self, rescale: HtcSession, project: HtcProject) -> None:
        from . import models

        self._rescale = rescale
        self._project = project
        self._images: dict[str, str | None] = {}
        self._environments = [
            validated(models.HTCComputeEnvironment, environment)
            for environment in api.get_htc_projects_dimensions(rescale, id_of(project, "projectId"))
        ]

    def problems(self, request: models.HTCJobSubmitRequest) -> list[tuple[str, str]]:
        """The problems of a submit request that breaks no rule, by their places in it."""
        definition = request.htc_job_definition
        found = [
            (".htcJobDefinition.imageName", self._image_problem(definition.image_name)),
            (".htcJobDefinition", self._environment_problem(request)),
        ]
        return [(where, text) for where, text in found if text]

    def _image_problem(self, name: str) -> str | None:
        if name not in self._images:
            self._images[name] = self._ask_for_image(name)
        return self._images[name]

    def _ask_for_image(self, name: str) -> str | None:
        project_id = id_of(self._project, "projectId")
        try:
            image = api.get_htc_projects_container_registry_images(self._rescale, project_id, name)
        except HtcNotFoundError:
            return f"must be an image of the project, which has none named {name}"
        status: object = image.get("status")
        return None if status == "READY" else f"must be ready: image {name} is {status}"

    def _environment_problem(self, request: models.HTCJobSubmitRequest) -> str | None:
        """Whether the project is restricted to environments none of which fits."""
        if not self._environments:
            return None
        definition = request.htc_job_definition
        regions = request.regions or self._project.json.get("regions") or []
        wanted = f"{definition.priority or 'any priority'}, {definition.architecture or 'any architecture'}"
        for region in regions:
            if not any(_fits(one, region, definition) for one in self._environments):
                return (
                    "must fit one of the project's computing environments: none in region "
                    f"{region} has {wanted}, {definition.max_vcpus or 1} virtual CPUs"
                )
        return None


def _fits(
    environment: models.HTCComputeEnvironment, region: str, definition: models.HTCJobDefinition
) -> bool:
    """Whether an environment has what is asked for. What it does not state, it has."""
    derived = getattr(environment, "derived", None)
    stated = [
        (getattr(environment, "region", None), region),
        (getattr(environment, "priority", None), definition.priority),
        (getattr(derived, "architecture", None), definition.architecture),
    ]
    vcpus = getattr(derived, "vcpus", None)
    return all(has is None or wanted is None or has == wanted for has, wanted in stated) and (
        vcpus is None or (definition.max_vcpus or 1) <= vcpus
    )
