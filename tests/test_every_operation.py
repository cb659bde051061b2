"""Every operation, called on the emulator, returns the described response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, TypeAdapter

from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks, models
from rescalehtc._wire.operation import Operation
from rescalehtc.emulator import Emulator

from .spec import SPEC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


REGION = "AWS_EU_WEST_1"
NEW_PROJECT = {"projectName": "made", "projectDescription": ""}
NEW_TASK = {"taskName": "made", "taskDescription": ""}
BATCH = [{"htcJobDefinition": {"imageName": "image", "commands": ["echo", "hello"]}}]
POLICY = {"archiveAfter": 0, "deleteAfter": 0}


@dataclass
class Ground:
    """The objects for the calls: a project with a limit, its task, and an ended job."""

    rescale: HtcSession
    api_key: str
    workspace: str
    project: str
    limit: int
    task: str
    job: str


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator for this module only, because the shared one must keep its only project."""
    with Emulator(slots=2) as emulator:
        yield emulator


@pytest.fixture
def ground(
    rescale: HtcSession, emulator: Emulator, until: Callable[[Callable[[], bool]], None]
) -> Ground:
    project = htcprojects.create_project(rescale, "every operation", regions=[REGION])
    limit = project.set_vcpu_limit(rescale, "PROJECT_ADMIN", 100)
    project.set_retention_policy(rescale, 0, 0)
    task = htctasks.create_task_with_name(rescale, project, "every operation")
    job = htcjobs.create_job_batch_raw(rescale, task, BATCH).to_jobs()[0]
    until(lambda: not job.is_still_running(rescale))
    return Ground(
        rescale=rescale,
        api_key=emulator.api_key,
        workspace=rescale.get_bearer_token().payload["workspaceId"],
        project=project.json["projectId"],
        limit=limit["id"],
        task=task.json["taskId"],
        job=job.json["jobUUID"],
    )


CALLS: dict[str, Callable[[Ground], Any]] = {
    "getJsonWebKeys": lambda g: api.get_well_known_jwks(g.rescale),
    "createOAuthToken": lambda g: api.post_oauth_token(g.rescale),
    "getToken": lambda g: api.get_auth_token(g.rescale, f"Token {g.api_key}"),
    "getTokenPayload": lambda g: api.get_auth_token_whoami(g.rescale),
    "getUser": lambda g: api.get_auth_whoami(g.rescale, f"Token {g.api_key}"),
    "getMetrics": lambda g: api.get_htc_metrics(g.rescale),
    "listRegions": lambda g: api.get_htc_regions(g.rescale),
    "getRegion": lambda g: api.get_htc_regions(g.rescale, REGION),
    "getGcpClusters": lambda g: api.get_htc_gcp_clusters(g.rescale, g.workspace),
    "listStorages": lambda g: api.get_htc_storage(g.rescale),
    "getStorage": lambda g: api.get_htc_storage_region(g.rescale, REGION),
    "getWorkspaceDimensions": lambda g: api.get_htc_workspaces_dimensions(g.rescale, g.workspace),
    "getWorkspaceLimit": lambda g: api.get_htc_workspaces_limits(g.rescale, g.workspace),
    "getWorkspaceRetentionPolicy": lambda g: api.get_htc_task_retention_policy(
        g.rescale, g.workspace
    ),
    "setWorkspaceRetentionPolicy": lambda g: api.put_htc_task_retention_policy(
        g.rescale, g.workspace, POLICY
    ),
    "listProjects": lambda g: api.get_htc_projects(g.rescale, only_my_projects=True, page_size=2),
    "createProject": lambda g: api.post_htc_projects(g.rescale, NEW_PROJECT),
    "getProject": lambda g: api.get_htc_projects(g.rescale, g.project),
    "updateProject": lambda g: api.patch_htc_projects(g.rescale, g.project, {"regions": [REGION]}),
    "listImages": lambda g: api.get_htc_projects_container_registry_images(g.rescale, g.project),
    "getImageStatus": lambda g: api.get_htc_projects_container_registry_images(
        g.rescale, g.project, "tools/image:1"
    ),
    "createRepository": lambda g: api.post_htc_projects_container_registry_repo(
        g.rescale, g.project, "tools/image"
    ),
    "getRegistryToken": lambda g: api.get_htc_projects_container_registry_token(
        g.rescale, g.project
    ),
    "getProjectDimensions": lambda g: api.get_htc_projects_dimensions(g.rescale, g.project),
    "setProjectDimensions": lambda g: api.put_htc_projects_dimensions(
        g.rescale, g.project, [{"machineType": "c7g.medium", "region": REGION}]
    ),
    "listProjectLimits": lambda g: api.get_htc_projects_limits(g.rescale, g.project),
    "createProjectLimit": lambda g: api.post_htc_projects_limits(
        g.rescale, g.project, {"vCPUs": 5, "modifierRole": "WORKSPACE_ADMIN"}
    ),
    "deleteAllProjectLimits": lambda g: api.delete_all_htc_projects_limits(g.rescale, g.project),
    "getProjectLimit": lambda g: api.get_htc_projects_limits(g.rescale, g.project, g.limit),
    "updateProjectLimit": lambda g: api.patch_htc_projects_limits(
        g.rescale, g.project, g.limit, {"vCPUs": 7}
    ),
    "deleteProjectLimit": lambda g: api.delete_htc_projects_limits(g.rescale, g.project, g.limit),
    "getProjectPresignedUrl": lambda g: api.get_htc_projects_storage_presigned_url(
        g.rescale, g.project, file_path="a/b"
    ),
    "getProjectStorageToken": lambda g: api.get_htc_projects_storage_token(g.rescale, g.project),
    "getProjectStorageTokenForRegion": lambda g: api.get_htc_projects_storage_token(
        g.rescale, g.project, REGION
    ),
    "getProjectStorageTokens": lambda g: api.get_htc_projects_storage_tokens(g.rescale, g.project),
    "getProjectRetentionPolicy": lambda g: api.get_htc_projects_task_retention_policy(
        g.rescale, g.project
    ),
    "setProjectRetentionPolicy": lambda g: api.put_htc_projects_task_retention_policy(
        g.rescale, g.project, POLICY
    ),
    "deleteProjectRetentionPolicy": lambda g: api.delete_htc_projects_task_retention_policy(
        g.rescale, g.project
    ),
    "listTasks": lambda g: api.get_htc_projects_tasks(g.rescale, g.project, page_size=1),
    "createTask": lambda g: api.post_htc_projects_tasks(g.rescale, g.project, NEW_TASK),
    "getTask": lambda g: api.get_htc_projects_tasks(g.rescale, g.project, g.task),
    "updateTask": lambda g: api.patch_htc_projects_tasks(
        g.rescale, g.project, g.task, {"lifecycleStatus": "ARCHIVED"}
    ),
    "deleteTask": lambda g: api.delete_htc_projects_tasks(g.rescale, g.project, g.task),
    "listGroupSummaries": lambda g: api.get_htc_projects_tasks_group_summary_statistics(
        g.rescale, g.project, g.task, page_size=1
    ),
    "listGroups": lambda g: api.get_htc_projects_tasks_groups(g.rescale, g.project, g.task),
    "getTaskPresignedUrl": lambda g: api.get_htc_projects_tasks_storage_presigned_url(
        g.rescale, g.project, g.task, file_path="a"
    ),
    "getTaskRegionalStorage": lambda g: api.get_htc_projects_tasks_storage_regional_storage(
        g.rescale, g.project, g.task
    ),
    "getTaskStorageToken": lambda g: api.get_htc_projects_tasks_storage_token(
        g.rescale, g.project, g.task
    ),
    "getTaskStorageTokenForRegion": lambda g: api.get_htc_projects_tasks_storage_token(
        g.rescale, g.project, g.task, REGION
    ),
    "getTaskStorageTokens": lambda g: api.get_htc_projects_tasks_storage_tokens(
        g.rescale, g.project, g.task
    ),
    "getTaskSummary": lambda g: api.get_htc_projects_tasks_summary_statistics(
        g.rescale, g.project, g.task
    ),
    "listJobs": lambda g: api.get_htc_projects_tasks_jobs(
        g.rescale, g.project, g.task, job_ids=[g.job], view_type="SIMPLE", status="SUCCEEDED"
    ),
    "submitJobs": lambda g: api.post_htc_projects_tasks_jobs_batch(
        g.rescale, g.project, g.task, BATCH, group="a group"
    ),
    "cancelJobs": lambda g: api.post_htc_projects_tasks_jobs_cancel(
        g.rescale, g.project, g.task, group="a group"
    ),
    "getJob": lambda g: api.get_htc_projects_tasks_jobs(g.rescale, g.project, g.task, g.job),
    "listJobEvents": lambda g: api.get_htc_projects_tasks_jobs_events(
        g.rescale, g.project, g.task, g.job, page_size=4
    ),
    "listJobLogs": lambda g: api.get_htc_projects_tasks_jobs_logs(
        g.rescale, g.project, g.task, g.job, 10, 5, sort="asc"
    ),
}


