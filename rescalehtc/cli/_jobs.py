"""Commands about projects, tasks and jobs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import api, htcjobs, htcprojects, htctasks
from .._objects.json_object import id_of
from .._raw import is_object
from . import _errors, _options, _output, _watch
from ._output import Column, Format
from ._session import find_job, find_project, find_task, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECTS = (
    Column("PROJECT", lambda item: item.get("projectId")),
    Column("NAME", lambda item: item.get("projectName"), may_be_cut=True),
    Column("REGIONS", lambda item: item.get("regions"), may_be_cut=True),
)
TASKS = (
    Column("TASK", lambda item: item.get("taskId")),
    Column("STATUS", lambda item: item.get("lifecycleStatus")),
    Column("CREATED", lambda item: _output.time_text(item.get("createdAt"))),
    Column("NAME", lambda item: item.get("taskName"), may_be_cut=True),
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
    for command in (projects, tasks, jobs, watch, logs, events, cancel):
        app.command()(command)


def projects(profile: _options.Profile = None, output: _options.Output = Format.TABLE) -> None:
    """List the projects of the workspace."""
    with open_session(profile) as rescale:
        found = (project.json for project in htcprojects.iter_projects(rescale))
        _output.show_items(found, PROJECTS, output)


def tasks(
    project: _options.Project = None,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="List archived and deleted tasks too.")
    ] = False,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """List the tasks of a project."""
    with open_session(profile) as rescale:
        owner = find_project(rescale, project)
        found = htctasks.iter_tasks(rescale, owner, "any" if every else "ACTIVE")
        _output.show_items((task.json for task in found), TASKS, output)


def jobs(
    task: _options.Task,
    project: _options.Project = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            callback=_options.text,
            autocompletion=_options.job_statuses,
            help="Only jobs with this status, such as FAILED.",
        ),
    ] = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """List the jobs of a task."""
    with open_session(profile) as rescale:
        found = htcjobs.iter_jobs(rescale, find_task(rescale, project, task), status)
        _output.show_items((job.json for job in found), JOBS, output)


def watch(
    task: _options.Task,
    project: _options.Project = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", callback=_options.seconds, help="Wait no longer than this."
        ),
    ] = None,
    interval: _options.Interval = 30.0,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """Wait until all jobs of a task have ended.

    Exits with status 1 if any failed. On a terminal a bar shows how many have ended, elsewhere
    a line for each change.
    """
    with open_session(profile, interval) as rescale:
        found = find_task(rescale, project, task)
        counts = _watch.watch_task(rescale, found, timeout)
    by_status = {status: count for status, count in counts.by_status.items() if count}
    _output.show_item(by_status, output)
    _watch.exit_with_status_of(counts)


def logs(
    job: _options.JobId,
    task: _options.Task,
    project: _options.Project = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Print lines as they come, until the job has ended; exit with status 1 if it "
            "failed.",
        ),
    ] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="LINES", help="Only the last lines.")
    ] = None,
    interval: _options.Interval = 30.0,
    profile: _options.Profile = None,
) -> None:
    """Print what a job wrote, oldest line first."""
    if follow and tail is not None:
        raise typer.BadParameter("--follow and --tail exclude each other", param_hint="--tail")
    with open_session(profile, interval) as rescale:
        found = find_job(rescale, project, task, job)
        lines = found.follow_logs(rescale) if follow else found.get_logs(rescale, tail)
        for line in lines:
            _output.show_line(line)
            if follow:
                _output.flush()
        if follow:
            _watch.exit_with_status_of_job(found)


def events(
    job: _options.JobId,
    task: _options.Task,
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """List the changes of a job's status."""
    with open_session(profile) as rescale:
        found = find_job(rescale, project, task, job)
        items = (event.model_dump(mode="json") for event in found.iter_events(rescale))
        _output.show_items(items, EVENTS, output)


def cancel(
    task: _options.Task,
    project: _options.Project = None,
    group: _options.Group = None,
    profile: _options.Profile = None,
) -> None:
    """Cancel the jobs of a task, or of one group in it.

    They end as FAILED. The service does not promise that every job is cancelled.
    """
    with open_session(profile) as rescale:
        found = find_task(rescale, project, task)
        place = f"task {found.json.get('taskName')}"
        jobs = f"the jobs of group {group} in {place}" if group else f"the jobs of {place}"
        with _errors.note_uncertain_change(f"{jobs} may have been cancelled"):
            api.post_htc_projects_tasks_jobs_cancel(
                rescale, id_of(found, "projectId"), id_of(found, "taskId"), group=group
            )
    _output.say(f"requested the cancellation of {jobs}")


def _exit_code(item: Mapping[str, Any]) -> object:
    container = item.get("container")
    return container.get("exitCode") if is_object(container) else None


def _run_time(job: Mapping[str, Any]) -> str:
    """How long the job ran, as hours:minutes:seconds."""
    try:
        started, completed = (
            datetime.fromisoformat(job[name]) for name in ("startedAt", "completedAt")
        )
        return str(completed - started).split(".")[0]
    except (KeyError, TypeError, ValueError):  # not yet, or not known
        return ""
