"""Finding jobs, and fetching or awaiting many at once."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from .._counts import ANY
from .._facts import PAGE_SIZE
from .._jobs import watching
from .._jobs.waiting import Interval
from .._objects.json_object import id_of, require_instance
from .._tracebacks import trimmed
from .._wire.operations import GET_JOB, LIST_JOBS
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
    call = LIST_JOBS.call(
        {"projectId": id_of(task, "projectId"), "taskId": id_of(task, "taskId")},
        query={
            "pageSize": PAGE_SIZE,
            "status": None if job_status in ANY else job_status,
            "group": checked_group(group),
        },
    )
    return _each(rescale, call, task)


def _each(rescale: HtcSession, call: Call, task: HtcTask) -> Iterator[HtcJob]:
    with trimmed():
        for page in rescale.pages(call):
            yield from map(HtcJob, page, repeat(task))


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
        job_status: A status such as SUCCEEDED; `any`, `all` or None for every status.
        group: The group that the jobs were submitted with; None for the whole task.
    """
    return list(iter_jobs(rescale, task, job_status, group=group))


def refresh(rescale: HtcSession, jobs: Sequence[HtcJob]) -> None:
    """Fetch the records of many jobs, and set each one's `json`.

    Operation listJobs, once for a hundred jobs of a task.

    Args:
        rescale: The session.
        jobs: The jobs, of one or several tasks.

    Raises:
        HtcResponseError: Jobs do not exist any more; the others are up to date.
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
            raise HtcResponseError(f"listJobs: {len(missing)} jobs are not in their tasks: {shown}")


def get_job_with_id(rescale: HtcSession, task: HtcTask, job_id: str) -> HtcJob | None:
    """Return the job with this id, or None if the task has none.

    Operation getJob.

    Args:
        rescale: The session.
        task: The task.
        job_id: The job's id, `<parent job id>:<index>`.

    Raises:
        HtcValidationError: `task` is not an HtcTask, or `job_id` not a string.
    """
    require_instance(task, HtcTask, "task", "get_job_with_id")
    require_instance(job_id, str, "job_id", "get_job_with_id")
    try:
        ids = {name: id_of(task, name) for name in ("projectId", "taskId")}
        job = rescale.send(GET_JOB.call({**ids, "jobId": job_id}))
    except HtcNotFoundError:
        return None
    return HtcJob(job, task)


def as_completed(
    rescale: HtcSession, jobs: Iterable[HtcJob], timeout: float | None = None
) -> Iterator[HtcJob]:
    """Yield jobs as they end, each one once, with the record that it then has as its `json`.

    Operation listJobs: one listing every `rescale.status_refresh_seconds` (30 by default),
    however many jobs there are. Up to 100 jobs that have not ended are listed by their ids; for
    more, all pages of their task are read, or of their group if all have the same. Jobs of
    several tasks take turns. An outage of the service does not end the iterator.

    Args:
        rescale: The session.
        jobs: The jobs, of one or several tasks: `batch.to_jobs()` or a list. Of jobs with the
            same id the first one is yielded.
        timeout: Seconds to wait at most for all of them, at least 0; None to wait without a
            limit. The time that you spend with each job counts.

    Raises:
        HtcValidationError: `jobs` contains something else, or `timeout` is not such a number.
        HtcWaitTimeoutError: Not all jobs ended in time. It has the counts.
        HtcNotFoundError: There is no such task.
        HtcResponseError: The service has not listed the remaining jobs for 300 s, because they
            were deleted.
    """
    by_key: dict[tuple[str, str, str], HtcJob] = {}
    for job in jobs:
        require_instance(job, HtcJob, "jobs", "as_completed")
        by_key.setdefault(job_key(job)[:3], job)
    interval = Interval(rescale.client.io, rescale.status_refresh_seconds, timeout, "as_completed")
    return _ended(rescale, by_key, interval)


def _ended(
    rescale: HtcSession, by_key: dict[tuple[str, str, str], HtcJob], interval: Interval
) -> Iterator[HtcJob]:
    keys = [job_key(job) for job in by_key.values()]
    with trimmed():
        for page in rescale.iterate(watching.fetch_ended(rescale.client, keys, interval)):
            for key, record in page:
                job = by_key[key[:3]]
                store_record(job, record, rescale)
                yield job


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
    from .._jobs.dataframe import dataframe

    return dataframe([job.json for job in given])
