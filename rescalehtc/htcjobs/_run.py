"""Run: a batch with a scope, a policy and a report."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Literal

from .._jobs import scope
from .._jobs.notes import notes_of_submissions
from .._jobs.policy import RetryPolicy
from .._jobs.progress import Progress
from .._jobs.waiting import Interval, check_timeout
from .._objects.json_object import require_instance, task_ids
from .._signals import SignalGuard
from ..exceptions import (
    HtcException,
    HtcValidationError,
    Problem,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)
from ..htctasks import HtcTask
from ._batch import rerunner_of
from ._batches import get_or_submit, require_group
from ._submit import submit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .._counts import JobCounts
    from .._jobs.report import RunReport
    from .._jobs.rerunning import Rerunner
    from ..htcsession import HtcSession
    from ._batch import HtcJobBatch
    from ._submit import SubmitRequests

_logger = logging.getLogger("rescalehtc")

ON_EXIT = ("cancel", "leave")


class Run:
    """A batch for the time of a `with` block. `htcjobs.run` makes it."""

    batch: HtcJobBatch
    """The batch. It is set when the block begins."""
    _size: int = 0

    def __init__(
        self,
        rescale: HtcSession,
        task: HtcTask,
        requests: SubmitRequests,
        *,
        group: str | None,
        policy: RetryPolicy | None,
        on_exit: Literal["cancel", "leave"],
        cancel_seconds: float,
    ) -> None:
        """Create a run. `htcjobs.run` describes the arguments. This sends nothing."""
        require_instance(task, HtcTask, "task", "run")
        policy = RetryPolicy(max_attempts=1) if policy is None else policy
        require_instance(policy, RetryPolicy, "policy", "run")
        if on_exit not in ON_EXIT:
            raise HtcValidationError("run", [Problem("on_exit", "must be 'cancel' or 'leave'")])
        check_timeout(cancel_seconds, "cancel_seconds", "run")
        self._rescale: HtcSession = rescale
        self._task = task
        self._requests = requests
        self._is_new = group is None
        self.group: str = (
            f"rescalehtc-run-{secrets.token_hex(8)}"
            if group is None
            else require_group(group, "run")
        )
        """The group of its jobs."""
        self._policy = policy
        self._on_exit = on_exit
        self._cancel_seconds = cancel_seconds
        self._signals = SignalGuard(rescale.is_async)
        self._rerunner: Rerunner | None = None
        self._note = ""

    def __repr__(self) -> str:
        return f"Run(group={self.group!r})"

    def __enter__(self) -> Run:
        rescale = self._rescale
        try:
            self._signals.install()
            with self._signals.held():  # pydantic may lose an exception while it builds a model
                from ..models import HTCJob, HTCJobBatch, HTCJobSubmitRequest, JobStatusSummary

                for model in (HTCJobSubmitRequest, HTCJobBatch, HTCJob, JobStatusSummary):
                    model.model_rebuild()
            if self._is_new:
                batch = submit(rescale, self._task, self._requests, group=self.group)
            else:
                batch = get_or_submit(rescale, self._task, self._requests, group=self.group)
            self.batch, self._size = batch, len(batch.to_jobs())
        except BaseException as error:
            try:
                if _may_have_submitted(error):
                    self._leave(rescale, error)
            finally:
                self._signals.restore()
            self._raise_pending(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        rescale = self._rescale
        try:
            if error is not None or self._signals.pending:
                self._leave(rescale, error)
        finally:
            self._signals.restore()
        if self._signals.pending and not self._note:
            self._leave(rescale, error)
        self._raise_pending(error)

    def _raise_pending(self, error: BaseException | None) -> None:
        """Raise the exception of a signal that arrived while the block was left.

        If the block itself ended with an interrupt, that one is raised instead.
        """
        if error is None or isinstance(error, Exception):
            try:
                self._signals.raise_pending()
            except BaseException as interrupt:
                interrupt.add_note(self._note)
                raise

    def _leave(self, rescale: HtcSession, error: BaseException | None) -> None:
        """Cancel the group, or leave it, and log the jobs that still run."""
        self._signals.is_leaving = True
        hint = f"htcjobs.get_batch(rescale, task, group={self.group!r}) finds them"
        if self._on_exit == "leave":
            message = f"the jobs of group {self.group!r} continue; {hint}"
        else:
            _logger.warning("cancelling the jobs of group %r; Ctrl-C ends the wait", self.group)
            before = len(self._signals.pending)
            flow = scope.cancel_group(
                rescale.client,
                task_ids(self._task),
                self.group,
                jobs=self._size,
                seconds=self._cancel_seconds,
                poll_seconds=rescale.status_refresh_seconds,
                quiet_seconds=rescale.settle_seconds if _may_arrive(error) else 0.0,
                is_over=lambda: len(self._signals.pending) > before,
            )
            try:
                message = rescale.run(rescale.client.io.shielded(flow))
            except BaseException as failure:  # of a hook, or of another signal handler
                failure.add_note(f"rescalehtc: jobs of group {self.group!r} may still run")
                raise
        _logger.warning("%s", message)
        self._note = f"rescalehtc: {message}"
        if error is not None:
            error.add_note(self._note)

    def wait(
        self,
        timeout: float | None = None,
        progress: bool | Callable[[JobCounts], None] = False,
    ) -> JobCounts:
        """Wait until all jobs have ended and no retry is left, and count them by status.

        The policy of the run decides which failed jobs to retry, as in `HtcJobBatch.wait`. The
        counts have the status of the last attempt.

        Operations listJobs, every `rescale.status_refresh_seconds` (30 by default), and submitJobs.

        Args:
            timeout: The maximum wait in seconds, at least 0. None waits without a limit. An
                outage of the service does not end the wait.
            progress: Whether to write the counts to standard error when they change. Or a
                function that is called with the counts after each poll.

        Raises:
            HtcValidationError: `timeout` is not a number of at least 0.
            HtcWaitTimeoutError: Not all jobs ended before the timeout. The exception has the
                counts.
            RunStoppedError: More jobs failed than the policy allows, and the group was cancelled.
        """
        rescale = self._rescale
        interval = Interval(rescale, timeout, "wait")
        self._rerunner = rerunner_of(rescale, self.batch, self._policy, interval)
        with Progress(progress) as show:
            return rescale.run(self._rerunner.wait(show))

    def report(self) -> RunReport:
        """Return all attempts at the jobs with the reasons for retries, as of the last poll.

        Raises:
            HtcException: You have not called `wait`.
        """
        if self._rerunner is None:
            raise HtcException("the run has no report yet; call wait() first")
        return self._rerunner.report


def run(
    rescale: HtcSession,
    task: HtcTask,
    requests: SubmitRequests,
    *,
    group: str | None = None,
    policy: RetryPolicy | None = None,
    on_exit: Literal["cancel", "leave"] = "cancel",
    cancel_seconds: float = 60.0,
) -> Run:
    """Submit a batch for the time of a `with` block, and cancel it if the block is interrupted.

        with htcjobs.run(rescale, task, requests, policy=htcjobs.RetryPolicy()) as run:
            run.wait()
        print(run.report())

    If the submission or the block ends with an exception, Ctrl-C or SIGTERM, all jobs of the group
    are cancelled. This includes jobs that were in the group before. The session then waits until
    the jobs have ended, up to `cancel_seconds`. The log and a note of the exception list the jobs
    that still run. Another Ctrl-C ends this wait. If the block ends normally, the jobs continue.

    In the main thread, SIGTERM raises SystemExit with status 143 while the block runs, unless your
    program has its own handler. On an event loop, SIGTERM has the effect of Ctrl-C. In other
    threads, signals are not handled.

    Operations getImageStatus and submitJobs. With `group`, also listJobs. If the block is
    interrupted, also cancelJobs and listGroupSummaries.

    Args:
        rescale: The session.
        task: The task of the new jobs.
        requests: Submit requests, as for `submit`.
        group: The name of a run that you can resume: the same call in another process continues
            with the same jobs, as in `get_or_submit`. None for a new group.
        policy: Which failed jobs `Run.wait` retries. None retries none.
        on_exit: `cancel` cancels the jobs if the block is interrupted. `leave` lets them continue
            and logs how to find them.
        cancel_seconds: The maximum wait for cancelled jobs to end, in seconds, at least 0.

    Raises:
        HtcValidationError: An argument is invalid.
        The exceptions of `submit`, when the block begins.
    """
    return Run(
        rescale,
        task,
        requests,
        group=group,
        policy=policy,
        on_exit=on_exit,
        cancel_seconds=cancel_seconds,
    )


def _may_arrive(error: BaseException | None) -> bool:
    """Whether jobs of an interrupted or uncertain submission may still appear."""
    if isinstance(error, SubmissionIncompleteError | SubmissionUncertainError):
        return error.outcome_unknown
    return error is not None and bool(notes_of_submissions(error))


def _may_have_submitted(error: BaseException) -> bool:
    """Whether jobs may exist although a submission failed with this exception."""
    is_told = isinstance(error, SubmissionIncompleteError | SubmissionUncertainError)
    return not isinstance(error, HtcException) or is_told or bool(notes_of_submissions(error))
