"""Images, their repositories, and the password of the container registry."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ... import models
from ..._wire import operations
from ...exceptions import HtcValidationError
from ..tokens import REGISTRY_SECONDS, USER_ID, WORKSPACE_ID
from .errors import ApiError, bad_request, oauth_error
from .request import find_project

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._wire.operation import Operation
    from .request import ApiRequest, Handler


def image_not_found(name: str) -> ApiError:
    """There is no such image."""
    return ApiError(404, {"error": "IMAGE_UNAVAILABLE", "message": f"there is no image {name}"})


def _is_image_name(name: str) -> bool:
    try:
        models.HTCJobDefinition(image_name=name)
    except HtcValidationError:
        return False
    return True


def _list_images(request: ApiRequest) -> Response:
    project = find_project(request)
    images = request.store.images(project["projectId"])
    return JSONResponse({"containerRegistry": project["containerRegistry"], "images": images})


def _get_image_status(request: ApiRequest) -> Response:
    find_project(request)
    name = request.path("imageName")
    if not _is_image_name(name):
        raise bad_request("imageName must be [path/]name[:tag]")
    status = request.store.image_status(name)
    if status == "UNKNOWN":
        raise image_not_found(name)
    return JSONResponse({"status": status})


def _create_repository(request: ApiRequest) -> Response:
    project = find_project(request)
    name = request.path("repoName")
    if ":" in name or not _is_image_name(name):
        raise bad_request("repoName must be [path/]name in lower case")
    return JSONResponse(
        {
            "repositoryName": name,
            "successfullyCreated": request.store.add_repository(project, name),
            "projectId": project["projectId"],
            "createdBy": USER_ID,
            "workspaceId": WORKSPACE_ID,
            "registryURI": project["containerRegistry"],
        }
    )


def _get_registry_token(request: ApiRequest) -> Response:
    """Answer a password that tells when it expires, as those of AWS do."""
    try:
        find_project(request)
    except ApiError as error:
        raise oauth_error(error.status, "NotFound", "there is no such project") from None
    expires_at = int(time.time()) + request.service.tokens.lifetime(REGISTRY_SECONDS)
    password = {"payload": secrets.token_urlsafe(48), "expiration": expires_at}
    return PlainTextResponse(base64.b64encode(json.dumps(password).encode()))


HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    operations.LIST_IMAGES: _list_images,
    operations.GET_IMAGE_STATUS: _get_image_status,
    operations.CREATE_REPOSITORY: _create_repository,
    operations.GET_REGISTRY_TOKEN: _get_registry_token,
}
