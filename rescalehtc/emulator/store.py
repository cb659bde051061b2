"""All that the emulator knows, in one SQLite file. Safe to use from many threads."""

# ruff: noqa: S608 - what is put into a query's text is written in this file; values are bound

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from ..exceptions import HtcFileError
from ..models import RescaleJobStatus as Status
from .lifecycle import STARTED, WAITING, Ending, cancelled, check_step, interrupted
from .tokens import USER, USER_ID, WORKSPACE_ID, new_signing_key

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

DEFAULT_REGION: Final = "AWS_US_EAST_1"

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS images (name TEXT PRIMARY KEY, status TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS projects (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS tasks_of_project ON tasks (project);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY,
    request TEXT NOT NULL,       -- the submit request
    full_record TEXT NOT NULL,   -- what the records of all its jobs have in common
    simple_record TEXT NOT NULL  -- the same for a SIMPLE listing
);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL,   -- in its batch
    batch INTEGER NOT NULL,
    project TEXT NOT NULL,
    task TEXT NOT NULL,
    job_group TEXT NOT NULL,
    region TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    failure_code TEXT,
    container TEXT,
    provider_id TEXT,
    instance_id TEXT,
    environment TEXT,
    labels TEXT,
    updated_at TEXT NOT NULL,
    started_at TEXT,
    completed_at TEXT
);
CREATE INDEX IF NOT EXISTS jobs_of_task ON jobs (task);
CREATE INDEX IF NOT EXISTS jobs_with_status ON jobs (task, status);
CREATE INDEX IF NOT EXISTS jobs_of_group ON jobs (task, job_group);
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (status) WHERE status = '{WAITING}';
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    time TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    container TEXT,
    instance_id TEXT,
    labels TEXT,
    cancelled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS events_of_job ON events (job);
