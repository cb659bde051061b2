"""Projects and their computing environments, limits and retention policies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

from ... import models
from ..._wire import operations
from ..clouds import DEFAULT_REGION, ENABLED_REGIONS, describe_environment
from .errors import bad_request, not_found
from .paging import page_response, read_page_query
from .request import find_project, parse_body, read_flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._wire.operation import Operation
    from .request import ApiRequest, Handler

_CREATE: Final = TypeAdapter(models.HTCProjectCreate)
_UPDATE: Final = TypeAdapter(models.HTCProjectUpdate)
_ENVIRONMENTS: Final = TypeAdapter(list[models.HTCComputeEnvironmentUpdate])
_NEW_LIMIT: Final = TypeAdapter(models.HTCLimitCreate)
_LIMIT: Final = TypeAdapter(models.HTCLimitUpdate)
POLICY: Final = TypeAdapter(models.TaskRetentionPolicyUpdate)


def _list_projects(request: ApiRequest) -> Response:
    read_flag(request, "onlyMyProjects")  # all projects belong to the user
    size, after = read_page_query(request)
    return page_response(request, request.store.projects(after, size + 1), size)


def _create_project(request: ApiRequest) -> Response:
    body = parse_body(_CREATE, request.body)
    settings = body.region_settings or []
    computing = [setting.compute_settings.compute_region for setting in settings]
    storing = [setting.storage_settings.storage_region for setting in settings]
    _check_regions("regionSettings", [*computing, *storing])
    _check_regions("regions", body.regions or [])
    regions = body.regions or [region for region in computing if region is not None]
    project = request.store.add_project(
        body.project_name,
        body.project_description,
        [*dict.fromkeys(regions)] or [DEFAULT_REGION],
        [setting.to_json_dict() for setting in settings],
    )
    return JSONResponse(project)


def _check_regions(field: str, regions: Iterable[str | None]) -> None:
    unknown = [region for region in regions if region not in (None, *ENABLED_REGIONS)]
    if unknown:
        raise bad_request(f"{field}: unknown regions {', '.join(map(str, unknown))}")


def _get_project(request: ApiRequest) -> Response:
    return JSONResponse(find_project(request))


def _update_project(request: ApiRequest) -> Response:
    project = find_project(request)
    regions = parse_body(_UPDATE, request.body).regions
    if regions is None:
        return JSONResponse(project)
    _check_regions("regions", regions)
    if not regions:
        raise bad_request("regions: a project must have at least one region")
    return JSONResponse(request.store.set_regions(project, [*regions]))


# ---- computing environments


def _get_dimensions(request: ApiRequest) -> Response:
    environments = request.store.dimensions(find_project(request)["projectId"])
    return JSONResponse([describe_environment(environment) for environment in environments])


def _set_dimensions(request: ApiRequest) -> Response:
    project_id = find_project(request)["projectId"]
    environments = parse_body(_ENVIRONMENTS, request.body)
    _check_regions("region", [environment.region for environment in environments])
    dimensions = [environment.to_json_dict() for environment in environments]
    request.store.set_dimensions(project_id, dimensions)
    return JSONResponse([describe_environment(environment) for environment in dimensions], 201)


# ---- limits


def _list_limits(request: ApiRequest) -> Response:
    return JSONResponse(request.store.limits(find_project(request)["projectId"]))


def _create_limit(request: ApiRequest) -> Response:
    project_id = find_project(request)["projectId"]
    body = parse_body(_NEW_LIMIT, request.body)
    limit_id = request.store.set_limit(project_id, body.modifier_role, body.vcpus)
    request.service.executor.wake()
    return JSONResponse(request.store.limit(project_id, limit_id), 201)


def _delete_limits(request: ApiRequest) -> Response:
    request.store.delete_limits(find_project(request)["projectId"])
    request.service.executor.wake()
    return Response(status_code=204)


def _find_limit(request: ApiRequest) -> dict[str, Any]:
    project_id = find_project(request)["projectId"]
    limit_id = request.path("id")
    limit = None
    if re.fullmatch("[0-9]{1,18}", limit_id, re.ASCII):
        limit = request.store.limit(project_id, int(limit_id))
    if limit is None:
        raise not_found("the limit does not exist in the project")
    return limit


def _get_limit(request: ApiRequest) -> Response:
    return JSONResponse(_find_limit(request))


def _update_limit(request: ApiRequest) -> Response:
    limit = _find_limit(request)
    request.store.change_limit(limit["id"], parse_body(_LIMIT, request.body).vcpus)
    request.service.executor.wake()
    return JSONResponse(_find_limit(request))


def _delete_limit(request: ApiRequest) -> Response:
    request.store.delete_limit(_find_limit(request)["id"])
    request.service.executor.wake()
    return Response(status_code=204)


# ---- retention policies


def _get_policy(request: ApiRequest) -> Response:
    policy = request.store.policy(find_project(request)["projectId"])
    if policy is None:
        raise not_found("the project has no retention policy; the workspace's applies")
    return JSONResponse(policy)


def _set_policy(request: ApiRequest) -> Response:
    project_id = find_project(request)["projectId"]
    body = parse_body(POLICY, request.body)
    policy = request.store.set_policy(project_id, body.archive_after, body.delete_after)
    return JSONResponse(policy, 201)


def _delete_policy(request: ApiRequest) -> Response:
    request.store.delete_policy(find_project(request)["projectId"])
    return Response(status_code=204)


HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    operations.LIST_PROJECTS: _list_projects,
    operations.CREATE_PROJECT: _create_project,
    operations.GET_PROJECT: _get_project,
    operations.UPDATE_PROJECT: _update_project,
    operations.GET_PROJECT_DIMENSIONS: _get_dimensions,
    operations.SET_PROJECT_DIMENSIONS: _set_dimensions,
    operations.LIST_PROJECT_LIMITS: _list_limits,
    operations.CREATE_PROJECT_LIMIT: _create_limit,
    operations.DELETE_ALL_PROJECT_LIMITS: _delete_limits,
    operations.GET_PROJECT_LIMIT: _get_limit,
    operations.UPDATE_PROJECT_LIMIT: _update_limit,
    operations.DELETE_PROJECT_LIMIT: _delete_limit,
    operations.GET_PROJECT_RETENTION_POLICY: _get_policy,
    operations.SET_PROJECT_RETENTION_POLICY: _set_policy,
    operations.DELETE_PROJECT_RETENTION_POLICY: _delete_policy,
}
