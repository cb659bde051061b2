"""HtcJobBatch: jobs that were submitted together; which of them failed; submitting them again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._jobs import failures
from .._jobs.progress import Progress
from .._jobs.records import parent_and_index
from .._jobs.submission import Submission, SubmissionSettings, submits
from .._jobs.waiting import Interval
from .._jobs.watching import BatchCounter, SeenStatuses
from .._objects.json_object import JsonObject, id_of, require_instance
from .._objects.session_methods import SessionMethods
from .._tracebacks import trimmed
from .._wire.operations import SUBMIT_JOBS
from ..exceptions import HtcValidationError, Problem
from ..htctasks import HtcTask
from ._job import HtcJob, JobTemplate, check_last_n_lines, checked_group, job_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .. import models, types
    from .._counts import JobCounts
    from ..htcsession import HtcSession
    from ..records import JobStatusSummaryRecord


class HtcJobBatch(JsonObject["types.HTCJobBatchDict", "models.HTCJobBatch"]):
    """A batch: a number of jobs made from one definition."""

    _operation = SUBMIT_JOBS

    def __init__(
        self,
        json: types.HTCJobBatchDict
        | dict[str, Any]
        | list[types.HTCJobBatchDict]
        | list[dict[str, Any]],
        task: HtcTask,
    ) -> None:
        """Make a batch of the service's answer to submit requests.

        Args:
            json: The dictionary, an `HTCJobBatch` object with the service's names; or a list of
                them for a payload with several submit requests, of which the first becomes `json`.
            task: The task it belongs to.

        Raises:
            HtcValidationError: `task` is not an HtcTask, or there is no dictionary.
        """
        require_instance(task, HtcTask, "task", "HtcJobBatch")
        parts: Sequence[Any] = json if isinstance(json, list) else [json]
        if not parts:
            problem = Problem("json", "must hold at least one dictionary")
            raise HtcValidationError("HtcJobBatch", [problem])
        super().__init__(parts[0])
        self.task: HtcTask = task
        """The task it belongs to."""
        self._seen = SeenStatuses()
        self.batches: list[HtcJobBatch] = [self, *(type(self)(part, task) for part in parts[1:])]
        """The batch itself; of a payload with several submit requests, one for each."""

    def __repr__(self) -> str:
        described = [
            f"parentJobId={batch.json.get('parentJobId')!r}, batchSize={batch.json.get('batchSize')!r}"
            for batch in self.batches
        ]
        return f"HtcJobBatch({'; '.join(described)})"

    def _repr_html_(self) -> str:
        from .. import _html

        return _html.batch([part.json for part in self.batches])

    def get_task_summary(self, rescale: HtcSession) -> JobStatusSummaryRecord:
        """Count the jobs of the whole task, not only of this batch: `HtcTask.get_task_summary`.

        Operation getTaskSummary.

        Args:
            rescale: The session.
        """
        return self.task.get_task_summary(rescale)

    def is_still_running(self, rescale: HtcSession) -> bool:
        """Whether any job of the whole task, not only of this batch, has not ended yet.

        Operation getTaskSummary.

        Args:
            rescale: The session.
        """
        return self.task.is_still_running(rescale)

    def wait(
        self,
        rescale: HtcSession,
        timeout: float | None = None,
        progress: bool | Callable[[JobCounts], None] = False,
    ) -> JobCounts:
        """Wait until all jobs of the batch have ended, and count them by status.

        Operation listJobs or listGroupSummaries, every `rescale.status_refresh_seconds` (30 by
        default). Up to 100 jobs that have not ended are listed by their ids. For more, group
        summaries are polled, as long as they count no more jobs than the batch has. If they
        count more, the groups have other jobs too, and all jobs of the group are listed, one page
        per poll.

        Afterwards the jobs of `to_jobs` have the `status` that was seen. Group summaries only
        count: with them, jobs have a status if all of them have the same.

        Jobs that the service does not list yet count as not ended. So do jobs with a status
        that this release does not know, unless their records say when they completed.

        Args:
            rescale: The session.
            timeout: Seconds to wait at most, at least 0; None to wait without a limit. An
                outage of the service does not end the wait.
            progress: Whether to write the counts to standard error when they change: on a
                terminal in one line, elsewhere one line for each change. Or a function to call
                with the counts after each poll.

        Raises:
            HtcValidationError: `timeout` is not such a number.
            HtcWaitTimeoutError: Not all jobs ended in time. It has the counts.
            HtcNotFoundError: There is no such task.
            HtcResponseError: The service has not listed the remaining jobs for 300 s, because
                they were deleted; or it did not say which jobs it made.
        """
        keys = [job_key(job) for job in self.to_jobs()]
        interval = Interval(rescale.client.io, rescale.status_refresh_seconds, timeout, "wait")
        counter = BatchCounter(rescale.client, keys, interval)
        with Progress(progress) as show:
            counts = rescale.run(counter.wait(show))
        for part in self.batches:
            part._seen.by_id, part._seen.of_all = counter.seen.by_id, counter.seen.of_all
        return counts

    def failed(self, rescale: HtcSession, last_n_lines: int = 0) -> list[FailedJob]:
        """Return the jobs of the batch that have failed so far, in their order.

        Operation listJobs, for each status that is a failure; with `last_n_lines` also
        listJobLogs for each job that failed.

        Args:
            rescale: The session.
            last_n_lines: Read this many lines from the end of each log, at least 0.

        Returns:
            For each job its index, failure code, exit code, reason and last lines.

        Raises:
            HtcValidationError: `last_n_lines` is not such a number.
        """
        check_last_n_lines(last_n_lines, "failed")
        parents = [str(part.json.get("parentJobId")) for part in self.batches]
        groups = {part.json.get("group") or None for part in self.batches}
        group = groups.pop() if len(groups) == 1 else None
        ids = {name: id_of(self.task, name) for name in ("projectId", "taskId")}
        records = rescale.run(failures.fetch_failed(rescale.client, ids, parents, group))
        jobs = [HtcJob({**ids, **record}, self.task) for record in records]
        return [_describe(rescale, job, last_n_lines) for job in jobs]

    def resubmit_failed(
        self, rescale: HtcSession, index_variable: str | None = None
    ) -> Resubmission:
        """Build, and check, a submission of the jobs that have failed so far. Submits nothing.

        The requests are those of the batch as the service answered them, for fewer jobs. The
        jobs of a batch find their index in AWS_BATCH_JOB_ARRAY_INDEX, and this can't be set:
        the failed jobs 3 and 7 of a batch become jobs 0 and 1 of a batch of two. A program
        that takes its part of the work from the index would do parts 0 and 1 again. With
        `index_variable` each failed job becomes a batch of one, with its old index in this
        variable; the program has to look there first, as `${PART:-$AWS_BATCH_JOB_ARRAY_INDEX}`
        does in a shell for a variable named PART. A job that was resubmitted this way, and
        failed again, keeps the index that it had first.

        Where the service does not repeat the regions, the regions of the failed jobs are taken.

        Operation listJobs.

            batch.wait(rescale)
            again = batch.resubmit_failed(rescale, index_variable="PART")
            if again.requests:
                again.submit(rescale).wait(rescale)

        Args:
            rescale: The session.
            index_variable: Name of an environment variable, or None.

        Returns:
            The requests, and which new job does which old one again.

        Raises:
            HtcValidationError: The batch's record makes no valid request, or `index_variable`
                can't be set.
        """
        with trimmed():
            failed = [failure.job.json for failure in self.failed(rescale)]
            parts = [part.json for part in self.batches]
            requests, old_ids = failures.resubmission(
                parts, failed, index_variable, self.task.project.json
            )
            return Resubmission(self.task, requests, old_ids)

    def to_jobs(self) -> list[HtcJob]:
        """Return the batch's jobs, those of all submit requests, without asking the service.

        Their `json` has `group`, `projectId`, `taskId` and `jobUUID`. When `wait` has returned,
        it also has the final `status` that was seen, whether you called this before or after.
        `HtcJob.get_update` fetches the rest.

        Raises:
            HtcResponseError: The service did not say which jobs it made.
        """
        templates = [JobTemplate.from_answer(part.json, part._seen) for part in self.batches]
        return [job for template in templates for job in template.jobs(HtcJob, self.task)]


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that failed, and why."""

    job: HtcJob
    """The job, with its whole record."""
    index: int
    """Its index in its batch, from 0."""
    failure_code: models.HTCJobErrorCodeName | str | None
    """The service's code, such as ErrorTimeout, if it gave one."""
    exit_code: int | None
    """The container's exit code, if it ran to an end."""
    reason: str | None
    """The service's words, if it gave any."""
    last_lines: list[str] = field(repr=False)
    """The last lines of its log, as many as were asked for, oldest first."""