CREATE TABLE IF NOT EXISTS lines (
    job INTEGER NOT NULL, number INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""

# A job's record is written by SQLite itself: building a dictionary for each job of a long
# listing would take most of the time. The rest of the record is the batch's.
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


class Row(NamedTuple):
    """An item of a listing: its number, which grows along the listing, and its JSON."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Job:
    """What is needed to run a job."""

    number: int
    id: str
    position: int
    project_id: str
    task_id: str
    group: str
    region: str
    request: Mapping[str, Any]


def now() -> str:
    """The time as the service writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """The emulator's state. Every method that changes something commits before it returns.

    Args:
        path: The file, made if it is not there.

    Raises:
        HtcFileError: The file can't be used.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            path.touch(mode=0o600)  # it holds keys
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._execute = self._connection.execute
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise HtcFileError(f"can't keep data in {path}: {error}") from error

    def _prepare(self) -> None:
        # With a write-ahead log nothing that was committed is lost when this process is killed.
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        with self._transaction():
            self.api_key: str = self._setting("api_key", lambda: secrets.token_hex(20))
            self.signing_key: str = self._setting("signing_key", new_signing_key)
            if not self.projects(0, 1):
                self.add_project("emulator", "Runs jobs on this machine.", [DEFAULT_REGION])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with self._lock:
            if self._connection.in_transaction:  # part of a larger one
                yield
                return
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite ends it by itself if the disk is full
                    self._execute("ROLLBACK")
                raise

    def _one(self, query: str, *values: object) -> Any:
        with self._lock:
            return self._execute(query, values).fetchone()

    def _rows(self, query: str, *values: object) -> list[Row]:
        with self._lock:
            return [Row(*row) for row in self._execute(query, values)]

    def _setting(self, name: str, make: Callable[[], str]) -> str:
        found = self._one("SELECT value FROM settings WHERE name = ?", name)
        if found:
            value: str = found[0]
            return value
        value = make()
        self._execute("INSERT INTO settings VALUES (?, ?)", (name, value))
        return value

    # ---- projects, tasks and images

    def add_project(
        self,
        name: str,
        description: str,
        regions: Sequence[str],
        region_settings: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Make a project and return its record."""
        project_id = str(uuid.uuid4())
        record = {
            "projectId": project_id,
            "projectName": name,
            "projectDescription": description,
            "createdBy": USER_ID,
            "workspaceId": WORKSPACE_ID,
            "organizationCode": USER["organizationCode"],
            "createdAt": now(),
            "containerRegistry": f"registry.emulator.invalid/{project_id}",
            "repositories": [],
            "regions": list(regions),
            "regionSettings": region_settings
            or [
                {"computeSettings": {"computeRegion": r}, "storageSettings": {"storageRegion": r}}
                for r in regions
            ],
            "projectFolderPath": f"projects/{project_id}",
        }
        with self._transaction():
            insert = "INSERT INTO projects (id, record) VALUES (?, ?)"
            self._execute(insert, (project_id, json.dumps(record)))
        return record

    def project(self, project_id: str) -> dict[str, Any] | None:
        """A project's record."""
        found = self._one("SELECT record FROM projects WHERE id = ?", project_id)
        return json.loads(found[0]) if found else None

    def projects(self, after: int, limit: int) -> list[Row]:
        """Projects in the order of their creation."""
        return self._rows(
            "SELECT number, record FROM projects WHERE number > ? ORDER BY number LIMIT ?",
            *(after, limit),
        )

    def add_task(self, project_id: str, name: str, description: str) -> dict[str, Any]:
        """Make a task and return its record."""
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
            "taskFolderPath": f"tasks/{task_id}",
            "lifecycleStatus": "ACTIVE",
        }
        with self._transaction():
            insert = "INSERT INTO tasks (id, project, record) VALUES (?, ?, ?)"
            self._execute(insert, (task_id, project_id, json.dumps(record)))
        return record

    def task(self, project_id: str, task_id: str) -> dict[str, Any] | None:
        """A task's record."""
        query = "SELECT record FROM tasks WHERE id = ? AND project = ?"
        found = self._one(query, task_id, project_id)
        return json.loads(found[0]) if found else None

    def tasks(self, project_id: str, after: int, limit: int) -> list[Row]:
        """A project's tasks in the order of their creation."""
        return self._rows(
            "SELECT number, record FROM tasks WHERE project = ? AND number > ? "
            "ORDER BY number LIMIT ?",
            *(project_id, after, limit),
        )

    def delete_task(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Mark a task as deleted and return its record."""
        return self._change_task(task, lifecycleStatus="DELETED", deletedAt=now())

    def _change_task(self, record: Mapping[str, Any], **changes: str) -> dict[str, Any]:
        changed = {**record, **changes}
        with self._transaction():
            update = "UPDATE tasks SET record = ? WHERE id = ?"
            self._execute(update, (json.dumps(changed), changed["taskId"]))
        return changed

    def image_status(self, name: str) -> str:
        """READY, unless something else was set."""
        found = self._one("SELECT status FROM images WHERE name = ?", name)
        return found[0] if found else "READY"

    def set_image_status(self, name: str, status: str) -> None:
        """Set what `image_status` says."""
        with self._transaction():
            self._execute("INSERT OR REPLACE INTO images VALUES (?, ?)", (name, status))

    # ---- jobs as the service's users see them

    def submit(
        self,
        task: Mapping[str, Any],
        requests: Iterable[tuple[Mapping[str, Any], Sequence[str]]],
        group: str | None,
    ) -> list[dict[str, Any]]:
        """Take submit requests, each with the regions to spread its jobs over: all or none.

        Returns:
            A batch's record for each request.
        """
        group = group or str(uuid.uuid4())
        with self._transaction():
            batches = [self._submit(task, request, regions, group) for request, regions in requests]
            self._change_task(task, lastActiveAt=now())
        return batches

    def _submit(
        self,
        task: Mapping[str, Any],
        request: Mapping[str, Any],
        regions: Sequence[str],
        group: str,
    ) -> dict[str, Any]:
        parent = str(uuid.uuid4())
        received = now()
        definition = request["htcJobDefinition"]
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
        common = (batch, task["projectId"], task["taskId"], group)
        last: int = self._one("SELECT coalesce(max(number), 0) FROM jobs")[0]
        self._connection.executemany(
            "INSERT INTO jobs (id, position, batch, project, task, job_group, region, status,"
            " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (f"{parent}:{i}", i, *common, regions[i % len(regions)], WAITING, received)
                for i in range(size)
            ),
        )
        self._execute(
            "INSERT INTO events (job, time, status)"
            " SELECT number, updated_at, status FROM jobs WHERE number > ? ORDER BY number",
            (last,),
        )
        return {
            **{name: value for name, value in request.items() if name != "regions"},
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
            found = self._execute(f"{query} ORDER BY jobs.number LIMIT ?", (*values, limit))
            return [Row(number, _joined(own, common)) for number, own, common in found]

    def job(self, task_id: str, job_id: str) -> Row | None:
        """A job."""
        return next(iter(self.jobs(task_id, 0, 1, job_ids=[job_id])), None)

    def count_jobs(self, task_id: str) -> dict[str, int]:
        """How many jobs of a task have which status."""
        query = "SELECT status, count(*) FROM jobs WHERE task = ? GROUP BY status"
        with self._lock:
            return dict(self._execute(query, (task_id,)).fetchall())

    def events(self, job: int, after: int, limit: int) -> list[Row]:
        """A job's events, oldest first."""
        return self._rows(
            f"{_EVENTS} WHERE job = ? AND events.number > ? ORDER BY events.number LIMIT ?",
            *(job, after, limit),
        )

    def lines(self, job: int, after: int, limit: int) -> list[Row]:
        """Lines of a job's log, oldest first."""
        return self._rows(
            "SELECT number, record FROM lines WHERE job = ? AND number > ? ORDER BY number LIMIT ?",
            *(job, after, limit),
        )

    def lines_backwards(self, job: int, before: int, limit: int) -> list[Row]:
        """Lines of a job's log, newest first."""
        return self._rows(
            "SELECT number, record FROM lines WHERE job = ? AND number < ?"
            " ORDER BY number DESC LIMIT ?",
            *(job, before, limit),
        )

    # ---- jobs as they are run

    def take_job(self, instance_id: str) -> Job | None:
        """Start the job that has waited longest, if there is one, on an instance."""
        with self._transaction():
            found = self._one(
                "SELECT jobs.number, jobs.id, position, project, task, job_group, region, request"
                " FROM jobs JOIN batches ON batches.number = batch"
                f" WHERE status = '{WAITING}' ORDER BY jobs.number LIMIT 1"
            )
            if not found:
                return None
            *columns, request = found
            columns.append(json.loads(request))
            job = Job(*columns)
            definition = job.request["htcJobDefinition"]
            environment = {
                "instanceId": instance_id,
                "instanceType": "emulated",
                "architecture": None,
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

    def job_runs(self, job: int) -> None:
        """A job's command was started."""
        at = now()
        with self._transaction():
            self._step(job, Status.RUNNING, updated_at=at, started_at=at)

    def retry_job(self, job: int, ending: Ending) -> None:
        """An attempt at a job failed, and another one starts."""
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
        """End the jobs of a task, or of one of its groups, that were not started."""
        where, values = f"status = '{WAITING}' AND task = ?", [task_id]
        if group is not None:
            where += " AND job_group = ?"
            values.append(group)
        self._end_all(where, values, cancelled())

    def fail_started(self, reason: str) -> None:
        """End the jobs that were started and that nobody runs any more."""
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

    def add_lines(self, job: int, first: int, records: Iterable[str]) -> None:
        """Write lines to the end of a job's log; `first` is the number of the first one."""
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO lines VALUES (?, ?, ?)",
                ((job, number, record) for number, record in enumerate(records, first)),
            )


def cloud_provider(region: str) -> str:
    """The cloud that a region belongs to: its name begins with the cloud's."""
    return region.partition("_")[0]


def _joined(one: str, other: str) -> str:
    return f"{one[:-1]},{other[1:]}"
