"""Commands about what becomes of jobs: why, plan, rerun."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .. import htcjobs
from .._jobs.rerunning import INDEX_VARIABLE
from ..exceptions import HtcException
from . import _options, _output, _submit
from ._planning import show_plan
from ._session import find_job, find_project, find_task, named_task, open_session
from ._watch import exit_with_status_of, watch_batch

if TYPE_CHECKING:
    from collections.abc import Sequence


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (why, plan, rerun):
        app.command()(command)


def why(
    job: Annotated[
        str | None,
        typer.Argument(metavar="[JOB]", callback=_options.text, help="Job id.", show_default=False),
    ] = None,
    task: _options.Task = None,
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = _output.Format.TABLE,
) -> None:
    """Explain why jobs wait, or failed.

    Without a job, one job of each group of similar jobs of the task is looked at.

    Example: rescalehtc why --task sweep
    """
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        found = (
            find_task(rescale, project, named)
            if job is None
            else find_job(rescale, project, named, job)
        )
        causes = found.why(rescale)
    if output is not _output.Format.TABLE:
        _output.show_items([asdict(cause) for cause in causes], (), _output.Form(output))
        return
    for cause in causes:
        for line in str(cause).splitlines():
            _output.show_line(line)
    if not causes:
        _output.say("no job waits, runs or has failed")


def plan(
    file: _options.File,
    project: _options.Project = None,
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            callback=_options.text,
            help="TOML or JSON file with the prices of a vCPU-hour and a GiB-hour.",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="PRICE",
            help="Exit with status 2 if the jobs may cost more than this.",
        ),
    ] = None,
    profile: _options.Profile = None,
    output: _options.Output = _output.Format.TABLE,
) -> None:
    """Add up what a submission takes at most. Submits nothing.

    Checks the file for the project too, and names limits that hold jobs back.

    Example: rescalehtc plan jobs.yaml --rates rates.toml --budget 100
    """
    payload = _submit.read_valid(file)
    with open_session(profile) as rescale:
        owner = find_project(rescale, project)
        _submit.check(payload, owner)
        requests = cast("Sequence[dict[str, Any]]", payload.requests)
        show_plan(rescale, owner, requests, _output.Form(output), rates, budget)


def rerun(
    group: Annotated[
        str,
        typer.Option(
            "--group",
            "-g",
            metavar="NAME",
            callback=_options.text,
            autocompletion=_options.complete_groups,
            help="Group of jobs.",
        ),
    ],
    task: _options.Task = None,
    project: _options.Project = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Then wait as `rescalehtc watch` does, for these jobs."),
    ] = False,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
    output: _options.Output = _output.Format.TABLE,
) -> None:
    """Submit the failed jobs of a group again.

    They get a group of their own. Each job finds its old index in the variable RESCALEHTC_INDEX. The service does not repeat
    the job name, priority, claims, retries and working directory of the first submission: they
    are left out.

    Example: rescalehtc rerun --task sweep --group monday --watch
    """
    named = named_task(task, profile)
    with open_session(profile, interval) as rescale:
        found = find_task(rescale, project, named)
        batch = htcjobs.get_batch(rescale, found, group=group)
        if batch is None:
            raise HtcException(f"task {found.json.get('taskName')!r} has no group {group!r}")
        again = batch.resubmit_failed(rescale, index_variable=INDEX_VARIABLE)
        if not again.requests:
            _output.say("no job of the group has failed")
            return
        submitted = again.submit(rescale)
        _submit.show([part.json for part in submitted.batches], _output.Form(output))
        if watch:
            exit_with_status_of(watch_batch(rescale, submitted, None), found)
