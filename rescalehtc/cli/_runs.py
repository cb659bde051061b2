"""Commands that explain, plan and rerun jobs: why, plan, rerun."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .. import htcjobs
from .._environment import INDEX_VARIABLE
from .._raw import is_object
from ..exceptions import HtcException
from . import _options, _output, _submit
from ._completion import complete_files, complete_policies
from ._finding import find_batch, find_job, find_project, find_task, named_task
from ._planning import show_plan
from ._report import show_report
from ._session import open_session
from ._submission import show
from ._watch import exit_if_failed, noting_that_jobs_go_on, say_where_to_look, watch_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_POLICY = "default"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (why, plan, rerun):
        app.command()(command)


def why(
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB",
            callback=_options.text,
            autocompletion=_options.complete_jobs,
            show_default=False,
            help="Job id, as `rescalehtc jobs` prints it. Without it, explain one job of each "
            "kind in the task.",
        ),
    ] = None,
    task: _options.Task = None,
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = _output.Format.TABLE,
    names: _options.Fields = None,
) -> None:
    """Explain why jobs are waiting, or why they failed.

    Example: rescalehtc why -t sweep
    """
    form = _options.form(output, names, [field.name for field in fields(htcjobs.Cause)])
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        target = (
            find_task(rescale, project, named)
            if job is None
            else find_job(rescale, project, named, job)
        )
        causes = target.why(rescale)
    if form.format is not _output.Format.TABLE:
        columns = [_output.Column.of_field(name) for name in ("name", "jobs", "text", "advice")]
        _output.show_items([asdict(cause) for cause in causes], columns, form)
        return
    for cause in causes:
        for line in str(cause).splitlines():
            _output.show_line(line)
    if not causes:
        _output.say("no job is waiting or running, and none has failed")


def plan(
    file: _options.File,
    project: _options.Project = None,
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            callback=_options.text,
            autocompletion=complete_files,
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
    """Add up the maximum resources and costs of a file. Submits nothing.

    Also checks the file against the project, and lists limits that will delay the jobs.

    Example: rescalehtc plan jobs.yaml --rates rates.toml --budget 100
    """
    payload = _submit.read_valid(file)
    with open_session(profile) as rescale:
        owner = find_project(rescale, project)
        _submit.check(payload, owner)
        requests = cast("Sequence[dict[str, Any]]", payload.requests)
        show_plan(rescale, owner, requests, _output.Form(output), rates, budget)


def rerun(
    batch: _options.Batch = None,
    task: _options.Task = None,
    project: _options.Project = None,
    group: _options.Group = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="default|FILE",
            callback=_options.text,
            autocompletion=complete_policies,
            help="Wait for the jobs, and rerun each failed job as long as this policy allows: the "
            "default one, or a TOML or JSON file with the fields of htcjobs.RetryPolicy.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Wait for the new jobs, like `rescalehtc watch`."),
    ] = False,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
    output: _options.Output = _output.Format.TABLE,
) -> None:
    """Rerun the failed jobs of a batch or group.

    The new jobs are in a new group; with --policy they are in the old one. Each job finds its
    old index in the variable RESCALEHTC_INDEX. The service does not return the job name,
    priority, claims, retries and working directory of a submission, so the new jobs do not have
    them.

    Example: rescalehtc rerun -t sweep --group monday --watch
    """
    chosen = None if policy is None else _read_policy(policy)
    named = named_task(task, profile)
    form = _output.Form(output)
    with open_session(profile, interval) as rescale:
        htc_task = find_task(rescale, project, named)
        old = find_batch(rescale, htc_task, batch, group)
        if chosen is not None:
            with noting_that_jobs_go_on():
                counts = watch_batch(rescale, old, policy=chosen)
            show_report(old.report(rescale), form)
        else:
            failed = old.resubmit_failed(rescale, index_variable=INDEX_VARIABLE)
            if not failed.requests:
                _output.say(f"no job of the {'group' if group else 'batch'} has failed")
                return
            new = failed.submit(rescale)
            show([part.json for part in new.batches], form)
            if not watch:
                return
            with noting_that_jobs_go_on():
                counts = watch_batch(rescale, new)
    say_where_to_look(counts, htc_task)
    exit_if_failed([counts])


def _read_policy(value: str) -> htcjobs.RetryPolicy:
    """Return the policy that an option names.

    Raises:
        HtcException: The file can't be read.
        HtcValidationError: The policy is invalid.
    """
    if value == DEFAULT_POLICY:
        return htcjobs.RetryPolicy()
    from .._jobs.planning import read_settings

    try:
        settings = read_settings(value)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HtcException(f"{value}: must be a TOML or JSON file: {reason}") from None
    names = [field.name for field in fields(htcjobs.RetryPolicy)]
    options: dict[str, Any] = settings if is_object(settings) else {}
    for name in options:
        _options.refuse_unknown(name, names, "a field of RetryPolicy", "--policy")
    return htcjobs.RetryPolicy(**options)
