"""Projects and their computing environments, limits and retention policies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

from ... import api, models
from ..clouds import DEFAULT_REGION, ENABLED_REGIONS, environment
from .received import Received, bad, find_project, flag, not_found, page, page_asked, parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._operation import Operation
    from .received import Handler

_CREATE: Final = TypeAdapter(models.HTCProjectCreate)
_UPDATE: Final = TypeAdapter(models.HTCProjectUpdate)
_ENVIRONMENTS: Final = TypeAdapter(list[models.HTCComputeEnvironmentUpdate])
_NEW_LIMIT: Final = TypeAdapter(models.HTCLimitCreate)
_LIMIT: Final = TypeAdapter(models.HTCLimitUpdate)
POLICY: Final = TypeAdapter(models.TaskRetentionPolicyUpdate)


def _list_projects(received: Received) -> Response:
    flag(received, "onlyMyProjects")  # all are
    size, after = page_asked(received)
    return page(received, received.store.projects(after, size + 1), size)


def _create_project(received: Received) -> Response:
    asked = parsed(_CREATE, received.body)
    settings = asked.region_settings or []
    computing = [setting.compute_settings.compute_region for setting in settings]
    storing = [setting.storage_settings.storage_region for setting in settings]
    _check_regions("regionSettings", [*computing, *storing])
    _check_regions("regions", asked.regions or [])
    wanted = asked.regions or [region for region in computing if region is not None]
    project = received.store.add_project(
        asked.project_name,
        asked.project_description,
        [*dict.fromkeys(wanted)] or [DEFAULT_REGION],
        [setting.to_json_dict() for setting in settings],
    )
    return JSONResponse(project)


def _check_regions(field: str, regions: Iterable[str | None]) -> None:
    unknown = [region for region in regions if region not in (None, *ENABLED_REGIONS)]
    if unknown:
        raise bad(f"{field}: there is no {', '.join(map(str, unknown))}")


def _get_project(received: Received) -> Response:
    return JSONResponse(find_project(received))


def _update_project(received: Received) -> Response:
    project = find_project(received)
    regions = parsed(_UPDATE, received.body).regions
    if regions is None:
        return JSONResponse(project)
    _check_regions("regions", regions)
    if not regions:
        raise bad("regions: a project has at least one")
    return JSONResponse(received.store.set_regions(project, [*regions]))


# ---- computing environments


def _get_dimensions(received: Received) -> Response:
    asked = received.store.dimensions(find_project(received)["projectId"])
    return JSONResponse([environment(one) for one in asked])


def _set_dimensions(received: Received) -> Response:
    project_id = find_project(received)["projectId"]
    environments = parsed(_ENVIRONMENTS, received.body)
    _check_regions("region", [one.region for one in environments])
    asked = [one.to_json_dict() for one in environments]
    received.store.set_dimensions(project_id, asked)
    return JSONResponse([environment(one) for one in asked], 201)


# ---- limits


def _list_limits(received: Received) -> Response:
    return JSONResponse(received.store.limits(find_project(received)["projectId"]))


def _create_limit(received: Received) -> Response:
    project_id = find_project(received)["projectId"]
    asked = parsed(_NEW_LIMIT, received.body)
    limit_id = received.store.set_limit(project_id, asked.modifier_role, asked.vcpus)
    received.service.executor.wake()
    return JSONResponse(received.store.limit(project_id, limit_id), 201)


def _delete_limits(received: Received) -> Response:
    received.store.delete_limits(find_project(received)["projectId"])
    received.service.executor.wake()
    return Response(status_code=204)


def _find_limit(received: Received) -> dict[str, Any]:
    project_id = find_project(received)["projectId"]
    limit_id = received.path("id")
    limit = None
    if re.fullmatch("[0-9]{1,18}", limit_id, re.ASCII):
        limit = received.store.limit(project_id, int(limit_id))
    if limit is None:
        raise not_found("there is no such limit of the project")
    return limit


def _get_limit(received: Received) -> Response:
    return JSONResponse(_find_limit(received))


def _update_limit(received: Received) -> Response:
    limit = _find_limit(received)
    received.store.change_limit(limit["id"], parsed(_LIMIT, received.body).vcpus)
    received.service.executor.wake()
    return JSONResponse(_find_limit(received))


def _delete_limit(received: Received) -> Response:
    received.store.delete_limit(_find_limit(received)["id"])
    received.service.executor.wake()
    return Response(status_code=204)


# ---- retention policies


def _get_policy(received: Received) -> Response:
    policy = received.store.policy(find_project(received)["projectId"])
    if policy is None:
        raise not_found("the project has no retention policy; the workspace's applies")
    return JSONResponse(policy)


def _set_policy(received: Received) -> Response:
    project_id = find_project(received)["projectId"]
    asked = parsed(POLICY, received.body)
    policy = received.store.set_policy(project_id, asked.archive_after, asked.delete_after)
    return JSONResponse(policy, 201)


def _delete_policy(received: Received) -> Response:
    received.store.delete_policy(find_project(received)["projectId"])
    return Response(status_code=204)


HANDLERS: Final[Mapping[Operation, Handler]] = {
    api.LIST_PROJECTS: _list_projects,
    api.CREATE_PROJECT: _create_project,
    api.GET_PROJECT: _get_project,
    api.UPDATE_PROJECT: _update_project,
    api.GET_PROJECT_DIMENSIONS: _get_dimensions,
    api.SET_PROJECT_DIMENSIONS: _set_dimensions,
    api.LIST_PROJECT_LIMITS: _list_limits,
    api.CREATE_PROJECT_LIMIT: _create_limit,
    api.DELETE_ALL_PROJECT_LIMITS: _delete_limits,
    api.GET_PROJECT_LIMIT: _get_limit,
    api.UPDATE_PROJECT_LIMIT: _update_limit,
    api.DELETE_PROJECT_LIMIT: _delete_limit,
    api.GET_PROJECT_RETENTION_POLICY: _get_policy,
    api.SET_PROJECT_RETENTION_POLICY: _set_policy,
    api.DELETE_PROJECT_RETENTION_POLICY: _delete_policy,
}
