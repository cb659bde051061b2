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

from ... import api
from ..clouds import cloud_provider, storage_name
from ..store import time_text
from ..tokens import STORAGE_SECONDS, USER_ID, WORKSPACE_ID, InvalidTokenError
from .received import Received, bad, find_project, find_task, not_found, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ..._operation import Operation
    from ..folders import Folders
    from .received import Handler, Service

UPLOAD_PATH: Final = "/uploads/"
# As much as S3 takes at once.
MAX_UPLOAD_BYTES: Final = 5 << 30
MAX_FILE_PATH_BYTES: Final = 1024
MAX_NAME_BYTES: Final = 255

# A folder has the file's name, or something else that of a folder.
_CONFLICTS: Final = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


def _check_storage(received: Received) -> dict[str, Any]:
    """The task that the path names, if its storage is still there."""
    task = find_task(received)
    if task["lifecycleStatus"] == "DELETED":
        raise not_found("the task is deleted, and its storage with it")
    return task


# ---- credentials


def _expiration(received: Received) -> str:
    return time_text(time.time() + received.service.tokens.lifetime(STORAGE_SECONDS))


def _credentials(region: str) -> dict[str, str]:
    names = ["ACCESS_TOKEN"]
    if cloud_provider(region) == "AWS":
        names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    return {name: secrets.token_urlsafe(30) for name in names}


def _token(
    received: Received, project: Mapping[str, Any], task: Mapping[str, Any] | None, region: str
) -> dict[str, Any]:
    folders = received.service.folders
    return {
        "projectSharedStoragePath": folders.project(project["projectId"]).as_uri(),
        "storagePath": task and folders.task(task["taskId"]).as_uri(),
        "projectId": project["projectId"],
        "storageName": storage_name(region),
        "region": region,
        "user": f"{WORKSPACE_ID}:{USER_ID}",
        "expiration": _expiration(received),
        "credentials": _credentials(region),
        "provider": cloud_provider(region),
    }


def _of_default_region(received: Received, task: Mapping[str, Any] | None) -> Response:
    project = find_project(received)
    return JSONResponse(_token(received, project, task, project["regions"][0]))


def _of_region(received: Received, task: Mapping[str, Any] | None) -> Response:
    project, region = find_project(received), received.path("region")
    if region not in project["regions"]:
        raise not_found("the project has no such region")
    return JSONResponse(_token(received, project, task, region))


def _of_all_regions(received: Received, task: Mapping[str, Any] | None) -> Response:
    project = find_project(received)
    stores = [_token(received, project, task, region) for region in project["regions"]]
    return JSONResponse({"defaultRegion": project["regions"][0], "regionStores": stores})


def _get_project_token(received: Received) -> Response:
    return _of_default_region(received, None)


def _get_project_token_for_region(received: Received) -> Response:
    return _of_region(received, None)


def _get_project_tokens(received: Received) -> Response:
    return _of_all_regions(received, None)


def _get_task_token(received: Received) -> Response:
    return _of_default_region(received, _check_storage(received))


def _get_task_token_for_region(received: Received) -> Response:
    return _of_region(received, _check_storage(received))


def _get_task_tokens(received: Received) -> Response:
    return _of_all_regions(received, _check_storage(received))


def _get_task_regional_storage(received: Received) -> Response:
    task, project = _check_storage(received), find_project(received)
    folders = received.service.folders
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


def _get_project_presigned_url(received: Received) -> Response:
    project = find_project(received)
    return _presigned_url(received, received.service.folders.project(project["projectId"]))


def _get_task_presigned_url(received: Received) -> Response:
    task = _check_storage(received)
    return _presigned_url(received, received.service.folders.task(task["taskId"]))


def _presigned_url(received: Received, folder: Path) -> Response:
    file_path = _checked(received.query.get("filePath", ""))
    path = f"{folder.relative_to(received.service.folders.root)}/{file_path}"
    token, expires_at = received.service.tokens.issue_for_upload(path)
    region: str = find_project(received)["regions"][0]
    return JSONResponse(
        {
            "url": f"{received.origin}{UPLOAD_PATH}{quote(path)}?token={token}",
            "storageName": storage_name(region),
            "region": region,
            "expiration": time_text(expires_at),
        }
    )


def _checked(file_path: str) -> str:
    names = file_path.split("/")
    if {"", ".", ".."} & set(names):
        raise bad("filePath must be names with '/' between them, and neither '.' nor '..'")
    if not file_path.replace("/", "").isprintable():
        raise bad("filePath must not have control characters")
    if len(file_path.encode()) > MAX_FILE_PATH_BYTES:
        raise bad(f"filePath must have at most {MAX_FILE_PATH_BYTES} bytes")
    if max(len(name.encode()) for name in names) > MAX_NAME_BYTES:
        raise bad(f"a name in filePath must have at most {MAX_NAME_BYTES} bytes")
    return file_path


async def receive_upload(service: Service, request: Request) -> Response:
    """Answer a PUT to a presigned address: the file is there whole afterwards, or not at all."""
    path: str = request.path_params["path"]
    try:
        claims = service.tokens.read(request.query_params.get("token", ""), "upload")
    except InvalidTokenError:
        claims = {}
    if claims.get("path") != path:
        raise refused(403, "Forbidden", "the address has expired or was altered")
    _target(service.folders, path)  # before the file is sent for nothing
    service.folders.uploads.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(dir=service.folders.uploads)
    received = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
                if file.tell() > MAX_UPLOAD_BYTES:
                    raise refused(413, "TooLarge", f"a file has at most {MAX_UPLOAD_BYTES} bytes")
            file.flush()
            await run_in_threadpool(os.fsync, file.fileno())
        target = _target(service.folders, path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            received.replace(target)
        except OSError as error:
            if error.errno not in _CONFLICTS:
                raise
            raise refused(
                409, "Conflict", "a folder has this name, or a file that of a folder"
            ) from None
    finally:
        received.unlink(missing_ok=True)
    return Response()


def _target(folders: Folders, path: str) -> Path:
    kind, owner, *_ = path.split("/")
    folder = folders.root / kind / owner
    if not folder.is_dir():
        raise not_found("the storage was deleted")
    target = folders.root / path
    # A job may have made a link to elsewhere.
    if not Path(os.path.realpath(target.parent)).is_relative_to(folder):
        raise refused(403, "Forbidden", "the address leads out of the storage")
    return target


HANDLERS: Final[Mapping[Operation, Handler]] = {
    api.GET_PROJECT_STORAGE_TOKEN: _get_project_token,
    api.GET_PROJECT_STORAGE_TOKEN_FOR_REGION: _get_project_token_for_region,
    api.GET_PROJECT_STORAGE_TOKENS: _get_project_tokens,
    api.GET_PROJECT_PRESIGNED_URL: _get_project_presigned_url,
    api.GET_TASK_STORAGE_TOKEN: _get_task_token,
    api.GET_TASK_STORAGE_TOKEN_FOR_REGION: _get_task_token_for_region,
    api.GET_TASK_STORAGE_TOKENS: _get_task_tokens,
    api.GET_TASK_REGIONAL_STORAGE: _get_task_regional_storage,
    api.GET_TASK_PRESIGNED_URL: _get_task_presigned_url,
}