def test_no_operation_is_missing_on_either_side() -> None:
    """This table, the constants of api and the description have the same operations."""
    described = {operation.operation_id for operation in SPEC.operations}
    assert CALLS.keys() == described
    assert {o.id for o in vars(api).values() if isinstance(o, Operation)} == described


def expected_type(operation_id: str) -> Any:
    """The expected return value, with records for objects."""
    operation = next(o for o in SPEC.operations if o.operation_id == operation_id)
    content = SPEC.success_schema(operation)
    if content is None:
        return None
    if content[0] == "text/plain":
        return str
    schema = content[1].get("anyOf", [content[1]])[0]
    resolved = SPEC.resolve(schema)
    if {"items", "next"} <= resolved.get("properties", {}).keys():
        schema = resolved["properties"]["items"]
    if schema.get("type") == "array":
        item = schema["items"]
        item_type = _record(item) if "$ref" in item else str
        return list[item_type]  # type: ignore[valid-type]
    return _record(schema)


def _record(reference: dict[str, str]) -> type[BaseModel]:
    record: type[BaseModel] = getattr(models, reference["$ref"].rsplit("/")[-1])
    return record


def undescribed(value: object) -> list[str]:
    """Fields that the description does not have, at any depth."""
    if isinstance(value, list):
        return [name for item in value for name in undescribed(item)]
    if not isinstance(value, BaseModel) or isinstance(value, models.HTCTokenPayload):
        return []  # a token may have any claims
    deeper = [name for item in value.__dict__.values() for name in undescribed(item)]
    return [*(value.model_extra or {}), *deeper]


@pytest.mark.parametrize("operation_id", CALLS)
def test_the_answer_is_the_described_one(
    ground: Ground, emulator: Emulator, operation_id: str
) -> None:
    if operation_id == "getWorkspaceRetentionPolicy":
        CALLS["setWorkspaceRetentionPolicy"](ground)
    if operation_id == "getWorkspaceLimit":
        emulator.set_workspace_limit(1000)
    try:
        answer = CALLS[operation_id](ground)
    finally:
        emulator.set_workspace_limit(None)
    expected = expected_type(operation_id)
    if expected is None:
        assert answer is None
        return
    record = TypeAdapter(expected).validate_python(answer)
    assert record or operation_id in ("getProjectDimensions",)
    assert not undescribed(record)
