"""Asynchronous calls have the same results as the blocking ones."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import BaseModel

import rescalehtc
from rescalehtc import aio, api
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcException

if TYPE_CHECKING:
    from collections.abc import Iterator


REGION = "AWS_EU_WEST_1"
ENVIRONMENT = {"machineType": "c7g.medium", "region": REGION}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One for this module, because the tests create projects and limits."""
    with Emulator() as emulator:
        yield emulator


async def result(value: Any) -> Any:
    """The result of a call of either kind."""
    if hasattr(value, "__anext__"):
        return [item async for item in value]
    if hasattr(value, "__next__"):
        return list(value)
    return await value if inspect.isawaitable(value) else value


def shape(value: Any) -> Any:
    """A result without its ids, tokens and times."""
    match value:
        case list() | tuple():
            return [shape(item) for item in value]
        case dict():
            return {name: name == "id" or shape(item) for name, item in value.items()}
        case BaseModel():
            return {name: shape(getattr(value, name)) for name in value.model_fields_set}
        case None | bool():
            return value
        case int() if value < 1000:  # larger ones are ids and times
            return value
        case _ if hasattr(value, "json"):
            return shape(value.json)
        case _:
            return type(value).__name__


async def workspace_calls(package: ModuleType, session: Any) -> list[Any]:
    workspace = await result(package.htcworkspaces.get_workspace(session))
    calls = [
        *(workspace.get_limit(session), workspace.get_dimensions(session)),
        workspace.set_retention_policy(session, 1, 2),
        *(workspace.get_retention_policy(session), workspace.get_gcp_clusters(session)),
        *(workspace.get_regions(session, "AWS"), workspace.get_region(session, REGION)),
        *(workspace.get_storages(session), workspace.get_storage(session, REGION)),
        workspace.get_metrics(session),
    ]
    return [await result(call) for call in calls]


async def project_calls(package: ModuleType, session: Any) -> list[Any]:
    projects = package.htcprojects
    project = await result(projects.create_project(session, "same", "", [REGION]))
    await result(project.set_regions(session, [REGION]))
    limit = await result(project.set_vcpu_limit(session, "PROJECT_ADMIN", 8))
    calls = [
        *(project.get_limits(session), project.get_limit(session, limit["id"])),
        *(project.get_limit(session, 0), project.update_limit(session, limit["id"], 9)),
        *(project.delete_limit(session, limit["id"]), project.delete_all_limits(session)),
        *(project.set_dimensions(session, [ENVIRONMENT]), project.get_dimensions(session)),
        *(project.get_retention_policy(session), project.set_retention_policy(session, 1, 2)),
        *(project.delete_retention_policy(session), project.get_storage_tokens(session)),
        project.get_presigned_url(session, "a/b"),
        projects.get_project_with_id(session, project.json["projectId"]),
        projects.get_project_with_name(session, "no such project"),
    ]
    return [project, limit, *[await result(call) for call in calls]]


async def registry_calls(package: ModuleType, session: Any) -> list[Any]:
    project = await result(package.htcprojects.create_project(session, "images", "", [REGION]))
    registry = await result(package.container_registry.get_container_registry(session, project))
    calls = [
        *(registry.create_repo(session, "solver"), registry.get_repos(session)),
        *(registry.get_images(session), registry.get_image(session, "solver:1")),
        *(registry.is_image_ready(session, "solver:1"), registry.get_token(session)),
    ]
    with pytest.raises(HtcException, match="no operation"):
        await result(registry.delete_image(session, "solver:1"))
    return [await result(call) for call in calls]


async def task_calls(package: ModuleType, session: Any) -> list[Any]:
    tasks, jobs = package.htctasks, package.htcjobs
    project = await result(package.htcprojects.create_project(session, "tasks", "", [REGION]))
    task = await result(tasks.create_task_with_name(session, project, "same"))
    submit = {"batchSize": 2, "htcJobDefinition": {"imageName": "a:1", "commands": ["true"]}}
    assert await result(jobs.validate([submit], project, session)) == []
    batch = await result(jobs.submit(session, task, [submit], group="g"))
    counts = await result(task.wait(session))
    calls = [
        *(task.get_groups(session), task.iter_groups(session)),
        *(task.get_group_summaries(session), task.is_still_running(session)),
        *(task.get_task_summary(session), task.get_regional_storage(session)),
        *(jobs.get_batches(session, task), task.cancel_jobs_in_task(session)),
        *(task.archive(session), task.unarchive(session)),
        *(tasks.get_tasks(session, project), tasks.get_tasks_with_name(session, project, "same")),
        tasks.get_task_with_id(session, project, task.json["taskId"]),
        tasks.get_task_with_id(session, project, "no such task"),
        *(task.delete_task(session), tasks.delete_tasks_with_name(session, project, "same")),
        tasks.delete_task_with_id(session, project, "no such task"),
    ]
    return [batch.json, counts.ended, *[await result(call) for call in calls]]


async def api_calls(package: ModuleType, session: Any) -> list[Any]:
    """Every operation that only reads."""
    project = await result(package.htcprojects.create_project(session, "api", "", [REGION]))
    task = await result(package.htctasks.create_task_with_name(session, project, "api"))
    submit = [{"htcJobDefinition": {"imageName": "a:1", "commands": ["true"]}}]
    batch = await result(package.htcjobs.create_job_batch_raw(session, task, submit))
    await result(batch.wait(session))
    workspace = await result(package.htcworkspaces.get_workspace(session))
    values = {
        "project_id": project.json["projectId"],
        "task_id": task.json["taskId"],
        "job_id": f"{batch.json['parentJobId']}:0",
        "workspace_id": workspace.json["workspaceId"],
        "region": REGION,
        "image_name": "a:1",
        "file_path": "a/b",
        "authorization_header": "Token wrong",
    }
    found: list[Any] = []
    for name in sorted(name for name in api.__all__ if name.startswith("get_")):
        parameters = list(inspect.signature(getattr(api, name)).parameters.values())[1:]
        missing = [item for item in parameters if item.name not in values]
        if all(item.default is not inspect.Parameter.empty for item in missing):
            arguments = {item.name: values[item.name] for item in parameters if item not in missing}
            try:
                answer = await result(getattr(package.api, name)(session, **arguments))
            except HtcException as error:
                answer = type(error)
            found.append([name, answer])
    assert len(found) > 25
    return found


@pytest.mark.parametrize(
    "calls", [workspace_calls, project_calls, registry_calls, task_calls, api_calls]
)
def test_calls_have_the_same_results_on_a_loop(emulator: Emulator, calls: Any) -> None:
    with emulator.session() as session:
        blocking = anyio.run(calls, rescalehtc, session)

    async def main() -> list[Any]:
        async with emulator.async_session() as session:
            return await calls(aio, session)

    assert shape(anyio.run(main)) == shape(blocking)
