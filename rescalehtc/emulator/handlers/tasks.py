"""Tasks and their groups of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

from ... import models
from ..._wire import operations
from ..lifecycle import COUNTED
from ..store import Row
from .errors import bad_request
from .paging import page_response, read_page_query
from .request import apply_retention, find_project, find_task, parse_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._wire.operation import Operation
    from .request import ApiRequest, Handler

_CREATE: Final = TypeAdapter(models.HTCTaskCreate)
_UPDATE: Final = TypeAdapter(models.HTCTaskUpdate)


def _list_tasks(request: ApiRequest) -> Response:
    project_id = find_project(request)["projectId"]
    size, after = read_page_query(request)
    apply_retention(request.service, project_id)
    return page_response(request, request.store.tasks(project_id, after, size + 1), size)


def _create_task(request: ApiRequest) -> Response:
    project_id = find_project(request)["projectId"]
    body = parse_body(_CREATE, request.body)
    task = request.store.add_task(project_id, body.task_name, body.task_description)
    return JSONResponse(task)


def _get_task(request: ApiRequest) -> Response:
    return JSONResponse(find_task(request))


def _delete_task(request: ApiRequest) -> Response:
    task = find_task(request)
    if task["lifecycleStatus"] != "DELETED":
        service = request.service
        service.executor.cancel(task["taskId"])
        task = service.store.delete_task(task)
        service.executor.discard(task["taskId"])
    return JSONResponse(task)


def _update_task(request: ApiRequest) -> Response:
    task = find_task(request)
    before, after = task["lifecycleStatus"], parse_body(_UPDATE, request.body).lifecycle_status
    match (before, after):
        case ("ACTIVE", models.LifecycleStatus.ARCHIVED):
            if request.store.has_jobs_to_end(task["taskId"]):
                raise bad_request("the task has unfinished jobs")
            return JSONResponse(request.store.archive_task(task))
        case ("ARCHIVED", models.LifecycleStatus.ACTIVE):
            return JSONResponse(request.store.unarchive_task(task))
        case _:
            raise bad_request(f"lifecycleStatus: a task can't change from {before} to {after}")


def _get_task_summary(request: ApiRequest) -> Response:
    counts = request.store.count_jobs(find_task(request)["taskId"])
    return JSONResponse(_summary(None, counts))


def _summary(group: str | None, counts: Mapping[str, int]) -> dict[str, Any]:
    statuses = {status: counts.get(status, 0) for status in COUNTED}
    return {"group": group, "jobStatuses": statuses}


def _list_groups(request: ApiRequest) -> Response:
    task_id = find_task(request)["taskId"]
    size, after = read_page_query(request)
    groups = request.store.groups(task_id, after, size + 1)
    return page_response(request, [Row(number, json.dumps(name)) for number, name in groups], size)


def _list_group_summaries(request: ApiRequest) -> Response:
    task_id = find_task(request)["taskId"]
    size, after = read_page_query(request)
    names = request.query.getlist("group")
    groups = request.store.groups(task_id, after, size + 1, names)
    rows = [
        Row(number, json.dumps(_summary(name, request.store.count_group_jobs(task_id, name))))
        for number, name in groups
    ]
    return page_response(request, rows, size, repeated=("group",))


HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    operations.LIST_TASKS: _list_tasks,
    operations.CREATE_TASK: _create_task,
    operations.GET_TASK: _get_task,
    operations.UPDATE_TASK: _update_task,
    operations.DELETE_TASK: _delete_task,
    operations.GET_TASK_SUMMARY: _get_task_summary,
    operations.LIST_GROUPS: _list_groups,
    operations.LIST_GROUP_SUMMARIES: _list_group_summaries,
}
