"""Jobs, their events and their logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, TypeAdapter
from starlette.responses import JSONResponse, Response

from ... import models
from ..._facts import DEFAULT_PAGE_SIZE, MAX_LOG_PAGE_SIZE, MAX_REQUESTS
from ..._wire import operations
from .answers import json_response
from .errors import api_error, bad_request
from .images import find_image_status
from .paging import MAX_ROW_NUMBER, page_response, read_page_query
from .request import (
    MAX_PROBLEMS,
    find_job,
    find_project,
    find_task,
    parse_body,
    read_choice,
    read_number,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._wire.operation import Operation
    from .request import ApiRequest, Handler


_SUBMISSION: Final = TypeAdapter(
    Annotated[list[models.HTCJobSubmitRequest], Field(min_length=1, max_length=MAX_REQUESTS)]
)


def _submit_jobs(request: ApiRequest) -> Response:
    project, task = find_project(request), find_task(request)
    if task["lifecycleStatus"] != "ACTIVE":
        raise bad_request(f"the task is {task['lifecycleStatus']} and does not accept jobs")
    group = request.query.get("group")
    submitted = parse_body(_SUBMISSION, request.body)
    regions: list[list[str]] = [list(item.regions or project["regions"]) for item in submitted]
    foreign = [
        f"[{index}].regions: the project does not have region {region}"
        for index, choices in enumerate(regions)
        for region in choices
        if region not in project["regions"]
    ]
    if foreign:
        raise bad_request("; ".join(foreign[:MAX_PROBLEMS]))
    for image in {item.htc_job_definition.image_name for item in submitted}:
        if find_image_status(request, project["projectId"], image) == "PENDING":
            raise api_error(400, "ImagePending", f"image {image} is not ready yet")
    requests = [item.to_json_dict() for item in submitted]
    answer = request.store.submit(task, zip(requests, regions, strict=True), group)
    request.service.executor.wake()
    return JSONResponse(answer)


def _list_jobs(request: ApiRequest) -> Response:
    task = find_task(request)
    size, after = read_page_query(request)
    jobs = request.store.jobs(
        *(task["taskId"], after, size + 1),
        status=read_choice(request, "status", models.RescaleJobStatus),
        group=request.query.get("group"),
        job_ids=request.query.getlist("jobId"),
        simple=read_choice(request, "viewType", models.ViewType) == "SIMPLE",
    )
    return page_response(request, jobs, size, repeated=("jobId",))


def _cancel_jobs(request: ApiRequest) -> Response:
    task = find_task(request)
    request.service.executor.cancel(task["taskId"], request.query.get("group"))
    return Response()


def _get_job(request: ApiRequest) -> Response:
    return json_response(find_job(request).text)


def _list_job_events(request: ApiRequest) -> Response:
    job = find_job(request)
    size, after = read_page_query(request)
    return page_response(request, request.store.events(job.number, after, size + 1), size)


def _list_job_logs(request: ApiRequest) -> Response:
    job = find_job(request)
    size = read_number(request, "pageSize") or DEFAULT_PAGE_SIZE
    if size > MAX_LOG_PAGE_SIZE:
        raise bad_request(f"pageSize must be at most {MAX_LOG_PAGE_SIZE}")
    begins = read_number(request, "pageIndex")
    if read_choice(request, "sort", models.SortOrder) == "asc":
        lines = request.store.lines(job.number, begins or 0, size + 1)
    else:
        lines = request.store.lines_backwards(job.number, begins or MAX_ROW_NUMBER, size + 1)
    return page_response(request, lines, size)


HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    operations.LIST_JOBS: _list_jobs,
    operations.SUBMIT_JOBS: _submit_jobs,
    operations.CANCEL_JOBS: _cancel_jobs,
    operations.GET_JOB: _get_job,
    operations.LIST_JOB_EVENTS: _list_job_events,
    operations.LIST_JOB_LOGS: _list_job_logs,
}
