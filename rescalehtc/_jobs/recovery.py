"""Find the jobs of a submission whose response was lost, by their marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._counts import JobCounts
from ..exceptions import HtcException, SubmissionUncertainError
from .marks import mark_in
from .records import job_listing, parent_and_index
from .waiting import settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._client.client import Client
    from .waiting import Interval

GroupJobs = dict[str | None, dict[str, set[int]]]
"""The jobs of a group: the indices by parent, by mark."""


async def find_lost(
    client: Client,
    lost: Sequence[SubmissionUncertainError],
    *,
    settle_seconds: float,
    is_alone_in_group: bool,
    interval: Interval | None,
) -> list[list[str] | None]:
    """Search until all jobs are found, or the group has not changed for `settle_seconds`.

    Args:
        client: The client.
        lost: The lost calls of one submission. Each is updated with the jobs that were found.
        settle_seconds: The time without changes after which the search ends.
        is_alone_in_group: Whether the group is unique to this submission.
        interval: The polling interval during an outage. None ends the search.

    Returns:
        For each call, the parents of the jobs of its requests. None if jobs are missing.
    """
    reason = _why_not_searched(lost[0])

    async def look() -> tuple[list[list[str] | None], int, bool]:
        jobs = await _list_group(client, lost[0])
        results = [_find(error, jobs, is_alone_in_group) for error in lost]
        return results, sum(len(error.job_ids) for error in lost), None not in results

    while not reason:
        try:
            return await settle(client.io, settle_seconds, look)
        except HtcException as failure:
            if interval is None or not await _outlast(interval, failure):
                reason = f"the jobs' group could not be searched: {failure}"
    for error in lost:
        error.reason = reason
    return [None] * len(lost)


async def _outlast(interval: Interval, failure: HtcException) -> bool:
    """Pause during an outage. Return False if the wait has ended, or the failure is not an outage."""
    try:
        interval.note_outage(failure)
        await interval.pause(JobCounts({}, 1, 1))
    except HtcException:
        return False
    return True


async def recheck(client: Client, error: SubmissionUncertainError) -> list[dict[str, Any]]:
    """Search once more for the jobs of a submission.

    Returns:
        For each request, the fields of the service's response that identify its jobs.

    Raises:
        SubmissionUncertainError: Not all jobs were found. This is `error`, updated with the jobs
            that were found.
    """
    error.reason = _why_not_searched(error) or error.reason
    if _why_not_searched(error):
        raise error
    parents = _find(error, await _list_group(client, error), False)
    if parents is None:
        raise error
    ids = {"projectId": error.project_id, "taskId": error.task_id, "group": error.group}
    return [
        {**ids, "parentJobId": parent, "batchSize": request.batch_size}
        for request, parent in zip(error.requests, parents, strict=True)
    ]


def _why_not_searched(error: SubmissionUncertainError) -> str:
    if error.group is None or None in [request.mark for request in error.requests]:
        return "without marks, its jobs can't be distinguished from other jobs"
    return ""


async def _list_group(client: Client, error: SubmissionUncertainError) -> GroupJobs:
    task_ids = {"projectId": error.project_id, "taskId": error.task_id}
    jobs: GroupJobs = {}
    async for page in client.pages(job_listing(task_ids, group=error.group)):
        for record in page:
            if record.get("group") not in (None, error.group):
                continue  # the service ignores the filter
            parent, index = parent_and_index(record["jobUUID"])
            jobs.setdefault(mark_in(record.get("tags")), {}).setdefault(parent, set()).add(index)
    return jobs


def _find(
    error: SubmissionUncertainError, jobs: GroupJobs, is_alone_in_group: bool
) -> list[str] | None:
    """The parents of the jobs of each request. None if jobs are missing.

    Updates the exception with the jobs that were found.
    """
    job_ids: list[str] = []
    error.job_ids = []
    for request in error.requests:
        parents = jobs.get(request.mark, {})
        if is_alone_in_group and {*jobs} == {None}:
            # The service does not return tags, but only this request can have created the jobs.
            parents = jobs[None]
        error.job_ids += [f"{p}:{i}" for p, indices in parents.items() for i in sorted(indices)]
        if [*parents.values()] == [set(range(request.batch_size))]:
            job_ids += parents
    error.seen = len(error.job_ids)
    error.reason = f"{error.seen} of {error.sent} jobs were found in the group"
    if not error.seen and None in jobs:
        error.reason += "; the service does not return the tags of some of the group's jobs"
    return job_ids if len(job_ids) == len(error.requests) else None
