"""Commands about jobs: jobs, logs, events, cancel."""

from __future__ import annotations

import sys
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import api, htcjobs, types
from .._facts import MAX_LOG_PAGE_SIZE
from .._jobs import logs as job_logs
from .._jobs.records import exit_code_of
from .._jobs.waiting import Interval
from .._objects.json_object import id_of, task_ids
from .._wire.operations import LIST_JOB_LOGS
from . import _errors, _options, _output, _watch
from ._finding import find_group, find_job, find_task, named_task
from ._output import Column, Format
from ._session import open_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..htcsession import HtcSession

JOBS = (
    Column("JOB", lambda item: item.get("jobUUID")),
    Column("STATUS", lambda item: item.get("status")),
    Column("EXIT", exit_code_of),
    Column("RAN", lambda item: _run_time(item)),
    Column("AGE", lambda item: _output.age_text(item.get("createdAt")), place="terminal"),
    Column("FAILURE", lambda item: item.get("failureCode"), may_be_cut=True),
)
EVENTS = (
    Column("TIME", lambda item: _output.time_text(item.get("dateTime"))),
    Column("STATUS", lambda item: item.get("status")),
    Column("EXIT", exit_code_of),
    Column("REASON", lambda item: item.get("statusReason"), may_be_cut=True),
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (jobs, logs, events, cancel):
        app.command()(command)


def jobs(
    task: _options.Task = None,
    project: _options.Project = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            callback=_options.status,
            autocompletion=_options.job_statuses,
            help="List only jobs with this status, such as FAILED.",
        ),
    ] = None,
    group: _options.Group = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            callback=_options.text,
            help="List only jobs created since this time, or since an age such as 90s or 2h.",
        ),
    ] = None,
    sort: _options.Sort = None,
    limit: _options.Limit = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the jobs of a task.

    Example: rescalehtc jobs -t sweep --status FAILED --json jobUUID,failureCode
    """
    form = _options.form(output, fields, types.HTCJobDict.__annotations__, sort, limit)
    earliest = _options.moment(since)
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        htc_task = find_task(rescale, project, named)
        find_group(rescale, htc_task, group)
        items = (job.json for job in htcjobs.iter_jobs(rescale, htc_task, status, group=group))
        shown = (
            item for item in items if earliest is None or _parsed(item.get("createdAt")) >= earliest
        )
        _output.show_items(shown, JOBS, form)


def logs(
    job: _options.JobId,
    task: _options.Task = None,
    project: _options.Project = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Print new lines until the job has ended. Exit with status 1 if the job failed.",
        ),
    ] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="LINES", help="Begin with the last LINES lines.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            callback=_options.text,
            help="Print only lines since this time, or since an age such as 90s or 2h.",
        ),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Print the time of each line in front of it.")
    ] = False,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
) -> None:
    """Print the log of a job, oldest line first.

    Example: rescalehtc logs -f 16ab11eb-5bb5-4062-bd47-977228cc51d8:0 -t sweep --tail 20
    """
    earliest = _options.moment(since)
    named = named_task(task, profile)
    has_times = timestamps or earliest is not None
    with open_session(profile, interval) as rescale:
        htc_job = find_job(rescale, project, named, job)
        if not follow:
            lines = (
                _timed_lines(rescale, htc_job, earliest, tail, timestamps)
                if has_times
                else htc_job.get_logs(rescale, tail)
            )
            for line in lines:
                _output.show_line(line)
            return
        with _watch.noting_that_jobs_go_on():
            for line in (
                _followed_lines(rescale, htc_job, earliest, tail, timestamps)
                if has_times
                else htc_job.follow_logs(rescale, tail)
            ):
                _output.show_line(line)
                _output.flush()
        _watch.exit_with_status_of_job(htc_job)


def events(
    job: _options.JobId,
    task: _options.Task = None,
    project: _options.Project = None,
    limit: _options.Limit = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the status changes of a job.

    Example: rescalehtc events 16ab11eb-5bb5-4062-bd47-977228cc51d8:0 -t sweep
    """
    event_fields = types.RescaleJobStatusEventDict.__annotations__
    form = _options.form(output, fields, event_fields, limit=limit)
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        htc_job = find_job(rescale, project, named, job)
        items = (event.model_dump(mode="json") for event in htc_job.iter_events(rescale))
        _output.show_items(items, EVENTS, form)


def cancel(
    task: _options.Task = None,
    project: _options.Project = None,
    group: _options.Group = None,
    yes: _options.Yes = False,
    profile: _options.Profile = None,
) -> None:
    """Cancel the jobs of a task, or of a group.

    The jobs end as FAILED. The service does not promise to cancel every job. Without --group,
    the command asks for confirmation.

    Example: rescalehtc cancel -t sweep --group wing
    """
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        htc_task = find_task(rescale, project, named)
        find_group(rescale, htc_task, group)
        place = f"task {htc_task.json.get('taskName')}"
        jobs = f"the jobs of group {group} in {place}" if group else f"the jobs of {place}"
        if group is None:
            _options.confirm(f"Cancel all jobs of {place}?", is_agreed=yes)
        with _errors.note_uncertain_change(f"{jobs} may have been cancelled"):
            api.post_htc_projects_tasks_jobs_cancel(
                rescale, id_of(htc_task, "projectId"), id_of(htc_task, "taskId"), group=group
            )
    _output.say(f"requested the cancellation of {jobs}")


def _timed_lines(
    rescale: HtcSession,
    job: htcjobs.HtcJob,
    earliest: datetime | None,
    tail: int | None,
    shows_times: bool,
) -> Iterable[str]:
    """The lines of a log since a time."""
    query: dict[str, int | str] = {"pageSize": MAX_LOG_PAGE_SIZE, "sort": "asc"}
    pages = rescale.pages(LIST_JOB_LOGS.call(_ids(job), query=query))
    lines = (line for page in pages for line in _since(page, earliest, shows_times))
    return lines if tail is None else deque(lines, min(tail, sys.maxsize))


def _followed_lines(
    rescale: HtcSession,
    job: htcjobs.HtcJob,
    earliest: datetime | None,
    tail: int | None,
    shows_times: bool,
) -> Iterator[str]:
    """The lines of a log since a time, and new lines until the job has ended."""
    interval = Interval(rescale, None, "logs")
    flow = job_logs.follow(rescale.client, _ids(job), interval, tail, with_times=True)
    record: Mapping[str, Any] = {}
    for record, items in rescale.iterate(flow):  # noqa: B007 - the last one has the final status
        yield from _since(items, earliest, shows_times)
    job.json["status"] = record["status"]


def _since(
    items: Iterable[Mapping[str, Any]], earliest: datetime | None, shows_times: bool
) -> Iterator[str]:
    for item in items:
        if earliest is None or _parsed(item.get("timestamp")) >= earliest:
            message = str(item.get("message"))
            yield f"{item.get('timestamp')} {message}" if shows_times else message


def _ids(job: htcjobs.HtcJob) -> dict[str, str]:
    return {**task_ids(job), "jobId": id_of(job, "jobUUID")}


def _parsed(value: object) -> datetime:
    """A time of the service; the latest time there is if the value is invalid."""
    return _output.parsed_time(value) or datetime.max.replace(tzinfo=UTC)


def _run_time(job: Mapping[str, Any]) -> str:
    """The run time so far as hours:minutes:seconds; empty if it is not known."""
    started, ended = (_output.parsed_time(job.get(name)) for name in ("startedAt", "completedAt"))
    if ended is None and job.get("status") == "RUNNING":
        ended = datetime.now(UTC)
    if started is None or ended is None:
        return ""
    return str(ended - started).split(".")[0]
