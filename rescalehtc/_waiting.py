"""Waiting for jobs: at most one request an interval, however many jobs there are."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import api
from ._json_object import id_of
from .exceptions import HtcResponseError, HtcValidationError, HtcWaitTimeoutError, Problem
from .htcprojects import PAGE_SIZE
from .htctasks import ENDED_STATUSES, RUNNING_STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from ._operation import Call, QueryValue
    from .htcjobs import HtcJob
    from .htcsession import HtcSession
    from .htctasks import HtcTask

# So many ids of jobs or names of groups make an address of 5 kB; servers take 8 kB or more.
MAX_NAMED = 100
# A job that is not listed may have been submitted a moment ago. After so long it is not there.
MISSING_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class JobCounts:
    """How many of the jobs that are waited for have ended, and how.

    Attributes:
        by_status: Number of jobs by status, for the statuses that a job was seen in.
        running: Jobs that have not ended, as far as was seen; those in `unseen` are among them.
        unseen: Jobs whose status is not known: not asked for yet, or not listed by the service
            because they were submitted a moment ago, or deleted.
    """

    by_status: Mapping[str, int]
    running: int
    unseen: int = 0

    @property
    def total(self) -> int:
        """All jobs that are waited for."""
        return sum(self.by_status.values()) + self.unseen

    @property
    def ended(self) -> int:
        """Jobs that have ended, well or not."""
        return self.total - self.running

    @property
    def succeeded(self) -> int:
        """Jobs that are SUCCEEDED or POD_SUCCEEDED."""
        return self.by_status.get("SUCCEEDED", 0) + self.by_status.get("POD_SUCCEEDED", 0)

    @property
    def failed(self) -> int:
        """Jobs that are FAILED or POD_FAILED; cancelled ones are among them."""
        return self.by_status.get("FAILED", 0) + self.by_status.get("POD_FAILED", 0)

    def __str__(self) -> str:
        counts = [f"{count} {status}" for status, count in sorted(self.by_status.items()) if count]
        counts += [f"{self.unseen} not seen"] if self.unseen else []
        details = f": {', '.join(counts)}" if counts else ""
        return f"{self.ended} of {self.total} jobs ended{details}"

    def _repr_html_(self) -> str:
        from . import _tables

        return _tables.counts(self)


def still_runs(record: Mapping[str, Any]) -> bool:
    """Whether the job with this record has not ended.

    Raises:
        HtcResponseError: The record has no status.
    """
    status = record.get("status")
    if not isinstance(status, str):
        raise HtcResponseError(f"the record of job {record.get('jobUUID')!r} has no status")
    if status in ENDED_STATUSES:
        return False
    return status in RUNNING_STATUSES or record.get("completedAt") is None


def counts_of(statuses: Mapping[str, Any], expected: int | None = None) -> JobCounts:
    """Make counts of a summary's `jobStatuses`, for so many jobs that there should be."""
    by_status = _numbers(statuses)
    unseen = max(0, (expected or 0) - sum(by_status.values()))
    running = sum(n for status, n in by_status.items() if status not in ENDED_STATUSES)
    return JobCounts(by_status, running + unseen, unseen)


def wait(
    rescale: HtcSession, look: Callable[[], JobCounts], timeout: float | None, progress: bool
) -> JobCounts:
    """Look again and again, with an interval between, until all jobs have ended.

    Args:
        rescale: The session, for its interval.
        look: Counts the jobs, sending at most one request.
        timeout: Seconds to wait at most, or None.
        progress: Whether to write counts to standard error.

    Raises:
        HtcValidationError: `timeout` is no number of seconds.
        HtcWaitTimeoutError: Not all have ended in time.
    """
    pause = Pauses(rescale, timeout, "wait")
    shown = _Progress(progress)
    try:
        while True:
            counts = look()
            shown.show(counts)
            if not counts.running:
                return counts
            pause(counts)
    finally:
        shown.close()


class Pauses:
    """The rhythm of one wait: called between two requests, it sleeps for an interval."""

    def __init__(self, rescale: HtcSession, timeout: float | None, subject: str) -> None:
        number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if timeout is not None and (not number or math.isnan(timeout) or timeout < 0):
            message = "must be None or a number of seconds of at least 0"
            raise HtcValidationError(subject, [Problem("timeout", message)])
        self._rescale = rescale
        self._timeout = math.inf if timeout is None else timeout
        self._started = time.monotonic()

    def __call__(self, counts: JobCounts) -> None:
        """Sleep for an interval.

        Raises:
            HtcWaitTimeoutError: The time is over before the interval is.
        """
        left = self._started + self._timeout - time.monotonic()
        interval = self._rescale.status_refresh_seconds
        time.sleep(max(0.0, min(interval, left)))
        if left <= interval:
            raise HtcWaitTimeoutError(f"{counts}, in {self._timeout:g} s", counts)


