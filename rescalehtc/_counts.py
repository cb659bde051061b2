"""Job statuses, and counts of jobs by status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._facts import FAILED_STATUSES, RUNNING_STATUSES, SUCCEEDED_STATUSES

if TYPE_CHECKING:
    from collections.abc import Mapping

FINAL_STATUSES = frozenset((*SUCCEEDED_STATUSES, *FAILED_STATUSES))
# Values of the filters of get_tasks and get_jobs that match every status.
ANY = ("any", "all", None)
_KNOWN = FINAL_STATUSES | frozenset(RUNNING_STATUSES)


@dataclass(frozen=True, slots=True)
class JobCounts:
    """The number of jobs per status."""

    by_status: Mapping[str, int]
    """The number of jobs per last known status."""
    running: int
    """Jobs that have not ended, including those in `unseen`."""
    unseen: int = 0
    """Jobs with an unknown status: they were not fetched yet, or the service does not list them,
    because they are new or were deleted.
    """

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.by_status.values()) + self.unseen

    @property
    def ended(self) -> int:
        """Jobs that have ended, successfully or not."""
        return self.total - self.running

    @property
    def succeeded(self) -> int:
        """Jobs that are SUCCEEDED or POD_SUCCEEDED."""
        return sum(self.by_status.get(status, 0) for status in SUCCEEDED_STATUSES)

    @property
    def failed(self) -> int:
        """Jobs that are FAILED or POD_FAILED, including cancelled jobs."""
        return sum(self.by_status.get(status, 0) for status in FAILED_STATUSES)

    def __str__(self) -> str:
        counts = [f"{count} {status}" for status, count in sorted(self.by_status.items()) if count]
        counts += [f"{self.unseen} not seen"] if self.unseen else []
        details = f": {', '.join(counts)}" if counts else ""
        return f"{self.ended} of {self.total} jobs ended{details}"

    def _repr_html_(self) -> str:
        from ._html import table

        rows = [(status, count) for status, count in sorted(self.by_status.items()) if count]
        if self.unseen:
            rows.append(("not seen", self.unseen))
        return table(f"{self.ended} of {self.total} jobs ended", ("status", "jobs"), rows)


def running_in(by_status: Mapping[str, int]) -> int:
    """The number of unfinished jobs per status. An unknown status counts as running."""
    return sum(count for status, count in by_status.items() if status not in FINAL_STATUSES)


def unknown_in(by_status: Mapping[str, int]) -> list[str]:
    """The statuses of jobs that this release does not know."""
    return [status for status, count in by_status.items() if count and status not in _KNOWN]
