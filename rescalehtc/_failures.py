"""The jobs of a batch that failed, and a submission of just them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import api
from ._json_object import id_of
from .exceptions import HtcValidationError, Problem
from .htcprojects import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from . import models
    from ._operation import QueryValue
    from .htcjobs import HtcJob, HtcJobBatch
    from .htcsession import HtcSession
    from .htctasks import HtcTask

# The service lists one status at a time.
FAILED_STATUSES = ("FAILED", "POD_FAILED")


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that failed, and why.

    Attributes:
        job: The job, with its whole record.
        index: Its index in its batch, from 0.
        failure_code: The service's code, such as ErrorTimeout, if it gave one.
        exit_code: The container's exit code, if it ran to an end.
        reason: The service's words, if it gave any.
        last_lines: The last lines of its log, as many as were asked for, oldest first.
    """

    job: HtcJob
    index: int
    failure_code: models.HTCJobErrorCodeName | None
    exit_code: int | None
    reason: str | None
    last_lines: list[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resubmission:
    """A submission of jobs that failed. Nothing is sent before `submit`.

    Attributes:
        task: The task.
        requests: The submit requests; none if no job failed. They may be changed.
        old_job_ids: The ids of the jobs that failed, in the order of the new ones: the job
            that `to_jobs()[i]` of the new batch does again is `old_job_ids[i]`.
    """

    task: HtcTask
    requests: list[models.HTCJobSubmitRequest]
    old_job_ids: list[str]

    @property
    def old_indices(self) -> list[int]:
        """The indices, each in its old batch, of the jobs in `old_job_ids`."""
        return [_parent_and_index(job_id)[1] for job_id in self.old_job_ids]

    def submit(self, rescale: HtcSession) -> HtcJobBatch:
        """Submit the requests.

        Operations getImageStatus, until the images are ready, and submitJobs.

        Raises:
            The same as `htcjobs.submit`.
        """
        from . import htcjobs

        return htcjobs.submit(rescale, self.task, self.requests)


def failed(rescale: HtcSession, batch: HtcJobBatch, last_n_lines: int) -> list[FailedJob]:
    """Return the jobs of a batch that failed, in their order."""
    from .htcjobs import HtcJob

    order = {str(part.json.get("parentJobId")): n for n, part in enumerate(batch.batches)}
    groups = {part.json.get("group") or None for part in batch.batches}
    ids = {name: id_of(batch.task, name) for name in ("projectId", "taskId")}
    found: dict[tuple[int, int], HtcJob] = {}
    for status in FAILED_STATUSES:
        query: dict[str, QueryValue] = {"status": status, "pageSize": PAGE_SIZE}
        if len(groups) == 1:
            query["group"] = next(iter(groups))
        for page in rescale.pages(api.LIST_JOBS.call(ids, query=query)):
            for record in page:
                parent, index = _parent_and_index(record.get("jobUUID"))
                if parent in order:
                    found[order[parent], index] = HtcJob({**ids, **record}, batch.task)
            record = None  # a traceback that shows variables must not show secrets
    return [_described(rescale, found[place], place[1], last_n_lines) for place in sorted(found)]


def _described(rescale: HtcSession, job: HtcJob, index: int, last_n_lines: int) -> FailedJob:
    # What the service left out of the record is as good as null here.
    container = getattr(job.record, "container", None)
    reason = getattr(job.record, "status_reason", None) or getattr(container, "reason", None)
    return FailedJob(
        job=job,
        index=index,
        failure_code=getattr(job.record, "failure_code", None),
        exit_code=getattr(container, "exit_code", None),
        reason=reason,
        last_lines=list(job.get_logs(rescale, last_n_lines)) if last_n_lines else [],
    )


def _parent_and_index(job_id: object) -> tuple[str, int]:
    parent, _, index = str(job_id).rpartition(":")
    return (parent, int(index)) if index.isdecimal() else ("", 0)


def resubmission(
    rescale: HtcSession, batch: HtcJobBatch, index_variable: str | None
) -> Resubmission:
    """Build a submission of the jobs of a batch that failed."""
    jobs = [failure.job for failure in failed(rescale, batch, 0)]
    by_parent: dict[str, list[HtcJob]] = {}
    for job in jobs:
        by_parent.setdefault(_parent_and_index(job.json["jobUUID"])[0], []).append(job)
    requests: list[models.HTCJobSubmitRequest] = []
    for part in batch.batches:
        own = by_parent.get(str(part.json.get("parentJobId")), [])
        if index_variable is None:
            requests += [_request(part, own)] if own else []
        else:
            requests += [_single_request(part, job, index_variable) for job in own]
    return Resubmission(batch.task, requests, [job.json["jobUUID"] for job in jobs])


def _request(
    part: HtcJobBatch, jobs: list[HtcJob], more: dict[str, object] | None = None
) -> models.HTCJobSubmitRequest:
    """The part's own request, for so many jobs, with some fields of the definition changed."""
    from . import _submission

    request = {**part.json, "batchSize": len(jobs)}
    if more is not None:
        request["htcJobDefinition"] = {**_definition(part), **more}
    if not request.get("regions"):  # the service need not repeat them
        request |= _where(jobs)
    return _submission.from_payload([request], part.task.project)[0]


def _definition(part: HtcJobBatch) -> dict[str, Any]:
    definition: Any = part.json.get("htcJobDefinition")
    return definition if isinstance(definition, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _where(jobs: Iterable[HtcJob]) -> dict[str, Any]:
    """The regions that the jobs were given; their cloud is left to the service."""
    regions = dict.fromkeys(region for job in jobs if (region := job.json.get("region")))
    return {"regions": list(regions), "cloudProvider": None} if regions else {}


def _single_request(part: HtcJobBatch, job: HtcJob, variable: str) -> models.HTCJobSubmitRequest:
    """The part's own request for a single job that is told the index that it had."""
    envs: list[Any] = list(_definition(part).get("envs") or [])
    if not any(_is_named(env, variable) for env in envs):
        _, index = _parent_and_index(job.json["jobUUID"])
        envs.append({"name": variable, "value": str(index)})
    elif part.json.get("batchSize", 1) != 1:
        message = f"{variable} is a variable of the batch already; name another one"
        raise HtcValidationError("resubmit_failed", [Problem("index_variable", message)])
    return _request(part, [job], {"envs": envs})


def _is_named(env: Any, name: str) -> bool:
    match env:
        case {"name": str(given)}:
            return given == name
        case _:
            return False