class _Patience:
    """How long jobs that the service does not list are waited for."""

    def __init__(self) -> None:
        self._since: float | None = None

    def nothing_but(self, missing: int, total: int) -> None:
        """Note that so many jobs are missing and no other job is waited for; 0 starts anew.

        Raises:
            HtcResponseError: It has been so for too long.
        """
        if not missing:
            self._since = None
            return
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since >= MISSING_SECONDS:
            raise HtcResponseError(
                f"the service has not listed {missing} of the {total} jobs for "
                f"{MISSING_SECONDS:g} s, and the others have ended; they may have been deleted"
            )


class Watched:
    """Jobs, of one or several tasks, and what has been seen of them.

    A listing is one of the jobs of one task that have not been seen to have ended: by their
    ids while they are few, else all that the task or their group has. Tasks take turns.
    """

    def __init__(self, rescale: HtcSession, jobs: Sequence[HtcJob]) -> None:
        self._rescale = rescale
        self._tasks: dict[tuple[str, str], dict[str, HtcJob]] = {}
        for job in jobs:
            place = (id_of(job, "projectId"), id_of(job, "taskId"))
            self._tasks.setdefault(place, {}).setdefault(id_of(job, "jobUUID"), job)
        self._total = sum(len(left) for left in self._tasks.values())
        self._statuses: dict[str, str] = {}
        self._absent: set[str] = set()
        self._patience = _Patience()

    def counts(self) -> JobCounts:
        """What has been seen so far."""
        by_status = Counter(self._statuses.values())
        left = sum(len(left) for left in self._tasks.values())
        return JobCounts(dict(by_status), left, self._total - len(self._statuses))

    def list_once(self) -> Generator[list[HtcJob]]:
        """Yield, for each page of a listing, the jobs that have ended, with their new records.

        Raises:
            HtcResponseError: The jobs that are left have not been listed for too long.
        """
        place, left = next(iter(self._tasks.items()))
        asked, listed = set(left), set[str]()
        for page in self._rescale.pages(_listing(place, left)):
            ended: list[HtcJob] = []
            for record in page:
                job_id = record.get("jobUUID")
                if job_id in left:
                    listed.add(job_id)
                    self._statuses[job_id] = str(record.get("status"))
                    if not still_runs(record):
                        job = left.pop(job_id)
                        job._take(record)  # pyright: ignore[reportPrivateUsage]
                        ended.append(job)
            record = None  # a traceback that shows variables must not show secrets
            yield ended
        self._absent = (self._absent - listed) | (asked - listed)
        for job_id in self._absent:
            self._statuses.pop(job_id, None)
        del self._tasks[place]  # to the end of the line, or away
        if left:
            self._tasks[place] = left
        waits_for_others = self.counts().running > len(self._absent)
        self._patience.nothing_but(0 if waits_for_others else len(self._absent), self._total)


def _listing(place: tuple[str, str], left: Mapping[str, HtcJob]) -> Call:
    ids, groups = None, {job.json.get("group") or None for job in left.values()}
    if len(left) <= MAX_NAMED:
        ids = list(left)
    group = groups.pop() if ids is None and len(groups) == 1 else None
    query: dict[str, QueryValue] = {"pageSize": PAGE_SIZE, "group": group, "jobId": ids}
    return api.LIST_JOBS.call({"projectId": place[0], "taskId": place[1]}, query=query)


def refresh(rescale: HtcSession, jobs: Sequence[HtcJob]) -> list[str]:
    """Fetch the records of jobs, by their ids; return the ids of those that are not there."""
    places: dict[tuple[str, str], dict[str, list[HtcJob]]] = {}
    for job in jobs:
        place = places.setdefault((id_of(job, "projectId"), id_of(job, "taskId")), {})
        place.setdefault(id_of(job, "jobUUID"), []).append(job)
    missing: list[str] = []
    for (project_id, task_id), named in places.items():
        ids = list(named)
        for start in range(0, len(ids), MAX_NAMED):
            asked = ids[start : start + MAX_NAMED]
            query: dict[str, QueryValue] = {"pageSize": PAGE_SIZE, "jobId": asked}
            call = api.LIST_JOBS.call({"projectId": project_id, "taskId": task_id}, query=query)
            records = {record["jobUUID"]: record for record in rescale.send(call)}
            for job_id in asked:
                if job_id not in records:
                    missing.append(job_id)
                    continue
                for job in named[job_id]:
                    job._take(records[job_id])  # pyright: ignore[reportPrivateUsage]
    return missing


