"""Limits and retention policies, of projects and of the workspace."""

from __future__ import annotations

from typing import Any, Final

from ..tokens import USER_ID, WORKSPACE_ID
from .database import Database, now

# Greater than any number of virtual CPUs.
UNLIMITED: Final = 1 << 62

_LIMITS: Final = "SELECT id, owner, role, vcpus, created_at, updated_at FROM limits"


class Rules(Database):
    """The part of the store for limits and retention policies."""

    def limits(self, owner: str) -> list[dict[str, Any]]:
        """The limits of a project or of the workspace."""
        rows = self._all(f"{_LIMITS} WHERE owner = ? ORDER BY id", owner)
        return [_limit(*columns) for columns in rows]

    def limit(self, owner: str, limit_id: int) -> dict[str, Any] | None:
        """One of the limits."""
        row = self._one(f"{_LIMITS} WHERE owner = ? AND id = ?", owner, limit_id)
        return _limit(*row) if row else None

    def set_limit(self, owner: str, role: str | None, vcpus: int) -> int:
        """Set or replace the limit of a role, and return its id."""
        with self._transaction():
            query = "SELECT id FROM limits WHERE owner = ? AND role IS ?"
            row = self._one(query, owner, role)
            if row:
                limit_id: int = row[0]
                self.change_limit(limit_id, vcpus)
                return limit_id
            set_at = now()
            cursor = self._execute(
                "INSERT INTO limits (owner, role, vcpus, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (owner, role, vcpus, set_at, set_at),
            ).lastrowid
            assert cursor is not None
            return cursor

    def change_limit(self, limit_id: int, vcpus: int) -> None:
        """Change a limit."""
        with self._transaction():
            update = "UPDATE limits SET vcpus = ?, updated_at = ? WHERE id = ?"
            self._execute(update, (vcpus, now(), limit_id))

    def delete_limit(self, limit_id: int) -> None:
        """Delete a limit."""
        with self._transaction():
            self._execute("DELETE FROM limits WHERE id = ?", (limit_id,))

    def delete_limits(self, owner: str) -> None:
        """Delete all limits of a project or of the workspace."""
        with self._transaction():
            self._execute("DELETE FROM limits WHERE owner = ?", (owner,))

    def lowest_limit(self, owner: str) -> int:
        """The lowest limit. UNLIMITED if there is none."""
        lowest: int | None = self._one("SELECT min(vcpus) FROM limits WHERE owner = ?", owner)[0]
        return UNLIMITED if lowest is None else lowest

    def policy(self, owner: str) -> dict[str, Any] | None:
        """The retention policy of a project or of the workspace."""
        policy: dict[str, Any] | None = self._document(owner, "retention")
        return policy

    def set_policy(self, owner: str, archive_after: int, delete_after: int) -> dict[str, Any]:
        """Set the retention policy, and return its record. Hours are emulated hours."""
        id_field = "workspaceId" if owner == WORKSPACE_ID else "projectId"
        record: dict[str, Any] = {
            id_field: owner,
            "archiveAfter": archive_after,
            "deleteAfter": delete_after,
            "createdAt": now(),
        }
        self._set_document(owner, "retention", record)
        return record

    def delete_policy(self, owner: str) -> None:
        """Delete the retention policy, if there is one."""
        self._delete_document(owner, "retention")


def _limit(
    limit_id: int, owner: str, role: str | None, vcpus: int, created_at: str, updated_at: str
) -> dict[str, Any]:
    record = {
        "vCPUs": vcpus,
        "createdBy": USER_ID,
        "createdAt": created_at,
        "updatedBy": USER_ID,
        "updatedAt": updated_at,
        "workspaceId": WORKSPACE_ID,
    }
    if owner == WORKSPACE_ID:
        return record
    return {**record, "id": limit_id, "projectId": owner, "modifierRole": role}
