"""The types of the facade for type checkers and editors. Checked, not run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, assert_type

from rescalehtc import (
    HtcSession,
    api,
    container_registry,
    htcjobs,
    htcprojects,
    htctasks,
    htcworkspaces,
    models,
    types,
)
from rescalehtc.bearer_token import BearerToken
from rescalehtc.exceptions import HtcException, HtcValidationError, NotFetchedError, Problem


def sessions() -> None:
    with HtcSession("workspace", api_key="key", base_url="http://localhost") as rescale:
        assert_type(rescale, HtcSession)
        assert_type(rescale.status_refresh_seconds, float)
        assert_type(rescale.get_bearer_token(), BearerToken)
        assert_type(rescale.get_bearer_token().get_user_claims(), dict[str, Any])


def projects(rescale: HtcSession) -> None:
    assert_type(htcprojects.get_projects(rescale), list[htcprojects.HtcProject])
    assert_type(htcprojects.get_project_with_id(rescale, "p"), htcprojects.HtcProject | None)
    project = htcprojects.get_projects(rescale)[0]
    assert_type(project.json, types.HTCProjectDict)
    assert_type(project.record, models.HTCProject)
    assert_type(project.record.project_id, str)
    assert_type(project.record.regions, list[models.RescaleRegion | str] | None)


def tasks(rescale: HtcSession, project: htcprojects.HtcProject) -> None:
    assert_type(htctasks.create_task_with_name(rescale, project, "t"), htctasks.HtcTask)
    assert_type(htctasks.get_task_with_id(rescale, project, "t"), htctasks.HtcTask | None)
    task = htctasks.get_tasks(rescale, project)[0]
    assert_type(task.record.lifecycle_status, models.LifecycleStatus | str | None)
    assert_type(task.is_still_running(rescale), bool)
    summary = task.get_task_summary(rescale)
    assert_type(summary["still_running"], Any)
    assert_type(summary.still_running, bool)
    assert_type(summary.job_statuses, models.JobStatusCounts)


def jobs(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    batch = htcjobs.create_job_batch(rescale, task, 10, "ON_DEMAND_ECONOMY", "image", 60)
    assert_type(batch, htcjobs.HtcJobBatch)
    assert_type(batch.record, models.HTCJobBatch)
    assert_type(batch.record.parent_job_id, str)
    assert_type(batch.batches, list[htcjobs.HtcJobBatch])
    assert_type(batch.to_jobs(), list[htcjobs.HtcJob])
    assert_type(htcjobs.get_jobs(rescale, task, "FAILED"), list[htcjobs.HtcJob])
    assert_type(htcjobs.iter_jobs(rescale, task), Iterator[htcjobs.HtcJob])
    assert_type(htcjobs.get_job_with_id(rescale, task, "j"), htcjobs.HtcJob | None)

    job = batch.to_jobs()[0]
    assert_type(job.json, types.HTCJobDict)
    assert_type(job.json["jobUUID"], str)
    assert_type(batch.json["parentJobId"], str)
    assert_type(job.task, htctasks.HtcTask)
    assert_type(job.get_update(rescale), types.HTCJobDict)
    assert_type(job.is_still_running(rescale), bool)
    assert_type(job.get_logs(rescale, 10), Iterable[str])

    record = job.record
    assert_type(record, models.HTCJob)
    assert_type(record.job_uuid, str)
    assert_type(record.status, models.RescaleJobStatus | str | None)
    assert_type(record.started_at, datetime | None)
    assert_type(record.max_vcpus, int | None)
    assert_type(record.envs, list[models.NameValuePair] | None)
    if record.container is not None:
        assert_type(record.container.exit_code, int | None)
    match record.status:
        case models.RescaleJobStatus.SUCCEEDED | models.RescaleJobStatus.POD_SUCCEEDED:
            pass
        case _:
            pass


def requests(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    definition = models.HTCJobDefinition(
        image_name="image",
        max_vcpus=4,
        max_memory=8000,
        max_disk_gib=10,
        commands=["true"],
        envs=[models.EnvPair(name="A", value="b")],
        architecture=models.Architecture.X86,
        priority=models.JobPriority.ON_DEMAND_ECONOMY,
    )
    request = models.HTCJobSubmitRequest(htc_job_definition=definition, batch_size=10)
    assert_type(request.to_json_dict(), dict[str, Any])
    htcjobs.create_job_batch_raw(rescale, task, [request])
    htcjobs.create_job_batch_raw(rescale, task, [{"htcJobDefinition": {"imageName": "image"}}])
    htcjobs.create_job_batch_raw(rescale, task, [request, request.to_json_dict()])
    htcjobs.create_single_job(
        rescale,
        task,
        models.JobPriority.ON_DEMAND_PRIORITY,
        "image",
        60,
        envs=[{"name": "A", "value": "b"}],
        claims=[models.ClaimPair(name="A", value="b")],
        commands=("true",),
    )


def operations(rescale: HtcSession) -> None:
    assert_type(api.get_htc_projects_tasks_jobs(rescale, "p", "t"), list[types.HTCJobDict])
    assert_type(api.get_htc_projects_tasks_jobs(rescale, "p", "t", "j"), types.HTCJobDict)
    assert_type(
        api.get_htc_projects_tasks_jobs_logs(rescale, "p", "t", "j"), list[types.HTCLogEventDict]
    )
    assert_type(api.post_htc_projects_tasks_jobs_cancel(rescale, "p", "t"), None)


def registries(rescale: HtcSession, project: htcprojects.HtcProject) -> None:
    registry = container_registry.get_container_registry(rescale, project)
    assert_type(registry, container_registry.HtcContainerRegistry)
    assert_type(registry.get_images(rescale), list[str])
    assert_type(registry.is_image_ready(rescale, "image"), bool)
    assert_type(registry.push_docker_image(rescale, "image:1"), str)


def workspaces(rescale: HtcSession, project: htcprojects.HtcProject) -> None:
    workspace = htcworkspaces.get_workspace(rescale)
    assert_type(workspace.get_limit(rescale), models.HTCWorkspaceLimit | None)
    assert_type(workspace.get_regions(rescale), list[models.HTCRegionAdminSettings])
    assert_type(project.get_retention_policy(rescale), models.TaskRetentionPolicy | None)
    assert_type(project.get_storage_token(rescale), models.StorageAccessToken)
    limit: dict[str, Any] = project.get_limits(rescale)[0]
    assert_type(project.get_limits(rescale)[0].vcpus, int)
    assert_type(limit["vCPUs"], Any)


def errors(error: HtcValidationError, missing: NotFetchedError) -> None:
    assert_type(error.problems, list[Problem])
    assert_type(error.problems[0].where, str)
    assert_type(error.status_code, int | None)
    assert_type(missing.field, str)
    caught: list[HtcException] = [error, missing]
    also: tuple[ValueError, AttributeError] = (error, missing)
    assert_type(caught[0].status_code, int | None)
    assert_type(also[0].args, tuple[Any, ...])
