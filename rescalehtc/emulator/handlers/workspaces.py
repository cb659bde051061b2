"""The workspace with its limit, retention policy and metrics, and what the clouds offer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ... import api, models
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
from .jobs import LAST
from .projects import POLICY
from .received import Received, check_workspace, flag, not_found, one_of, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..._operation import Operation
    from .received import Handler


# ---- regions


def _list_regions(received: Received) -> Response:
    cloud = one_of(received, "cloudProvider", models.CloudProvider)
    enabled = flag(received, "enabled")
    every = [region_settings(region, received.store.created_at) for region in models.RescaleRegion]
    return JSONResponse(
        [
            settings
            for settings in every
            if cloud in (None, settings["cloudProvider"]) and enabled in (None, settings["enabled"])
        ]
    )


def _get_region(received: Received) -> Response:
    region = received.path("region")
    if region not in list(models.RescaleRegion):
        raise not_found("there is no such region")
    return JSONResponse(region_settings(region, received.store.created_at))


def _list_storages(_received: Received) -> Response:
    return JSONResponse([storage_option(region) for region in ENABLED_REGIONS])


def _get_storage(received: Received) -> Response:
    region = received.path("region")
    if region not in ENABLED_REGIONS:
        raise not_found("there is no storage in such a region")
    return JSONResponse(storage_option(region))


def _get_gcp_clusters(received: Received) -> Response:
    check_workspace(received)
    return JSONResponse(gcp_clusters())


# ---- the workspace


def _get_dimensions(received: Received) -> Response:
    check_workspace(received)
    return JSONResponse(all_environments())


def _get_limit(received: Received) -> Response:
    check_workspace(received)
    limits = received.store.limits(WORKSPACE_ID)
    if not limits:
        raise not_found("the workspace has no limit")
    return JSONResponse(limits[0])


def _get_policy(received: Received) -> Response:
    check_workspace(received)
    policy = received.store.policy(WORKSPACE_ID)
    if policy is None:
        raise not_found("the workspace has no retention policy")
    return JSONResponse(policy)


def _set_policy(received: Received) -> Response:
    check_workspace(received)
    asked = parsed(POLICY, received.body)
    policy = received.store.set_policy(WORKSPACE_ID, asked.archive_after, asked.delete_after)
    return JSONResponse(policy, 201)


# ---- metrics


def _get_metrics(received: Received) -> Response:
    return PlainTextResponse("".join(f"{line}\n" for line in _metrics(received)))


def _metrics(received: Received) -> Iterator[str]:
    store = received.store
    projects = [json.loads(row.text) for row in store.projects(0, LAST)]
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
            yield _sample("htc_jobs", {**names, "status": status}, value)

    running = received.service.executor.running_vcpus()
    yield "# TYPE htc_project_vcpus_used gauge"
    yield "# HELP htc_project_vcpus_used Virtual CPUs of a project's running jobs."
    for project_id, names in labels.items():
        yield _sample("htc_project_vcpus_used", names, running.get(project_id, 0))
    yield "# TYPE htc_project_vcpus_limit gauge"
    yield "# HELP htc_project_vcpus_limit The lowest limit of a project that has any."
    for project_id, names in labels.items():
        if (limit := store.lowest_limit(project_id)) < UNLIMITED:
            yield _sample("htc_project_vcpus_limit", names, limit)

    yield "# TYPE htc_workspace_vcpus_used gauge"
    yield "# HELP htc_workspace_vcpus_used Virtual CPUs of all running jobs."
    yield _sample("htc_workspace_vcpus_used", workspace, sum(running.values()))
    yield "# TYPE htc_workspace_vcpus_limit gauge"
    yield "# HELP htc_workspace_vcpus_limit The limit of the workspace, if it has one."
    if (limit := store.lowest_limit(WORKSPACE_ID)) < UNLIMITED:
        yield _sample("htc_workspace_vcpus_limit", workspace, limit)
    yield "# EOF"


def _sample(metric: str, labels: Mapping[str, str], value: int) -> str:
    written = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{metric}{{{written}}} {value}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


HANDLERS: Final[Mapping[Operation, Handler]] = {
    api.LIST_REGIONS: _list_regions,
    api.GET_REGION: _get_region,
    api.LIST_STORAGES: _list_storages,
    api.GET_STORAGE: _get_storage,
    api.GET_GCP_CLUSTERS: _get_gcp_clusters,
    api.GET_WORKSPACE_DIMENSIONS: _get_dimensions,
    api.GET_WORKSPACE_LIMIT: _get_limit,
    api.GET_WORKSPACE_RETENTION_POLICY: _get_policy,
    api.SET_WORKSPACE_RETENTION_POLICY: _set_policy,
    api.GET_METRICS: _get_metrics,
}
