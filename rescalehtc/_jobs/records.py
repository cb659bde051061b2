"""List jobs, and read the records of jobs and summaries."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from .._counts import FINAL_STATUSES
from .._facts import PAGE_SIZE, RUNNING_STATUSES
from .._interrupts import suppressed
from .._raw import is_object
from .._wire.operations import LIST_JOBS
from ..exceptions import HtcResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._wire.operation import Call, QueryValue

# A batch has at most 1000 jobs. A list of the jobs of a huge batch would take all memory.
_MAX_DIGITS = 6


def job_listing(task_ids: Mapping[str, str], **filters: QueryValue) -> Call:
    """Make the call that lists the jobs of a task."""
    return LIST_JOBS.call(task_ids, query={"pageSize": PAGE_SIZE, **filters})


def parent_and_index(job_id: object) -> tuple[str, int]:
    """Split a job's id, `<parent job id>:<index>`. Return ("", 0) if it has another form."""
    parent, _, text = str(job_id).rpartition(":")
    index = number_in(text)
    return ("", 0) if index is None else (parent, index)


def number_in(text: str) -> int | None:
    """The integer in a part of an id or tag. None if it has another form."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def seconds_in(time: Any) -> float | None:
    """The time of a record, in seconds since 1970. None if it is missing or invalid."""
    with suppressed(TypeError, ValueError, OverflowError, OSError):
        return datetime.fromisoformat(time).timestamp()
    return None


def integer_in(value: object) -> int | None:
    """The integer of a record. None if it is missing, has another type, or is too large."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return value
    return None


def common_group(items: Iterable[Mapping[str, Any]]) -> str | None:
    """The group of jobs or batches, if all of them are in the same one."""
    groups = {item.get("group") or None for item in items}
    return groups.pop() if len(groups) == 1 else None


def exit_code_of(record: Mapping[str, Any]) -> int | None:
    """The exit code of a job's container. None if there is none."""
    container = record.get("container")
    return integer_in(container.get("exitCode")) if is_object(container) else None


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


def count_statuses(summary: Mapping[str, Any], operation_id: str) -> dict[str, int]:
    """The counts of a summary's `jobStatuses`. null counts as 0.

    Raises:
        HtcResponseError: The summary has no valid counts.
    """
    statuses: Any = summary.get("jobStatuses")
    if is_object(statuses):
        counts = {status: 0 if count is None else count for status, count in statuses.items()}
        if all(type(count) is int and count >= 0 for count in counts.values()):
            return counts
    raise HtcResponseError(
        f"{operation_id}: a summary has no jobStatuses, or one that is not an integer of at least 0"
    )
