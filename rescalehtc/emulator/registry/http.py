"""The registry's HTTP interface: the part of OCI distribution for pushing and pulling."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response

from ..image_names import is_image_name
from ..tokens import REGISTRY_USER, InvalidTokenError, read_authorization
from .manifests import RegistryError

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..tokens import Tokens
    from .content import Registry, Upload

PATH: Final = "/v2/"
# The start of the name of a repository, before the project's id.
NAMESPACE: Final = "rescale"
MAX_MANIFEST_BYTES: Final = 4 << 20

_HEADERS: Final = {"Docker-Distribution-API-Version": "registry/2.0"}
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="the emulator"'}
_NAMED: Final = re.compile(
    rf"(?P<name>{NAMESPACE}/(?P<project>[^/]+)/(?P<repository>.+))/(?:"
    "manifests/(?P<reference>[^/]+)|blobs/uploads/(?P<upload>[^/]*)|blobs/(?P<digest>[^/]+)"
    "|(?P<tags>tags/list))"
)
_RANGE: Final = re.compile("([0-9]{1,18})-[0-9]{1,18}")


class _Named(NamedTuple):
    """A request and its repository."""

    http: Request
    registry: Registry
    project_id: str
    repository: str
    path: str

    def require(self, *methods: str) -> None:
        """Reject other methods."""
        if self.http.method not in methods:
            raise RegistryError(405, "UNSUPPORTED", f"{self.http.method} is not supported here")


async def answer(registry: Registry, tokens: Tokens, request: Request) -> Response:
    """Answer a request below `/v2/`."""
    try:
        _check_password(tokens, request)
        response = await _carry_out(registry, request)
    except RegistryError as error:
        body = {"errors": [{"code": error.code, "message": str(error)}]}
        headers = _CHALLENGE if error.status == 401 else None
        response = JSONResponse(body, error.status, headers)
    response.headers.update(_HEADERS)
    return response


def _check_password(tokens: Tokens, request: Request) -> None:
    _, credential = read_authorization(request.headers.get("Authorization", ""))
    try:
        text = base64.b64decode(credential, validate=True).decode()
        tokens.check_registry_password(text.removeprefix(f"{REGISTRY_USER}:"))
    except (InvalidTokenError, ValueError):
        reason = f"log in as {REGISTRY_USER} with the registry's token"
        raise RegistryError(401, "UNAUTHORIZED", reason) from None


async def _carry_out(registry: Registry, request: Request) -> Response:
    path: str = request.path_params["path"]
    if not path:
        return JSONResponse({})
    match = _NAMED.fullmatch(path)
    if match is None:
        raise RegistryError(
            404, "UNSUPPORTED", "the emulator's registry does not support this path"
        )
    if ":" in match["repository"] or not is_image_name(match["repository"]):
        raise RegistryError(400, "NAME_INVALID", "a repository's name must be [path/]name")
    if registry.store.project(match["project"]) is None:
        raise RegistryError(404, "NAME_UNKNOWN", "the project does not exist")
    name = match["name"]
    named = _Named(request, registry, match["project"], match["repository"], f"{PATH}{name}/")
    if match["tags"]:
        named.require("GET")
        tags = registry.store.tags(named.project_id, named.repository)
        return JSONResponse({"name": name, "tags": tags})
    if match["digest"]:
        return _get_blob(named, match["digest"])
    if match["reference"]:
        put = request.method == "PUT"
        reference = match["reference"]
        return await _put_manifest(named, reference) if put else _get_manifest(named, reference)
    if match["upload"]:
        return await _continue_upload(named, match["upload"])
    named.require("POST")  # OCI allows to ignore a digest here
    return _progress(named, registry.begin(named.project_id))


# ---- manifests


def _get_manifest(named: _Named, reference: str) -> Response:
    named.require("GET", "HEAD")
    stored = named.registry.manifest(named.project_id, named.repository, reference)
    if stored is None:
        raise RegistryError(404, "MANIFEST_UNKNOWN", "the manifest does not exist")
    manifest, text = stored
    headers = {"Docker-Content-Digest": manifest.digest}
    return Response(text, media_type=manifest.media_type, headers=headers)


async def _put_manifest(named: _Named, reference: str) -> Response:
    if ":" not in reference and not is_image_name(f"{named.repository}:{reference}"):
        raise RegistryError(400, "TAG_INVALID", "the tag is invalid")
    text = bytearray()
    async for chunk in named.http.stream():
        text += chunk
        if len(text) > MAX_MANIFEST_BYTES:
            reason = f"a manifest has at most {MAX_MANIFEST_BYTES} bytes"
            raise RegistryError(413, "SIZE_INVALID", reason)
    registry, project_id, repository = named.registry, named.project_id, named.repository
    media_type = named.http.headers.get("Content-Type", "").partition(";")[0]
    digest = await run_in_threadpool(
        registry.add_manifest, project_id, repository, reference, media_type, bytes(text)
    )
    return _created(f"{named.path}manifests/{reference}", digest)


# ---- blobs


def _get_blob(named: _Named, digest: str) -> Response:
    named.require("GET", "HEAD")
    path = named.registry.blob(named.project_id, digest)
    if path is None:
        raise RegistryError(404, "BLOB_UNKNOWN", "the blob does not exist")
    headers = {"Docker-Content-Digest": digest}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


async def _continue_upload(named: _Named, name: str) -> Response:
    named.require("PATCH", "PUT", "DELETE")
    upload = named.registry.upload(named.project_id, name)
    if named.http.method == "DELETE":
        named.registry.cancel(upload)
        return Response(status_code=204)
    digest = named.http.query_params.get("digest", "")
    before = upload.size, upload.hash.copy()
    upload.is_busy = True
    try:
        await _append(named, upload)
        if named.http.method == "PATCH":
            return _progress(named, upload)
        await run_in_threadpool(named.registry.finish, upload, digest)
    except OSError:  # after this error, such as a full disk, the client may retry the request
        upload.size, upload.hash = before
        raise
    finally:
        upload.is_busy = False
    return _created(f"{named.path}blobs/{digest}", digest)


async def _append(named: _Named, upload: Upload) -> None:
    """Add the body to an upload. If the connection breaks, the received part counts."""
    range_ = named.http.headers.get("Content-Range")
    match = None if range_ is None else _RANGE.fullmatch(range_)
    if range_ is not None and (match is None or int(match[1]) != upload.size):
        reason = f"the next offset is {upload.size}"
        raise RegistryError(416, "BLOB_UPLOAD_INVALID", reason)
    with upload.path.open("r+b") as file:
        file.seek(upload.size)
        file.truncate()
        async for chunk in named.http.stream():
            file.write(chunk)
            upload.hash.update(chunk)
            upload.size += len(chunk)


def _progress(named: _Named, upload: Upload) -> Response:
    headers = {
        "Location": f"{named.path}blobs/uploads/{upload.path.name}",
        "Docker-Upload-UUID": upload.path.name,
        "Range": f"0-{max(upload.size - 1, 0)}",
    }
    return Response(status_code=202, headers=headers)


def _created(location: str, digest: str) -> Response:
    headers = {"Location": location, "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=headers)
