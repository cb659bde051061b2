"""Commands about projects and jobs."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import api, htcjobs, htcprojects, types
from .._facts import MAX_LOG_PAGE_SIZE
from .._objects.json_object import id_of
from .._raw import is_object
from .._wire.operations import LIST_JOB_LOGS
from . import _errors, _options, _output, _watch
from ._output import Column, Format
from ._session import find_group, find_job, find_task, named_task, open_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..htcsession import HtcSession

PROJECTS = (
    Column("PROJECT", lambda item: item.get("projectId")),
    Column("NAME", lambda item: item.get("projectName"), may_be_cut=True),
    Column("REGIONS", lambda item: item.get("regions"), may_be_cut=True),
)
JOBS = (
    Column("JOB", lambda item: item.get("jobUUID")),
    Column("STATUS", lambda item: item.get("status")),
    Column("EXIT", lambda item: _exit_code(item)),
    Column("RAN", lambda item: _run_time(item)),
    Column("FAILURE", lambda item: item.get("failureCode"), may_be_cut=True),
)
EVENTS = (
    Column("TIME", lambda item: _output.time_text(item.get("dateTime"))),
    Column("STATUS", lambda item: item.get("status")),
    Column("EXIT", lambda item: _exit_code(item)),
    Column("REASON", lambda item: item.get("statusReason")),
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (projects, jobs, watch, logs, events, cancel):
        app.command()(command)


def projects(
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the projects of the workspace.

    Example: rescalehtc projects -o name
    """
    form = _options.form(output, fields, types.HTCProjectDict.__annotations__)
    with open_session(profile) as rescale:
        found = (project.json for project in htcprojects.iter_projects(rescale))
        _output.show_items(found, PROJECTS, form)


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
            help="Only jobs created since then: a time, or how long ago, such as 90s or 2h.",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            callback=_options.text,
            help="Sort by this field, such as createdAt; with a - in front, from high to low.",
        ),
    ] = None,
    limit: _options.Limit = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the jobs of a task.

    Example: rescalehtc jobs -t sweep --status FAILED --json jobUUID,failureCode
    """
    form = _options.form(output, fields, types.HTCJobDict.__annotations__)
    earliest = _options.moment(since)
    if sort is not None:
        _options.refuse_unknown(
            sort.removeprefix("-"), types.HTCJobDict.__annotations__, "a field of a job"
        )
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        found = find_task(rescale, project, named)
        find_group(rescale, found, group)
        items = (job.json for job in htcjobs.iter_jobs(rescale, found, status, group=group))
        shown: Iterator[Mapping[str, Any]] = (
            item for item in items if earliest is None or _created(item) >= earliest
        )
        if sort is not None:
            is_reverse, name = sort.startswith("-"), sort.removeprefix("-")
            shown = iter(sorted(shown, key=lambda item: _sort_key(item, name), reverse=is_reverse))
        _output.show_items(islice(shown, limit), JOBS, form)


def watch(
    task: _options.Task = None,
    project: _options.Project = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", callback=_options.seconds, help="Maximum time to wait."
        ),
    ] = None,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """Wait until all jobs of a task have ended.

    Exits with status 1 if any failed. On a terminal a bar shows how many have ended, elsewhere
    each change is one line. The jobs go on if you press Ctrl-C.

    Example: rescalehtc watch -t sweep --timeout 3600
    """
    named = named_task(task, profile)
    with open_session(profile, interval) as rescale:
        found = find_task(rescale, project, named)
        with _watch.noting_that_jobs_go_on():
            counts = _watch.watch_task(rescale, found, timeout)
    by_status = {status: count for status, count in counts.by_status.items() if count}
    _output.show_item(by_status, _output.Form(output))
    _watch.exit_with_status_of(counts, found)


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
        int | None, typer.Option(min=0, metavar="LINES", help="Print only the last LINES lines.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            callback=_options.text,
            help="Only lines since then: a time, or how long ago, such as 90s or 2h.",
        ),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Print each line's time in front of it.")
    ] = False,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
) -> None:
    """Print what a job wrote, oldest line first.

    Example: rescalehtc logs -f 16ab11eb-5bb5-4062-bd47-977228cc51d8:0 -t sweep --tail 20
    """
    earliest = _options.moment(since)
    if follow and (timestamps or earliest):
        message = "works without --since and --timestamps only"
        raise typer.BadParameter(message, param_hint="--follow")
    named = named_task(task, profile)
    with open_session(profile, interval) as rescale:
        found = find_job(rescale, project, named, job)
        if follow:
            for line in found.follow_logs(rescale, tail):
                _output.show_line(line)
                _output.flush()
            _watch.exit_with_status_of_job(found)
        elif timestamps or earliest:
            for line in _timed_lines(rescale, found, earliest, tail):
                _output.show_line(line if timestamps else line.partition(" ")[2])
        else:
            for line in found.get_logs(rescale, tail):
                _output.show_line(line)


def events(
    job: _options.JobId,
    task: _options.Task = None,
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the changes of a job's status.

    Example: rescalehtc events 16ab11eb-5bb5-4062-bd47-977228cc51d8:0 -t sweep
    """
    form = _options.form(output, fields, types.RescaleJobStatusEventDict.__annotations__)
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        found = find_job(rescale, project, named, job)
        items = (event.model_dump(mode="json") for event in found.iter_events(rescale))
        _output.show_items(items, EVENTS, form)