@dataclass(frozen=True, slots=True)
class Resubmission(SessionMethods):
    """A submission of jobs that failed. Nothing is sent before `submit`."""

    task: HtcTask
    """The task."""
    requests: list[models.HTCJobSubmitRequest]
    """The submit requests; none if no job failed. They may be changed."""
    old_job_ids: list[str]
    """The ids of the jobs that failed, in the order of the new ones: the job that `to_jobs()[i]`
    of the new batch does again is `old_job_ids[i]`.
    """

    @property
    def old_indices(self) -> list[int]:
        """The indices, each in its old batch, of the jobs in `old_job_ids`."""
        return [parent_and_index(job_id)[1] for job_id in self.old_job_ids]

    def submit(self, rescale: HtcSession) -> HtcJobBatch:
        """Submit the requests.

        Operations getImageStatus, until the images are ready, and submitJobs.

        Args:
            rescale: The session.

        Raises:
            The same as `htcjobs.submit`.
        """
        with trimmed():
            return submit(rescale, self.task, self.requests)


def _describe(rescale: HtcSession, job: HtcJob, last_n_lines: int) -> FailedJob:
    # A field that the service left out counts as null here.
    container = getattr(job.record, "container", None)
    reason = getattr(job.record, "status_reason", None) or getattr(container, "reason", None)
    return FailedJob(
        job=job,
        index=parent_and_index(job.json["jobUUID"])[1],
        failure_code=getattr(job.record, "failure_code", None),
        exit_code=getattr(container, "exit_code", None),
        reason=reason,
        last_lines=list(job.get_logs(rescale, last_n_lines)) if last_n_lines else [],
    )


