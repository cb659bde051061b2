"""Credentials for storages, and files that are uploaded."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ..._wire import operations
from ..clouds import cloud_provider, storage_name
from ..store import time_text
from ..tokens import STORAGE_SECONDS, USER_ID, WORKSPACE_ID, InvalidTokenError
from .errors import api_error, bad_request, not_found
from .request import find_project, find_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ..._wire.operation import Operation
    from ..folders import Folders
    from .request import ApiRequest, Handler, Service

UPLOAD_PATH: Final = "/uploads/"
# As much as S3 takes at once.
MAX_UPLOAD_BYTES: Final = 5 << 30
MAX_FILE_PATH_BYTES: Final = 1024
MAX_NAME_BYTES: Final = 255

# A folder has the file's name, or something else that of a folder.
_CONFLICTS: Final = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


def _check_storage(request: ApiRequest) -> dict[str, Any]:
    """The task that the path names, if its storage is still there."""
    task = find_task(request)
    if task["lifecycleStatus"] == "DELETED":
        raise not_found("the task is deleted, and its storage with it")
    return task


# ---- credentials


def _expiration(request: ApiRequest) -> str:
    return time_text(time.time() + request.service.tokens.lifetime(STORAGE_SECONDS))


def _credentials(region: str) -> dict[str, str]:
    names = ["ACCESS_TOKEN"]
    if cloud_provider(region) == "AWS":
        names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    return {name: secrets.token_urlsafe(30) for name in names}


def _token(
    request: ApiRequest, project: Mapping[str, Any], task: Mapping[str, Any] | None, region: str
) -> dict[str, Any]:
    folders = request.service.folders
    return {
        "projectSharedStoragePath": folders.project(project["projectId"]).as_uri(),
        "storagePath": task and folders.task(task["taskId"]).as_uri(),
        "projectId": project["projectId"],
        "storageName": storage_name(region),
        "region": region,
        "user": f"{WORKSPACE_ID}:{USER_ID}",
        "expiration": _expiration(request),
        "credentials": _credentials(region),
        "provider": cloud_provider(region),
    }


def _of_default_region(request: ApiRequest, task: Mapping[str, Any] | None) -> Response:
    project = find_project(request)
    return JSONResponse(_token(request, project, task, project["regions"][0]))


def _of_region(request: ApiRequest, task: Mapping[str, Any] | None) -> Response:
    project, region = find_project(request), request.path("region")
    if region not in project["regions"]:
        raise not_found("the project has no such region")
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
    folders = request.service.folders
    stores = [
        {
            "region": region,
            "projectPath": folders.project(project["projectId"]).as_uri(),
            "taskPath": folders.task(task["taskId"]).as_uri(),
            "credentials": _credentials(region),
            "provider": cloud_provider(region),
        }
        for region in project["regions"]
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
    names = file_path.split("/")
    if {"", ".", ".."} & set(names):
        raise bad_request("filePath must be names with '/' between them, and neither '.' nor '..'")
    if not file_path.replace("/", "").isprintable():
        raise bad_request("filePath must not have control characters")
    if len(file_path.encode()) > MAX_FILE_PATH_BYTES:
        raise bad_request(f"filePath must have at most {MAX_FILE_PATH_BYTES} bytes")
    if max(len(name.encode()) for name in names) > MAX_NAME_BYTES:
        raise bad_request(f"a name in filePath must have at most {MAX_NAME_BYTES} bytes")
    return file_path


async def receive_upload(service: Service, request: Request) -> Response:
    """Answer a PUT to a presigned address: the file is there whole afterwards, or not at all."""
    path: str = request.path_params["path"]
    try:
        claims = service.tokens.read(request.query_params.get("token", ""), "upload")
    except InvalidTokenError:
        claims = {}
    if claims.get("path") != path:
        raise api_error(403, "Forbidden", "the address has expired or was altered")
    _find_target(service.folders, path)  # before the file is sent for nothing
    service.folders.uploads.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(dir=service.folders.uploads)
    partial_file = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
                if file.tell() > MAX_UPLOAD_BYTES:
                    raise api_error(413, "TooLarge", f"a file has at most {MAX_UPLOAD_BYTES} bytes")
            file.flush()
            await run_in_threadpool(os.fsync, file.fileno())
        target = _find_target(service.folders, path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial_file.replace(target)
        except OSError as error:
            if error.errno not in _CONFLICTS:
                raise
            raise api_error(
                409, "Conflict", "a folder has this name, or a file that of a folder"
            ) from None
    finally:
        partial_file.unlink(missing_ok=True)
    return Response()


def _find_target(folders: Folders, path: str) -> Path:
    kind, owner, *_ = path.split("/")
    folder = folders.root / kind / owner
    if not folder.is_dir():
        raise not_found("the storage was deleted")
    target = folders.root / path
    # A job may have made a link to elsewhere.
    if not Path(os.path.realpath(target.parent)).is_relative_to(folder):
        raise api_error(403, "Forbidden", "the address leads out of the storage")
    return target


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
