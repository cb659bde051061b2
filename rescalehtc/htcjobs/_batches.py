"""Find batches that were submitted earlier, and submit a batch only once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._jobs import groups
from .._jobs.submission import Submission, submits
from .._objects.json_object import require_instance, task_ids
from .._tracebacks import trimmed
from ..exceptions import HtcValidationError, Problem
from ..htctasks import HtcTask
from ._batch import HtcJobBatch
from ._job import checked_group

if TYPE_CHECKING:
    from ..htcsession import HtcSession
    from ._submit import SubmitRequests


def get_batch(
    rescale: HtcSession,
    task: HtcTask,
    *,
    group: str | None = None,
    parent_job_id: str | None = None,
) -> HtcJobBatch | None:
    """Return a batch that was submitted earlier, or None if the task has no such jobs.

    The batch is rebuilt from the records of its jobs. Its `json` has the image, commands,
    variables, tags, resources and timeout. The records do not contain the job name, priority,
    claims, retries and working directory. `batchSize` is the highest listed index plus 1.

    The batch excludes retries of a `RetryPolicy`. If `get_or_submit` was called by several
    processes at the same time and submitted a request twice, the batch has the oldest jobs of that
    request.

    Operation listJobs: all pages of the group, or up to ten requests for a parent.

    Args:
        rescale: The session.
        task: The task.
        group: The group of the jobs. `batches` has all batches of the group.
        parent_job_id: The part of the jobs' ids before the colon. Pass either this or `group`.

    Raises:
        HtcValidationError: An argument is invalid, or you passed both names or none.
    """
    require_instance(task, HtcTask, "task", "get_batch")
    checked_group(group)
    if (group is None) == (parent_job_id is None):
        problem = Problem("group", "is required without parent_job_id, and invalid with it")
        raise HtcValidationError("get_batch", [problem])
    ids = task_ids(task)
    if parent_job_id is None:
        batches = rescale.run(groups.find_batches(rescale.client, ids, group))
    else:
        require_instance(parent_job_id, str, "parent_job_id", "get_batch")
        found = rescale.run(groups.find_batch(rescale.client, ids, parent_job_id))
        batches = [] if found is None else [found]
    if not batches:
        return None
    batch = HtcJobBatch([batch.to_json(ids) for batch in batches], task)
    batch.may_have_reruns = True
    return batch


def get_batches(rescale: HtcSession, task: HtcTask) -> list[HtcJobBatch]:
    """Return the batches of a task, one per group, oldest first.

    The batches are rebuilt from the records of their jobs, as in `get_batch`.

    Operation listJobs: all pages of the task.

    Args:
        rescale: The session.
        task: The task.

    Raises:
        HtcValidationError: `task` is not an HtcTask.
    """
    require_instance(task, HtcTask, "task", "get_batches")
    ids = task_ids(task)
    found = rescale.run(groups.find_batches(rescale.client, ids, None))
    batches: list[HtcJobBatch] = []
    for parts in groups.by_group(found):
        batch = HtcJobBatch([part.to_json(ids) for part in parts], task)
        batch.may_have_reruns = True
        batches.append(batch)
    return batches


@submits
def get_or_submit(
    _submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    requests: SubmitRequests,
    *,
    group: str,
) -> HtcJobBatch:
    """Submit requests to a group, or return the batch if an earlier call has submitted them.

        batch = htcjobs.get_or_submit(rescale, task, requests, group="nightly-2026-11-29")

    You can call this again after a crash at any moment, even in the middle of a large submission.
    Only requests without jobs in the group are submitted. The tag `rescalehtc-part` of each job has
    the number of its request. If the group has jobs for some of the requests, the session first
    waits until the group has not changed for `rescale.settle_seconds`.

    The service has no lock. If two processes call this at the same time for an empty group, both
    may submit. The same can happen if you restart a program while a request of the killed one is
    still on its way. Then jobs run twice, and later calls return the oldest jobs of each request.

    Operations listJobs, getImageStatus and submitJobs.

    Args:
        rescale: The session.
        task: The task of the new jobs.
        requests: Submit requests, as for `submit`. Pass the same ones each time. The session
            compares their number and sizes with the group's jobs, not their contents.
        group: The name of the group. Use it for nothing else.

    Returns:
        The batch, as `submit` returns it.

    Raises:
        HtcValidationError: The requests are invalid, or the group has other jobs.
        The other exceptions of `submit`.
    """
    require_instance(task, HtcTask, "task", "get_or_submit")
    with trimmed():
        name = require_group(group, "get_or_submit")
        from .._jobs import once
        from .._requests import submit_request

        checked = submit_request.from_any_number(requests, task.project.json)
        parts = [(position, request.to_json_dict()) for position, request in checked]
        flow = once.find_or_submit(rescale, _submission, task_ids(task), parts, name)
        answers, was_there = rescale.run(flow)
        batch = HtcJobBatch(answers, task)
        batch.may_have_reruns = was_there
        return batch


def require_group(group: object, subject: str) -> str:
    """Return a group's name.

    Raises:
        HtcValidationError: It is not a string, or it is empty.
    """
    if isinstance(group, str) and group:
        return group
    raise HtcValidationError(subject, [Problem("group", "must be a non-empty string")])
