"""Submit jobs, and report every batch even if something fails."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import htcjobs
from ..exceptions import Problem, SubmissionIncompleteError
from . import _errors, _output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..htcjobs import HtcJobBatch
    from ..htcsession import HtcSession
    from ..htctasks import HtcTask
    from ._definition import OptionsPayload
    from ._payload import Payload

BATCHES = (
    _output.Column("BATCH", lambda batch: batch.get("parentJobId")),
    _output.Column("JOBS", lambda batch: batch.get("batchSize")),
    _output.Column("NAME", lambda batch: batch.get("jobName"), may_be_cut=True),
)


@dataclass(frozen=True)
class Submitter:
    """Submits the requests of a payload, and prints the batches.

    Attributes:
        payload: The submit requests.
        requests: The submit requests to send. They may have more variables than the payload's.
        group: The group of the jobs; None for a new one.
        inputs: A folder to upload first.
        form: How to print the batches.
    """

    payload: Payload | OptionsPayload
    requests: Sequence[Mapping[str, Any]]
    group: str | None
    inputs: str | None
    form: _output.Form

    def submit(
        self, rescale: HtcSession, task: HtcTask, run_stack: contextlib.ExitStack | None
    ) -> HtcJobBatch:
        """Submit the jobs, and print the batches.

        If it raises an exception, the notes list the jobs that exist and those that may exist.

        Args:
            rescale: The session.
            task: The task of the jobs.
            run_stack: A stack that cancels the jobs if it is left by an exception; None to leave
                the jobs alone.
        """
        try:
            if run_stack is None:
                batch = htcjobs.submit(
                    rescale, task, self.requests, group=self.group, inputs=self.inputs
                )
            else:
                run = htcjobs.run(rescale, task, self.requests, group=self.group)
                batch = run_stack.enter_context(run).batch
        except BaseException as error:
            incomplete = error if isinstance(error, SubmissionIncompleteError) else error.__cause__
            if isinstance(incomplete, SubmissionIncompleteError):
                of_run = getattr(error, "__notes__", []) if run_stack else []
                error.__notes__ = [*self._outcomes(incomplete), *of_run]
                with contextlib.suppress(_output.OutputError):  # the notes list them
                    show(incomplete.submitted, self.form)
            raise
        try:
            show([part.json for part in batch.batches], self.form)
        except BaseException as error:  # noqa: BLE001 - raised again, perhaps as another one
            failure = error
            if isinstance(error, _output.OutputError):
                failure = _errors.UnreportedError(f"the jobs were submitted, but {error}")
            for part in batch.batches:
                failure.add_note(_describe_batch(part.json))
            raise failure from None
        return batch

    def _outcomes(self, incomplete: SubmissionIncompleteError) -> list[str]:
        """The outcome of each request, in the file's order."""
        outcomes = [
            (position, _describe_batch(batch))
            for position, batch in zip(incomplete.positions, incomplete.submitted, strict=True)
        ]
        for uncertain in incomplete.uncertain:
            reason = " ".join(str(uncertain.cause).split())
            outcomes += [
                (request.position, f"may have been submitted: {request.batch_size} jobs: {reason}")
                for request in uncertain.requests
            ]
        outcomes += [
            (request.position, f"was not submitted: {request.batch_size} jobs")
            for request in incomplete.unsent
        ]
        outcomes.sort(key=lambda outcome: outcome[0])
        line = self.payload.line
        return [line(Problem(f"[{position}]", text)) or text for position, text in outcomes]


def show(batches: Sequence[Mapping[str, Any]], form: _output.Form) -> None:
    """Print submitted batches."""
    _output.show_items(batches, BATCHES, form)
    _output.flush()


def _describe_batch(batch: Mapping[str, Any]) -> str:
    return f"was submitted as batch {batch['parentJobId']}: {batch['batchSize']} jobs"
