"""Requests for handlers: read the body and query, and find the objects of the path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import QueryParams
from starlette.responses import Response

from ..tokens import WORKSPACE_ID
from .errors import bad_request, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ..._model_base import StrEnum
    from ..executor import Executor
    from ..folders import Folders
    from ..runners.images import RegistryImages
    from ..store import Row, Store
    from ..tokens import Tokens

MAX_PROBLEMS: Final = 100

T = TypeVar("T")


class Service(NamedTuple):
    """The parts of the emulator that handlers use."""

    store: Store
    executor: Executor
    tokens: Tokens
    folders: Folders
    clock_rate: float
    images: RegistryImages | None = None


class ApiRequest(NamedTuple):
    """A request for an operation, with the claims of its bearer token."""

    service: Service
    http: Request
    body: bytes
    claims: Mapping[str, Any]

    @property
    def store(self) -> Store:
        """The service's state."""
        return self.service.store

    @property
    def query(self) -> QueryParams:
        """The query parameters. An empty one counts as absent."""
        pairs = self.http.query_params.multi_items()
        return QueryParams([(name, value) for name, value in pairs if value])

    @property
    def origin(self) -> str:
        """The scheme, host and port that the caller used."""
        return f"{self.http.url.scheme}://{self.http.url.netloc}"

    def path(self, name: str) -> str:
        """Return a path parameter."""
        value: str = self.http.path_params[name]
        return value


Handler = Callable[[ApiRequest], Response]


# ---- the objects in the path


def check_workspace(request: ApiRequest) -> None:
    """Raise an error unless the workspace is the emulator's."""
    if request.path("workspaceId") != WORKSPACE_ID:
        raise not_found("the workspace does not exist")


def find_project(request: ApiRequest) -> dict[str, Any]:
    """Return the project of the path."""
    project = request.store.project(request.path("projectId"))
    if project is None:
        raise not_found("the project does not exist")
    return project


def find_task(request: ApiRequest) -> dict[str, Any]:
    """Return the task of the path."""
    project_id, task_id = request.path("projectId"), request.path("taskId")
    apply_retention(request.service, project_id, task_id)
    task = request.store.task(project_id, task_id)
    if task is None:
        raise not_found("the task does not exist in the project")
    return task


def apply_retention(service: Service, project_id: str, task_id: str | None = None) -> None:
    """Archive and delete the tasks that are due according to their retention policies."""
    for deleted in service.store.apply_retention(project_id, task_id, service.clock_rate):
        service.executor.discard(deleted)


def find_job(request: ApiRequest) -> Row:
    """Return the job of the path."""
    job = request.store.job(find_task(request)["taskId"], request.path("jobId"))
    if job is None:
        raise not_found("the job does not exist in the task")
    return job


# ---- bodies and queries


def parse_body(adapter: TypeAdapter[T], body: bytes) -> T:
    """Return the body as a model."""
    try:
        # 1.1.0 sends a field that the service does not have; the service ignores it.
        return adapter.validate_json(body, extra="ignore", by_alias=True, by_name=False)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [f"{_place(problem['loc'])}: {problem['msg']}" for problem in errors]
    raise bad_request("; ".join(problems[:MAX_PROBLEMS]))


def _place(location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).removeprefix(".") or "body"


def read_choice(request: ApiRequest, name: str, values: type[StrEnum]) -> str | None:
    """Return a query parameter that must be one of several values. None if absent."""
    value = request.query.get(name)
    if value is not None and value not in list(values):
        raise bad_request(f"{name} must be one of {', '.join(values)}")
    return value


def read_flag(request: ApiRequest, name: str) -> bool | None:
    """Return a query parameter that must be true or false. None if absent."""
    value = request.query.get(name)
    if value not in (None, "true", "false"):
        raise bad_request(f"{name} must be true or false")
    return None if value is None else value == "true"


def read_number(request: ApiRequest, name: str) -> int | None:
    """Return a query parameter that must be an integer of at least 1. None if absent."""
    value = request.query.get(name)
    if value is None:
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,17}", value, re.ASCII):
        raise bad_request(f"{name} must be an integer of at least 1")
    return int(value)
