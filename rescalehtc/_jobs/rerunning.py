"""Wait for a batch, and retry failed jobs.

All state is in the service. A tag of each retry has the id of the first job and the number of the
attempt, so a program can continue after it was killed.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .._environment import INDEX_VARIABLE
from .._wire.operations import CANCEL_JOBS
from ..exceptions import HtcException, HtcValidationError, Problem, RunStoppedError
from .failures import has_variable, single_request
from .groups import ATTEMPT_TAG, list_records, records_of
from .ledger import Ledger
from .once import tagged
from .records import common_group, is_running
from .submission import Submission
from .watching import JobKey, JobTracker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from .._client.client import Client
    from .._counts import JobCounts
    from .._session import BaseSession
    from .ledger import Entry
    from .policy import RetryPolicy
    from .report import RunReport
    from .waiting import Interval
    from .watching import SeenStatuses

    EndedEntry = tuple[Entry, Mapping[str, Any]]
    """A job without a retry left, and the record of its last attempt."""


class Rerunner:
    """Waits for a batch, and retries failed jobs."""

    def __init__(
        self,
        rescale: BaseSession,
        task_ids: Mapping[str, str],
        project: Mapping[str, Any],
        parts: Sequence[Mapping[str, Any]],
        policy: RetryPolicy,
        interval: Interval,
        may_have_reruns: bool,
    ) -> None:
        """Create the rerunner.

        Args:
            rescale: The session.
            task_ids: The path parameters of the task.
            project: The project's record.
            parts: The service's response to each submit request of the batch.
            policy: The policy for retries.
            interval: The polling interval and timeout.
            may_have_reruns: Whether an earlier wait may have retried jobs.

        Raises:
            HtcValidationError: The jobs are not in one group. Or they already have the variable
                INDEX_VARIABLE.
        """
        group = common_group(parts)
        if group is None:
            message = "the jobs of the batch are not in one group; submit with group="
            raise HtcValidationError("wait", [Problem("policy", f"can't be used: {message}")])
        for part in parts:
            if part["batchSize"] > 1 and has_variable(part, INDEX_VARIABLE):
                message = f"can't be used: the requests of the batch set {INDEX_VARIABLE}"
                raise HtcValidationError("wait", [Problem("policy", message)])
        self._rescale = rescale
        self._client = rescale.client
        self._task_ids = task_ids
        self._group = group
        self._project = project
        self._interval = interval
        self._ledger = Ledger(parts, policy)
        keys = [self._key(f"{p['parentJobId']}:{i}") for p in parts for i in range(p["batchSize"])]
        self._tracker = JobTracker(self._client, keys, interval)
        self._ended: list[EndedEntry] = []
        self._is_resumed = self._is_unsettled = may_have_reruns
        self._settles_at = self._settled_at()

    def _settled_at(self) -> float:
        return self._client.io.monotonic() + self._rescale.settle_seconds

    def _key(self, job_id: str) -> JobKey:
        return JobKey(self._task_ids["projectId"], self._task_ids["taskId"], job_id, self._group)

    @property
    def seen(self) -> SeenStatuses:
        """The last known statuses of all attempts."""
        return self._tracker.seen

    @property
    def report(self) -> RunReport:
        """All attempts so far."""
        return self._ledger.report(self._tracker.seen.by_id)

    @property
    def counts(self) -> JobCounts:
        """The jobs by the status of their last attempt."""
        return self._ledger.counts(self._tracker.seen.by_id)

    async def wait(self, show: Callable[[JobCounts], None]) -> JobCounts:
        """Wait until all jobs have ended and no retry is left.

        Raises:
            RunStoppedError: More jobs failed than the policy allows. The group was cancelled.
            HtcWaitTimeoutError: Not all jobs ended before the timeout.
        """
        counts = self.counts
        async with aclosing(self.iterate()) as polls:
            async for counts, _ in polls:
                show(counts)
        return counts

    async def iterate(self) -> AsyncGenerator[tuple[JobCounts, list[EndedEntry]]]:
        """Yield the counts after each poll, with the jobs that have ended since the last one.

        Raises:
            RunStoppedError: More jobs failed than the policy allows. The group was cancelled.
            HtcWaitTimeoutError: Not all jobs ended before the timeout.
        """
        while True:
            failure: HtcException | None = None
            try:
                await self._poll()
            except HtcException as error:
                failure = error
            counts = self.counts
            ended, self._ended = self._ended, []
            if ended or failure is None:
                yield counts, ended
            if failure is not None:
                self._interval.note_outage(failure)
            else:
                self._interval.note_answer()
                if not counts.running:
                    return
            await self._interval.pause(counts)

    async def _poll(self) -> None:
        if self._is_resumed:
            await self._find_reruns()
            self._is_resumed = False
        if self._tracker.counts().running:
            async with aclosing(self._tracker.list_once()) as pages:
                async for ended in pages:
                    for _, record in ended:
                        entry = self._ledger.note_end(record, self._client.io.monotonic())
                        if entry is not None:
                            self._ended.append((entry, record))
        if self._ledger.is_exceeded():
            await self._stop()
        await self._run_again()

    async def _find_reruns(self) -> None:
        """Add the retries of an earlier wait."""
        async for record in list_records(self._client, self._task_ids, self._group):
            job_id = self._ledger.note_existing(record)
            if job_id is not None:
                self._tracker.add([self._key(job_id)])

    async def _run_again(self) -> None:
        """Submit the retries that are due."""
        due = [*self._ledger.due(self._client.io.monotonic())]
        if due and self._is_unsettled:
            # A killed process may have submitted these retries a moment ago.
            if self._client.io.monotonic() < self._settles_at:
                return
            await self._find_reruns()
            self._is_unsettled = False
            due = [*self._ledger.due(self._client.io.monotonic())]
        if not due:
            return
        requests = [(n, self._request(*item)) for n, item in enumerate(due)]
        submission = Submission(self._interval)
        self._is_unsettled = True  # until the new jobs are known
        self._settles_at = self._settled_at()
        try:
            answers = await submission.send(self._rescale, self._task_ids, requests, self._group)
        except BaseException as error:
            submission.prepare_to_leave(error)
            raise
        self._is_unsettled = False
        for (first_id, entry), answer in zip(due, answers, strict=True):
            job_id = f"{answer['parentJobId']}:0"
            self._ledger.add(first_id, entry.number + 1, job_id)
            self._tracker.add([self._key(job_id)])

    def _request(self, first_id: str, entry: Entry) -> dict[str, Any]:
        """Build the submit request for the next attempt at a job."""
        last = entry.last
        job = {"jobUUID": first_id, "region": last.region}
        model = single_request(entry.part, job, INDEX_VARIABLE, self._project)
        request = tagged(model.to_json_dict(), {ATTEMPT_TAG: f"{first_id}:{entry.number + 1}"})
        definition = request["htcJobDefinition"]
        if last.failure is not None and last.decision is not None:
            limits = {
                "maxMemory": last.decision.memory_mib or last.failure.memory_mib,
                "execTimeoutSeconds": last.decision.timeout_seconds or last.failure.timeout_seconds,
            }
            definition |= {name: value for name, value in limits.items() if value is not None}
        return request

    async def _stop(self) -> None:
        """Cancel the group because too many jobs failed.

        Raises:
            RunStoppedError: Always.
        """
        report = self.report
        is_running = bool(report.counts.running)
        if is_running:
            query = {"group": self._group}
            await self._client.send(CANCEL_JOBS.call(self._task_ids, query=query))
        raise RunStoppedError(report.counts, report.causes, is_running)


async def fetch_report(
    client: Client, task_ids: Mapping[str, str], parts: Sequence[Mapping[str, Any]]
) -> RunReport:
    """Report the attempts at the jobs of a batch, according to their records."""
    records = await records_of(client, task_ids, parts)
    ledger = Ledger(parts, None)
    for record in records:
        ledger.note_existing(record)
    for record in records:
        if not is_running(record):
            ledger.note_end(record, 0.0)
    return ledger.report({record["jobUUID"]: str(record.get("status")) for record in records})
