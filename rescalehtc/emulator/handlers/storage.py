"""Credentials for storages, and uploaded files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ..._wire import operations
from ..bucket import key_prefix
from ..clouds import cloud_provider, storage_name
from ..objects import (
    InvalidNameError,
    NameConflictError,
    TooLargeError,
    check_name,
    find_target,
    partial_file,
    place,
    receive,
)
from ..store import time_text
from ..tokens import USER_ID, WORKSPACE_ID, InvalidTokenError
from .errors import api_error, bad_request, not_found
from .request import find_project, find_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ..._wire.operation import Operation
    from .request import ApiRequest, Handler, Service

UPLOAD_PATH: Final = "/uploads/"


def _check_storage(request: ApiRequest) -> dict[str, Any]:
    """The task of the path, if its storage still exists."""
    task = find_task(request)
    if task["lifecycleStatus"] == "DELETED":
        raise not_found("the task and its storage were deleted")
    return task


# ---- credentials


def _credentials(
    request: ApiRequest, project_id: str, task_id: str | None, region: str
) -> tuple[dict[str, str], int]:
    """Return credentials for a region's storage, and their expiration time."""
    ids = {"projectId": project_id, "taskId": task_id}
    credentials, expires_at = request.service.tokens.issue_for_storage(ids)
    if cloud_provider(region) == "AWS":
        return credentials, expires_at
    return {"ACCESS_TOKEN": credentials["AWS_SESSION_TOKEN"]}, expires_at


def _address(folder: Path, region: str, project_id: str, task_id: str | None) -> str:
    """Return the address of a shared folder. Only storages on AWS answer requests."""
    if cloud_provider(region) == "AWS":
        return f"s3://{storage_name(region)}/{key_prefix(project_id, task_id)}"
    return folder.as_uri()


def _token(
    request: ApiRequest, project: Mapping[str, Any], task: Mapping[str, Any] | None, region: str
) -> dict[str, Any]:
    folders = request.service.folders
    project_id: str = project["projectId"]
    task_id: str | None = None if task is None else task["taskId"]
    credentials, expires_at = _credentials(request, project_id, task_id, region)
    of_task = task_id and _address(folders.task(task_id), region, project_id, task_id)
    return {
        "projectSharedStoragePath": _address(folders.project(project_id), region, project_id, None),
        "storagePath": of_task,
        "projectId": project_id,
        "storageName": storage_name(region),
        "region": region,
        "user": f"{WORKSPACE_ID}:{USER_ID}",
        "expiration": time_text(expires_at),
        "credentials": credentials,
        "endpoint": request.origin if cloud_provider(region) == "AWS" else None,
        "provider": cloud_provider(region),
    }


def _of_default_region(request: ApiRequest, task: Mapping[str, Any] | None) -> Response:
    project = find_project(request)
    return JSONResponse(_token(request, project, task, project["regions"][0]))


def _of_region(request: ApiRequest, task: Mapping[str, Any] | None) -> Response:
    project, region = find_project(request), request.path("region")
    if region not in project["regions"]:
        raise not_found("the project does not have this region")
    return JSONResponse(_token(request, project, task, region))


def _of_all_regions(request: ApiRequest, task: Mapping[str, Any] | None) -> Response:
    project = find_project(request)
    stores = [_token(request, project, task, region) for region in project["regions"]]
    return JSONResponse({"defaultRegion": project["regions"][0], "regionStores": stores})


def _get_project_token(request: ApiRequest) -> Response:
    return _of_default_region(request, None)


def _get_project_token_for_region(request: ApiRequest) -> Response:
    return _of_region(request, None)


def _get_project_tokens(request: ApiRequest) -> Response:
    return _of_all_regions(request, None)


def _get_task_token(request: ApiRequest) -> Response:
    return _of_default_region(request, _check_storage(request))


def _get_task_token_for_region(request: ApiRequest) -> Response:
    return _of_region(request, _check_storage(request))


def _get_task_tokens(request: ApiRequest) -> Response:
    return _of_all_regions(request, _check_storage(request))


def _get_task_regional_storage(request: ApiRequest) -> Response:
    task, project = _check_storage(request), find_project(request)
    tokens = [_token(request, project, task, region) for region in project["regions"]]
    stores = [
        {
            "region": token["region"],
            "projectPath": token["projectSharedStoragePath"],
            "taskPath": token["storagePath"],
            "credentials": token["credentials"],
            "provider": token["provider"],
        }
        for token in tokens
    ]
    return JSONResponse({"rescaleRegion": project["regions"][0], "regionalStores": stores})


# ---- uploads


def _get_project_presigned_url(request: ApiRequest) -> Response:
    project = find_project(request)
    return _presigned_url(request, request.service.folders.project(project["projectId"]))


def _get_task_presigned_url(request: ApiRequest) -> Response:
    task = _check_storage(request)
    return _presigned_url(request, request.service.folders.task(task["taskId"]))


def _presigned_url(request: ApiRequest, folder: Path) -> Response:
    file_path = _check_file_path(request.query.get("filePath", ""))
    path = f"{folder.relative_to(request.service.folders.root)}/{file_path}"
    token, expires_at = request.service.tokens.issue_for_upload(path)
    region: str = find_project(request)["regions"][0]
    return JSONResponse(
        {
            "url": f"{request.origin}{UPLOAD_PATH}{quote(path)}?token={token}",
            "storageName": storage_name(region),
            "region": region,
            "expiration": time_text(expires_at),
        }
    )


def _check_file_path(file_path: str) -> str:
    if not file_path.replace("/", "").isprintable():
        raise bad_request("filePath must not have control characters")
    try:
        return check_name(file_path)
    except InvalidNameError as error:
        raise bad_request(f"filePath: {error}") from None


async def receive_upload(service: Service, request: Request) -> Response:
    """Store the body of a PUT to a presigned URL atomically."""
    path: str = request.path_params["path"]
    try:
        claims = service.tokens.read(request.query_params.get("token", ""), "upload")
    except InvalidTokenError:
        claims = {}
    if claims.get("path") != path:
        raise api_error(403, "Forbidden", "the URL has expired or was changed")
    kind, owner, name = path.split("/", 2)
    folder = service.folders.root / kind / owner
    try:
        find_target(folder, name)  # before receiving the file
        with partial_file(service.folders.uploads) as file:
            await receive(request.stream(), file)
            await run_in_threadpool(os.fsync, file.fileno())
            place(Path(file.name), folder, name)
    except TooLargeError as error:
        raise api_error(413, "TooLarge", f"a file has at most {error} bytes") from None
    except FileNotFoundError:
        raise not_found("the storage was deleted") from None
    except InvalidNameError as error:
        raise api_error(403, "Forbidden", str(error)) from None
    except NameConflictError as error:
        raise api_error(409, "Conflict", str(error)) from None
    return Response()


HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    operations.GET_PROJECT_STORAGE_TOKEN: _get_project_token,
    operations.GET_PROJECT_STORAGE_TOKEN_FOR_REGION: _get_project_token_for_region,
    operations.GET_PROJECT_STORAGE_TOKENS: _get_project_tokens,
    operations.GET_PROJECT_PRESIGNED_URL: _get_project_presigned_url,
    operations.GET_TASK_STORAGE_TOKEN: _get_task_token,
    operations.GET_TASK_STORAGE_TOKEN_FOR_REGION: _get_task_token_for_region,
    operations.GET_TASK_STORAGE_TOKENS: _get_task_tokens,
    operations.GET_TASK_REGIONAL_STORAGE: _get_task_regional_storage,
    operations.GET_TASK_PRESIGNED_URL: _get_task_presigned_url,
}
