"""Read the records of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._counts import FINAL_STATUSES
from .._facts import RUNNING_STATUSES
from ..exceptions import HtcResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping


def parent_and_index(job_id: object) -> tuple[str, int]:
    """Split a job's id, `<parent job id>:<index>`. Return ("", 0) if it has another form."""
    parent, _, index = str(job_id).rpartition(":")
    return (parent, int(index)) if index.isdecimal() else ("", 0)


def is_running(record: Mapping[str, Any]) -> bool:
    """Whether the job with this record has not ended.

    A status that this release does not know is final if the record has the time of completion.

    Raises:
        HtcResponseError: The record has no status.
    """
    status = record.get("status")
    if not isinstance(status, str):
        raise HtcResponseError(f"the record of job {record.get('jobUUID')!r} has no status")
    if status in FINAL_STATUSES:
        return False
    return status in RUNNING_STATUSES or record.get("completedAt") is None
