"""What a run has done so far: each job that was run, and why jobs were run again or not."""

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
    """One attempt at a job of a run: a job of the service."""

    job_id: str
    """The id of this job."""
    first_job_id: str
    """The id of the job that was run first."""
    number: int
    """The number of the attempt, from 1."""
    status: str | None
    """The status that was last seen; None if none was seen yet."""
    failure: JobFailure | None
    """How it failed, if it failed."""
    decision: RetryDecision | None
    """Whether it is run again, and why, if it failed."""

    @property
    def index(self) -> int:
        """The index of the first job in its batch, which attempts find in RESCALEHTC_INDEX."""
        return parent_and_index(self.first_job_id)[1]

    @property
    def cause(self) -> str:
        """Why it failed, in few words: failures with the same words are counted together."""
        return cause_of(self.failure)


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run has done so far, as far as `wait` has seen it."""

    counts: JobCounts
    """The jobs by the status of their last attempt; a job that waits for its next attempt counts as
    not seen.
    """
    attempts: list[JobAttempt]
    """Each attempt, in the order of the jobs and of their attempts."""

    @property
    def reruns(self) -> list[JobAttempt]:
        """The attempts after the first ones."""
        return [one for one in self.attempts if one.number > 1]

    @property
    def failed(self) -> list[JobAttempt]:
        """The last attempts of the jobs that stay failed."""
        return [one for one in self.attempts if one.decision is not None and not one.decision.again]

    @property
    def causes(self) -> dict[str, int]:
        """Why jobs stay failed, and how many did for each reason, the most frequent first."""
        return dict(Counter(one.cause for one in self.failed).most_common())

    def __str__(self) -> str:
        lines = [str(self.counts)]
        again = [one for one in self.attempts if one.decision is not None and one.decision.again]
        lines += _clusters("run again", again)
        lines += _clusters("failed", self.failed)
        return "\n".join(lines)


def cause_of(failure: JobFailure | None) -> str:
    """Describe a failure by its codes. Return an empty string without a failure."""
    if failure is None:
        return ""
    code = failure.failure_code or "no failure code"
    return code if failure.exit_code is None else f"{code}, exit code {failure.exit_code}"


def _clusters(what: str, attempts: list[JobAttempt]) -> list[str]:
    """A line for each cause and decision, with the indices."""
    found: dict[tuple[str, str], list[int]] = {}
    for one in attempts:
        reason = one.decision.reason if one.decision else ""
        found.setdefault((one.cause, reason), []).append(one.index)
    lines: list[str] = []
    for (cause, reason), indices in sorted(found.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(map(str, indices[:SHOWN_INDICES]))
        more = ", ..." if len(indices) > SHOWN_INDICES else ""
        lines.append(f"{what}: {len(indices)} with {cause}: {reason} (index {shown}{more})")
    return lines
