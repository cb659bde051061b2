"""Images, their repositories, and the password of the container registry."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ... import api, models
from ..tokens import REGISTRY_SECONDS, USER_ID, WORKSPACE_ID
from .received import Received, RefusedError, bad, find_project, oauth_refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._operation import Operation
    from .received import Handler


def no_image(name: str) -> RefusedError:
    """There is no such image."""
    return RefusedError(404, {"error": "IMAGE_UNAVAILABLE", "message": f"there is no image {name}"})


def _is_image_name(name: str) -> bool:
    try:
        models.HTCJobDefinition(image_name=name)
    except ValidationError:
        return False
    return True


def _list_images(received: Received) -> Response:
    project = find_project(received)
    images = received.store.images(project["projectId"])
    return JSONResponse({"containerRegistry": project["containerRegistry"], "images": images})


def _get_image_status(received: Received) -> Response:
    find_project(received)
    name = received.path("imageName")
    if not _is_image_name(name):
        raise bad("imageName must be [path/]name[:tag]")
    status = received.store.image_status(name)
    if status == "UNKNOWN":
        raise no_image(name)
    return JSONResponse({"status": status})


def _create_repository(received: Received) -> Response:
    project = find_project(received)
    name = received.path("repoName")
    if ":" in name or not _is_image_name(name):
        raise bad("repoName must be [path/]name in lower case")
    return JSONResponse(
        {
            "repositoryName": name,
            "successfullyCreated": received.store.add_repository(project, name),
            "projectId": project["projectId"],
            "createdBy": USER_ID,
            "workspaceId": WORKSPACE_ID,
            "registryURI": project["containerRegistry"],
        }
    )


def _get_registry_token(received: Received) -> Response:
    """Answer a password that tells when it expires, as those of AWS do."""
    try:
        find_project(received)
    except RefusedError as error:
        raise oauth_refused(error.status, "NotFound", "there is no such project") from None
    expires_at = int(time.time()) + received.service.tokens.lifetime(REGISTRY_SECONDS)
    password = {"payload": secrets.token_urlsafe(48), "expiration": expires_at}
    return PlainTextResponse(base64.b64encode(json.dumps(password).encode()))


HANDLERS: Final[Mapping[Operation, Handler]] = {
    api.LIST_IMAGES: _list_images,
    api.GET_IMAGE_STATUS: _get_image_status,
    api.CREATE_REPOSITORY: _create_repository,
    api.GET_REGISTRY_TOKEN: _get_registry_token,
}
