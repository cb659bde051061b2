"""The metadata of objects in the storages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .database import Database

if TYPE_CHECKING:
    from collections.abc import Mapping


class Metadata(Database):
    """The part of the store for the metadata of objects.

    A job can write the object's file. The metadata is valid as long as the ETag is the same.
    """

    def metadata(self, path: str, etag: str) -> dict[str, str]:
        """The metadata of an object, by the path of its file."""
        query = "SELECT headers FROM metadata WHERE path = ? AND etag = ?"
        row = self._one(query, path, etag)
        return json.loads(row[0]) if row else {}

    def set_metadata(self, path: str, etag: str, headers: Mapping[str, str]) -> None:
        """Store the metadata of an object."""
        values = (path, etag, json.dumps(dict(headers)))
        with self._transaction():
            self._execute("INSERT OR REPLACE INTO metadata VALUES (?, ?, ?)", values)

    def delete_metadata(self, path: str) -> None:
        """Delete the metadata of an object, or of all objects in a folder."""
        values = (path, f"{path}/", f"{path}0")  # "0" follows "/"
        with self._transaction():
            query = "DELETE FROM metadata WHERE path = ? OR (path > ? AND path < ?)"
            self._execute(query, values)
