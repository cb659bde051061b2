"""List jobs, and fetch or await many jobs at once."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from .._counts import ANY
from .._jobs import watching
from .._jobs.records import job_listing
from .._jobs.waiting import Interval
from .._objects.json_object import Listing, require_instance, task_ids
from .._tracebacks import trimmed
from .._wire.operations import GET_JOB
from ..exceptions import HtcNotFoundError, HtcResponseError
from ..htctasks import HtcTask
from ._job import HtcJob, checked_group, job_key, store_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    from .._literals import RescaleJobStatus
    from .._wire.operation import Call
    from ..htcsession import HtcSession


def iter_jobs(
    rescale: HtcSession,
    task: HtcTask,
    job_status: RescaleJobStatus | None = "any",
    *,
    group: str | None = None,
) -> Iterator[HtcJob]:
    """Yield the jobs of a task, holding one page at a time in memory.

    Operation listJobs. The service filters by status and group.

    Args:
        rescale: The session.
        task: The task.
        job_status: A status such as SUCCEEDED. `any`, `all` or None for every status.
        group: The group of the jobs. None for the whole task.

    Raises:
        HtcValidationError: `task` is not an HtcTask, or `group` is not a non-empty string.
    """
    require_instance(task, HtcTask, "task", "iter_jobs")
    status = None if job_status in ANY else job_status
    call = job_listing(task_ids(task), status=status, group=checked_group(group))
    return _each(rescale, call, task)


def _each(rescale: HtcSession, call: Call, task: HtcTask) -> Iterator[HtcJob]:
    with trimmed():
        for page in rescale.pages(call):
            yield from map(HtcJob, page, repeat(task))
            del page  # before the next one is decoded


def get_jobs(
    rescale: HtcSession,
    task: HtcTask,
    job_status: RescaleJobStatus | None = "any",
    *,
    group: str | None = None,
) -> list[HtcJob]:
    """Return the jobs of a task.

    Operation listJobs.

    Args:
        rescale: The session.
        task: The task.
        job_status: A status such as SUCCEEDED. `any`, `all` or None for every status.
        group: The group of the jobs. None for the whole task.
    """
    return Listing(list(iter_jobs(rescale, task, job_status, group=group)))


def refresh(rescale: HtcSession, jobs: Sequence[HtcJob]) -> None:
    """Fetch the records of many jobs, and store each record as the job's `json`.

    Operation listJobs, once per 100 jobs of a task.

    Args:
        rescale: The session.
        jobs: The jobs, of one or several tasks.

    Raises:
        HtcResponseError: Some jobs no longer exist. The other jobs are up to date.
    """
    with trimmed():
        flow = watching.fetch_records(rescale.client, [job_key(job) for job in jobs])
        records = rescale.run(flow)
        missing: list[str] = []
        for job in jobs:
            job_id = job.json["jobUUID"]
            if job_id in records:
                store_record(job, records[job_id], rescale)
            elif job_id not in missing:
                missing.append(job_id)
        if missing:
            shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise HtcResponseError(
                f"listJobs: {len(missing)} jobs do not exist in their tasks: {shown}"
            )


def get_job_with_id(rescale: HtcSession, task: HtcTask, job_id: str) -> HtcJob | None:
    """Return the job with this id, or None if it does not exist in the task.

    Operation getJob.

    Args:
        rescale: The session.
        task: The task.
        job_id: The job's id, `<parent job id>:<index>`.

    Raises:
        HtcValidationError: `task` is not an HtcTask, or `job_id` is not a string.
    """
    require_instance(task, HtcTask, "task", "get_job_with_id")
    require_instance(job_id, str, "job_id", "get_job_with_id")
    try:
        job = rescale.send(GET_JOB.call({**task_ids(task), "jobId": job_id}))
    except HtcNotFoundError:
        return None
    return HtcJob(job, task)


def as_completed(
    rescale: HtcSession, jobs: Iterable[HtcJob], timeout: float | None = None
) -> Iterator[HtcJob]:
    """Yield each job when it has ended, with its final record as `json`.

    Operation listJobs: one listing every `rescale.status_refresh_seconds` (30 by default),
    regardless of the number of jobs. With up to 100 unfinished jobs, a poll lists them by id. With
    more, it reads all pages of their task, or of their group if all have the same group. Jobs of
    several tasks are polled in turn. An outage of the service does not end the iterator.

    Args:
        rescale: The session.
        jobs: The jobs, of one or several tasks, such as `batch.to_jobs()`. If several jobs have
            the same id, only the first one is yielded.
        timeout: The maximum wait for all jobs in seconds, at least 0. None waits without a limit.
            The time that you spend in the loop counts too.

    Raises:
        HtcValidationError: `jobs` contains an object that is not an HtcJob, or `timeout` is not a
            number of at least 0.
        HtcWaitTimeoutError: Not all jobs ended before the timeout. The exception has the counts.
        HtcNotFoundError: The task does not exist.
        HtcResponseError: The service has not listed the remaining jobs for 300 s, because they
            were deleted.
    """
    by_key: dict[tuple[str, str, str], HtcJob] = {}
    for job in jobs:
        require_instance(job, HtcJob, "jobs", "as_completed")
        by_key.setdefault(job_key(job)[:3], job)
    interval = Interval(rescale, timeout, "as_completed")
    return _ended(rescale, by_key, interval)


def _ended(
    rescale: HtcSession, by_key: dict[tuple[str, str, str], HtcJob], interval: Interval
) -> Iterator[HtcJob]:
    keys = [job_key(job) for job in by_key.values()]
    with trimmed():
        for _, page in rescale.iterate(watching.fetch_ended(rescale.client, keys, interval)):
            for key, record in page:
                job = by_key[key[:3]]
                store_record(job, record, rescale)
                yield job


def to_dataframe(jobs: Iterable[HtcJob]) -> pd.DataFrame:
    """Create a pandas DataFrame with one row per job, from the fetched records. Sends nothing.

    The columns are always the same: job_uuid, index, status, status_reason, failure_code,
    exit_code, created_at, started_at, completed_at, updated_at, region, group, image_name,
    architecture, max_vcpus, max_memory (MiB), max_disk_gib, exec_timeout_seconds, instance_id,
    task_id, project_id and duration, the time from the start to the end. Strings have the type
    `string`, numbers `Int64`, times `datetime64[us, UTC]` and durations `timedelta64[us]`. Fields
    that were not fetched or are null are missing values. Variables, commands and labels are
    excluded, because they may contain secrets.

    Args:
        jobs: The jobs, such as those of `get_jobs`.

    Raises:
        HtcException: pandas is not installed. Run `pip install "rescalehtc[pandas]>=2"`.
        HtcResponseError: A field has a value that does not fit its column.
    """
    job_list = list(jobs)
    for job in job_list:
        require_instance(job, HtcJob, "jobs", "to_dataframe")
    from .._jobs.dataframe import dataframe

    return dataframe([job.json for job in job_list])