def cancel(
    task: _options.Task = None,
    project: _options.Project = None,
    group: _options.Group = None,
    yes: _options.Yes = False,
    profile: _options.Profile = None,
) -> None:
    """Cancel the jobs of a task, or of one group in it.

    They end as FAILED. The service does not promise that every job is cancelled. Without a group
    it asks for confirmation.

    Example: rescalehtc cancel -t sweep --group wing
    """
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        found = find_task(rescale, project, named)
        find_group(rescale, found, group)
        place = f"task {found.json.get('taskName')}"
        jobs = f"the jobs of group {group} in {place}" if group else f"the jobs of {place}"
        if group is None:
            _options.confirm(f"Cancel all jobs of {place}?", is_agreed=yes)
        with _errors.note_uncertain_change(f"{jobs} may have been cancelled"):
            api.post_htc_projects_tasks_jobs_cancel(
                rescale, id_of(found, "projectId"), id_of(found, "taskId"), group=group
            )
    _output.say(f"requested the cancellation of {jobs}")


def _timed_lines(
    rescale: HtcSession, job: htcjobs.HtcJob, earliest: datetime | None, tail: int | None
) -> Iterable[str]:
    """The lines of a log with their times in front."""
    ids = {name: id_of(job, name) for name in ("projectId", "taskId")}
    ids["jobId"] = id_of(job, "jobUUID")
    query: dict[str, int | str] = {"pageSize": MAX_LOG_PAGE_SIZE, "sort": "asc"}
    lines = (
        f"{line.get('timestamp')} {line.get('message')}"
        for page in rescale.pages(LIST_JOB_LOGS.call(ids, query=query))
        for line in page
        if earliest is None or _parsed(line.get("timestamp")) >= earliest
    )
    return lines if tail is None else deque(lines, tail)


def _created(item: Mapping[str, Any]) -> datetime:
    return _parsed(item.get("createdAt"))


def _parsed(value: object) -> datetime:
    """A time of the service; the last one that there is, if it can't be read."""
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _sort_key(item: Mapping[str, Any], name: str) -> tuple[bool, bool, Any]:
    """Numbers by size, texts by alphabet, what is missing at the end."""
    value = item.get(name)
    is_number = isinstance(value, int | float)
    return value is None, not is_number, value if is_number else str(value)


def _exit_code(item: Mapping[str, Any]) -> object:
    container = item.get("container")
    return container.get("exitCode") if is_object(container) else None


def _run_time(job: Mapping[str, Any]) -> str:
    """The run time of the job, as hours:minutes:seconds."""
    try:
        started, completed = (
            datetime.fromisoformat(job[name]) for name in ("startedAt", "completedAt")
        )
        return str(completed - started).split(".")[0]
    except (KeyError, TypeError, ValueError):  # not started, or unknown
        return ""
