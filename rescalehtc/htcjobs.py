"""Jobs and batches of jobs: submitting, watching, and reading what they wrote."""

from __future__ import annotations

import logging
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _lazy, _logs, _waiting, api
from ._json_object import JsonObject, id_of, require_instance, validated
from ._waiting import JobCounts
from .exceptions import (
    HtcException,
    HtcNotFoundError,
    HtcResponseError,
    HtcValidationError,
    Problem,
)
from .htcprojects import PAGE_SIZE, HtcProject
from .htctasks import ANY, HtcTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike

    import pandas as pd

    from . import models
    from ._failures import FailedJob, Resubmission
    from ._values import Architecture, JobPriority, RescaleJobStatus, RescaleRegion
    from .htcsession import HtcSession

    TagLike = dict[str, str] | models.Tag
    EnvLike = dict[str, str] | models.EnvPair
    ClaimLike = dict[str, str] | models.ClaimPair

_logger = logging.getLogger("rescalehtc")


__all__ = [
    "FailedJob",
    "HtcException",
    "HtcJob",
    "HtcJobBatch",
    "HtcSession",
    "HtcTask",
    "JobCounts",
    "Resubmission",
    "api",
    "as_completed",
    "create_job_batch",
    "create_job_batch_raw",
    "create_single_job",
    "get_job_with_id",
    "get_jobs",
    "iter_jobs",
    "refresh",
    "submit",
    "to_dataframe",
    "validate",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(
        __name__, FailedJob="_failures", Resubmission="_failures", HtcSession="htcsession"
    )


class HtcJob(JsonObject):
    """A job.

    Attributes:
        json: The raw dictionary, an `HTCJob` object with the service's names. A job made by
            `HtcJobBatch.to_jobs` has `group`, `projectId`, `taskId` and `jobUUID` only,
            until `get_update` fetches the rest.
        task: The task it belongs to.

    Raises:
        HtcValidationError: `task` is not an HtcTask.
    """

    _not_pickled = ("_validated", "_fetched_at", "_log")
    # There may be a million jobs: what few of them need is not stored in each one.
    _json: dict[str, Any] | None = None
    _fetched_at: float | None = None
    _log: tuple[float, int | None, list[str]] | None = None
    _made: _Made  # how to make the dictionary of a job that has none
    _index: int

    def __init__(self, json: dict[str, Any], task: HtcTask) -> None:
        require_instance(task, HtcTask, "task", "HtcJob")
        self._json = json
        self.task: HtcTask = task

    @property
    def json(self) -> dict[str, Any]:
        """The raw dictionary."""
        if self._json is None:
            made = self._made
            self._json = {**made.shared, "jobUUID": f"{made.parent_id}:{self._index}"}
        return self._json

    @json.setter
    def json(self, json: dict[str, Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._json = json

    def __repr__(self) -> str:
        status = f", status={self.json['status']!r}" if "status" in self.json else ""
        return f"HtcJob(jobUUID={self.json.get('jobUUID')!r}{status})"

    def _repr_html_(self) -> str:
        from . import _tables

        return _tables.job(self)

    @property
    def record(self) -> models.HTCJob:
        """The typed view of `json`.

        Reading a field of it that was not fetched raises NotFetchedError.

        Raises:
            HtcResponseError: A field has a type that it is not described to have.
        """
        from . import models

        return self._record(models.HTCJob)

    def get_update(self, rescale: HtcSession) -> dict[str, Any]:
        """Fetch the job's record and return it as the new `json`.

        Operation getJob; within `rescale.status_refresh_seconds` (30 by default, as often as
        the service itself looks) of the last time nothing is sent and `json` is returned.
        To watch many jobs, ask for the task's summary instead.
        """
        age = None if self._fetched_at is None else time.monotonic() - self._fetched_at
        if age is None or age >= rescale.status_refresh_seconds:
            ids = self._ids()
            fetched = api.get_htc_projects_tasks_jobs(
                rescale, ids["projectId"], ids["taskId"], ids["jobId"]
            )
            if fetched.get("jobUUID") != ids["jobId"]:
                raise HtcResponseError(f"getJob: the answer is not about job {ids['jobId']}")
            self._take(fetched)
        return self.json

    def is_still_running(self, rescale: HtcSession) -> bool:
        """Fetch the job's record with `get_update`, and tell whether the job has not ended.

        Operation getJob.

        SUCCEEDED, FAILED, POD_SUCCEEDED and POD_FAILED are ends. A status that this release
        does not know is one if the record says when the job was completed.

        Raises:
            HtcResponseError: The record has no status.
        """
        return _waiting.still_runs(self.get_update(rescale))

    def wait(
        self, rescale: HtcSession, timeout: float | None = None, progress: bool = False
    ) -> JobCounts:
        """Wait until the job has ended; `json` and `record` then say how.

        Operation getJob, every `rescale.status_refresh_seconds` (30 by default). For many
        jobs, `HtcJobBatch.wait` or `as_completed` send no more than this does for one.

        Args:
            rescale: The session.
            timeout: Seconds to wait at most, at least 0; None for as long as it takes.
            progress: Whether to write the status to standard error when it changes: on a
                terminal in one line, elsewhere a line for each change.

        Returns:
            The counts of one job.

        Raises:
            HtcValidationError: `timeout` is no such number.
            HtcWaitTimeoutError: The job did not end in time. It has the counts.
            HtcNotFoundError: There is no such job.
        """

        def look() -> JobCounts:
            running = self.is_still_running(rescale)
            return JobCounts({self.json["status"]: 1}, int(running))

        return _waiting.wait(rescale, look, timeout, progress)

    def _take(self, record: dict[str, Any]) -> None:
        """Let a record that was just fetched be the new `json`."""
        ids = {name: id_of(self, name) for name in ("projectId", "taskId")}
        self._json = {**ids, **record}
        self._fetched_at = time.monotonic()

    def get_logs(self, rescale: HtcSession, last_n_lines: int | None = None) -> Iterable[str]:
        """Return an iterator over the job's log, oldest line first.

        The lines are kept in memory; `get_logs_to_file` does not do so. Operation
        listJobLogs; within `rescale.status_refresh_seconds` of the last time the same
        question is answered without sending anything.

        Args:
            rescale: The session.
            last_n_lines: Only so many lines of the end, at least 0; None for all of them.

        Raises:
            HtcValidationError: `last_n_lines` is not such a number.
        """
        _check_last_n_lines(last_n_lines, "get_logs")
        fresh = (
            self._log is not None
            and self._log[1] == last_n_lines
            and time.monotonic() - self._log[0] < rescale.status_refresh_seconds
        )
        if self._log is None or not fresh:
            lines = _logs.read_lines(rescale, self._ids(), last_n_lines)
            self._log = (time.monotonic(), last_n_lines, lines)
        return iter(self._log[2])

    def get_logs_to_file(
        self,
        rescale: HtcSession,
        destination_file_path: str | bytes | PathLike[str],
        last_n_lines: int | None = None,
    ) -> None:
        """Write the job's log to a file, oldest line first, in UTF-8, each line ended by LF.

        The file appears, or is replaced, when the log is complete; if anything fails it stays
        as it was. One page of lines is held in memory. Operation listJobLogs.

        Args:
            rescale: The session.
            destination_file_path: The file; its folder must exist.
            last_n_lines: Only so many lines of the end, at least 0; None for all of them.

        Raises:
            HtcValidationError: `last_n_lines` is not such a number.
            HtcFileError: The file can't be written.
        """
        _check_last_n_lines(last_n_lines, "get_logs_to_file")
        _logs.write_lines(rescale, self._ids(), destination_file_path, last_n_lines)

    def follow_logs(self, rescale: HtcSession) -> Iterator[str]:
        """Yield the lines of the job's log as they come, oldest first, each one once.

        The iterator ends when the job has ended and its log is drained: `json` then has the
        final status. Lines may come after the end, so the log is read again, an interval
        later each time, until that brings nothing new. It may be begun at any time, also when
        the job waits or has ended.

        Operations getJob and listJobLogs, every `rescale.status_refresh_seconds` (30 by
        default). One page of lines is held in memory. New lines are taken to come at the end.

        Raises:
            HtcNotFoundError: There is no such job.
        """
        from . import _following

        return _following.follow(rescale, self._ids(), lambda: self.is_still_running(rescale))

    def iter_events(self, rescale: HtcSession) -> Iterator[models.RescaleJobStatusEvent]:
        """Yield the changes of the job's status, in the order the service has them.

        Operation listJobEvents.
        """
        from . import models

        call = api.LIST_JOB_EVENTS.call(self._ids(), query={"pageSize": PAGE_SIZE})
        for page in rescale.pages(call):
            for event in page:
                yield validated(models.RescaleJobStatusEvent, event)

    def events(self, rescale: HtcSession) -> list[models.RescaleJobStatusEvent]:
        """Return the changes of the job's status, in the order the service has them.

        Operation listJobEvents.
        """
        return list(self.iter_events(rescale))

    def _ids(self) -> dict[str, str]:
        return {
            "projectId": id_of(self, "projectId"),
            "taskId": id_of(self, "taskId"),
            "jobId": id_of(self, "jobUUID"),
        }


class HtcJobBatch(JsonObject):
    """A batch: a number of jobs made from one definition.

    Attributes:
        json: The raw dictionary, an `HTCJobSubmitRequest` object as the service answered it.
            Of a payload with several submit requests it is the first one.
        task: The task it belongs to.
        batches: The batch itself; of a payload with several submit requests, one for each.

    Args:
        json: The dictionary, or a list of them for a payload with several submit requests.
        task: The task.

    Raises:
        HtcValidationError: `task` is not an HtcTask, or there is no dictionary.
    """

    def __init__(self, json: dict[str, Any] | list[dict[str, Any]], task: HtcTask) -> None:
        require_instance(task, HtcTask, "task", "HtcJobBatch")
        parts = json if isinstance(json, list) else [json]
        if not parts:
            problem = Problem("json", "must hold at least one dictionary")
            raise HtcValidationError("HtcJobBatch", [problem])
        super().__init__(parts[0])
        self.task: HtcTask = task
        self.batches: list[HtcJobBatch] = [self, *(HtcJobBatch(part, task) for part in parts[1:])]

    def __repr__(self) -> str:
        described = [
            f"parentJobId={batch.json.get('parentJobId')!r}, batchSize={batch.json.get('batchSize')!r}"
            for batch in self.batches
        ]
        return f"HtcJobBatch({'; '.join(described)})"

    def _repr_html_(self) -> str:
        from . import _tables

        return _tables.batch(self)

    @property
    def record(self) -> models.HTCJobBatch:
        """The typed view of `json`.

        Raises:
            HtcResponseError: A field has a type that it is not described to have.
        """
        from . import models

        return self._record(models.HTCJobBatch)

    def get_task_summary(self, rescale: HtcSession) -> dict[str, Any]:
        """Count the jobs of the whole task, not only of this batch: `HtcTask.get_task_summary`.

        Operation getTaskSummary.
        """
        return self.task.get_task_summary(rescale)

    def is_still_running(self, rescale: HtcSession) -> bool:
        """Whether any job of the whole task, not only of this batch, has not ended yet.

        Operation getTaskSummary.
        """
        return self.task.is_still_running(rescale)

    def wait(
        self, rescale: HtcSession, timeout: float | None = None, progress: bool = False
    ) -> JobCounts:
        """Wait until all jobs of the batch have ended, and count them by status.

        Operation listJobs or listGroupSummaries: one request every
        `rescale.status_refresh_seconds` (30 by default), however many jobs there are. Up to
        100 jobs that have not ended are asked for by their ids. Of more, the service's
        summaries of their groups are asked for, as long as those count as many jobs as the
        batch has. Where they count more, others were submitted with the same groups, and the
        groups' jobs are listed, 1000 at a time; it then takes some intervals to see them all.

        Jobs that the service does not list yet count as not ended.

        Args:
            rescale: The session.
            timeout: Seconds to wait at most, at least 0; None for as long as it takes.
            progress: Whether to write the counts to standard error when they change: on a
                terminal in one line, elsewhere a line for each change.

        Raises:
            HtcValidationError: `timeout` is no such number.
            HtcWaitTimeoutError: Not all jobs ended in time. It has the counts.
            HtcResponseError: All others have ended, and the rest was not listed for 300 s,
                because it was deleted; or the service did not say which jobs it made.
        """
        look = _waiting.BatchLook(rescale, self.task, self.to_jobs())
        return _waiting.wait(rescale, look, timeout, progress)

    def failed(self, rescale: HtcSession, last_n_lines: int = 0) -> list[FailedJob]:
        """Return the jobs of the batch that have failed so far, in their order.

        Operation listJobs, for each status that is a failure; with `last_n_lines` also
        listJobLogs for each job that failed.

        Args:
            rescale: The session.
            last_n_lines: Read so many lines of the end of each log, at least 0.

        Returns:
            For each job its index, failure code, exit code, reason and last lines.

        Raises:
            HtcValidationError: `last_n_lines` is not such a number.
        """
        _check_last_n_lines(last_n_lines, "failed")
        from . import _failures

        return _failures.failed(rescale, self, last_n_lines)

    def resubmit_failed(
        self, rescale: HtcSession, index_variable: str | None = None
    ) -> Resubmission:
        """Build, and check, a submission of the jobs that have failed so far. Submits nothing.

        The requests are those of the batch as the service answered them, for fewer jobs. The
        jobs of a batch find their index in AWS_BATCH_JOB_ARRAY_INDEX, and this can't be set:
        the failed jobs 3 and 7 of a batch become jobs 0 and 1 of a batch of two. A program
        that takes its part of the work from the index would do parts 0 and 1 again. With
        `index_variable` each failed job becomes a batch of one, with its old index in this
        variable; the program has to look there first, as `${PART:-$AWS_BATCH_JOB_ARRAY_INDEX}`
        does in a shell for a variable named PART. A job that was resubmitted this way, and
        failed again, keeps the index that it had first.

        Where the service does not repeat the regions, the regions of the failed jobs are taken.

        Operation listJobs.

            batch.wait(rescale)
            again = batch.resubmit_failed(rescale, index_variable="PART")
            if again.requests:
                again.submit(rescale).wait(rescale)

        Args:
            rescale: The session.
            index_variable: Name of an environment variable, or None.

        Returns:
            The requests, and which new job does which old one again.

        Raises:
            HtcValidationError: The batch's record makes no valid request, or `index_variable`
                can't be set.
        """
        from . import _failures

        return _failures.resubmission(rescale, self, index_variable)

    def to_jobs(self) -> list[HtcJob]:
        """Return the batch's jobs, those of all submit requests, without asking the service.

        Their `json` has `group`, `projectId`, `taskId` and `jobUUID`; `HtcJob.get_update`
        fetches the rest.

        Raises:
            HtcResponseError: The service did not say which jobs it made.
        """
        return [
            job
            for made in [_made_by(batch.json, self.task) for batch in self.batches]
            for job in made.jobs(self.task)
        ]


class _Made(NamedTuple):
    """The jobs of a submit request: what they share, their parent's id and their number."""

    shared: dict[str, Any]
    parent_id: str
    size: int

    def jobs(self, task: HtcTask) -> Iterator[HtcJob]:
        """Yield the jobs. Each makes its dictionary when somebody looks at it."""
        for index in range(self.size):
            job = HtcJob.__new__(HtcJob)
            job.task = task
            job._made = self  # pyright: ignore[reportPrivateUsage]
            job._index = index  # pyright: ignore[reportPrivateUsage]
            yield job


def _made_by(answer: dict[str, Any], task: HtcTask) -> _Made:
    """Read which jobs the service made."""
    match answer:
        case {
            "projectId": str(),
            "taskId": str(),
            "parentJobId": str(parent),
            "batchSize": int(size),
        }:
            shared: dict[str, Any] = {
                k: answer[k] for k in ("group", "projectId", "taskId") if k in answer
            }
            return _Made(shared, parent, size)
        case _:
            raise HtcResponseError(
                "submitJobs: the answer lacks projectId, taskId, parentJobId or batchSize, so "
                f"the jobs it made are not known; they are in task {task.json.get('taskId')}"
            )


def iter_jobs(
    rescale: HtcSession,
    task: HtcTask,
    job_status: RescaleJobStatus | None = "any",
    *,
    group: str | None = None,
) -> Iterator[HtcJob]:
    """Yield the jobs of a task, holding one page of them at a time.

    Operation listJobs. The service leaves out jobs with another status or group.

    Args:
        rescale: The session.
        task: The task.
        job_status: A status such as SUCCEEDED; `any`, `all` or None for every status.
        group: The group that the jobs were submitted with; None for the whole task.

    Raises:
        HtcValidationError: `task` is not an HtcTask, or `group` not a name.
    """
    require_instance(task, HtcTask, "task", "iter_jobs")
    call = api.LIST_JOBS.call(
        {"projectId": id_of(task, "projectId"), "taskId": id_of(task, "taskId")},
        query={
            "pageSize": PAGE_SIZE,
            "status": None if job_status in ANY else job_status,
            "group": _checked_group(group),
        },
    )
    return _each(rescale.pages(call), task)


def _each(pages: Iterator[list[Any]], task: HtcTask) -> Iterator[HtcJob]:
    for page in pages:
        yield from map(HtcJob, page, repeat(task))


def get_jobs(
    rescale: HtcSession,
    task: HtcTask,
    job_status: RescaleJobStatus | None = "any",
    *,
    group: str | None = None,
) -> list[HtcJob]:
    """Return the jobs of a task. The arguments are those of `iter_jobs`.

    Operation listJobs.
    """
    return list(iter_jobs(rescale, task, job_status, group=group))


def refresh(rescale: HtcSession, jobs: Sequence[HtcJob]) -> None:
    """Fetch the records of many jobs, and set each one's `json`.

    Operation listJobs, once for a hundred jobs of a task.

    Args:
        rescale: The session.
        jobs: The jobs, of one task or of several.

    Raises:
        HtcResponseError: Jobs are not there any more; the others are up to date.
    """
    missing = _waiting.refresh(rescale, jobs)
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise HtcResponseError(f"listJobs: {len(missing)} jobs are not in their tasks: {shown}")


def get_job_with_id(rescale: HtcSession, task: HtcTask, job_id: str) -> HtcJob | None:
    """Return the job with this id, or None if the task has none.

    Operation getJob.

    Raises:
        HtcValidationError: `task` is not an HtcTask, or `job_id` not a string.
    """
    require_instance(task, HtcTask, "task", "get_job_with_id")
    require_instance(job_id, str, "job_id", "get_job_with_id")
    try:
        job = api.get_htc_projects_tasks_jobs(
            rescale, id_of(task, "projectId"), id_of(task, "taskId"), job_id
        )
    except HtcNotFoundError:
        return None
    return HtcJob(job, task)


def as_completed(
    rescale: HtcSession, jobs: Iterable[HtcJob], timeout: float | None = None
) -> Iterator[HtcJob]:
    """Yield jobs as they end, each one once, with the record that it then has as its `json`.

    Operation listJobs: one listing every `rescale.status_refresh_seconds` (30 by default),
    however many jobs there are. Up to 100 jobs that have not ended are asked for by their ids;
    of more, all pages of their task, or of their group if it is the same for all, are read.
    Where jobs belong to several tasks, these take turns.

    Args:
        rescale: The session.
        jobs: The jobs, of one or several tasks: `batch.to_jobs()` or a list. Of those with
            the same id the first one is yielded.
        timeout: Seconds to wait at most for all of them, at least 0; None for as long as it
            takes. What the caller does with a job is part of that time.

    Raises:
        HtcValidationError: What is not a job is among `jobs`, or `timeout` is no such number.
        HtcWaitTimeoutError: Not all jobs ended in time. It has the counts.
        HtcResponseError: All others have ended, and the rest was not listed for 300 s,
            because it was deleted.
    """
    given = list(jobs)
    for job in given:
        require_instance(job, HtcJob, "jobs", "as_completed")
    return _waiting.ended(rescale, given, timeout)


def to_dataframe(jobs: Iterable[HtcJob]) -> pd.DataFrame:
    """Make a table of jobs, a row each, from what was fetched of them. Sends nothing.

    The columns are always the same: job_uuid, index, status, status_reason, failure_code,
    exit_code, created_at, started_at, completed_at, updated_at, region, group, image_name,
    architecture, max_vcpus, max_memory (MiB), max_disk_gib, exec_timeout_seconds, instance_id,
    task_id and project_id. Texts are of type `string`, numbers `Int64` and times
    `datetime64[us, UTC]`. What was not fetched, or is null, is missing. Variables, commands
    and labels, which may hold secrets, are not there.

    Args:
        jobs: The jobs, such as those of `get_jobs`.

    Raises:
        HtcException: pandas is not installed; `pip install "rescalehtc[pandas]"` does so.
        HtcResponseError: A field has a value that does not fit its column.
    """
    given = list(jobs)
    for job in given:
        require_instance(job, HtcJob, "jobs", "to_dataframe")
    from . import _tables

    return _tables.dataframe(given)


def create_single_job(
    rescale: HtcSession,
    task: HtcTask,
    priority: JobPriority,
    image_name: str,
    exec_timeout_seconds: int,
    job_name: str = "rescalehtc_default_jobname",
    max_vcpus: int = 1,
    max_memory_mib: int = 4000,
    max_swap_mib: int = 0,
    max_disk_gib: int = 10,
    job_tags: dict[str, str] = {},
    batch_tags: Sequence[TagLike] = [],
    commands: list[str] | tuple[str, ...] = [],
    envs: Sequence[EnvLike] = [],
    claims: Sequence[ClaimLike] = [],
    architecture: Architecture = "AARCH64",
    region: RescaleRegion | None = None,
    *,
    group: str | None = None,
    max_retries: int | None = None,
    working_dir: str | None = None,
) -> HtcJob:
    """Submit one job and fetch its record. The arguments are those of `create_job_batch`.

    Operations getImageStatus, submitJobs and getJob. If the record can't be fetched, the job
    is returned all the same, with the fields that a job of `HtcJobBatch.to_jobs` has.

    Raises:
        The same as `create_job_batch`.
    """
    secret: Iterator[Any] = iter([envs, claims])  # it shows them nowhere
    del envs, claims
    batch = create_job_batch(
        rescale,
        task,
        1,
        priority,
        image_name,
        exec_timeout_seconds,
        job_name,
        max_vcpus,
        max_memory_mib,
        max_swap_mib,
        max_disk_gib,
        job_tags,
        batch_tags,
        commands,
        next(secret),
        next(secret),
        architecture,
        region,
        group=group,
        max_retries=max_retries,
        working_dir=working_dir,
    )
    job = batch.to_jobs()[0]
    ids: dict[str, str] = job.json
    try:
        fetched = api.get_htc_projects_tasks_jobs(
            rescale, ids["projectId"], ids["taskId"], ids["jobUUID"]
        )
        if fetched.get("jobUUID") != ids["jobUUID"]:
            raise HtcResponseError("getJob: the answer is not about this job")
        job.json = {**fetched, "projectId": ids["projectId"], "taskId": ids["taskId"]}
    except HtcException as error:  # the job exists and costs money: its id must not be lost
        _logger.warning("job %s was submitted, its record not fetched: %s", ids["jobUUID"], error)
    return job


def create_job_batch(
    rescale: HtcSession,
    task: HtcTask,
    batch_size: int,
    priority: JobPriority,
    image_name: str,
    exec_timeout_seconds: int,
    job_name: str = "rescalehtc_default_jobname",
    max_vcpus: int = 1,
    max_memory_mib: int = 4000,
    max_swap_mib: int = 0,
    max_disk_gib: int = 10,
    job_tags: dict[str, str] = {},
    batch_tags: Sequence[TagLike] = [],
    commands: list[str] | tuple[str, ...] = [],
    envs: Sequence[EnvLike] = [],
    claims: Sequence[ClaimLike] = [],
    architecture: Architecture = "AARCH64",
    region: RescaleRegion | None = None,
    *,
    group: str | None = None,
    max_retries: int | None = None,
    working_dir: str | None = None,
) -> HtcJobBatch:
    """Submit a batch of jobs made from one definition.

    Operations getImageStatus, until the image is ready, and submitJobs; with a group also
    listJobs. Each job finds its
    index, from 0, in the variable AWS_BATCH_JOB_ARRAY_INDEX.

    Args:
        rescale: The session.
        task: The task that the jobs are to belong to.
        batch_size: Number of jobs, 1 to 1000.
        priority: ON_DEMAND_ECONOMY (cheaper, may be interrupted) or ON_DEMAND_PRIORITY.
        image_name: The container image in the project's registry, `[path/]name[:tag]`.
        exec_timeout_seconds: Seconds that a container may run before it is stopped, 60 to
            1209600 (14 days).
        job_name: A name for people.
        max_vcpus: Virtual CPUs for a container, 1 to 64.
        max_memory_mib: Memory for a container in MiB, 4 to 235520.
        max_swap_mib: Deprecated; the service ignores it. At least 0.
        max_disk_gib: Disk for a container in GiB, 0 to 64000. Only Google Cloud heeds it.
        job_tags: Labels of each job, name to value.
        batch_tags: Labels of the batch: `[{"key": "study", "value": "wing"}]`.
        commands: The program and its arguments, one string each: `["python", "solve.py"]`.
            No shell splits them.
        envs: Environment variables: `[{"name": "CASE", "value": "7"}]`. Names that the
            service sets itself are refused.
        claims: Claims for the jobs' own bearer tokens, like `envs`; there their names begin
            with `userDefined_`, see `BearerToken.get_user_claims`.
        architecture: AARCH64, X86 or A100.
        region: One of the project's regions; may be None if it has only one.
        group: A name for these jobs within the task. If the answer to the submission is lost,
            the group tells what became of it; so give each submission a group of its own,
            or at least let no two programs submit to one at the same time.
        max_retries: How often the service runs a job that failed again, 0 to 10. None leaves it
            to the service.
        working_dir: The directory in the container that the command starts in. None for the
            image's own.

    Returns:
        The batch; `to_jobs` gives its jobs.

    Raises:
        HtcValidationError: Arguments break rules. All of them are listed; nothing was sent.
        HtcNotFoundError: The project has no such image.
        HtcImagePendingError: The image was not ready within `rescale.image_wait_seconds`.
        SubmissionUncertainError: The answer was lost, and the group does not tell what became
            of the submission. It is not sent again.
    """
    require_instance(task, HtcTask, "task", "create_job_batch")
    from . import _delivery, _submission

    arguments: dict[str, object] = {
        "batch_size": batch_size,
        "priority": priority,
        "image_name": image_name,
        "exec_timeout_seconds": exec_timeout_seconds,
        "job_name": job_name,
        "max_vcpus": max_vcpus,
        "max_memory_mib": max_memory_mib,
        "max_swap_mib": max_swap_mib,
        "max_disk_gib": max_disk_gib,
        "job_tags": job_tags,
        "batch_tags": batch_tags,
        "commands": commands,
        "envs": envs,
        "claims": claims,
        "architecture": architecture,
        "max_retries": max_retries,
        "working_dir": working_dir,
    }
    checked = _submission.tried(_submission.from_arguments, arguments, region, task.project)
    del arguments, envs, claims  # tracebacks that show variables must not show their secrets
    request = _submission.passed(checked)
    return _delivery.deliver(rescale, task, [request], _checked_group(group))


def create_job_batch_raw(
    rescale: HtcSession,
    task: HtcTask,
    payload: Sequence[dict[str, Any] | models.HTCJobSubmitRequest],
    *,
    group: str | None = None,
) -> HtcJobBatch:
    """Submit the batches of a payload.

    Operations getImageStatus, until the images are ready, and submitJobs; with a group also
    listJobs.

    Args:
        rescale: The session.
        task: The task that the jobs are to belong to.
        payload: 1 to 100 submit requests: dictionaries with the service's names, models, or
            a mix of both. `regions` may be left out if the project has only one.
            What only the service sets, as in the `json` of a batch, is left out.
        group: A name for these jobs within the task; see `create_job_batch`.

    Returns:
        The batch; of several submit requests, `batches` has one for each, and `to_jobs` gives
        the jobs of them all.

    Raises:
        HtcValidationError: The payload breaks rules. All of them are listed with their place
            in it; nothing was sent.
        HtcNotFoundError: The project has no such image.
        HtcImagePendingError: An image was not ready within `rescale.image_wait_seconds`.
        SubmissionUncertainError: The answer was lost, and the group does not tell what became
            of the submission. It is not sent again.
    """
    require_instance(task, HtcTask, "task", "create_job_batch_raw")
    from . import _delivery, _submission

    checked = _submission.tried(_submission.from_payload, payload, task.project)
    del payload  # tracebacks that show variables must not show its secrets
    return _delivery.deliver(rescale, task, _submission.passed(checked), _checked_group(group))


def validate(
    payload: Sequence[dict[str, Any] | models.HTCJobSubmitRequest],
    project: HtcProject | None = None,
    rescale: HtcSession | None = None,
) -> list[Problem]:
    """Return all problems of a payload, without submitting anything.

    Without a project, the types, ranges and names are checked; with one, also that it has the
    regions. With a session too, the service is asked whether the images are there and ready,
    and whether the project's computing environments, if it is restricted to some, fit.

    Operations, with a session only: getProjectDimensions, and getImageStatus for each image.

    Args:
        payload: Submit requests, as for `submit`.
        project: The project that the jobs are meant for, or None.
        rescale: A session, or None to send nothing.

    Returns:
        Each problem with its place, such as `[0].htcJobDefinition.maxVCpus`; none if
        `submit` would send the payload.

    Raises:
        HtcValidationError: `project` is not an HtcProject, or there is a session and no project.
    """
    if project is not None or rescale is not None:
        require_instance(project, HtcProject, "project", "validate")
    from . import _checking

    return _checking.problems(payload, project, rescale)


def submit(
    rescale: HtcSession,
    task: HtcTask,
    requests: Sequence[dict[str, Any] | models.HTCJobSubmitRequest],
    *,
    group: str | None = None,
) -> HtcJobBatch:
    """Submit any number of batches of any size.

    All of them are checked before the first one is sent. A dictionary with a `batchSize` above
    1000 becomes several batches; in each of them AWS_BATCH_JOB_ARRAY_INDEX begins at 0. They
    are sent 100 batches a call, several calls at once.

    Operations getImageStatus, until the images are ready, and submitJobs; with a group also
    listJobs.

    Args:
        rescale: The session.
        task: The task that the jobs are to belong to.
        requests: Submit requests as in `create_job_batch_raw`, at least one.
        group: A name for these jobs within the task; see `create_job_batch`.

    Returns:
        The batch; `batches` has one for each request or part of it, in order, and `to_jobs`
        gives the jobs of them all.

    Raises:
        HtcValidationError: The requests break rules. All of them are listed with their place;
            nothing was sent.
        HtcNotFoundError: The project has no such image; nothing was sent.
        HtcImagePendingError: An image was not ready within `rescale.image_wait_seconds`;
            nothing was sent.
        SubmissionIncompleteError: It broke off after something was sent. It tells what was
            submitted, what is uncertain, and what was not submitted.
    """
    require_instance(task, HtcTask, "task", "submit")
    from . import _delivery, _submission

    checked = _submission.tried(_submission.from_any_number, requests, task.project)
    positions = [] if isinstance(checked, HtcValidationError) else _submission.positions(requests)
    del requests  # tracebacks that show variables must not show its secrets
    parts = _submission.passed(checked)
    return _delivery.deliver_all(rescale, task, parts, positions, _checked_group(group))


def _checked_group(group: str | None) -> str | None:
    if group is None or (isinstance(group, str) and group):  # pyright: ignore[reportUnnecessaryIsInstance]
        return group
    problem = Problem("group", "must be None or a string that is not empty")
    raise HtcValidationError("the arguments", [problem])


def _check_last_n_lines(last_n_lines: int | None, subject: str) -> None:
    if last_n_lines is None:
        return
    if isinstance(last_n_lines, bool) or not isinstance(last_n_lines, int) or last_n_lines < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        message = "must be None or an integer of at least 0"
        raise HtcValidationError(subject, [Problem("last_n_lines", message)])
