"""FailedJob: why a job failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._jobs.records import parent_and_index

if TYPE_CHECKING:
    from .. import models
    from ..htcsession import HtcSession
    from ._job import HtcJob


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A failed job, with the reason for its failure."""

    job: HtcJob
    """The job, with its complete record."""
    index: int
    """The index of the job in its batch, starting at 0."""
    failure_code: models.HTCJobErrorCodeName | str | None
    """The service's failure code, such as ErrorTimeout. None if it sent none."""
    exit_code: int | None
    """The container's exit code. None if the container did not run to its end."""
    reason: str | None
    """The service's description of the failure. None if it sent none."""
    last_lines: list[str] = field(repr=False)
    """The last lines of the job's log, as many as you requested, oldest first."""


def describe_failed(rescale: HtcSession, job: HtcJob, last_n_lines: int) -> FailedJob:
    """Describe why a job failed."""
    # A field that the service left out counts as null here.
    container = getattr(job.record, "container", None)
    reason = getattr(job.record, "status_reason", None) or getattr(container, "reason", None)
    return FailedJob(
        job=job,
        index=parent_and_index(job.json["jobUUID"])[1],
        failure_code=getattr(job.record, "failure_code", None),
        exit_code=getattr(container, "exit_code", None),
        reason=reason,
        last_lines=list(job.get_logs(rescale, last_n_lines)) if last_n_lines else [],
    )
