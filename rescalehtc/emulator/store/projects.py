"""Projects, their repositories and computing environments, and images."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from ..clouds import DEFAULT_REGION, REGISTRY
from ..image_names import with_tag
from ..tokens import USER, USER_ID, WORKSPACE_ID
from .database import Database, Row, now, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Projects(Database):
    """The part of the store for projects and images."""

    _registry = REGISTRY

    def _prepare(self) -> None:
        super()._prepare()
        with self._transaction():
            if not self.projects(0, 1):
                self.add_project("emulator", "Runs jobs on this machine.", [DEFAULT_REGION])

    def set_registry(self, address: str) -> None:
        """Give all projects this container registry, without the path of each."""
        with self._transaction():
            self._registry = address
            self._execute(
                "UPDATE projects SET record ="
                " json_set(record, '$.containerRegistry', ? || '/' || id || '/')",
                (address,),
            )

    def add_project(
        self,
        name: str,
        description: str,
        regions: Sequence[str],
        region_settings: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Create a project and return its record."""
        project_id = str(uuid.uuid4())
        record = {
            "projectId": project_id,
            "projectName": name,
            "projectDescription": description,
            "createdBy": USER_ID,
            "workspaceId": WORKSPACE_ID,
            "organizationCode": USER["organizationCode"],
            "createdAt": now(),
            "containerRegistry": f"{self._registry}/{project_id}/",
            "repositories": [],
            "regions": list(regions),
            "regionSettings": region_settings or [_same_region(region) for region in regions],
            "projectFolderPath": f"projects/{project_id}/",
        }
        with self._transaction():
            insert = "INSERT INTO projects (id, record) VALUES (?, ?)"
            self._execute(insert, (project_id, json.dumps(record)))
        return record

    def project(self, project_id: str) -> dict[str, Any] | None:
        """A project's record."""
        row = self._one("SELECT record FROM projects WHERE id = ?", project_id)
        return json.loads(row[0]) if row else None

    def projects(self, after: int, limit: int) -> list[Row]:
        """Projects in the order of their creation."""
        return self._rows(
            "SELECT number, record FROM projects WHERE number > ? ORDER BY number LIMIT ?",
            *(after, limit),
        )

    def set_regions(self, project: Mapping[str, Any], regions: Sequence[str]) -> dict[str, Any]:
        """Change a project's regions and return its record.

        A region that the project had before keeps its storage region.
        """
        old: list[Mapping[str, Any]] = project["regionSettings"]
        settings = [
            next(
                (settings for settings in old if _computes_in(settings) == region),
                _same_region(region),
            )
            for region in regions
        ]
        return self._change_project(project, regions=list(regions), regionSettings=settings)

    def add_repository(self, project: Mapping[str, Any], name: str) -> bool:
        """Create a repository. Return False if it already exists."""
        names: list[str] = project["repositories"]
        if name in names:
            return False
        self._change_project(project, repositories=[*names, name])
        return True

    def _change_project(self, record: Mapping[str, Any], **changes: object) -> dict[str, Any]:
        changed = {**record, **changes}
        with self._transaction():
            update = "UPDATE projects SET record = ? WHERE id = ?"
            self._execute(update, (json.dumps(changed), changed["projectId"]))
        return changed

    def dimensions(self, project_id: str) -> list[dict[str, Any]]:
        """The computing environments of a project."""
        return self._document(project_id, "dimensions") or []

    def set_dimensions(self, project_id: str, environments: Sequence[Mapping[str, Any]]) -> None:
        """Replace the computing environments of a project."""
        self._set_document(project_id, "dimensions", environments)

    def image_status(self, name: str) -> str | None:
        """The status that was set; None if none was."""
        query = "SELECT status, ready_at FROM images WHERE name = ?"
        row = self._one(query, with_tag(name))
        if not row:
            return None
        status: str
        status, ready_at = row
        return "READY" if ready_at is not None and ready_at <= now() else status

    def set_image_status(self, name: str, status: str, ready_after: float | None = None) -> None:
        """Set the status of an image, for a number of seconds or permanently."""
        ready_at = None if ready_after is None else time_text(time.time() + ready_after)
        with self._transaction():
            values = (with_tag(name), status, ready_at)
            self._execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?)", values)

    def _use_image(self, project_id: str, name: str) -> None:
        values = (project_id, with_tag(name))
        self._execute("INSERT OR IGNORE INTO used_images VALUES (?, ?)", values)

    def images(self, project_id: str) -> list[str]:
        """The images that a project has used, and those whose status was set."""
        return [
            name
            for (name,) in self._all(
                "SELECT name FROM used_images WHERE project = ? UNION SELECT name FROM images"
                " EXCEPT SELECT name FROM images WHERE status = 'UNKNOWN' ORDER BY name",
                project_id,
            )
        ]


def _same_region(region: str) -> dict[str, Any]:
    return {
        "computeSettings": {"computeRegion": region},
        "storageSettings": {"storageRegion": region},
    }


def _computes_in(setting: Mapping[str, Any]) -> str | None:
    region: str | None = setting["computeSettings"].get("computeRegion")
    return region
