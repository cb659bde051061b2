"""Tasks, their groups, and the effects of retention policies."""

# ruff: noqa: S608 - queries contain only constants of this file; values are bound

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from ..lifecycle import STARTED, WAITING
from ..tokens import USER_ID, WORKSPACE_ID
from .database import Row, now, time_text, timestamp
from .rules import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NOT_ENDED: Final = f"status IN ({', '.join(repr(str(s)) for s in (WAITING, *STARTED))})"


class Tasks(Rules):
    """The part of the store for tasks."""

    def add_task(self, project_id: str, name: str, description: str) -> dict[str, Any]:
        """Create a task and return its record."""
        task_id = str(uuid.uuid4())
        created = now()
        record = {
            "projectId": project_id,
            "taskId": task_id,
            "taskName": name,
            "taskDescription": description,
            "createdBy": USER_ID,
            "createdAt": created,
            "lastActiveAt": created,
            "archivedAt": None,
            "deletedAt": None,
            "workspaceId": WORKSPACE_ID,
            "taskFolderPath": f"projects/{project_id}/tasks/{task_id}",
            "lifecycleStatus": "ACTIVE",
        }
        with self._transaction():
            insert = "INSERT INTO tasks (id, project, record) VALUES (?, ?, ?)"
            self._execute(insert, (task_id, project_id, json.dumps(record)))
        return record

    def task(self, project_id: str, task_id: str) -> dict[str, Any] | None:
        """A task's record."""
        query = "SELECT record FROM tasks WHERE id = ? AND project = ?"
        row = self._one(query, task_id, project_id)
        return json.loads(row[0]) if row else None

    def tasks(self, project_id: str, after: int, limit: int) -> list[Row]:
        """A project's tasks in the order of their creation."""
        return self._rows(
            "SELECT number, record FROM tasks WHERE project = ? AND number > ? "
            "ORDER BY number LIMIT ?",
            *(project_id, after, limit),
        )

    def has_jobs_to_end(self, task_id: str) -> bool:
        """Whether jobs of a task are waiting or running."""
        query = f"SELECT EXISTS (SELECT 1 FROM jobs WHERE task = ? AND {_NOT_ENDED})"
        return bool(self._one(query, task_id)[0])

    def archive_task(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Mark a task as archived and return its record."""
        return self._change_task(task, lifecycleStatus="ARCHIVED", archivedAt=now())

    def unarchive_task(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Mark a task as active, and used just now, and return its record."""
        changes = {"lifecycleStatus": "ACTIVE", "archivedAt": None, "lastActiveAt": now()}
        return self._change_task(task, **changes)

    def delete_task(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Mark a task as deleted and return its record."""
        return self._change_task(task, lifecycleStatus="DELETED", deletedAt=now())

    def deleted_tasks(self) -> list[str]:
        """The ids of all tasks that are deleted."""
        query = "SELECT id FROM tasks WHERE json_extract(record, '$.lifecycleStatus') = 'DELETED'"
        return [task_id for (task_id,) in self._all(query)]

    def _change_task(self, record: Mapping[str, Any], **changes: str | None) -> dict[str, Any]:
        changed = {**record, **changes}
        with self._transaction():
            update = "UPDATE tasks SET record = ? WHERE id = ?"
            self._execute(update, (json.dumps(changed), changed["taskId"]))
        return changed

    def groups(
        self, task_id: str, after: int, limit: int, names: Sequence[str] = ()
    ) -> list[tuple[int, str]]:
        """A task's groups, or those with these names, numbered in the order of creation."""
        query = "SELECT number, name FROM groups WHERE task = ? AND number > ?"
        if names:
            query += f" AND name IN ({', '.join('?' * len(names))})"
        query += " ORDER BY number LIMIT ?"
        return self._all(query, task_id, after, *names, limit)

    def apply_retention(self, project_id: str, task_id: str | None, clock_rate: float) -> list[str]:
        """Apply the retention policy to all tasks of a project, or to one.

        Returns:
            The ids of the deleted tasks.
        """
        policy = self.policy(project_id) or self.policy(WORKSPACE_ID)
        if policy is None:
            return []
        at = time.time()

        def due_before(hours: int) -> str:
            if hours == 0:
                return ""  # sorts before every time
            # Limit the hours to those since 1970.
            return time_text(at - min(hours * 3600, at * clock_rate) / clock_rate)

        def due_at(since: str, hours: int) -> str:
            at_earliest: str = policy["createdAt"]
            return max(time_text(timestamp(since) + hours * 3600 / clock_rate), at_earliest)

        archive_before = due_before(policy["archiveAfter"])
        delete_before = due_before(policy["deleteAfter"])
        deleted: list[str] = []
        with self._transaction():
            candidates = self._all(
                "SELECT record FROM tasks WHERE project = ? AND coalesce(id = ?, TRUE)"
                " AND CASE json_extract(record, '$.lifecycleStatus')"
                " WHEN 'ACTIVE' THEN json_extract(record, '$.lastActiveAt') <= ?"
                " WHEN 'ARCHIVED' THEN json_extract(record, '$.archivedAt') <= ? END",
                *(project_id, task_id, archive_before, delete_before),
            )
            for (text,) in candidates:
                task: dict[str, Any] = json.loads(text)
                if task["lifecycleStatus"] == "ACTIVE":
                    if self.has_jobs_to_end(task["taskId"]):
                        continue
                    last = self._last_use(task)
                    if last > archive_before:
                        self._change_task(task, lastActiveAt=last)
                        continue
                    archived_at = due_at(last, policy["archiveAfter"])
                    task = self._change_task(
                        task, lastActiveAt=last, lifecycleStatus="ARCHIVED", archivedAt=archived_at
                    )
                if task["archivedAt"] <= delete_before:
                    deleted_at = due_at(task["archivedAt"], policy["deleteAfter"])
                    self._change_task(task, lifecycleStatus="DELETED", deletedAt=deleted_at)
                    deleted.append(task["taskId"])
        return deleted

    def _last_use(self, task: Mapping[str, Any]) -> str:
        """The last use of a task. The end of a job counts as a use."""
        used: str = task["lastActiveAt"]
        query = "SELECT max(completed_at) FROM jobs WHERE task = ?"
        return max(used, self._one(query, task["taskId"])[0] or "")
