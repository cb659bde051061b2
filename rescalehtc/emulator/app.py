"""The HTTP side: from operations to handlers, who may call, and what an error looks like."""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from pydantic import Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from .. import api, models
from .lifecycle import COUNTED
from .store import DEFAULT_REGION
from .tokens import USER, InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.datastructures import QueryParams

    from .._model_base import StrEnum
    from .._operation import Operation
    from .executor import Executor
    from .store import Row, Store
    from .tokens import Tokens

_log = logging.getLogger("rescalehtc.emulator")

BASE_PATH: Final = "/api/v1"
MAX_BODY_BYTES: Final = 32 << 20
DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1000
MAX_LOG_PAGE_SIZE: Final = 10000
MAX_PROBLEMS: Final = 100
# Above the number of any line.
LAST: Final = 1 << 62

T = TypeVar("T")

_PROJECT: Final = TypeAdapter(models.HTCProjectCreate)
_TASK: Final = TypeAdapter(models.HTCTaskCreate)
_SUBMISSION: Final = TypeAdapter(
    Annotated[list[models.HTCJobSubmitRequest], Field(min_length=1, max_length=100)]
)


class Service(NamedTuple):
    """What handlers work with."""

    store: Store
    executor: Executor
    tokens: Tokens


class Received(NamedTuple):
    """A request as a handler sees it."""

    service: Service
    request: Request
    body: bytes
    claims: Mapping[str, Any]

    @property
    def query(self) -> QueryParams:
        """The query parameters."""
        return self.request.query_params

    def path(self, name: str) -> str:
        """A path parameter."""
        value: str = self.request.path_params[name]
        return value


