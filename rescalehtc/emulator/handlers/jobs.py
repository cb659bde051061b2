"""Jobs, their events and their logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, TypeAdapter
from starlette.responses import JSONResponse, Response

from ... import api, models
from .images import no_image
from .received import (
    DEFAULT_PAGE_SIZE,
    MAX_PROBLEMS,
    Received,
    bad,
    find_job,
    find_project,
    find_task,
    json_text,
    number,
    one_of,
    page,
    page_asked,
    parsed,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._operation import Operation
    from .received import Handler

MAX_LOG_PAGE_SIZE: Final = 10000
# Above the number of any line.
LAST: Final = 1 << 62

_SUBMISSION: Final = TypeAdapter(
    Annotated[list[models.HTCJobSubmitRequest], Field(min_length=1, max_length=100)]
)


def _submit_jobs(received: Received) -> Response:
    project, task = find_project(received), find_task(received)
    if task["lifecycleStatus"] != "ACTIVE":
        raise bad(f"the task is {task['lifecycleStatus']} and takes no jobs")
    group = received.query.get("group")
    asked = parsed(_SUBMISSION, received.body)
    regions: list[list[str]] = [list(one.regions or project["regions"]) for one in asked]
    foreign = [
        f"[{index}].regions: the project has no {region}"
        for index, wanted in enumerate(regions)
        for region in wanted
        if region not in project["regions"]
    ]
    if foreign:
        raise bad("; ".join(foreign[:MAX_PROBLEMS]))
    for image in {one.htc_job_definition.image_name for one in asked}:
        status = received.store.image_status(image)
        if status == "UNKNOWN":
            raise no_image(image)
        if status == "PENDING":
            raise refused(400, "ImagePending", f"image {image} is not ready yet")
    requests = [one.to_json_dict() for one in asked]
    answer = received.store.submit(task, zip(requests, regions, strict=True), group)
    received.service.executor.wake()
    return JSONResponse(answer)


def _list_jobs(received: Received) -> Response:
    task = find_task(received)
    size, after = page_asked(received)
    jobs = received.store.jobs(
        *(task["taskId"], after, size + 1),
        status=one_of(received, "status", models.RescaleJobStatus),
        group=received.query.get("group"),
        job_ids=received.query.getlist("jobId"),
        simple=one_of(received, "viewType", models.ViewType) == "SIMPLE",
    )
    return page(received, jobs, size, repeated=("jobId",))


def _cancel_jobs(received: Received) -> Response:
    task = find_task(received)
    received.service.executor.cancel(task["taskId"], received.query.get("group"))
    return Response()


def _get_job(received: Received) -> Response:
    return json_text(find_job(received).text)


def _list_job_events(received: Received) -> Response:
    job = find_job(received)
    size, after = page_asked(received)
    return page(received, received.store.events(job.number, after, size + 1), size)


def _list_job_logs(received: Received) -> Response:
    job = find_job(received)
    size = number(received, "pageSize") or DEFAULT_PAGE_SIZE
    if size > MAX_LOG_PAGE_SIZE:
        raise bad(f"pageSize must be at most {MAX_LOG_PAGE_SIZE}")
    begins = number(received, "pageIndex")
    if one_of(received, "sort", models.SortOrder) == "asc":
        lines = received.store.lines(job.number, begins or 0, size + 1)
    else:
        lines = received.store.lines_backwards(job.number, begins or LAST, size + 1)
    return page(received, lines, size)


HANDLERS: Final[Mapping[Operation, Handler]] = {
    api.LIST_JOBS: _list_jobs,
    api.SUBMIT_JOBS: _submit_jobs,
    api.CANCEL_JOBS: _cancel_jobs,
    api.GET_JOB: _get_job,
    api.LIST_JOB_EVENTS: _list_job_events,
    api.LIST_JOB_LOGS: _list_job_logs,
}
