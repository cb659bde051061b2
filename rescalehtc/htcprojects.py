"""Projects, which hold tasks and container images, and list the regions for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _lazy, api
from ._facts import PAGE_SIZE
from ._objects.json_object import Listing, id_of, require_instance, require_list
from ._objects.storage import PROJECT_STORAGE, StoredObject
from ._requests.validation import check, check_arguments, retention_payload
from ._tracebacks import trimmed
from .exceptions import (
    HtcException,
    HtcNotFoundError,
    HtcResponseError,
    HtcValidationError,
    Problem,
)
from .records import HTCProjectLimitRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from . import models, types
    from ._literals import ModifierRole, RescaleRegion
    from .htcsession import HtcSession

__all__ = [
    "HtcException",
    "HtcProject",
    "HtcSession",
    "api",
    "create_project",
    "get_project_with_id",
    "get_project_with_name",
    "get_projects",
    "iter_projects",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, HtcSession="htcsession")


def __dir__() -> list[str]:
    return __all__


class HtcProject(StoredObject["types.HTCProjectDict", "models.HTCProject"]):
    """A project.

    Attributes:
        json: The raw dictionary, an `HTCProject` object with the service's names.
    """

    _operation = api.GET_PROJECT
    _storage = PROJECT_STORAGE

    def __repr__(self) -> str:
        name, project_id = self.json.get("projectName"), self.json.get("projectId")
        return f"HtcProject(projectName={name!r}, projectId={project_id!r})"

    def _ids(self) -> dict[str, Any]:
        return {"projectId": id_of(self, "projectId")}

    def set_regions(self, rescale: HtcSession, regions: Sequence[RescaleRegion]) -> None:
        """Change the regions in which the project's jobs may run, and update `json`.

        Operation updateProject.

        Args:
            rescale: The session.
            regions: Names such as AWS_US_EAST_1, at least one, without duplicates.

        Raises:
            HtcValidationError: `regions` is not a list of unique names.
        """
        require_list(regions, "regions", "set_regions")
        update = check_arguments("HTCProjectUpdate", "set_regions", {"regions": list(regions)})
        self.json: types.HTCProjectDict = api.patch_htc_projects(
            rescale, id_of(self, "projectId"), update
        )

    def get_limits(self, rescale: HtcSession) -> list[HTCProjectLimitRecord]:
        """Return the project's limits, as `HTCProjectLimit` objects.

        Operation listProjectLimits.

        Args:
            rescale: The session.
        """
        with trimmed():
            limits: list[Any] = api.get_htc_projects_limits(rescale, id_of(self, "projectId"))
            if not all(isinstance(limit, dict) for limit in limits):
                raise HtcResponseError("listProjectLimits: a limit is not a JSON object")
            return [HTCProjectLimitRecord(limit) for limit in limits]

    def set_vcpu_limit(
        self, rescale: HtcSession, modifier_role: ModifierRole, vcpu_limit: int
    ) -> HTCProjectLimitRecord:
        """Limit the number of virtual CPUs that the project's jobs may use at the same time.

        Operation createProjectLimit. This replaces an existing limit of the role. The lowest of
        all limits applies.

        Args:
            rescale: The session.
            modifier_role: The lowest role that may change the limit: PROJECT_ADMIN or
                WORKSPACE_ADMIN.
            vcpu_limit: Virtual CPUs, 1 to 999999.

        Returns:
            The limit, an `HTCProjectLimit` object.

        Raises:
            HtcValidationError: An argument is invalid.
        """
        arguments = {"vcpu_limit": vcpu_limit, "modifier_role": modifier_role}
        limit = check_arguments("HTCLimitCreate", "set_vcpu_limit", arguments)
        if limit["vCPUs"] == 0:  # the service accepts 0, but then no job could start
            message = "must be an integer from 1 to 999999, got 0"
            raise HtcValidationError("set_vcpu_limit", [Problem("vcpu_limit", message)])
        created = api.post_htc_projects_limits(rescale, id_of(self, "projectId"), limit)
        return HTCProjectLimitRecord(created)

    def get_limit(self, rescale: HtcSession, limit_id: int | str) -> HTCProjectLimitRecord | None:
        """Fetch one of the project's limits. Returns None if it does not exist.

        Operation getProjectLimit.

        Args:
            rescale: The session.
            limit_id: The limit's `id`.
        """
        try:
            limit = api.get_htc_projects_limits(rescale, id_of(self, "projectId"), limit_id)
        except HtcNotFoundError:
            return None
        return HTCProjectLimitRecord(limit)

    def update_limit(
        self, rescale: HtcSession, limit_id: int | str, vcpu_limit: int
    ) -> HTCProjectLimitRecord:
        """Change one of the project's limits.

        Operation updateProjectLimit.

        Args:
            rescale: The session.
            limit_id: The limit's `id`.
            vcpu_limit: The maximum number of virtual CPUs in use, 0 to 999999. With 0, no job can
                start.

        Raises:
            HtcValidationError: `vcpu_limit` is invalid.
        """
        update = check_arguments("HTCLimitUpdate", "update_limit", {"vcpu_limit": vcpu_limit})
        limit = api.patch_htc_projects_limits(rescale, id_of(self, "projectId"), limit_id, update)
        return HTCProjectLimitRecord(limit)

    def delete_limit(self, rescale: HtcSession, limit_id: int | str) -> None:
        """Delete one of the project's limits.

        Operation deleteProjectLimit.

        Args:
            rescale: The session.
            limit_id: The limit's `id`.
        """
        api.delete_htc_projects_limits(rescale, id_of(self, "projectId"), limit_id)

    def delete_all_limits(self, rescale: HtcSession) -> None:
        """Delete all of the project's limits.

        Operation deleteAllProjectLimits.

        Args:
            rescale: The session.
        """
        api.delete_all_htc_projects_limits(rescale, id_of(self, "projectId"))

    def get_dimensions(self, rescale: HtcSession) -> list[models.HTCComputeEnvironment]:
        """Fetch the computing environments in which the project's jobs may run.

        Operation getProjectDimensions.

        Args:
            rescale: The session.
        """
        environments = api.get_htc_projects_dimensions(rescale, id_of(self, "projectId"))
        return [api.GET_PROJECT_DIMENSIONS.to_record(environment) for environment in environments]

    def set_dimensions(
        self,
        rescale: HtcSession,
        dimensions: Sequence[
            types.HTCComputeEnvironmentUpdateDict
            | types.HTCComputeEnvironmentDict
            | models.HTCComputeEnvironmentUpdate
            | dict[str, Any]
        ],
    ) -> list[models.HTCComputeEnvironment]:
        """Replace the computing environments in which the project's jobs may run.

        Operation setProjectDimensions. An empty list removes all restrictions.

        Args:
            rescale: The session.
            dimensions: The environments: dictionaries with the service's names, models, or a mix
                of both.

        Raises:
            HtcValidationError: An environment is invalid.
        """
        require_list(dimensions, "dimensions", "set_dimensions")
        name = "HTCComputeEnvironmentUpdate"
        payload = [
            check(name, dimension, "set_dimensions", f"dimensions[{index}]")
            for index, dimension in enumerate(dimensions)
        ]
        environments = api.put_htc_projects_dimensions(rescale, id_of(self, "projectId"), payload)
        return [api.GET_PROJECT_DIMENSIONS.to_record(dimension) for dimension in environments]

    def get_retention_policy(self, rescale: HtcSession) -> models.TaskRetentionPolicy | None:
        """Fetch the times after which tasks are archived and deleted automatically.

        Operation getProjectRetentionPolicy. Returns None if the project has no policy. Then the
        policy of its workspace applies.

        Args:
            rescale: The session.
        """
        try:
            policy = api.get_htc_projects_task_retention_policy(rescale, id_of(self, "projectId"))
        except HtcNotFoundError:
            return None
        return api.GET_PROJECT_RETENTION_POLICY.to_record(policy)

    def set_retention_policy(
        self, rescale: HtcSession, archive_after_hours: int, delete_after_hours: int
    ) -> models.TaskRetentionPolicy:
        """Set the times after which tasks are archived and deleted automatically.

        Operation setProjectRetentionPolicy.

        Args:
            rescale: The session.
            archive_after_hours: Hours without use after which an active task is archived, at
                least 0. 0 means never.
            delete_after_hours: Hours after which an archived task is deleted, at least 0. 0 means
                never.

        Raises:
            HtcValidationError: A number is invalid.
        """
        policy = api.put_htc_projects_task_retention_policy(
            rescale,
            id_of(self, "projectId"),
            retention_payload(archive_after_hours, delete_after_hours),
        )
        return api.GET_PROJECT_RETENTION_POLICY.to_record(policy)

    def delete_retention_policy(self, rescale: HtcSession) -> None:
        """Delete the project's policy. Then the policy of its workspace applies.

        Operation deleteProjectRetentionPolicy.

        Args:
            rescale: The session.
        """
        api.delete_htc_projects_task_retention_policy(rescale, id_of(self, "projectId"))


def iter_projects(rescale: HtcSession) -> Iterator[HtcProject]:
    """Yield the projects of the workspace, holding one page at a time in memory.

    Operation listProjects.

    Args:
        rescale: The session.
    """
    for page in rescale.pages(api.LIST_PROJECTS.call(query={"pageSize": PAGE_SIZE})):
        for project in page:
            yield HtcProject(project)


def get_projects(rescale: HtcSession) -> list[HtcProject]:
    """Return the projects of the workspace.

    Operation listProjects.

    Args:
        rescale: The session.
    """
    return Listing(list(iter_projects(rescale)))


def get_project_with_name(rescale: HtcSession, project_name: str) -> HtcProject | None:
    """Return the project with this name, or None if it does not exist.

    Operation listProjects.

    Args:
        rescale: The session.
        project_name: The exact name of the project.

    Raises:
        HtcException: Several projects have this name.
    """
    named = [p for p in iter_projects(rescale) if p.json.get("projectName") == project_name]
    if len(named) > 1:
        ids = ", ".join(str(project.json.get("projectId")) for project in named)
        raise HtcException(f"{len(named)} projects are named {project_name!r}: {ids}")
    return named[0] if named else None


def get_project_with_id(rescale: HtcSession, project_id: str) -> HtcProject | None:
    """Return the project with this id, or None if it does not exist.

    Operation getProject.

    Args:
        rescale: The session.
        project_id: The project's id.

    Raises:
        HtcValidationError: `project_id` is not a string.
    """
    require_instance(project_id, str, "project_id", "get_project_with_id")
    try:
        return HtcProject(api.get_htc_projects(rescale, project_id))
    except HtcNotFoundError:
        return None


def create_project(
    rescale: HtcSession,
    project_name: str,
    project_description: str = "",
    regions: Sequence[RescaleRegion] | None = None,
) -> HtcProject:
    """Create a project.

    Operation createProject.

    Args:
        rescale: The session.
        project_name: A display name.
        project_description: The project's description.
        regions: The regions in which its jobs may run. None for the service's default.

    Raises:
        HtcValidationError: The name or description is not a string, or `regions` is not a list of
            unique names.
    """
    arguments = {
        "project_name": project_name,
        "project_description": project_description,
        "regions": regions,
    }
    request = check_arguments("HTCProjectCreate", "create_project", arguments)
    return HtcProject(api.post_htc_projects(rescale, request))
