"""Images, their repositories, and the password of the container registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..._wire import operations
from ..image_names import is_image_name
from ..tokens import USER_ID, WORKSPACE_ID
from .errors import ApiError, bad_request, oauth_error
from .request import find_project

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._wire.operation import Operation
    from .request import ApiRequest, Handler


def _image_not_found(name: str) -> ApiError:
    """Create the error for an image that does not exist."""
    return ApiError(404, {"error": "IMAGE_UNAVAILABLE", "message": f"there is no image {name}"})


def find_image_status(request: ApiRequest, project_id: str, name: str) -> str:
    """READY or PENDING.

    Raises:
        ApiError: The image does not exist.
    """
    images = request.service.images
    status = request.store.image_status(name)
    if status is None:
        status = images.status(project_id, name) if images else "READY"
    if status == "UNKNOWN":
        raise _image_not_found(name)
    return status


def _list_images(request: ApiRequest) -> Response:
    project = find_project(request)
    project_id: str = project["projectId"]
    is_pushed_to = request.service.images is not None
    list_names = request.store.pushed_images if is_pushed_to else request.store.images
    images = list_names(project_id)
    return JSONResponse({"containerRegistry": project["containerRegistry"], "images": images})


def _get_image_status(request: ApiRequest) -> Response:
    project_id = find_project(request)["projectId"]
    name = request.path("imageName")
    if not is_image_name(name):
        raise bad_request("imageName must be [path/]name[:tag]")
    return JSONResponse({"status": find_image_status(request, project_id, name)})


def _create_repository(request: ApiRequest) -> Response:
    project = find_project(request)
    name = request.path("repoName")
    if ":" in name or not is_image_name(name):
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
    """Return a password that contains its expiration time, like passwords of AWS registries."""
    try:
        find_project(request)
    except ApiError as error:
        raise oauth_error(error.status, "NotFound", "the project does not exist") from None
    return PlainTextResponse(request.service.tokens.issue_registry_password())


HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    operations.LIST_IMAGES: _list_images,
    operations.GET_IMAGE_STATUS: _get_image_status,
    operations.CREATE_REPOSITORY: _create_repository,
    operations.GET_REGISTRY_TOKEN: _get_registry_token,
}
