"""Jobs: their records, events and start order."""

# ruff: noqa: S608 - queries contain only constants of this file; values are bound

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...models import RescaleJobStatus as Status
from ..clouds import cloud_provider
from ..lifecycle import STARTED, WAITING, Ending, cancelled, check_step, interrupted
from ..tokens import USER_ID, WORKSPACE_ID
from .database import Row, now
from .projects import Projects
from .tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# SQLite encodes the records of jobs as JSON, because building a dictionary for each job of a long
# listing would take most of the time. The batch has the common part of the records.
_SIMPLE_FIELDS: Final = """
    'jobUUID', jobs.id, 'providerJobId', provider_id, 'region', region, 'status', status,
    'statusReason', reason, 'container', json(container), 'failureCode', failure_code,
    'updatedAt', updated_at, 'startedAt', started_at, 'completedAt', completed_at,
    'instanceId', instance_id"""
_SIMPLE_JOBS: Final = f"""
    SELECT jobs.number, json_object({_SIMPLE_FIELDS}), simple_record
    FROM jobs JOIN batches ON batches.number = batch"""
_FULL_JOBS: Final = f"""
    SELECT jobs.number, json_object({_SIMPLE_FIELDS},
        'jobExecutionEnvironment', json(environment), 'instanceLabels', json(labels)), full_record
    FROM jobs JOIN batches ON batches.number = batch"""
_EVENTS: Final = """
    SELECT events.number, json_object(
        'eventId', jobs.id || '-' || events.number, 'jobId', jobs.id, 'dateTime', time,
        'status', events.status, 'statusReason', events.reason,
        'container', json(events.container), 'instanceId', events.instance_id,
        'instanceLabels', json(events.labels),
        'userCancelledEvent', json(iif(cancelled, 'true', 'false')))
    FROM events JOIN jobs ON jobs.number = events.job"""
# Skips from project to project in the index, instead of reading all waiting jobs.
_WAITING_PROJECTS: Final = f"""
    WITH RECURSIVE waiting (project) AS (
        SELECT min(project) FROM jobs WHERE status = '{WAITING}'
        UNION ALL
        SELECT (SELECT min(jobs.project) FROM jobs
                WHERE status = '{WAITING}' AND jobs.project > waiting.project)
        FROM waiting WHERE waiting.project IS NOT NULL)
    SELECT project FROM waiting WHERE project IS NOT NULL"""


@dataclass(frozen=True, slots=True)
class Job:
    """A job for the executor."""

    number: int
    id: str
    position: int
    project_id: str
    task_id: str
    group: str
    region: str
    vcpus: int
    request: Mapping[str, Any]


