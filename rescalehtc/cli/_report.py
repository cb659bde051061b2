"""The command `report`: the attempts at the jobs of a batch or group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._jobs.groups import records_of
from .._jobs.ledger import Ledger
from .._jobs.policy import RetryDecision, RetryPolicy
from .._jobs.records import is_running
from .._objects.json_object import id_of
from . import _options, _output
from ._finding import find_batch, find_task, named_task
from ._output import Column, Format
from ._session import open_session

if TYPE_CHECKING:
    import typer

    from .._jobs.policy import JobFailure
    from .._jobs.report import JobAttempt, RunReport
    from ..htcjobs import HtcJobBatch
    from ..htcsession import HtcSession

FIELDS = ("jobUUID", "firstJobUUID", "index", "attempt", "status", "cause", "isRerun")
ATTEMPTS = (
    Column("JOB", lambda item: item["jobUUID"]),
    Column("INDEX", lambda item: item["index"]),
    Column("ATTEMPT", lambda item: item["attempt"]),
    Column("STATUS", lambda item: item["status"]),
    Column("CAUSE", lambda item: item["cause"]),
)


class _UnknownPolicy(RetryPolicy):
    """Replaces the policy of a run, which the service does not store."""

    def decide(self, failure: JobFailure, attempts: int) -> RetryDecision:  # noqa: ARG002
        return RetryDecision(False, "not rerun")


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
        found = find_batch(rescale, find_task(rescale, project, named), batch, group)
        show_report(fetch_report(rescale, found), form)


def fetch_report(rescale: HtcSession, batch: HtcJobBatch) -> RunReport:
    """Make the report of a batch from the records of its jobs.

    Operation listJobs.
    """
    ids = {name: id_of(batch.task, name) for name in ("projectId", "taskId")}
    parts = [part.json for part in batch.batches]
    records = rescale.run(records_of(rescale.client, ids, parts))
    ledger = Ledger(parts, _UnknownPolicy())
    for record in records:
        ledger.note_existing(record)
    known = {attempt.job_id for attempt in ledger.report({}).attempts}
    for record in records:
        if record["jobUUID"] in known and not is_running(record):
            ledger.note_end(record, 0.0)
    return ledger.report({record["jobUUID"]: str(record.get("status")) for record in records})


def show_report(made: RunReport, form: _output.Form) -> None:
    """Print a report."""
    if form.format is Format.TABLE:
        for line in str(made).splitlines():
            _output.show_line(line)
    else:
        _output.show_items(map(_record, made.attempts), ATTEMPTS, form)


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
