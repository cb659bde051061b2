"""Batches that were submitted earlier, perhaps by another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._jobs import groups
from .._jobs.submission import Submission, SubmissionSettings, submits
from .._objects.json_object import id_of, require_instance
from .._tracebacks import trimmed
from ..exceptions import HtcValidationError, Problem
from ..htctasks import HtcTask
from ._batch import HtcJobBatch
from ._job import checked_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .. import models, types
    from ..htcsession import HtcSession


def get_batch(
    rescale: HtcSession,
    task: HtcTask,
    *,
    group: str | None = None,
    parent_job_id: str | None = None,
) -> HtcJobBatch | None:
    """Return a batch that was submitted earlier, or None if the task has no such jobs.

    It is made from the records of its jobs. Its `json` has what these repeat of the submit request:
    image, commands, variables, tags, sizes and timeout. They do not repeat the job name, priority,
    claims, retries and working directory. `batchSize` is the highest index that the service lists,
    plus 1. Jobs that run others again (`RetryPolicy`) are left out, and of several batches that
    `get_or_submit` made for one request all but the oldest.

    Operation listJobs: all pages of the group, or up to ten requests for a parent.

    Args:
        rescale: The session.
        task: The task.
        group: The group that the jobs were submitted with. `batches` has each of its batches.
        parent_job_id: The part of the jobs' ids before the colon. Give either this or `group`.

    Raises:
        HtcValidationError: An argument is invalid, or not exactly one of them was given.
    """
    require_instance(task, HtcTask, "task", "get_batch")
    checked_group(group)
    if (group is None) == (parent_job_id is None):
        problem = Problem("group", "must be given if parent_job_id is not, and only then")
        raise HtcValidationError("get_batch", [problem])
    ids = {name: id_of(task, name) for name in ("projectId", "taskId")}
    if parent_job_id is None:
        found = rescale.run(groups.find_batches(rescale.client, ids, group))
    else:
        require_instance(parent_job_id, str, "parent_job_id", "get_batch")
        one = rescale.run(groups.find_batch(rescale.client, ids, parent_job_id))
        found = [] if one is None else [one]
    if not found:
        return None
    batch = HtcJobBatch([one.to_json(ids) for one in found], task)
    batch.may_have_reruns = True
    return batch


def get_batches(rescale: HtcSession, task: HtcTask) -> list[HtcJobBatch]:
    """Return the batches of a task, one for each group, the oldest first.

    They are made from the records of their jobs, see `get_batch`.

    Operation listJobs: all pages of the task.

    Args:
        rescale: The session.
        task: The task.

    Raises:
        HtcValidationError: `task` is not an HtcTask.
    """
    require_instance(task, HtcTask, "task", "get_batches")
    ids = {name: id_of(task, name) for name in ("projectId", "taskId")}
    found = rescale.run(groups.find_batches(rescale.client, ids, None))
    batches: list[HtcJobBatch] = []
    for together in groups.by_group(found):
        batch = HtcJobBatch([one.to_json(ids) for one in together], task)
        batch.may_have_reruns = True
        batches.append(batch)
    return batches


@submits
def get_or_submit(
    _submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    requests: Sequence[
        types.HTCJobSubmitRequestDict | models.HTCJobSubmitRequest | Mapping[str, Any]
    ],
    *,
    group: str,
) -> HtcJobBatch:
    """Submit requests to a group once: whoever calls this again gets the same batch.

        batch = htcjobs.get_or_submit(rescale, task, requests, group="nightly-2026-11-29")

    The jobs carry the tag `rescalehtc-part`, the number of their request. Requests for which the
    group has jobs are not submitted, so a program that was killed, even between two calls of a
    large submission, can be started again. If the group has jobs for some of the requests,
    nothing is submitted before it has not changed for `rescale.settle_seconds`.

    The service has no lock. Two processes that call this at the same moment, while the group is
    empty, may both submit; the same can happen if you start a process again before a request of
    the killed one has arrived. Then jobs run twice, and whoever calls this afterwards gets the
    oldest batch of each request.

    Operations listJobs, getImageStatus and submitJobs.

    Args:
        rescale: The session.
        task: The task that the jobs are to belong to.
        requests: Submit requests, as for `submit`. Pass the same ones each time: their number and
            sizes are compared with the group's jobs, not their contents.
        group: The name of the group, used for nothing else.

    Returns:
        The batch, as `submit` returns it.

    Raises:
        HtcValidationError: The requests break rules, or the group has other jobs.
        The other exceptions of `submit`.
    """
    require_instance(task, HtcTask, "task", "get_or_submit")
    with trimmed():
        name = require_group(group, "get_or_submit")
        from .._jobs import once
        from .._requests import submit_request

        checked = submit_request.from_any_number(requests, task.project.json)
        ids = {name: id_of(task, name) for name in ("projectId", "taskId")}
        parts = [(position, request.to_json_dict()) for position, request in checked]
        settings = SubmissionSettings.of(rescale)
        flow = once.get_or_submit(rescale.client, _submission, settings, ids, parts, name)
        answers, was_there = rescale.run(flow)
        batch = HtcJobBatch(answers, task)
        batch.may_have_reruns = was_there
        return batch


def require_group(group: object, subject: str) -> str:
    """Refuse a group that is not a name.

    Raises:
        HtcValidationError: It is not a string, or empty.
    """
    if isinstance(group, str) and group:
        return group
    raise HtcValidationError(subject, [Problem("group", "must be a string that is not empty")])
