"""Cancel the group of a run, and list the jobs that still run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._counts import JobCounts
from .._wire.operations import CANCEL_JOBS
from ..exceptions import HtcException
from .records import is_running, job_listing
from .watching import fetch_group_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._client.client import Client

SHOWN_JOBS = 20
STEP_SECONDS = 0.1
# The minimum time, in seconds, for a request near the end of the wait.
LOOK_SECONDS = 10.0


async def cancel_group(
    client: Client,
    task_ids: Mapping[str, str],
    group: str,
    *,
    jobs: int,
    seconds: float,
    poll_seconds: float,
    quiet_seconds: float,
    is_over: Callable[[], bool],
) -> str:
    """Cancel the jobs of a group until all have ended, or the time is over.

    Args:
        client: The client.
        task_ids: The path parameters of the task.
        group: The group.
        jobs: The minimum number of jobs in the group. Jobs that are not counted yet may run.
        seconds: The maximum wait.
        poll_seconds: The polling interval.
        quiet_seconds: The time without running jobs after which no interrupted request can arrive.
        is_over: Whether to stop waiting now.

    Returns:
        A sentence about the jobs that still run.
    """
    io = client.io
    ends_at = io.monotonic() + seconds
    quiet_since: float | None = None
    place = f"group {group!r} of task {task_ids['taskId']}, project {task_ids['projectId']}"
    failure = ""

    def expires_at() -> float:
        return max(ends_at, io.monotonic() + LOOK_SECONDS)

    while True:
        now = io.monotonic()
        try:
            # In each poll, because jobs may have arrived after the last cancellation.
            call = CANCEL_JOBS.call(task_ids, query={"group": group})
            await client.send(call, expires_at=expires_at())
            counted = await fetch_group_counts(client, task_ids, [group], expires_at)
            counts = counted.get(group, JobCounts({}, 0))
            running = counts.running + max(0, jobs - counts.total)
            failure = ""
        except HtcException as error:
            running, failure = None, str(error)
        if running != 0:
            quiet_since = None
        else:
            quiet_since = now if quiet_since is None else quiet_since
            if now - quiet_since >= quiet_seconds:
                return f"all jobs of {place} were cancelled or have ended"
        next_at = min(ends_at, now + max(poll_seconds, STEP_SECONDS))
        while io.monotonic() < next_at and not is_over():
            await io.sleep(STEP_SECONDS)
        if is_over() or io.monotonic() >= ends_at:
            break
    if failure:
        return f"jobs of {place} may still run: {failure}"
    if running == 0:
        return f"no job of {place} runs, but a submission that was interrupted may still arrive"
    return await _still_running(client, task_ids, group, place)


async def _still_running(
    client: Client, task_ids: Mapping[str, str], group: str, place: str
) -> str:
    """List the jobs of a group that have not ended."""
    names: list[str] = []

    def expires_at() -> float:
        return client.io.monotonic() + LOOK_SECONDS

    try:
        call = job_listing(task_ids, group=group)
        async for page in client.pages(call, expires_at=expires_at):
            names += [record["jobUUID"] for record in page if is_running(record)]
    except HtcException as error:
        return f"jobs of {place} still run; they could not be listed: {error}"
    if not names:
        return f"jobs of {place} may still run: the service does not list all of them yet"
    shown = ", ".join(names[:SHOWN_JOBS]) + (", ..." if len(names) > SHOWN_JOBS else "")
    return f"{len(names)} jobs of {place} still run: {shown}"