@submits
def submit(
    _submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    requests: Sequence[
        types.HTCJobSubmitRequestDict | models.HTCJobSubmitRequest | Mapping[str, Any]
    ],
    *,
    group: str | None = None,
) -> HtcJobBatch:
    """Submit any number of batches of any size.

    All of them are checked before the first one is sent. A dictionary with a `batchSize` above
    1000 becomes several batches; in each of them AWS_BATCH_JOB_ARRAY_INDEX begins at 0. They
    are sent 100 batches a call, several calls at once.

    Operations getImageStatus, until the images are ready, and submitJobs; listJobs if an
    answer is lost.

    Args:
        rescale: The session.
        task: The task that the jobs are to belong to.
        requests: Submit requests as in `create_job_batch_raw`, at least one.
        group: A name for these jobs within the task; see `create_job_batch`.

    Returns:
        The batch; `batches` has one for each request or part of it, in order, and `to_jobs`
        gives the jobs of them all.

    Raises:
        HtcValidationError: The requests break rules. All of them are listed with their place;
            nothing was sent.
        HtcNotFoundError: The project has no such image; nothing was sent.
        HtcImagePendingError: An image was not ready within `rescale.image_wait_seconds`;
            nothing was sent.
        SubmissionIncompleteError: A call failed after others were sent, or its answer was lost
            and not all of its jobs were found. It lists the batches that were submitted, the
            calls that are uncertain, and the requests that were not submitted.
    """
    require_instance(task, HtcTask, "task", "submit")
    from .._requests import submit_request

    checked = submit_request.from_any_number(requests, task.project.json)
    return submit_requests(_submission, rescale, task, checked, group)


def submit_requests(
    submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    requests: Sequence[tuple[int, models.HTCJobSubmitRequest]],
    group: str | None,
) -> HtcJobBatch:
    """Submit requests that were validated, each with its position.

    Raises:
        HtcNotFoundError: The project has no such image.
        HtcImagePendingError: An image did not become ready in time.
        SubmissionIncompleteError: A call failed when others had been sent, or is uncertain.
    """
    ids = {name: id_of(task, name) for name in ("projectId", "taskId")}
    checked = [(position, request.to_json_dict()) for position, request in requests]
    settings = SubmissionSettings(
        rescale.mark_submissions, rescale.image_wait_seconds, rescale.settle_seconds
    )
    flow = submission.submit(rescale.client, settings, ids, checked, checked_group(group))
    return HtcJobBatch(rescale.run(flow), task)
