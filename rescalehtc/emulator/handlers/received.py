"""A request as handlers see it, and what they share: reading it, finding things, answering."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import quote, urlencode

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse, Response

from .._nulls import NULLABLE_FIELDS
from ..tokens import WORKSPACE_ID

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence, Set

    from starlette.requests import Request

    from ..._model_base import StrEnum
    from ..executor import Executor
    from ..folders import Folders
    from ..store import Row, Store
    from ..tokens import Tokens

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1000
MAX_PROBLEMS: Final = 100

T = TypeVar("T")


class Service(NamedTuple):
    """What handlers work with."""

    store: Store
    executor: Executor
    tokens: Tokens
    folders: Folders
    clock_rate: float


class Received(NamedTuple):
    """A request as a handler sees it."""

    service: Service
    request: Request
    body: bytes
    claims: Mapping[str, Any]

    @property
    def store(self) -> Store:
        """The service's state."""
        return self.service.store

    @property
    def query(self) -> QueryParams:
        """The query parameters. One that is empty counts as absent."""
        pairs = self.request.query_params.multi_items()
        return QueryParams([(name, value) for name, value in pairs if value])

    @property
    def origin(self) -> str:
        """Scheme, host and port by which the caller reached the emulator."""
        return f"{self.request.url.scheme}://{self.request.url.netloc}"

    def path(self, name: str) -> str:
        """A path parameter."""
        value: str = self.request.path_params[name]
        return value


Handler = Callable[[Received], Response]


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


def refused(status: int, kind: str, description: str) -> RefusedError:
    """An error with a documented body."""
    return RefusedError(status, {"errorType": kind, "errorDescription": description})


def bad(description: str) -> RefusedError:
    """A request breaks a rule."""
    return refused(400, "BadRequest", description)


def not_found(description: str) -> RefusedError:
    """There is no such thing."""
    return refused(404, "NotFound", description)


def oauth_refused(status: int, kind: str, description: str) -> RefusedError:
    """An error that OAuth clients can read, too: they look for its name in `error`."""
    body = {"errorType": kind, "error": kind, "errorDescription": description}
    return RefusedError(status, body)


# ---- finding what the path names


def check_workspace(received: Received) -> None:
    """Refuse any workspace but the emulator's."""
    if received.path("workspaceId") != WORKSPACE_ID:
        raise not_found("there is no such workspace")


def find_project(received: Received) -> dict[str, Any]:
    """The project that the path names."""
    project = received.store.project(received.path("projectId"))
    if project is None:
        raise not_found("there is no such project")
    return project


def find_task(received: Received) -> dict[str, Any]:
    """The task that the path names."""
    project_id, task_id = received.path("projectId"), received.path("taskId")
    apply_retention(received.service, project_id, task_id)
    task = received.store.task(project_id, task_id)
    if task is None:
        raise not_found("there is no such task in the project")
    return task


def apply_retention(service: Service, project_id: str, task_id: str | None = None) -> None:
    """Archive and delete what retention policies say, now that somebody looks."""
    for deleted in service.store.apply_retention(project_id, task_id, service.clock_rate):
        service.executor.discard(deleted)


def find_job(received: Received) -> Row:
    """The job that the path names."""
    job = received.store.job(find_task(received)["taskId"], received.path("jobId"))
    if job is None:
        raise not_found("there is no such job in the task")
    return job


# ---- reading bodies and queries


def parsed(adapter: TypeAdapter[T], body: bytes) -> T:
    """The body as one of the models."""
    try:
        # 1.1.0 sends a field that the service does not have, and is served: it is ignored.
        return adapter.validate_json(body, extra="ignore", by_alias=True, by_name=False)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [f"{_place(problem['loc'])}: {problem['msg']}" for problem in found]
    raise bad("; ".join(problems[:MAX_PROBLEMS]))


def _place(location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).removeprefix(".") or "body"


def one_of(received: Received, name: str, values: type[StrEnum]) -> str | None:
    """A query parameter that is one of the listed values if it is given."""
    value = received.query.get(name)
    if value is not None and value not in list(values):
        raise bad(f"{name} must be one of {', '.join(values)}")
    return value


def flag(received: Received, name: str) -> bool | None:
    """A query parameter that is true or false if it is given."""
    value = received.query.get(name)
    if value not in (None, "true", "false"):
        raise bad(f"{name} must be true or false")
    return None if value is None else value == "true"


def number(received: Received, name: str) -> int | None:
    """A query parameter that is a number above 0 if it is given."""
    value = received.query.get(name)
    if value is None:
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,17}", value, re.ASCII):
        raise bad(f"{name} must be a whole number, at least 1")
    return int(value)


# ---- pages


def page_asked(received: Received) -> tuple[int, int]:
    """The size of the page that is asked for, and the number of the item before it."""
    size = number(received, "pageSize") or DEFAULT_PAGE_SIZE
    return min(size, MAX_PAGE_SIZE), number(received, "pageIndex") or 0


def page(
    received: Received, rows: Sequence[Row], size: int, *, repeated: Collection[str] = ()
) -> Response:
    """Answer a page. There is one row more than its size if another page follows.

    Args:
        received: The request.
        rows: What the page holds.
        size: The page's size.
        repeated: Query parameters that may be given many times.
    """
    items = ",".join(row.text for row in rows[:size])
    if len(rows) <= size:
        return json_text(f'{{"items":[{items}]}}')
    # A parameter that came twice is passed on once, except those that may be repeated.
    query = [(name, value) for name in repeated for value in received.query.getlist(name)]
    query += [(n, v) for n, v in received.query.items() if n not in (*repeated, "pageIndex")]
    query.append(("pageIndex", str(rows[size - 1].number)))
    path = quote(received.request.url.path, safe="/:")
    following = f"{received.origin}{path}?{urlencode(query)}"
    return json_text(f'{{"items":[{items}],"next":{json.dumps(following)}}}')


def json_text(text: str | bytes, status: int = 200) -> Response:
    """Answer JSON that is there already."""
    return Response(text, status, media_type="application/json")


# ---- nulls


def without_nulls(response: Response, operation_id: str) -> Response:
    """Leave out the fields of an answer that have no value and that the service leaves out, too."""
    body = bytes(response.body)
    if response.media_type != "application/json" or b"null" not in body:
        return response
    kept = _without_nulls(from_json(body), NULLABLE_FIELDS.get(operation_id, frozenset()), "")
    return json_text(to_json(kept), response.status_code)


def _without_nulls(value: object, nullable: Set[str], place: str) -> object:
    if isinstance(value, dict):
        record = cast("dict[str, object]", value)
        return {
            name: _without_nulls(field, nullable, f"{place}{name}.")
            for name, field in record.items()
            if field is not None or f"{place}{name}" in nullable
        }
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_without_nulls(item, nullable, place) for item in items]
    return value
