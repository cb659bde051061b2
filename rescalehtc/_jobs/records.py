"""List jobs, and read their records."""

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


def job_listing(task_ids: Mapping[str, str], **filters: QueryValue) -> Call:
    """Make the call that lists the jobs of a task."""
    return LIST_JOBS.call(task_ids, query={"pageSize": PAGE_SIZE, **filters})


def parent_and_index(job_id: object) -> tuple[str, int]:
    """Split a job's id, `<parent job id>:<index>`. Return ("", 0) if it has another form."""
    parent, _, index = str(job_id).rpartition(":")
    return (parent, int(index)) if index.isdecimal() else ("", 0)


def common_group(items: Iterable[Mapping[str, Any]]) -> str | None:
    """The group of jobs or batches, if all of them are in the same one."""
    groups = {item.get("group") or None for item in items}
    return groups.pop() if len(groups) == 1 else None


def exit_code_of(record: Mapping[str, Any]) -> Any:
    """The exit code of a job's container. None if there is none."""
    container = record.get("container")
    return container.get("exitCode") if is_object(container) else None


def time_of(text: object) -> float | None:
    """A time of the service, in seconds since 1970. None if it is missing or invalid."""
    with suppressed(ValueError, OverflowError):
        return datetime.fromisoformat(str(text)).timestamp()
    return None


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
