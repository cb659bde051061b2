"""Keep track of the attempts at each job of a batch, and find the jobs to retry. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._counts import FINAL_STATUSES, JobCounts
from .._facts import FAILED_STATUSES
from .._raw import is_object
from .groups import attempt_of
from .policy import JobFailure, RetryDecision
from .records import exit_code_of, integer_in
from .report import JobAttempt, RunReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .policy import RetryPolicy

    Json = Mapping[str, Any]


@dataclass(slots=True)
class Attempt:
    """An attempt at a job.

    Attributes:
        job_id: The id of its job.
        created_at: The time of its submission, if known.
        status: Its final status.
        region: Its region, once it has ended.
        failure: Its failure.
        decision: The decision of the policy about the failure.
        due_at: The time of the next attempt, on the monotonic clock.
    """

    job_id: str
    created_at: str = ""
    status: str | None = None
    region: str | None = None
    failure: JobFailure | None = None
    decision: RetryDecision | None = None
    due_at: float = 0.0


@dataclass(slots=True)
class Entry:
    """A job of the batch.

    Attributes:
        part: The service's response to the submit request of the job.
        index: The index of the job in this part.
        attempts: The attempts, by their numbers from 1.
    """

    part: Json = field(repr=False)
    index: int
    attempts: dict[int, Attempt] = field(default_factory=dict[int, Attempt])

    @property
    def number(self) -> int:
        """The number of the last attempt."""
        return max(self.attempts)

    @property
    def last(self) -> Attempt:
        """The last attempt."""
        return self.attempts[self.number]

    @property
    def is_over(self) -> bool:
        """Whether the last attempt has ended, and no retry is left."""
        last = self.last
        return last.status is not None and not (last.decision and last.decision.again)


class Ledger:
    """All jobs of a batch, and the attempts at them."""

    def __init__(self, parts: Sequence[Json], policy: RetryPolicy | None) -> None:
        """Create the ledger.

        Args:
            parts: The service's response to each submit request of the batch.
            policy: The policy for retries. None if it is unknown.
        """
        self._policy = policy
        self._entries: dict[str, Entry] = {}
        self._places: dict[str, tuple[str, int]] = {}
        for part in parts:
            for index in range(part["batchSize"]):
                job_id = f"{part['parentJobId']}:{index}"
                self._entries[job_id] = Entry(part, index)
                self.add(job_id, 1, job_id)

    def add(self, first_id: str, number: int, job_id: str, created_at: str = "") -> None:
        """Add an attempt at a job. If there are several with the same number, keep the oldest."""
        attempts = self._entries[first_id].attempts
        attempt = attempts.get(number)
        if attempt is None or (created_at, job_id) < (attempt.created_at, attempt.job_id):
            attempts[number] = Attempt(job_id, created_at)
            self._places[job_id] = first_id, number

    def note_existing(self, record: Json) -> str | None:
        """Add a listed job if it is an attempt of another process.

        Returns:
            The id of the job, if it is a new attempt at a job of the batch.
        """
        first_id, number = attempt_of(record)
        job_id = record["jobUUID"]
        if first_id not in self._entries or job_id in self._places:
            return None
        self.add(first_id, number, job_id, str(record.get("createdAt") or ""))
        return job_id if job_id in self._places else None

    def note_end(self, record: Json, now: float) -> Entry | None:
        """Record the end of an attempt, and decide whether to retry the job.

        Returns:
            The job, if this was its last attempt.
        """
        place = self._places.get(record["jobUUID"])
        if place is None:
            return None  # not a job of the batch
        entry, number = self._entries[place[0]], place[1]
        attempt = entry.attempts[number]
        if attempt.job_id != record["jobUUID"]:
            return None  # meanwhile, an older attempt with the same number was found
        attempt.status = str(record.get("status"))
        attempt.region = record.get("region")
        if attempt.status in FAILED_STATUSES:
            attempt.failure = failure_of(record, entry.part)
            attempt.decision = self._decide(attempt.failure, number)
            attempt.due_at = now + attempt.decision.wait_seconds
        return entry if number == entry.number and entry.is_over else None

    def _decide(self, failure: JobFailure, number: int) -> RetryDecision:
        if self._policy is None:
            return RetryDecision(False, "not rerun")
        return self._policy.decide(failure, number)

    def due(self, now: float) -> Iterator[tuple[str, Entry]]:
        """Yield the jobs to retry now, with the ids of their first attempts."""
        for first_id, entry in self._entries.items():
            last = entry.last
            if last.decision is not None and last.decision.again and last.due_at <= now:
                yield first_id, entry

    def counts(self, seen: Mapping[str, str]) -> JobCounts:
        """Count the jobs by the status of their last attempt.

        Args:
            seen: The last known statuses of attempts, by job id.
        """
        by_status: Counter[str] = Counter()
        running = 0
        for entry in self._entries.values():
            running += not entry.is_over
            status = entry.last.status or seen.get(entry.last.job_id)
            if status is not None and (entry.is_over or status not in FINAL_STATUSES):
                by_status[status] += 1
        return JobCounts(dict(by_status), running, len(self._entries) - by_status.total())

    def is_exceeded(self) -> bool:
        """Whether more jobs have failed than the policy allows."""
        if self._policy is None:
            return False
        over = [entry for entry in self._entries.values() if entry.is_over]
        failed = sum(entry.last.failure is not None for entry in over)
        return self._policy.is_exceeded(failed, len(over), len(self._entries))

    def report(self, seen: Mapping[str, str]) -> RunReport:
        """Report all attempts so far."""
        attempts = [
            JobAttempt(
                attempt.job_id,
                first_id,
                number,
                attempt.status or seen.get(attempt.job_id),
                attempt.failure,
                _decision(attempt, number == entry.number),
            )
            for first_id, entry in self._entries.items()
            for number, attempt in sorted(entry.attempts.items())
        ]
        return RunReport(self.counts(seen), attempts)


def _decision(attempt: Attempt, is_last: bool) -> RetryDecision | None:
    """The decision about an attempt. An earlier wait may have had another policy."""
    if is_last or attempt.decision is None or attempt.decision.again:
        return attempt.decision
    return RetryDecision(True, "retried by an earlier wait")


def failure_of(record: Json, part: Json) -> JobFailure:
    """Read a job's failure from its record, and limits that the record lacks from its request."""
    definition = part.get("htcJobDefinition")
    fields = {**definition} if is_object(definition) else {}
    fields |= {name: value for name, value in record.items() if value is not None}
    code = record.get("failureCode")
    return JobFailure(
        failure_code=code if isinstance(code, str) else None,
        exit_code=exit_code_of(record),
        memory_mib=integer_in(fields.get("maxMemory")),
        timeout_seconds=integer_in(fields.get("execTimeoutSeconds")),
    )