class Jobs(Projects, Tasks):
    """The part of the store for jobs."""

    # ---- jobs for the service's users

    def submit(
        self,
        task: Mapping[str, Any],
        requests: Iterable[tuple[Mapping[str, Any], Sequence[str]]],
        group: str | None,
        positions: Sequence[int] | None = None,
    ) -> list[dict[str, Any]]:
        """Store submit requests, each with the regions for its jobs, in one transaction.

        With positions, only the jobs at these are made.

        Returns:
            The record of a batch for each request.
        """
        group = group or str(uuid.uuid4())
        with self._transaction():
            insert = "INSERT OR IGNORE INTO groups (task, name) VALUES (?, ?)"
            self._execute(insert, (task["taskId"], group))
            batches = [
                self._submit(task, request, regions, group, positions)
                for request, regions in requests
            ]
            self._change_task(task, lastActiveAt=now())
        return batches

    def _submit(
        self,
        task: Mapping[str, Any],
        request: Mapping[str, Any],
        regions: Sequence[str],
        group: str,
        positions: Sequence[int] | None,
    ) -> dict[str, Any]:
        parent = str(uuid.uuid4())
        received = now()
        definition = request["htcJobDefinition"]
        self._use_image(task["projectId"], definition["imageName"])
        simple_record = {
            "taskId": task["taskId"],
            "projectId": task["projectId"],
            "workspaceId": WORKSPACE_ID,
            "createdBy": USER_ID,
            "createdAt": received,
            "group": group,
            "imageName": definition["imageName"],
            "architecture": definition.get("architecture"),
            "maxVCpus": definition.get("maxVCpus"),
            "minVCpus": definition.get("maxVCpus"),
            "maxMemory": definition.get("maxMemory"),
            "maxDiskGiB": definition.get("maxDiskGiB"),
            "maxSwap": definition.get("maxSwap"),
            "maxGpus": None,
            "execTimeoutSeconds": definition.get("execTimeoutSeconds"),
        }
        full_record = {
            **simple_record,
            "commands": definition.get("commands", []),
            "envs": definition.get("envs", []),
            "tags": [{"key": k, "value": v} for k, v in definition.get("tags", {}).items()],
        }
        batch = self._execute(
            "INSERT INTO batches (request, full_record, simple_record) VALUES (?, ?, ?)",
            tuple(json.dumps(value) for value in (request, full_record, simple_record)),
        ).lastrowid
        size: int = request.get("batchSize", 1)
        common = (batch, task["projectId"], task["taskId"], group, definition.get("maxVCpus", 1))
        last: int = self._one("SELECT coalesce(max(number), 0) FROM jobs")[0]
        self._connection.executemany(
            "INSERT INTO jobs (id, position, batch, project, task, job_group, vcpus, region,"
            " status, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (f"{parent}:{i}", i, *common, regions[i % len(regions)], WAITING, received)
                for i in (range(size) if positions is None else positions)
            ),
        )
        self._execute(
            "INSERT INTO events (job, time, status)"
            " SELECT number, updated_at, status FROM jobs WHERE number > ? ORDER BY number",
            (last,),
        )
        return {
            "rescaleProjectId": None,
            **{name: value for name, value in request.items() if name != "regions"},
            "htcJobDefinition": {"workingDir": None, **definition},
            "batchSize": size,
            "parentJobId": parent,
            "projectId": task["projectId"],
            "taskId": task["taskId"],
            "workspaceId": WORKSPACE_ID,
            "createdBy": USER_ID,
            "group": group,
            "rescaleTimeReceived": received,
            "jobDefinitionName": f"job-definition-{parent}",
            "cloudProvider": cloud_provider(regions[0]),
        }

    def jobs(
        self,
        task_id: str,
        after: int,
        limit: int,
        *,
        status: str | None = None,
        group: str | None = None,
        job_ids: Sequence[str] = (),
        simple: bool = False,
    ) -> list[Row]:
        """A task's jobs in the order of their submission."""
        query = f"{_SIMPLE_JOBS if simple else _FULL_JOBS} WHERE task = ? AND jobs.number > ?"
        values: list[object] = [task_id, after]
        if status is not None:
            query += " AND status = ?"
            values.append(status)
        if group is not None:
            query += " AND job_group = ?"
            values.append(group)
        if job_ids:
            query += f" AND jobs.id IN ({', '.join('?' * len(job_ids))})"
            values += job_ids
        with self._lock:
            rows = self._execute(f"{query} ORDER BY jobs.number LIMIT ?", (*values, limit))
            return [Row(number, _join_objects(record, common)) for number, record, common in rows]

    def job(self, task_id: str, job_id: str) -> Row | None:
        """A job."""
        return next(iter(self.jobs(task_id, 0, 1, job_ids=[job_id])), None)

    def count_jobs(self, task_id: str) -> dict[str, int]:
        """The number of jobs of a task per status."""
        query = "SELECT status, count(*) FROM jobs WHERE task = ? GROUP BY status"
        with self._lock:
            return dict(self._execute(query, (task_id,)).fetchall())

    def count_group_jobs(self, task_id: str, group: str) -> dict[str, int]:
        """The number of jobs of a group per status."""
        # Without INDEXED BY, SQLite reads all jobs of the task for each group.
        query = (
            "SELECT status, count(*) FROM jobs INDEXED BY jobs_of_group"
            " WHERE task = ? AND job_group = ? GROUP BY status"
        )
        return dict(self._all(query, task_id, group))

    def count_jobs_by_project(self) -> dict[str, dict[str, int]]:
        """The number of jobs of each project per status."""
        counts: dict[str, dict[str, int]] = {}
        rows = self._all(
            "SELECT project, status, sum(jobs)"
            " FROM (SELECT task, status, count(*) AS jobs FROM jobs GROUP BY task, status)"
            " JOIN tasks ON tasks.id = task GROUP BY project, status"
        )
        for project_id, status, number in rows:
            counts.setdefault(project_id, {})[status] = number
        return counts

    def events(self, job: int, after: int, limit: int) -> list[Row]:
        """A job's events, oldest first."""
        return self._rows(
            f"{_EVENTS} WHERE job = ? AND events.number > ? ORDER BY events.number LIMIT ?",
            *(job, after, limit),
        )

    # ---- jobs for the executor

    def take_job(self, instance_id: str, running: Mapping[str, int]) -> Job | None:
        """Start the oldest waiting job that the limits allow, on an instance.

        Args:
            instance_id: The instance.
            running: The number of virtual CPUs in use by each project.
        """
        with self._transaction():
            number = self._next_job(running)
            if number is None:
                return None
            *columns, request = self._one(
                "SELECT jobs.number, jobs.id, position, project, task, job_group, region, vcpus,"
                " request FROM jobs JOIN batches ON batches.number = batch WHERE jobs.number = ?",
                number,
            )
            columns.append(json.loads(request))
            job = Job(*columns)
            definition = job.request["htcJobDefinition"]
            environment = {
                "instanceId": instance_id,
                "instanceType": "emulated",
            }
            labels = {
                "csp": cloud_provider(job.region),
                "priority": definition.get("priority"),
                "instanceType": "emulated",
                "instanceArchitecture": definition.get("architecture"),
                "accountId": "emulator",
                "region": job.region,
            }
            provider_id = str(uuid.uuid4())
            self._step(job.number, Status.SUBMITTED_TO_PROVIDER, provider_id=provider_id)
            self._step(job.number, Status.RUNNABLE)
            self._step(
                job.number,
                Status.STARTING,
                instance_id=instance_id,
                environment=json.dumps(environment),
                labels=json.dumps(labels),
            )
            return job

    def _next_job(self, running: Mapping[str, int]) -> int | None:
        """Choose among the first jobs of the projects, skipping jobs larger than the limit itself.

        In a project, no job overtakes another job that fits the limit. Projects don't wait for each
        other.
        """
        whole_limit = self.lowest_limit(WORKSPACE_ID)
        whole_room = whole_limit - sum(running.values())
        heads: list[int] = []
        for (project_id,) in self._all(_WAITING_PROJECTS):
            limit = self.lowest_limit(project_id)
            head = self._one(
                "SELECT number, vcpus FROM jobs"
                f" WHERE status = '{WAITING}' AND project = ? AND vcpus <= ?"
                " ORDER BY number LIMIT 1",
                *(project_id, min(limit, whole_limit)),
            )
            if head and head[1] <= min(limit - running.get(project_id, 0), whole_room):
                heads.append(head[0])
        return min(heads, default=None)

    def job_runs(self, job: int) -> None:
        """A job's command was started."""
        at = now()
        with self._transaction():
            self._step(job, Status.RUNNING, updated_at=at, started_at=at)

    def retry_job(self, job: int, ending: Ending) -> None:
        """An attempt of a job failed, and another attempt starts."""
        with self._transaction():
            self._step(job, Status.RUNNABLE, ending)
            self._step(job, Status.STARTING)

    def end_job(self, job: int, ending: Ending) -> None:
        """A job ended."""
        at, code = now(), ending.failure_code
        times = {"updated_at": at, "completed_at": at}
        with self._transaction():
            self._step(job, ending.status, ending, failure_code=code, **times)

    def _step(
        self, job: int, status: Status, ending: Ending | None = None, **columns: str | None
    ) -> None:
        before = Status(self._one("SELECT status FROM jobs WHERE number = ?", job)[0])
        check_step(before, status)
        values = {
            "status": status,
            "updated_at": now(),
            "reason": ending and ending.reason,
            "container": ending and ending.container and json.dumps(ending.container.to_json()),
            **columns,
        }
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._execute(f"UPDATE jobs SET {assignments} WHERE number = ?", (*values.values(), job))
        self._execute(
            "INSERT INTO events"
            " (job, time, status, reason, container, instance_id, labels, cancelled)"
            " SELECT number, updated_at, status, reason, container, instance_id, labels, ?"
            " FROM jobs WHERE number = ?",
            (ending is not None and ending.cancelled, job),
        )

    def cancel_waiting(self, task_id: str, group: str | None) -> None:
        """End the jobs of a task, or of one of its groups, that have not started."""
        where, values = f"status = '{WAITING}' AND task = ?", [task_id]
        if group is not None:
            where += " AND job_group = ?"
            values.append(group)
        self._end_all(where, values, cancelled())

    def fail_started(self, reason: str) -> None:
        """End the jobs that were started by an emulator that has ended."""
        marks = ", ".join("?" * len(STARTED))
        self._end_all(f"status IN ({marks})", STARTED, interrupted(reason))

    def _end_all(self, where: str, values: Sequence[str], ending: Ending) -> None:
        ended_at = now()
        with self._transaction():
            self._execute(
                "INSERT INTO events (job, time, status, reason, instance_id, labels, cancelled)"
                f" SELECT number, ?, ?, ?, instance_id, labels, ? FROM jobs WHERE {where}",
                (ended_at, ending.status, ending.reason, ending.cancelled, *values),
            )
            self._execute(
                "UPDATE jobs SET status = ?, reason = ?, container = NULL, failure_code = ?,"
                f" updated_at = ?, completed_at = ? WHERE {where}",
                (ending.status, ending.reason, ending.failure_code, ended_at, ended_at, *values),
            )


def _join_objects(first: str, second: str) -> str:
    return f"{first[:-1]},{second[1:]}"
