"""The manifests of images that were pushed, and their tags."""

from __future__ import annotations

from typing import NamedTuple

from .database import Database


class Manifest(NamedTuple):
    """A manifest. Its content is a blob of the registry."""

    digest: str
    media_type: str


class Manifests(Database):
    """The part of the store for manifests. Each repository belongs to a project."""

    def add_manifest(
        self, project_id: str, repository: str, manifest: Manifest, tag: str | None
    ) -> None:
        """Store a manifest, and its tag if there is one."""
        with self._transaction():
            self._execute(
                "INSERT OR REPLACE INTO manifests VALUES (?, ?, ?, ?)",
                (project_id, repository, *manifest),
            )
            if tag is not None:
                values = (project_id, repository, tag, manifest.digest)
                self._execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?)", values)

    def manifest(self, project_id: str, repository: str, reference: str) -> Manifest | None:
        """A manifest by its digest or tag."""
        digest = reference
        if ":" not in reference:
            query = "SELECT digest FROM tags WHERE project = ? AND repository = ? AND name = ?"
            row = self._one(query, project_id, repository, reference)
            digest = row[0] if row else ""
        query = (
            "SELECT digest, media_type FROM manifests"
            " WHERE project = ? AND repository = ? AND digest = ?"
        )
        row = self._one(query, project_id, repository, digest)
        return row and Manifest(*row)

    def tags(self, project_id: str, repository: str) -> list[str]:
        """The tags of a repository."""
        query = "SELECT name FROM tags WHERE project = ? AND repository = ? ORDER BY name"
        return [name for (name,) in self._all(query, project_id, repository)]

    def pushed_images(self, project_id: str) -> list[str]:
        """The images of a project, with their tags."""
        query = "SELECT repository || ':' || name FROM tags WHERE project = ? ORDER BY 1"
        return [name for (name,) in self._all(query, project_id)]
