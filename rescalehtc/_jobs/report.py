"""The report of a run: all attempts at its jobs, with the reasons for retries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .records import parent_and_index

if TYPE_CHECKING:
    from .._counts import JobCounts
    from .policy import JobFailure, RetryDecision

SHOWN_INDICES = 10


@dataclass(frozen=True, slots=True)
class JobAttempt:
    """One attempt at a job of a run. Each attempt is a job of the service."""

    job_id: str
    """The id of the attempt's job."""
    first_job_id: str
    """The id of the first attempt's job."""
    number: int
    """The number of the attempt, starting at 1."""
    status: str | None
    """The last known status. None if the job has not been listed yet."""
    failure: JobFailure | None
    """The failure. None if the attempt has not failed."""
    decision: RetryDecision | None
    """The decision about a retry, with its reason. None if the attempt has not failed."""

    @property
    def index(self) -> int:
        """The index of the first attempt's job. Retries read it from RESCALEHTC_INDEX."""
        return parent_and_index(self.first_job_id)[1]

    @property
    def cause(self) -> str:
        """The failure code and the exit code. Reports count failures with the same cause."""
        return cause_of(self.failure)


@dataclass(frozen=True, slots=True)
class RunReport:
    """The attempts of a run, as of the last poll of `wait` or the call of `HtcJobBatch.report`."""

    counts: JobCounts
    """The jobs by the status of their last attempt. Jobs that wait for a retry are not seen."""
    attempts: list[JobAttempt]
    """All attempts, by job and number."""

    @property
    def reruns(self) -> list[JobAttempt]:
        """The attempts after the first ones."""
        return [attempt for attempt in self.attempts if attempt.number > 1]

    @property
    def failed(self) -> list[JobAttempt]:
        """The last attempts of the failed jobs without a retry left."""
        return [
            attempt
            for attempt in self.attempts
            if attempt.decision is not None and not attempt.decision.again
        ]

    @property
    def causes(self) -> dict[str, int]:
        """The causes of `failed`, each with its number of jobs, most frequent first."""
        return dict(Counter(attempt.cause for attempt in self.failed).most_common())

    def __str__(self) -> str:
        lines = [str(self.counts)]
        again = [
            attempt
            for attempt in self.attempts
            if attempt.decision is not None and attempt.decision.again
        ]
        lines += _clusters("retried", again)
        lines += _clusters("failed", self.failed)
        return "\n".join(lines)


def cause_of(failure: JobFailure | None) -> str:
    """Describe a failure by its codes. Return an empty string without a failure."""
    if failure is None:
        return ""
    code = failure.failure_code or "no failure code"
    return code if failure.exit_code is None else f"{code}, exit code {failure.exit_code}"


def _clusters(title: str, attempts: list[JobAttempt]) -> list[str]:
    """One line per cause and decision, with the indices."""
    clusters: dict[tuple[str, str], list[int]] = {}
    for attempt in attempts:
        reason = attempt.decision.reason if attempt.decision else ""
        clusters.setdefault((attempt.cause, reason), []).append(attempt.index)
    lines: list[str] = []
    for (cause, reason), indices in sorted(clusters.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(map(str, indices[:SHOWN_INDICES]))
        more = ", ..." if len(indices) > SHOWN_INDICES else ""
        lines.append(f"{title}: {len(indices)} with {cause}: {reason} (index {shown}{more})")
    return lines
