"""Tasks and their groups of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

from ... import api, models
from ..lifecycle import COUNTED
from ..store import Row
from .received import (
    Received,
    apply_retention,
    bad,
    find_project,
    find_task,
    page,
    page_asked,
    parsed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._operation import Operation
    from .received import Handler

_CREATE: Final = TypeAdapter(models.HTCTaskCreate)
_UPDATE: Final = TypeAdapter(models.HTCTaskUpdate)


def _list_tasks(received: Received) -> Response:
    project_id = find_project(received)["projectId"]
    size, after = page_asked(received)
    apply_retention(received.service, project_id)
    return page(received, received.store.tasks(project_id, after, size + 1), size)


def _create_task(received: Received) -> Response:
    project_id = find_project(received)["projectId"]
    asked = parsed(_CREATE, received.body)
    task = received.store.add_task(project_id, asked.task_name, asked.task_description)
    return JSONResponse(task)


def _get_task(received: Received) -> Response:
    return JSONResponse(find_task(received))


def _delete_task(received: Received) -> Response:
    task = find_task(received)
    if task["lifecycleStatus"] != "DELETED":
        service = received.service
        service.executor.cancel(task["taskId"])
        task = service.store.delete_task(task)
        service.executor.discard(task["taskId"])
    return JSONResponse(task)


def _update_task(received: Received) -> Response:
    task = find_task(received)
    before, after = task["lifecycleStatus"], parsed(_UPDATE, received.body).lifecycle_status
    match (before, after):
        case ("ACTIVE", models.LifecycleStatus.ARCHIVED):
            if received.store.has_jobs_to_end(task["taskId"]):
                raise bad("the task has jobs that have not ended")
            return JSONResponse(received.store.archive_task(task))
        case ("ARCHIVED", models.LifecycleStatus.ACTIVE):
            return JSONResponse(received.store.unarchive_task(task))
        case _:
            raise bad(f"lifecycleStatus: a task that is {before} can't be made {after}")


def _get_task_summary(received: Received) -> Response:
    counts = received.store.count_jobs(find_task(received)["taskId"])
    return JSONResponse(_summary(None, counts))


def _summary(group: str | None, counts: Mapping[str, int]) -> dict[str, Any]:
    statuses = {status: counts.get(status, 0) for status in COUNTED}
    return {"group": group, "jobStatuses": statuses}


def _list_groups(received: Received) -> Response:
    task_id = find_task(received)["taskId"]
    size, after = page_asked(received)
    groups = received.store.groups(task_id, after, size + 1)
    return page(received, [Row(number, json.dumps(name)) for number, name in groups], size)


def _list_group_summaries(received: Received) -> Response:
    task_id = find_task(received)["taskId"]
    size, after = page_asked(received)
    names = received.query.getlist("group")
    groups = received.store.groups(task_id, after, size + 1, names)
    rows = [
        Row(number, json.dumps(_summary(name, received.store.count_group_jobs(task_id, name))))
        for number, name in groups
    ]
    return page(received, rows, size, repeated=("group",))


HANDLERS: Final[Mapping[Operation, Handler]] = {
    api.LIST_TASKS: _list_tasks,
    api.CREATE_TASK: _create_task,
    api.GET_TASK: _get_task,
    api.UPDATE_TASK: _update_task,
    api.DELETE_TASK: _delete_task,
    api.GET_TASK_SUMMARY: _get_task_summary,
    api.LIST_GROUPS: _list_groups,
    api.LIST_GROUP_SUMMARIES: _list_group_summaries,
}
