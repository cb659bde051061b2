"""Projects: they hold tasks and container images, and name the regions that jobs may run in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import api
from ._json_object import JsonObject
from .exceptions import HtcException, HtcNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import models
    from .htcsession import HtcSession

PAGE_SIZE = 500


class HtcProject(JsonObject):
    """A project.

    Attributes:
        json: The raw dictionary, an `HTCProject` object with the service's names.
    """

    def __repr__(self) -> str:
        name, project_id = self.json.get("projectName"), self.json.get("projectId")
        return f"HtcProject(projectName={name!r}, projectId={project_id!r})"

    @property
    def record(self) -> models.HTCProject:
        """The typed view of `json`.

        Raises:
            HtcResponseError: A field has a type that it is not described to have.
        """
        from . import models

        return self._record(models.HTCProject)


def iter_projects(rescale: HtcSession) -> Iterator[HtcProject]:
    """Yield the projects of the workspace, holding one page of them at a time.

    Operation listProjects.
    """
    for page in rescale.pages(api.LIST_PROJECTS.call(query={"pageSize": PAGE_SIZE})):
        for project in page:
            yield HtcProject(project)


def get_projects(rescale: HtcSession) -> list[HtcProject]:
    """Return the projects of the workspace; an empty list if there are none.

    Operation listProjects.
    """
    return list(iter_projects(rescale))


def get_project_with_name(rescale: HtcSession, project_name: str) -> HtcProject | None:
    """Return the project with this name, or None if there is none.

    Operation listProjects.

    Raises:
        HtcException: Several projects have this name.
    """
    named = [p for p in iter_projects(rescale) if p.json.get("projectName") == project_name]
    if len(named) > 1:
        ids = ", ".join(str(project.json.get("projectId")) for project in named)
        raise HtcException(f"{len(named)} projects are named {project_name!r}: {ids}")
    return named[0] if named else None


def get_project_with_id(rescale: HtcSession, project_id: str) -> HtcProject | None:
    """Return the project with this id, or None if there is none.

    Operation getProject.
    """
    try:
        return HtcProject(api.get_htc_projects(rescale, project_id))
    except HtcNotFoundError:
        return None
