"""Submit jobs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .._jobs.submission import submits
from .._objects.json_object import require_instance
from ..exceptions import HtcException, SubmissionIncompleteError
from ..htctasks import HtcTask
from ._batch import HtcJobBatch, submit_requests
from ._results import check_inputs, prepare, regions_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from .. import models, types
    from .._jobs.submission import Submission
    from .._literals import Architecture, JobPriority, RescaleRegion
    from ..htcsession import HtcSession
    from ._job import HtcJob

    Tags = Mapping[str, str] | Sequence[types.TagDict | models.Tag | dict[str, str]]
    Envs = Mapping[str, str] | Sequence[types.EnvPairDict | models.EnvPair | dict[str, str]]
    Claims = Mapping[str, str] | Sequence[types.ClaimPairDict | models.ClaimPair | dict[str, str]]
    SubmitRequests = Sequence[
        types.HTCJobSubmitRequestDict | models.HTCJobSubmitRequest | Mapping[str, Any]
    ]

_logger = logging.getLogger("rescalehtc")


@submits
def create_single_job(
    _submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    priority: JobPriority,
    image_name: str,
    exec_timeout_seconds: int,
    job_name: str = "rescalehtc_default_jobname",
    max_vcpus: int = 1,
    max_memory_mib: int = 4000,
    max_swap_mib: int = 0,
    max_disk_gib: int = 10,
    job_tags: dict[str, str] = {},
    batch_tags: Tags = [],
    commands: list[str] | tuple[str, ...] = [],
    envs: Envs = [],
    claims: Claims = [],
    architecture: Architecture = "AARCH64",
    region: RescaleRegion | None = None,
    *,
    group: str | None = None,
    max_retries: int | None = None,
    working_dir: str | None = None,
) -> HtcJob:
    """Submit one job and fetch its record.

    Operations getImageStatus, submitJobs and getJob. If the record can't be fetched, this still
    returns the job, with the fields of a job from `HtcJobBatch.to_jobs`.

    Args:
        rescale: The session.
        task: The task of the new job.
        priority: ON_DEMAND_ECONOMY (cheaper, may be interrupted) or ON_DEMAND_PRIORITY.
        image_name: The container image in the project's registry, `[path/]name[:tag]`.
        exec_timeout_seconds: The timeout of a container in seconds, 60 to 1209600 (14 days).
        job_name: A display name.
        max_vcpus: Virtual CPUs for a container, 1 to 64.
        max_memory_mib: Memory for a container in MiB, 4 to 235520.
        max_swap_mib: Deprecated. The service ignores it. At least 0.
        max_disk_gib: Disk for a container in GiB, 0 to 64000. Only Google Cloud uses it.
        job_tags: Labels of each job, as names and values.
        batch_tags: Labels of the batch: `{"study": "wing"}` or
            `[{"key": "study", "value": "wing"}]`.
        commands: The program and its arguments, one string per argument:
            `["python", "solve.py"]`. No shell interprets them.
        envs: Environment variables: `{"CASE": "7"}` or `[{"name": "CASE", "value": "7"}]`.
            Names that the service reserves are invalid.
        claims: Claims for the jobs' bearer tokens, in the same form as `envs`. In the token, their
            names have the prefix `userDefined_`; see `BearerToken.get_user_claims`.
        architecture: AARCH64, X86 or A100.
        region: One of the project's regions. May be None if the project has only one.
        group: The name of a group for these jobs in the task, unique by default. If the response
            to the submission is lost, the session searches for the jobs in this group.
        max_retries: The maximum number of retries of a failed job, 0 to 10. None for the
            service's default.
        working_dir: The working directory of the command, in the container. None for the image's
            default.

    Raises:
        The same as `create_job_batch`.
    """
    require_instance(task, HtcTask, "task", "create_single_job")
    arguments: dict[str, object] = {
        "batch_size": 1,
        "priority": priority,
        "image_name": image_name,
        "exec_timeout_seconds": exec_timeout_seconds,
        "job_name": job_name,
        "max_vcpus": max_vcpus,
        "max_memory_mib": max_memory_mib,
        "max_swap_mib": max_swap_mib,
        "max_disk_gib": max_disk_gib,
        "job_tags": job_tags,
        "batch_tags": batch_tags,
        "commands": commands,
        "envs": envs,
        "claims": claims,
        "architecture": architecture,
        "max_retries": max_retries,
        "working_dir": working_dir,
    }
    batch = _submit_arguments(_submission, rescale, task, arguments, region, group)
    job = batch.to_jobs()[0]
    try:
        job.get_update(rescale)
    except HtcException as error:  # the job exists and costs money: its id must not be lost
        _logger.warning(
            "job %s was submitted, but its record could not be fetched: %s",
            job.json["jobUUID"],
            error,
        )
    return job


@submits
def create_job_batch(
    _submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    batch_size: int,
    priority: JobPriority,
    image_name: str,
    exec_timeout_seconds: int,
    job_name: str = "rescalehtc_default_jobname",
    max_vcpus: int = 1,
    max_memory_mib: int = 4000,
    max_swap_mib: int = 0,
    max_disk_gib: int = 10,
    job_tags: dict[str, str] = {},
    batch_tags: Tags = [],
    commands: list[str] | tuple[str, ...] = [],
    envs: Envs = [],
    claims: Claims = [],
    architecture: Architecture = "AARCH64",
    region: RescaleRegion | None = None,
    *,
    group: str | None = None,
    max_retries: int | None = None,
    working_dir: str | None = None,
) -> HtcJobBatch:
    """Submit a batch of jobs with the same definition.

    Each job gets its index, starting at 0, in the variable AWS_BATCH_JOB_ARRAY_INDEX. It also gets
    a tag `rescalehtc-submission`, which identifies the submit request, unless the session has
    `mark_submissions=False`.

    Operations getImageStatus, until the image is ready, and submitJobs. Also listJobs if the
    response is lost.

    Args:
        rescale: The session.
        task: The task of the new jobs.
        batch_size: The number of jobs, 1 to 1000.
        priority: ON_DEMAND_ECONOMY (cheaper, may be interrupted) or ON_DEMAND_PRIORITY.
        image_name: The container image in the project's registry, `[path/]name[:tag]`.
        exec_timeout_seconds: The timeout of a container in seconds, 60 to 1209600 (14 days).
        job_name: A display name.
        max_vcpus: Virtual CPUs for a container, 1 to 64.
        max_memory_mib: Memory for a container in MiB, 4 to 235520.
        max_swap_mib: Deprecated. The service ignores it. At least 0.
        max_disk_gib: Disk for a container in GiB, 0 to 64000. Only Google Cloud uses it.
        job_tags: Labels of each job, as names and values.
        batch_tags: Labels of the batch: `{"study": "wing"}` or
            `[{"key": "study", "value": "wing"}]`.
        commands: The program and its arguments, one string per argument:
            `["python", "solve.py"]`. No shell interprets them.
        envs: Environment variables: `{"CASE": "7"}` or `[{"name": "CASE", "value": "7"}]`.
            Names that the service reserves are invalid.
        claims: Claims for the jobs' bearer tokens, in the same form as `envs`. In the token, their
            names have the prefix `userDefined_`; see `BearerToken.get_user_claims`.
        architecture: AARCH64, X86 or A100.
        region: One of the project's regions. May be None if the project has only one.
        group: The name of a group for these jobs in the task, unique by default. If the response
            to the submission is lost, the session searches for the jobs in this group.
        max_retries: The maximum number of retries of a failed job, 0 to 10. None for the
            service's default.
        working_dir: The working directory of the command, in the container. None for the image's
            default.

    Returns:
        The batch. `to_jobs` returns its jobs.

    Raises:
        HtcValidationError: Arguments are invalid. The exception lists all problems. Nothing was
            sent.
        HtcNotFoundError: The project does not have the image.
        HtcImagePendingError: The image was not ready within `rescale.image_wait_seconds`.
        SubmissionUncertainError: The response was lost, and not all jobs were found in the group.
            Use `recheck` to search for the jobs again. Do not submit again before that.
    """
    require_instance(task, HtcTask, "task", "create_job_batch")
    arguments: dict[str, object] = {
        "batch_size": batch_size,
        "priority": priority,
        "image_name": image_name,
        "exec_timeout_seconds": exec_timeout_seconds,
        "job_name": job_name,
        "max_vcpus": max_vcpus,
        "max_memory_mib": max_memory_mib,
        "max_swap_mib": max_swap_mib,
        "max_disk_gib": max_disk_gib,
        "job_tags": job_tags,
        "batch_tags": batch_tags,
        "commands": commands,
        "envs": envs,
        "claims": claims,
        "architecture": architecture,
        "max_retries": max_retries,
        "working_dir": working_dir,
    }
    return _submit_arguments(_submission, rescale, task, arguments, region, group)


@submits
def create_job_batch_raw(
    _submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    payload: SubmitRequests,
    *,
    group: str | None = None,
) -> HtcJobBatch:
    """Submit the batches of a payload.

    Operations getImageStatus, until the images are ready, and submitJobs. Also listJobs if a
    response is lost.

    Args:
        rescale: The session.
        task: The task of the new jobs.
        payload: 1 to 100 submit requests: dictionaries with the service's names, models, or
            a mix of both. You may omit `regions` if the project has only one. Fields that only
            the service sets, such as those in the `json` of a batch, are removed.
        group: The name of a group for these jobs in the task; see `create_job_batch`.

    Returns:
        The batch. `batches` has one batch per submit request, and `to_jobs` returns the jobs of
        all of them.

    Raises:
        HtcValidationError: The payload is invalid. The exception lists all problems with their
            location. Nothing was sent.
        HtcNotFoundError: The project does not have the image.
        HtcImagePendingError: An image was not ready within `rescale.image_wait_seconds`.
        SubmissionUncertainError: The response was lost, and not all jobs were found in the group.
            Use `recheck` to search for the jobs again. Do not submit again before that.
    """
    require_instance(task, HtcTask, "task", "create_job_batch_raw")
    from .._requests import submit_request

    checked = submit_request.from_payload(payload, task.project.json)
    return _submit_one_call(_submission, rescale, task, checked, group)


@submits
def submit(
    _submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    requests: SubmitRequests,
    *,
    group: str | None = None,
    inputs: str | PathLike[str] | None = None,
) -> HtcJobBatch:
    """Submit any number of batches of any size.

    All requests are validated before the first one is sent. A dictionary with a `batchSize` above
    1000 becomes several batches. AWS_BATCH_JOB_ARRAY_INDEX starts at 0 in each batch. One call
    sends up to 100 batches, and several calls run in parallel.

    Operations getImageStatus, until the images are ready, and submitJobs. Also listJobs if a
    response is lost.

    Args:
        rescale: The session.
        task: The task of the new jobs.
        requests: Submit requests as in `create_job_batch_raw`, at least one.
        group: The name of a group for these jobs in the task; see `create_job_batch`.
        inputs: A folder to upload first, to each region. Jobs find its files in
            `$TASK_SHARED_FOLDER/$RESCALEHTC_INPUTS`. Needs `pip install "rescalehtc[storage]>=2"`.

    Returns:
        The batch. `batches` has one batch per request, or several if a request was split, in
        order. `to_jobs` returns the jobs of all of them.

    Raises:
        HtcValidationError: Requests are invalid. The exception lists all problems with their
            location. Nothing was sent.
        HtcFileError: The inputs can't be uploaded. Nothing was submitted.
        HtcNotFoundError: The project does not have the image. Nothing was submitted.
        HtcImagePendingError: An image was not ready within `rescale.image_wait_seconds`.
            Nothing was submitted.
        SubmissionIncompleteError: A call failed after other calls succeeded, or its response was
            lost and not all of its jobs were found. The exception lists the submitted, uncertain
            and unsent requests.
    """
    require_instance(task, HtcTask, "task", "submit")
    has_inputs = inputs is not None
    name, checked = prepare(requests, task.project.json, has_inputs=has_inputs)
    if inputs is not None:
        from ..files import _flows

        check_inputs(inputs)
        owner: Any = task  # of either kind of session
        for region in regions_of(checked):
            files = owner.files(rescale, region)
            flow = _flows.upload(rescale.client.io, files.storage, inputs, f"{name}/inputs", False)
            rescale.run(flow)
    return submit_requests(_submission, rescale, task, checked, group)


def _submit_arguments(
    submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    arguments: dict[str, object],
    region: str | None,
    group: str | None,
) -> HtcJobBatch:
    from .._requests import submit_request

    request = submit_request.from_arguments(arguments, region, task.project.json)
    return _submit_one_call(submission, rescale, task, [(0, request)], group)


def _submit_one_call(
    submission: Submission,
    rescale: HtcSession,
    task: HtcTask,
    requests: Sequence[tuple[int, models.HTCJobSubmitRequest]],
    group: str | None,
) -> HtcJobBatch:
    try:
        return submit_requests(submission, rescale, task, requests, group)
    except SubmissionIncompleteError as error:
        uncertain = error.uncertain[0]  # a single call has nothing else to report
    raise uncertain