def ended(rescale: HtcSession, jobs: Sequence[HtcJob], timeout: float | None) -> Iterator[HtcJob]:
    """Yield each job when it has ended, with its new record; one listing an interval."""
    watched = Watched(rescale, jobs)
    pause = Pauses(rescale, timeout, "as_completed")

    def generate() -> Iterator[HtcJob]:
        while watched.counts().running:
            for page in watched.list_once():
                yield from page
            if (counts := watched.counts()).running:
                pause(counts)

    return generate()


class BatchLook:
    """Counts the jobs of a batch; called, it sends at most one request.

    Few jobs are listed by their ids. Of many, the summaries of their groups are asked for, as
    long as those count as many jobs as the batch has; if they count more, the groups' jobs are
    listed, one page a call.
    """

    def __init__(self, rescale: HtcSession, task: HtcTask, jobs: Sequence[HtcJob]) -> None:
        self._rescale = rescale
        self._task = task
        self._watched = Watched(rescale, jobs)
        self._sizes = Counter[str](job.json.get("group", "") for job in jobs)
        self._statuses: dict[str, Mapping[str, Any]] = {}
        self._patience = _Patience()
        named = all(self._sizes)  # a batch may have no group
        self._by_summaries = named and len(self._sizes) <= MAX_NAMED < len(jobs)
        self._pages: Iterator[list[Any]] = iter(())

    def __call__(self) -> JobCounts:
        """Count."""
        if self._by_summaries:
            self._read_summaries()
            others = any(
                sum(_numbers(statuses).values()) > self._sizes[group]
                for group, statuses in self._statuses.items()
            )
            if not others:
                return self._counts()
            self._by_summaries, self._pages = False, iter(())
        elif next(self._pages, None) is None:
            self._pages = self._watched.list_once()
            next(self._pages, None)
        return self._watched.counts()

    def _counts(self) -> JobCounts:
        added: Counter[str] = Counter()
        for statuses in self._statuses.values():
            added.update(_numbers(statuses))
        return counts_of(added, self._sizes.total())

    def _read_summaries(self) -> None:
        """Read a page of summaries. There is hardly ever more than one."""
        page = next(self._pages, None)
        if page is None:
            counts = self._counts()
            missing = counts.unseen if counts.unseen == counts.running else 0
            self._patience.nothing_but(missing, counts.total)
            ids = {name: id_of(self._task, name) for name in ("projectId", "taskId")}
            query: dict[str, QueryValue] = {"group": [*self._sizes], "pageSize": PAGE_SIZE}
            self._pages = self._rescale.pages(api.LIST_GROUP_SUMMARIES.call(ids, query=query))
            page = next(self._pages)
        for summary in page:
            group, statuses = summary.get("group"), summary.get("jobStatuses")
            if not isinstance(statuses, dict):
                raise HtcResponseError("listGroupSummaries: a summary has no jobStatuses")
            if isinstance(group, str) and group in self._sizes:
                self._statuses[group] = statuses


def _numbers(statuses: Mapping[str, Any]) -> dict[str, int]:
    """The counts of a summary; one that is null is none."""
    return {status: count for status, count in statuses.items() if isinstance(count, int)}


class _Progress:
    """Counts on standard error: one line that changes on a terminal, else a line a change."""

    def __init__(self, on: bool) -> None:
        self._stream = sys.stderr if on else None
        self._on_terminal = bool(self._stream and self._stream.isatty())
        self._shown = ""

    def show(self, counts: JobCounts) -> None:
        """Show the counts, if they are not shown already."""
        text = str(counts)
        if self._stream is None or text == self._shown:
            return
        self._shown = text
        if self._on_terminal:  # a line that is wrapped could not be written over
            from shutil import get_terminal_size

            width = get_terminal_size().columns - 1
            self._stream.write(f"\r{text[:width]}\x1b[K")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """End the line."""
        if self._stream is not None and self._on_terminal and self._shown:
            self._stream.write("\n")
            self._stream.flush()
