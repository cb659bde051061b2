"""Watch many jobs, usually with one request per interval."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .._counts import (
    JobCounts,
    running_in,
    unknown_in,
)
from .._facts import PAGE_SIZE
from .._wire.operations import GET_TASK_SUMMARY, LIST_GROUP_SUMMARIES
from ..exceptions import HtcException, HtcResponseError
from .records import count_statuses, is_running, job_listing
from .waiting import wait

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from .._client.client import Client
    from .._client.io import Io
    from .._wire.operation import Call
    from .waiting import Interval

# 100 job ids or group names fit in a 5 kB URL. Servers accept at least 8 kB.
MAX_NAMED = 100
# A job that is not listed may be new. After this time, it counts as deleted.
MISSING_SECONDS = 300.0


class JobKey(NamedTuple):
    """The ids and the group of a job."""

    project_id: str
    task_id: str
    job_id: str
    group: str | None = None

    @property
    def task_ids(self) -> dict[str, str]:
        """The path parameters of its task."""
        return {"projectId": self.project_id, "taskId": self.task_id}


EndedJob = tuple[JobKey, dict[str, Any]]


@dataclass(slots=True)
class SeenStatuses:
    """The final statuses of jobs after a wait: one per job, or one for all jobs."""

    by_id: Mapping[str, str] = field(default_factory=dict[str, str])
    of_all: str | None = None

    def of(self, job_id: str) -> str | None:
        """The status of a job. None if it was not seen."""
        return self.of_all or self.by_id.get(job_id)

    def __bool__(self) -> bool:
        return bool(self.by_id or self.of_all)


class MissingJobs:
    """Measures how long the service has not listed the remaining jobs of a wait."""

    def __init__(self, io: Io) -> None:
        self._io = io
        self._since: float | None = None

    def note(self, missing: int, total: int) -> None:
        """Update the number of missing jobs. It is 0 unless all other jobs have ended.

        Raises:
            HtcResponseError: Jobs have been missing for too long.
        """
        if not missing:
            self._since = None
            return
        now = self._io.monotonic()
        self._since = self._since if self._since is not None else now
        if now - self._since >= MISSING_SECONDS:
            raise HtcResponseError(
                f"the service has not listed {missing} of the {total} jobs for "
                f"{MISSING_SECONDS:g} s, and the other jobs have ended; the missing jobs may have "
                "been deleted"
            )


class JobTracker:
    """Jobs, of one or several tasks, and their last known statuses.

    A listing contains the unfinished jobs of one task. A few jobs are listed by id, many by
    listing the whole task or group. Several tasks are listed in turn.
    """

    def __init__(self, client: Client, jobs: Sequence[JobKey], interval: Interval) -> None:
        self._client = client
        self._interval = interval
        self._tasks: dict[tuple[str, str], dict[str, JobKey]] = {}
        self._total = 0
        self._statuses: dict[str, str] = {}
        self._absent: set[str] = set()
        self._missing = MissingJobs(client.io)
        self.add(jobs)

    def add(self, jobs: Iterable[JobKey]) -> None:
        """Track more jobs, which were not tracked before."""
        before = sum(map(len, self._tasks.values()))
        for job in jobs:
            task = self._tasks.setdefault((job.project_id, job.task_id), {})
            task.setdefault(job.job_id, job)
        self._total += sum(map(len, self._tasks.values())) - before

    @property
    def seen(self) -> SeenStatuses:
        """The last known statuses."""
        return SeenStatuses(self._statuses)

    def counts(self) -> JobCounts:
        """The counts of the last known statuses."""
        running = sum(map(len, self._tasks.values()))
        by_status = dict(Counter(self._statuses.values()))
        return JobCounts(by_status, running, self._total - len(self._statuses))

    async def list_once(self) -> AsyncGenerator[list[EndedJob]]:
        """Yield, for each page of a listing, the jobs that have ended, with their records.

        Raises:
            HtcResponseError: The remaining jobs have not been listed for too long.
        """
        place, keys = next(iter(self._tasks.items()))
        requested, listed = set(keys), set[str]()
        flow = self._client.pages(_listing(keys), expires_at=self._interval.expires_at)
        async with aclosing(flow) as pages:
            async for page in pages:
                ended: list[EndedJob] = []
                for record in page:
                    job_id = record["jobUUID"]
                    if job_id in keys:
                        listed.add(job_id)
                        self._statuses[job_id] = str(record.get("status"))
                        if not is_running(record):
                            ended.append((keys.pop(job_id), record))
                yield ended
        self._absent = (self._absent - listed) | (requested - listed)
        for job_id in self._absent:
            self._statuses.pop(job_id, None)
        del self._tasks[place]  # move the task to the end, so that the next listing uses another
        if keys:
            self._tasks[place] = keys
        has_others = self.counts().running > len(self._absent)
        self._missing.note(0 if has_others else len(self._absent), self._total)


def _listing(keys: Mapping[str, JobKey]) -> Call:
    groups = {job.group for job in keys.values()}
    ids = list(keys) if len(keys) <= MAX_NAMED else None
    group = groups.pop() if ids is None and len(groups) == 1 else None
    return job_listing(next(iter(keys.values())).task_ids, group=group or None, jobId=ids)


async def fetch_ended(
    client: Client, jobs: Sequence[JobKey], interval: Interval
) -> AsyncGenerator[tuple[JobCounts, list[EndedJob]]]:
    """Yield the counts, and a page of ended jobs with their records. One listing per interval."""
    tracker = JobTracker(client, jobs, interval)
    while tracker.counts().running:
        try:
            async with aclosing(tracker.list_once()) as pages:
                async for ended in pages:
                    yield tracker.counts(), ended
        except HtcException as error:
            interval.note_outage(error)
        else:
            interval.note_answer()
        if (counts := tracker.counts()).running:
            await interval.pause(counts)


async def fetch_records(client: Client, jobs: Sequence[JobKey]) -> dict[str, dict[str, Any]]:
    """Fetch the records of jobs by id, omitting jobs that do not exist."""
    tasks: dict[tuple[str, str], dict[str, JobKey]] = {}
    for job in jobs:
        tasks.setdefault((job.project_id, job.task_id), {})[job.job_id] = job
    records: dict[str, dict[str, Any]] = {}
    for named in tasks.values():
        keys = list(named.values())
        for start in range(0, len(keys), MAX_NAMED):
            some = {key.job_id: key for key in keys[start : start + MAX_NAMED]}
            for record in await client.items(_listing(some)):
                records[record["jobUUID"]] = record
    return records


class BatchCounter:
    """Counts the jobs of a batch.

    With few jobs, each poll lists them by id. With many, each poll fetches the summaries of their
    groups. If the groups contain other jobs too, each poll lists one page of all jobs of the group.
    """

    def __init__(self, client: Client, jobs: Sequence[JobKey], interval: Interval) -> None:
        self._client = client
        self._interval = interval
        self._tracker = JobTracker(client, jobs, interval)
        self._pages: AsyncGenerator[list[EndedJob]] | None = None
        self._sizes = Counter[str](job.group or "" for job in jobs)
        self._task_ids = jobs[0].task_ids if jobs else {}
        self._missing = MissingJobs(client.io)
        self._seen: SeenStatuses | None = None
        self._by_summaries = all(self._sizes) and len(self._sizes) <= MAX_NAMED < len(jobs)

    @property
    def seen(self) -> SeenStatuses:
        """The final statuses of the jobs, when all of them have ended."""
        return self._seen or self._tracker.seen

    async def wait(self, show: Callable[[JobCounts], None]) -> JobCounts:
        """Wait until all jobs of the batch have ended; see `waiting.wait`."""
        try:
            return await wait(self.poll, self._interval, self._tracker.counts(), show)
        finally:
            if self._pages is not None:
                await self._pages.aclose()

    async def poll(self) -> JobCounts:
        """Count the jobs, usually with one request.

        Raises:
            HtcResponseError: The remaining jobs have not been listed for too long.
        """
        if self._by_summaries:
            counts = await self._count_by_summaries()
            self._by_summaries = counts is not None
            return counts or self._tracker.counts()
        page = None if self._pages is None else await anext(self._pages, None)
        if page is None:  # the first poll, or the end of a listing
            self._pages = self._tracker.list_once() if self._tracker.counts().running else None
            if self._pages is not None:
                await anext(self._pages, None)
        return self._tracker.counts()

    async def _count_by_summaries(self) -> JobCounts | None:
        """Count by the group summaries. None if they count other jobs too."""
        counted = await fetch_group_counts(
            self._client, self._task_ids, [*self._sizes], self._interval.expires_at
        )
        by_status: Counter[str] = Counter()
        running = 0
        for group, counts in counted.items():
            if counts.total > self._sizes[group]:
                return None
            by_status.update({status: n for status, n in counts.by_status.items() if n})
            running += counts.running
        total = self._sizes.total()
        unseen = max(0, total - by_status.total())
        self._missing.note(unseen if not running else 0, total)
        if len(by_status) == 1 and not unseen:  # otherwise a job's status is unknown
            self._seen = SeenStatuses(of_all=next(iter(by_status)))
        return JobCounts(dict(by_status), running + unseen, unseen)


async def fetch_task_summary(
    client: Client,
    task_ids: Mapping[str, str],
    expires_at: Callable[[], float] = lambda: math.inf,
) -> tuple[dict[str, Any], JobCounts]:
    """Fetch the summary of a task, and count its jobs.

    Raises:
        HtcResponseError: The summary has no valid counts.
    """
    summary = await client.send(GET_TASK_SUMMARY.call(task_ids), expires_at=expires_at())
    by_status = count_statuses(summary, "getTaskSummary")
    running = await _count_running(client, task_ids, by_status, None, expires_at)
    return summary, JobCounts(by_status, running)


async def fetch_group_counts(
    client: Client,
    task_ids: Mapping[str, str],
    groups: Sequence[str],
    expires_at: Callable[[], float],
) -> dict[str, JobCounts]:
    """Fetch the summaries of groups, and count their jobs. Omits groups without a summary.

    Raises:
        HtcResponseError: A summary has no valid counts.
    """
    call = LIST_GROUP_SUMMARIES.call(task_ids, query={"group": [*groups], "pageSize": PAGE_SIZE})
    counts: dict[str, JobCounts] = {}
    async with aclosing(client.pages(call, expires_at=expires_at)) as pages:
        async for page in pages:
            for summary in page:
                group = summary.get("group")
                if group in groups:
                    by_status = count_statuses(summary, "listGroupSummaries")
                    running = await _count_running(client, task_ids, by_status, group, expires_at)
                    counts[group] = JobCounts(by_status, running)
    return counts


async def _count_running(
    client: Client,
    task_ids: Mapping[str, str],
    by_status: Mapping[str, int],
    group: str | None,
    expires_at: Callable[[], float],
) -> int:
    """The number of jobs that have not ended.

    When all other jobs have ended, the jobs with a status that this release does not know are
    listed, because their records have the time of completion.
    """
    running = running_in(by_status)
    unknown = unknown_in(by_status)
    if running > sum(by_status[status] for status in unknown):
        return running
    for status in unknown:
        call = job_listing(task_ids, status=status, group=group)
        async for page in client.pages(call, expires_at=expires_at):
            running -= sum(not is_running(record) for record in page)
    return max(0, running)