class RefusedError(Exception):
    """A request is answered with an error."""

    def __init__(self, status: int, body: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body

    def response(self) -> Response:
        """The answer."""
        if self.body is None:
            return Response(status_code=self.status)
        return JSONResponse(self.body, self.status)


def _refused(status: int, kind: str, description: str) -> RefusedError:
    return RefusedError(status, {"errorType": kind, "errorDescription": description})


def _bad(description: str) -> RefusedError:
    return _refused(400, "BadRequest", description)


# ---- tokens


def _authorization(request: Request) -> tuple[str, str]:
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower(), credential.strip()


def _check_api_key(received: Received, given: str) -> None:
    if not hmac.compare_digest(given.encode(), received.service.store.api_key.encode()):
        raise RefusedError(401)


def _get_token(received: Received) -> Response:
    tokens = received.service.tokens
    scheme, credential = _authorization(received.request)
    claims: Mapping[str, Any] = {}
    if scheme == "refresh":
        claims = tokens.read(credential, "refresh")
    elif scheme == "token":
        _check_api_key(received, credential)
    else:
        raise RefusedError(401)
    return JSONResponse({"tokenValue": tokens.issue(claims), "expiresIn": tokens.bearer_seconds})


def _get_token_payload(received: Received) -> Response:
    return JSONResponse(received.claims)


def _get_user(received: Received) -> Response:
    scheme, credential = _authorization(received.request)
    if scheme != "token":
        raise RefusedError(401)
    _check_api_key(received, credential)
    return JSONResponse(
        {
            "user": {
                "userId": USER["userId"],
                "email": USER["userEmail"],
                "fullName": USER["userFullName"],
                "isRescaleAdmin": False,
                "isOrganizationAdmin": False,
                "isWorkspaceAdmin": True,
                "isSuperuser": False,
                "workspace": {"id": USER["workspaceId"], "name": USER["workspaceName"]},
                "organization": {
                    "code": USER["organizationCode"],
                    "canViewOrganizationJobs": True,
                },
            },
            "userFeatures": {"count": 0, "results": []},
        }
    )


# ---- projects, images and tasks


def _list_projects(received: Received) -> Response:
    if received.query.get("onlyMyProjects", "false") not in ("true", "false"):
        raise _bad("onlyMyProjects must be true or false")
    size, after = _page_asked(received)
    return _page(received, received.service.store.projects(after, size + 1), size)


def _create_project(received: Received) -> Response:
    asked = _parsed(_PROJECT, received.body)
    settings = [setting.to_json_dict() for setting in asked.region_settings or ()]
    computing = [setting.compute_settings.compute_region for setting in asked.region_settings or ()]
    wanted = asked.regions or [region for region in computing if region is not None]
    unknown = [region for region in wanted if not region.is_listed]
    if unknown:
        raise _bad(f"regions: there is no {', '.join(unknown)}")
    regions: list[str] = [*dict.fromkeys(wanted)] or [DEFAULT_REGION]
    store = received.service.store
    project = store.add_project(asked.project_name, asked.project_description, regions, settings)
    return JSONResponse(project)


def _get_project(received: Received) -> Response:
    return JSONResponse(_project(received))


def _get_image_status(received: Received) -> Response:
    _project(received)
    name = received.path("imageName")
    try:
        models.HTCJobDefinition(image_name=name)
    except ValidationError:
        raise _bad("imageName must be [path/]name[:tag]") from None
    status = received.service.store.image_status(name)
    if status == "UNKNOWN":
        raise _no_image(name)
    return JSONResponse({"status": status})


def _no_image(name: str) -> RefusedError:
    return RefusedError(404, {"error": "IMAGE_UNAVAILABLE", "message": f"there is no image {name}"})


def _list_tasks(received: Received) -> Response:
    project_id = _project(received)["projectId"]
    size, after = _page_asked(received)
    return _page(received, received.service.store.tasks(project_id, after, size + 1), size)


def _create_task(received: Received) -> Response:
    project_id = _project(received)["projectId"]
    asked = _parsed(_TASK, received.body)
    store = received.service.store
    return JSONResponse(store.add_task(project_id, asked.task_name, asked.task_description))


def _get_task(received: Received) -> Response:
    return JSONResponse(_task(received))


def _delete_task(received: Received) -> Response:
    task = _task(received)
    if task["lifecycleStatus"] != "DELETED":
        service = received.service
        service.executor.cancel(task["taskId"])
        task = service.store.delete_task(task)
        service.executor.delete_storage(task["taskId"])
    return JSONResponse(task)


def _get_task_summary(received: Received) -> Response:
    counts = received.service.store.count_jobs(_task(received)["taskId"])
    return JSONResponse(
        {"group": None, "jobStatuses": {status: counts.get(status, 0) for status in COUNTED}}
    )


# ---- jobs


def _submit_jobs(received: Received) -> Response:
    project, task = _project(received), _task(received)
    if task["lifecycleStatus"] != "ACTIVE":
        raise _bad(f"the task is {task['lifecycleStatus']} and takes no jobs")
    group = _given(received, "group")
    asked = _parsed(_SUBMISSION, received.body)
    regions: list[list[str]] = [list(one.regions or project["regions"]) for one in asked]
    foreign = [
        f"[{index}].regions: the project has no {region}"
        for index, given in enumerate(regions)
        for region in given
        if region not in project["regions"]
    ]
    if foreign:
        raise _bad("; ".join(foreign[:MAX_PROBLEMS]))
    for image in {one.htc_job_definition.image_name for one in asked}:
        status = received.service.store.image_status(image)
        if status == "UNKNOWN":
            raise _no_image(image)
        if status == "PENDING":
            raise _refused(400, "ImagePending", f"image {image} is not ready yet")
    requests = [one.to_json_dict() for one in asked]
    batches = zip(requests, regions, strict=True)
    answer = received.service.store.submit(task, batches, group)
    received.service.executor.wake()
    return JSONResponse(answer)


def _list_jobs(received: Received) -> Response:
    task = _task(received)
    size, after = _page_asked(received)
    jobs = received.service.store.jobs(
        *(task["taskId"], after, size + 1),
        status=_one_of(received, "status", models.RescaleJobStatus),
        group=_given(received, "group"),
        job_ids=received.query.getlist("jobId"),
        simple=_one_of(received, "viewType", models.ViewType) == "SIMPLE",
    )
    return _page(received, jobs, size)


def _cancel_jobs(received: Received) -> Response:
    task = _task(received)
    received.service.executor.cancel(task["taskId"], _given(received, "group"))
    return Response()


def _get_job(received: Received) -> Response:
    return _json(_job(received).text)


def _list_job_events(received: Received) -> Response:
    job = _job(received)
    size, after = _page_asked(received)
    return _page(received, received.service.store.events(job.number, after, size + 1), size)


def _list_job_logs(received: Received) -> Response:
    job = _job(received)
    store = received.service.store
    size = _number(received, "pageSize") or DEFAULT_PAGE_SIZE
    if size > MAX_LOG_PAGE_SIZE:
        raise _bad(f"pageSize must be at most {MAX_LOG_PAGE_SIZE}")
    begins = _number(received, "pageIndex")
    if _one_of(received, "sort", models.SortOrder) == "asc":
        lines = store.lines(job.number, begins or 0, size + 1)
    else:
        lines = store.lines_backwards(job.number, begins or LAST, size + 1)
    return _page(received, lines, size)


# ---- what handlers share


def _project(received: Received) -> dict[str, Any]:
    project = received.service.store.project(received.path("projectId"))
    if project is None:
        raise _refused(404, "NotFound", "there is no such project")
    return project


def _task(received: Received) -> dict[str, Any]:
    task = received.service.store.task(received.path("projectId"), received.path("taskId"))
    if task is None:
        raise _refused(404, "NotFound", "there is no such task in the project")
    return task


def _job(received: Received) -> Row:
    job = received.service.store.job(_task(received)["taskId"], received.path("jobId"))
    if job is None:
        raise _refused(404, "NotFound", "there is no such job in the task")
    return job


def _parsed(adapter: TypeAdapter[T], body: bytes) -> T:
    try:
        # 1.1.0 sends a field that the service does not have, and is served: it is ignored.
        return adapter.validate_json(body, extra="ignore", by_alias=True, by_name=False)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [f"{_place(problem['loc'])}: {problem['msg']}" for problem in found]
    raise _bad("; ".join(problems[:MAX_PROBLEMS]))


def _place(location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).removeprefix(".") or "body"


def _given(received: Received, name: str) -> str | None:
    value = received.query.get(name)
    if value == "":
        raise _bad(f"{name} must not be empty")
    return value


def _one_of(received: Received, name: str, values: type[StrEnum]) -> str | None:
    value = received.query.get(name)
    if value is not None and value not in list(values):
        raise _bad(f"{name} must be one of {', '.join(values)}")
    return value


def _number(received: Received, name: str) -> int | None:
    value = received.query.get(name)
    if value is None:
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,17}", value, re.ASCII):
        raise _bad(f"{name} must be a whole number, at least 1")
    return int(value)


