"""HtcJobBatch: jobs that were submitted together, their failures, and resubmitting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._collector import without_collections
from .._jobs import failures
from .._jobs.progress import Progress
from .._jobs.records import common_group, parent_and_index
from .._jobs.submission import Submission, submits
from .._jobs.waiting import Interval
from .._jobs.watching import BatchCounter, SeenStatuses, fetch_ended
from .._objects.json_object import JsonObject, Listing, require_instance, task_ids
from .._objects.session_methods import SessionMethods
from .._tracebacks import trimmed
from .._wire.operations import SUBMIT_JOBS
from ..exceptions import HtcException, HtcValidationError, Problem
from ._failed_job import FailedJob, describe_failed
from ._job import HtcJob, JobTemplate, check_last_n_lines, checked_group, job_key, require_task
from ._results import BatchResults, check_pattern, fetch_results, prepare, results_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from .. import models, types
    from .._counts import JobCounts
    from .._jobs.policy import RetryPolicy
    from .._jobs.report import RunReport
    from .._jobs.rerunning import Rerunner
    from .._session import BaseSession
    from ..files._files import Files
    from ..htcsession import HtcSession
    from ..htctasks import HtcTask
    from ..records import JobStatusSummaryRecord


class HtcJobBatch(JsonObject["types.HTCJobBatchDict", "models.HTCJobBatch"]):
    """A batch of jobs with the same definition."""

    _operation = SUBMIT_JOBS

    def __init__(
        self,
        json: types.HTCJobBatchDict
        | dict[str, Any]
        | list[types.HTCJobBatchDict]
        | list[dict[str, Any]],
        task: HtcTask,
    ) -> None:
        """Create a batch from the service's response to submit requests.

        Args:
            json: The dictionary, an `HTCJobBatch` object with the service's names. For a payload
                with several submit requests, a list of dictionaries; the first becomes `json`.
            task: The task of the batch.

        Raises:
            HtcValidationError: `task` is not an HtcTask, or the list is empty.
        """
        require_task(task, "HtcJobBatch")
        parts: Sequence[Any] = json if isinstance(json, list) else [json]
        if not parts:
            problem = Problem("json", "must contain at least one dictionary")
            raise HtcValidationError("HtcJobBatch", [problem])
        super().__init__(parts[0])
        self.task: HtcTask = task
        """The task of the batch."""
        self._seen = SeenStatuses()
        self.may_have_reruns: bool = False
        """Whether an earlier wait may have retried jobs of the batch."""
        self.batches: list[HtcJobBatch] = [self, *(type(self)(part, task) for part in parts[1:])]
        """One batch per submit request. The first one is this batch itself."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of 1.1.0 have only the dictionary and the task.
        added = {"_seen": SeenStatuses(), "may_have_reruns": False, "batches": [self]}
        vars(self).update(added | state)

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
        """Return True until all jobs of the whole task, not only of this batch, have ended.

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
        *,
        policy: RetryPolicy | None = None,
    ) -> JobCounts:
        """Wait until all jobs of the batch have ended, and count them by status.

        Operation listJobs or listGroupSummaries, every `rescale.status_refresh_seconds` (30 by
        default). With up to 100 unfinished jobs, each poll lists them by id. With more, each poll
        fetches the group summaries. If the groups contain other jobs too, each poll lists one
        page of all jobs of the group instead.

        Afterwards, the jobs of `to_jobs` have their final `status`. If the wait used group
        summaries, the jobs have a status only if all of them have the same one.

        A job that the service does not list yet counts as not ended. A status that this release
        does not know counts as final only if the job's record has the time of completion.

        Args:
            rescale: The session.
            timeout: The maximum wait in seconds, at least 0. None waits without a limit. An
                outage of the service does not end the wait.
            progress: Whether to write the counts to standard error when they change. Or a
                function that is called with the counts after each poll.
            policy: Which failed jobs to retry. Each retry is a new job in the batch's group, with
                the index of the first job in RESCALEHTC_INDEX. The counts have the status of the
                last attempt. With a policy, each poll lists jobs.

        Raises:
            HtcValidationError: `timeout` is invalid. Or the batch can't have a policy.
            HtcWaitTimeoutError: Not all jobs ended before the timeout. The exception has the
                counts.
            RunStoppedError: More jobs failed than the policy allows, and the group was cancelled.
            HtcNotFoundError: The task does not exist.
            HtcResponseError: The service has not listed the remaining jobs for 300 s. Or its
                response to the submission had no job ids.
        """
        interval = Interval(rescale, timeout, "wait")
        keys = [job_key(job) for job in self.to_jobs()]
        waiter: BatchCounter | Rerunner
        if policy is None:
            waiter = BatchCounter(rescale.client, keys, interval)
        else:
            waiter = rerunner_of(rescale, self, policy, interval)
        with Progress(progress) as show:
            counts = rescale.run(waiter.wait(show))
        for part in self.batches:
            part._seen.by_id, part._seen.of_all = waiter.seen.by_id, waiter.seen.of_all
        return counts

    def report(self, rescale: HtcSession) -> RunReport:
        """Report all attempts at the jobs of the batch, with the retries of a RetryPolicy.

        The service does not store policies, so the report does not have the reasons for retries.

        Operation listJobs: all pages of the batch's group.

        Args:
            rescale: The session.

        Raises:
            HtcResponseError: A record has no status.
        """
        from .._jobs.rerunning import fetch_report

        parts = [part.json for part in self.batches]
        return rescale.run(fetch_report(rescale.client, task_ids(self.task), parts))

    def failed(self, rescale: HtcSession, last_n_lines: int = 0) -> list[FailedJob]:
        """Return the jobs of the batch that have failed so far, in order.

        Operation listJobs, once per failure status. With `last_n_lines`, also listJobLogs for
        each failed job.

        Args:
            rescale: The session.
            last_n_lines: The number of lines to read from the end of each log, at least 0.

        Returns:
            The index, failure code, exit code, reason and last lines of each job.

        Raises:
            HtcValidationError: `last_n_lines` is not an integer of at least 0.
        """
        check_last_n_lines(last_n_lines, "failed")
        parents = [str(part.json.get("parentJobId")) for part in self.batches]
        group = common_group([part.json for part in self.batches])
        ids = task_ids(self.task)
        records = rescale.run(failures.fetch_failed(rescale.client, ids, parents, group))
        jobs = [HtcJob({**ids, **record}, self.task) for record in records]
        return Listing([describe_failed(rescale, job, last_n_lines) for job in jobs])

    def resubmit_failed(
        self, rescale: HtcSession, index_variable: str | None = None
    ) -> Resubmission:
        """Build and validate a submission of the jobs that have failed so far. Submits nothing.

        The requests are those of the batch, as the service returned them, with fewer jobs. Jobs
        get new indices in AWS_BATCH_JOB_ARRAY_INDEX, which you can't set: the failed jobs 3 and 7
        become the jobs 0 and 1 of a new batch.

        With `index_variable`, each failed job becomes a batch of one job, with its old index in
        this variable. Read this variable first in your program. In a shell, with a variable named
        PART, write `${PART:-$AWS_BATCH_JOB_ARRAY_INDEX}`. If a resubmitted job fails again, the
        next resubmission still has the original index.

        If the service does not return the regions of the batch, the requests have the regions of
        the failed jobs.

        Operation listJobs.

        Args:
            rescale: The session.
            index_variable: The name of an environment variable, or None.

        Returns:
            The requests, and the id of the failed job for each new job.

        Raises:
            HtcValidationError: The batch's record does not make a valid request, or
                `index_variable` is a reserved or invalid name.
        """
        with trimmed():
            failed = [failure.job.json for failure in self.failed(rescale)]
            parts = [part.json for part in self.batches]
            requests, old_ids = failures.resubmission(
                parts, failed, index_variable, self.task.project.json
            )
            return Resubmission(self.task, requests, old_ids)

    def download_results(
        self,
        rescale: HtcSession,
        target: str | PathLike[str],
        pattern: str = "{index}/**",
        *,
        timeout: float | None = None,
    ) -> BatchResults:
        """Download the files of each job as soon as it has ended, even if it failed.

        Jobs write them to `$TASK_SHARED_FOLDER/$RESCALEHTC_RESULTS/$AWS_BATCH_JOB_ARRAY_INDEX`.
        `htcjobs.submit(..., inputs=...)` sets the variable RESCALEHTC_RESULTS; otherwise set it
        yourself. If you call this again, it downloads only missing and changed files.

        Operations listJobs, every `rescale.status_refresh_seconds`, and getTaskStorageToken or
        getTaskStorageTokenForRegion.

        Args:
            rescale: The session.
            target: A folder. It gets one folder per index. If there are several batches, it gets
                one folder per batch, with a folder per index.
            pattern: The files to download, relative to the folder of the results. `{index}` is the
                job's index.
            timeout: The maximum wait in seconds, at least 0. None waits without a limit.

        Returns:
            The files of each job. `without_files` has the jobs that left none.

        Raises:
            HtcValidationError: An argument is invalid, or the batch has no RESCALEHTC_RESULTS.
            HtcFileError: A file can't be downloaded.
            HtcWaitTimeoutError: Not all jobs ended before the timeout.
        """
        check_pattern(pattern)
        folders = results_folders([part.json for part in self.batches])
        keys = [job_key(job) for job in self.to_jobs()]
        interval = Interval(rescale, timeout, "results")
        stores: dict[str | None, Files] = {}
        results = BatchResults({})
        for counts, page in rescale.iterate(fetch_ended(rescale.client, keys, interval)):
            for key, record in page:
                region = record.get("region")
                while key.job_id not in results.files:
                    try:
                        if region not in stores:
                            stores[region] = self.task.files(rescale, region)
                        io, storage = rescale.client.io, stores[region].storage
                        flow = fetch_results(io, storage, folders, key.job_id, pattern, target)
                        results.files[key.job_id] = rescale.run(flow)
                    except HtcException as error:
                        rescale.run(interval.wait_out(error, counts))
                interval.note_answer()
        return results

    @without_collections
    def to_jobs(self) -> list[HtcJob]:
        """Return the batch's jobs, of all its submit requests, without sending a request.

        Their `json` has `group`, `projectId`, `taskId` and `jobUUID`. When `wait` has returned, it
        also has the final `status`, even for jobs that you got before `wait`.
        `HtcJob.get_update` fetches the other fields.

        Raises:
            HtcResponseError: The service's response to the submission had no job ids.
        """
        templates = [JobTemplate.from_answer(part.json, part._seen) for part in self.batches]
        return [job for template in templates for job in template.jobs(HtcJob, self.task)]


@dataclass(frozen=True, slots=True)
class Resubmission(SessionMethods):
    """A submission of failed jobs. Call `submit` to send it."""

    task: HtcTask
    """The task."""
    requests: list[models.HTCJobSubmitRequest]
    """The submit requests. Empty if no job failed. You may change them."""
    old_job_ids: list[str]
    """The ids of the failed jobs, in the order of the new jobs: `to_jobs()[i]` of the new batch
    repeats the job `old_job_ids[i]`.
    """

    @property
    def old_indices(self) -> list[int]:
        """The indices of the jobs in `old_job_ids`, in their old batches."""
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
            return resubmit(rescale, self.task, self.requests)


def rerunner_of(
    rescale: BaseSession, batch: HtcJobBatch, policy: RetryPolicy, interval: Interval
) -> Rerunner:
    """Make an object that waits for a batch, and retries failed jobs.

    Raises:
        HtcValidationError: `policy` is not a RetryPolicy, or the batch can't have a policy.
    """
    from .._jobs.policy import RetryPolicy
    from .._jobs.rerunning import Rerunner

    require_instance(policy, RetryPolicy, "policy", "wait")
    task, parts = batch.task, [part.json for part in batch.batches]
    ids, project = task_ids(task), task.project.json
    rerunner = Rerunner(rescale, ids, project, parts, policy, interval, batch.may_have_reruns)
    batch.may_have_reruns = True
    return rerunner


@submits
def resubmit(
    _submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    requests: Sequence[models.HTCJobSubmitRequest],
) -> HtcJobBatch:
    """Submit the requests of a resubmission."""
    _, checked = prepare(requests, task.project.json, has_inputs=False)
    return submit_requests(_submission, rescale, task, checked, None)


def submit_requests(
    submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    requests: Sequence[tuple[int, models.HTCJobSubmitRequest]],
    group: str | None,
) -> HtcJobBatch:
    """Submit validated requests, each with its position.

    Raises:
        HtcNotFoundError: The project does not have the image.
        HtcImagePendingError: An image was not ready before the timeout.
        SubmissionIncompleteError: A call failed after others succeeded, or is uncertain.
    """
    checked = [(position, request.to_json_dict()) for position, request in requests]
    flow = submission.send(rescale, task_ids(task), checked, checked_group(group))
    return HtcJobBatch(rescale.run(flow), task)
