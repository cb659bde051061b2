"""The command `report`: the attempts at the jobs of a batch or group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _options, _output
from ._finding import find_batch, find_task, named_task
from ._output import Column, Format
from ._session import open_session

if TYPE_CHECKING:
    import typer

    from .._jobs.report import JobAttempt, RunReport

FIELDS = ("jobUUID", "firstJobUUID", "index", "attempt", "status", "cause", "isRerun")
ATTEMPTS = (
    Column("JOB", lambda item: item["jobUUID"]),
    Column("INDEX", lambda item: item["index"]),
    Column("ATTEMPT", lambda item: item["attempt"]),
    Column("STATUS", lambda item: item["status"]),
    Column("CAUSE", lambda item: item["cause"]),
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    batch: _options.Batch = None,
    task: _options.Task = None,
    project: _options.Project = None,
    group: _options.Group = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """Report which jobs of a batch or group were rerun, and why.

    The table counts jobs by their last attempt, and groups failures by cause. The other formats
    have one entry per attempt.

    Example: rescalehtc report -t sweep --group monday
    """
    form = _options.form(output, fields, FIELDS)
    named = named_task(task, profile)
    with open_session(profile) as rescale:
        htc_batch = find_batch(rescale, find_task(rescale, project, named), batch, group)
        show_report(htc_batch.report(rescale), form)


def show_report(run_report: RunReport, form: _output.Form) -> None:
    """Print a report."""
    if form.format is Format.TABLE:
        for line in str(run_report).splitlines():
            _output.show_line(line)
    else:
        _output.show_items(map(_record, run_report.attempts), ATTEMPTS, form)


def _record(attempt: JobAttempt) -> dict[str, Any]:
    return {
        "jobUUID": attempt.job_id,
        "firstJobUUID": attempt.first_job_id,
        "index": attempt.index,
        "attempt": attempt.number,
        "status": attempt.status,
        "cause": attempt.cause or None,
        "isRerun": attempt.decision.again if attempt.decision else None,
    }