def _page_asked(received: Received) -> tuple[int, int]:
    size = _number(received, "pageSize") or DEFAULT_PAGE_SIZE
    return min(size, MAX_PAGE_SIZE), _number(received, "pageIndex") or 0


def _page(received: Received, rows: Sequence[Row], size: int) -> Response:
    """Answer a page. There is one row more than its size if another page follows."""
    items = ",".join(row.text for row in rows[:size])
    if len(rows) <= size:
        return _json(f'{{"items":[{items}]}}')
    url = received.request.url
    # A parameter that came twice is passed on once, except the one that may be repeated.
    query = [("jobId", value) for value in received.query.getlist("jobId")]
    query += [(n, v) for n, v in received.query.items() if n not in ("jobId", "pageIndex")]
    query.append(("pageIndex", str(rows[size - 1].number)))
    following = f"{url.scheme}://{url.netloc}{quote(url.path, safe='/:')}?{urlencode(query)}"
    return _json(f'{{"items":[{items}],"next":{json.dumps(following)}}}')


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


# ---- the application

HANDLERS: Final[Mapping[Operation, Callable[[Received], Response]]] = {
    api.GET_TOKEN: _get_token,
    api.GET_TOKEN_PAYLOAD: _get_token_payload,
    api.GET_USER: _get_user,
    api.LIST_PROJECTS: _list_projects,
    api.CREATE_PROJECT: _create_project,
    api.GET_PROJECT: _get_project,
    api.GET_IMAGE_STATUS: _get_image_status,
    api.LIST_TASKS: _list_tasks,
    api.CREATE_TASK: _create_task,
    api.GET_TASK: _get_task,
    api.DELETE_TASK: _delete_task,
    api.GET_TASK_SUMMARY: _get_task_summary,
    api.LIST_JOBS: _list_jobs,
    api.SUBMIT_JOBS: _submit_jobs,
    api.CANCEL_JOBS: _cancel_jobs,
    api.GET_JOB: _get_job,
    api.LIST_JOB_EVENTS: _list_job_events,
    api.LIST_JOB_LOGS: _list_job_logs,
}


def create_app(service: Service, host: str) -> Starlette:
    """Make the application, for a server that listens on this host."""
    routes = [
        Route(operation.path, _endpoint(service, operation, handler), methods=[operation.method])
        for operation, handler in HANDLERS.items()
    ]
    # A web page must not reach a loopback server by a name that it had resolved to it.
    hosts = ["127.0.0.1", "localhost", "[::1]", host] if _is_loopback(host) else ["*"]
    return Starlette(
        routes=[Mount(BASE_PATH, Router(routes, redirect_slashes=False))],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
        exception_handlers={HTTPException: _no_operation},
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_operation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"errorType": "NoSuchOperation", "errorDescription": error.detail}
    return JSONResponse(body, error.status_code, headers=error.headers)


def _endpoint(
    service: Service, operation: Operation, handler: Callable[[Received], Response]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            claims: Mapping[str, Any] = {}
            if operation.authorization == "bearer":
                scheme, token = _authorization(request)
                claims = service.tokens.read(token if scheme == "bearer" else "")
            return handler(Received(service, request, await _body(request), claims))
        except RefusedError as refused:
            return refused.response()
        except InvalidTokenError:
            return Response(status_code=401)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception:  # noqa: BLE001 - a request that goes wrong is answered too
            _log.exception("%s failed", operation.id)
            return _refused(500, "InternalError", "the emulator failed; see its log").response()

    return endpoint


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _refused(413, "TooLarge", f"a body has at most {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
