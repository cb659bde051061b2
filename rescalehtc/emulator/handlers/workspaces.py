"""The workspace: limit, retention policy, metrics, regions and storages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ... import models
from ..._wire import operations
from ..clouds import (
    ENABLED_REGIONS,
    all_environments,
    gcp_clusters,
    region_settings,
    storage_option,
)
from ..lifecycle import COUNTED
from ..store import UNLIMITED
from ..tokens import WORKSPACE_ID
from .errors import not_found
from .paging import MAX_ROW_NUMBER
from .projects import POLICY
from .request import check_workspace, parse_body, read_choice, read_flag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..._wire.operation import Operation
    from .request import ApiRequest, Handler


# ---- regions


def _list_regions(request: ApiRequest) -> Response:
    cloud = read_choice(request, "cloudProvider", models.CloudProvider)
    enabled = read_flag(request, "enabled")
    every = [region_settings(region, request.store.created_at) for region in models.RescaleRegion]
    return JSONResponse(
        [
            settings
            for settings in every
            if cloud in (None, settings["cloudProvider"]) and enabled in (None, settings["enabled"])
        ]
    )


def _get_region(request: ApiRequest) -> Response:
    region = request.path("region")
    if region not in list(models.RescaleRegion):
        raise not_found("the region does not exist")
    return JSONResponse(region_settings(region, request.store.created_at))


def _list_storages(_request: ApiRequest) -> Response:
    return JSONResponse([storage_option(region) for region in ENABLED_REGIONS])


def _get_storage(request: ApiRequest) -> Response:
    region = request.path("region")
    if region not in ENABLED_REGIONS:
        raise not_found("the region has no storage")
    return JSONResponse(storage_option(region))


def _get_gcp_clusters(request: ApiRequest) -> Response:
    check_workspace(request)
    return JSONResponse(gcp_clusters())


# ---- the workspace


def _get_dimensions(request: ApiRequest) -> Response:
    check_workspace(request)
    return JSONResponse(all_environments())


def _get_limit(request: ApiRequest) -> Response:
    check_workspace(request)
    limits = request.store.limits(WORKSPACE_ID)
    if not limits:
        raise not_found("the workspace has no limit")
    return JSONResponse(limits[0])


def _get_policy(request: ApiRequest) -> Response:
    check_workspace(request)
    policy = request.store.policy(WORKSPACE_ID)
    if policy is None:
        raise not_found("the workspace has no retention policy")
    return JSONResponse(policy)


def _set_policy(request: ApiRequest) -> Response:
    check_workspace(request)
    body = parse_body(POLICY, request.body)
    policy = request.store.set_policy(WORKSPACE_ID, body.archive_after, body.delete_after)
    return JSONResponse(policy, 201)


# ---- metrics


def _get_metrics(request: ApiRequest) -> Response:
    return PlainTextResponse("".join(f"{line}\n" for line in _metrics(request)))


def _metrics(request: ApiRequest) -> Iterator[str]:
    store = request.store
    projects = [json.loads(row.text) for row in store.projects(0, MAX_ROW_NUMBER)]
    labels = {
        project["projectId"]: {
            "project_id": project["projectId"],
            "project": project["projectName"],
        }
        for project in projects
    }
    workspace = {"workspace_id": WORKSPACE_ID}

    yield "# TYPE htc_jobs gauge"
    yield "# HELP htc_jobs Jobs of a project by status."
    counts = store.count_jobs_by_project()
    for project_id, names in labels.items():
        for status in COUNTED:
            value = counts.get(project_id, {}).get(status, 0)
            yield _format_sample("htc_jobs", {**names, "status": status}, value)

    running = request.service.executor.running_vcpus()
    yield "# TYPE htc_project_vcpus_used gauge"
    yield "# HELP htc_project_vcpus_used Virtual CPUs of a project's running jobs."
    for project_id, names in labels.items():
        yield _format_sample("htc_project_vcpus_used", names, running.get(project_id, 0))
    yield "# TYPE htc_project_vcpus_limit gauge"
    yield "# HELP htc_project_vcpus_limit The lowest limit of a project, if it has one."
    for project_id, names in labels.items():
        if (limit := store.lowest_limit(project_id)) < UNLIMITED:
            yield _format_sample("htc_project_vcpus_limit", names, limit)

    yield "# TYPE htc_workspace_vcpus_used gauge"
    yield "# HELP htc_workspace_vcpus_used Virtual CPUs of all running jobs."
    yield _format_sample("htc_workspace_vcpus_used", workspace, sum(running.values()))
    yield "# TYPE htc_workspace_vcpus_limit gauge"
    yield "# HELP htc_workspace_vcpus_limit The limit of the workspace, if it has one."
    if (limit := store.lowest_limit(WORKSPACE_ID)) < UNLIMITED:
        yield _format_sample("htc_workspace_vcpus_limit", workspace, limit)
    yield "# EOF"


def _format_sample(metric: str, labels: Mapping[str, str], value: int) -> str:
    written = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{metric}{{{written}}} {value}"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    operations.LIST_REGIONS: _list_regions,
    operations.GET_REGION: _get_region,
    operations.LIST_STORAGES: _list_storages,
    operations.GET_STORAGE: _get_storage,
    operations.GET_GCP_CLUSTERS: _get_gcp_clusters,
    operations.GET_WORKSPACE_DIMENSIONS: _get_dimensions,
    operations.GET_WORKSPACE_LIMIT: _get_limit,
    operations.GET_WORKSPACE_RETENTION_POLICY: _get_policy,
    operations.SET_WORKSPACE_RETENTION_POLICY: _set_policy,
    operations.GET_METRICS: _get_metrics,
}
