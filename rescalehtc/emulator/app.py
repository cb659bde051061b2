"""The HTTP application: routes operations to handlers, authenticates, and returns errors."""

from __future__ import annotations

import ipaddress
import logging
import uuid
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from .clouds import STORAGE_PREFIX
from .descriptors import is_out_of_descriptors
from .faults.effects import answer_with_faults
from .faults.requested import STORAGE, UPLOAD
from .folders import is_full
from .handlers import authentication, images, jobs, projects, storage, tasks, workspaces
from .handlers.answers import drop_nulls
from .handlers.errors import ApiError, api_error, oauth_error
from .handlers.request import ApiRequest
from .registry.http import PATH as REGISTRY_PATH
from .registry.http import answer as answer_registry
from .storage.s3 import S3
from .tokens import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .._wire.operation import Operation
    from .faults import Faults
    from .handlers.request import Handler, Service

    Answer = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger("rescalehtc.emulator")

BASE_PATH: Final = "/api/v1"
MAX_BODY_BYTES: Final = 32 << 20

HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    **authentication.HANDLERS,
    **workspaces.HANDLERS,
    **projects.HANDLERS,
    **images.HANDLERS,
    **storage.HANDLERS,
    **tasks.HANDLERS,
    **jobs.HANDLERS,
}


class _AnyPath(PathConvertor):
    regex = "(?s:.*)"  # with line ends


register_url_convertor("any_path", _AnyPath())


def create_app(service: Service, host: str, faults: Faults) -> Starlette:
    """Create the application for a server that listens on this host."""

    def endpoint(name: str, answer: Answer) -> Answer:
        carry_out = _answer_errors(name, answer)

        async def faulty(request: Request) -> Response:
            return await answer_with_faults(faults, service.tokens, name, request, carry_out)

        return faulty

    by_path: dict[str, dict[str, Answer]] = {}
    for operation, handler in HANDLERS.items():
        # The handler parses numbers, because the router's converter fails for long numbers.
        answers = by_path.setdefault(operation.path.replace(":int}", "}"), {})
        answer = _answer_operation(service, operation, handler)
        answers[operation.method] = endpoint(operation.id, answer)
    # One route per path: a 405 lists the methods of the route.
    operations = [
        Route(path, _by_method(found), methods=[*found]) for path, found in by_path.items()
    ]

    async def upload(request: Request) -> Response:
        return await storage.receive_upload(service, request)

    async def registry(request: Request) -> Response:
        assert service.images is not None
        return await answer_registry(service.images.registry, service.tokens, request)

    s3 = S3(service.tokens, service.folders, service.store)
    routes = [
        Mount(BASE_PATH, Router(operations, redirect_slashes=False)),
        Route(storage.UPLOAD_PATH + "{path:path}", endpoint(UPLOAD, upload), methods=["PUT"]),
        # No other path starts with the name of a bucket.
        Route(
            f"/{STORAGE_PREFIX}{{path:any_path}}",
            endpoint(STORAGE, s3.answer),
            methods=["GET", "HEAD", "PUT", "POST", "DELETE"],
        ),
    ]
    if service.images is not None:
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        registry_answer = _answer_errors("the registry", registry)
        routes.append(Route(REGISTRY_PATH + "{path:path}", registry_answer, methods=methods))
    # A web page must not reach a loopback server by a name that it had resolved to it.
    hosts = ["127.0.0.1", "localhost", "[::1]", host] if _is_loopback(host) else ["*"]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_RequestIds),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(_OwnOrigin),
        ],
        exception_handlers={HTTPException: _answer_no_operation},
    )


def _by_method(answers: Mapping[str, Answer]) -> Answer:
    async def answer(request: Request) -> Response:
        return await answers["GET" if request.method == "HEAD" else request.method](request)

    return answer


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _RequestIds:
    """Adds a request id to each response, in the header that AWS API gateways use."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = (b"x-amzn-requestid", str(uuid.uuid4()).encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await self._app(scope, receive, send_with_id)


class _OwnOrigin:
    """Rejects requests that a browser sends for pages of other origins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        own_origin = f"{request.url.scheme}://{request.url.netloc}"
        if all(origin == own_origin for origin in request.headers.getlist("Origin")):
            await self._app(scope, receive, send)
            return
        error = api_error(403, "Forbidden", "requests from other origins are not allowed")
        await error.response()(scope, receive, send)


def _answer_no_operation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"errorType": "NoSuchOperation", "errorDescription": error.detail}
    return JSONResponse(body, error.status_code, headers=error.headers)


def _answer_operation(service: Service, operation: Operation[Any], handler: Handler) -> Answer:
    async def answer(request: Request) -> Response:
        claims: Mapping[str, Any] = {}
        try:
            if operation.authorization == "bearer":
                claims = authentication.read_bearer_claims(service, request)
            response = handler(ApiRequest(service, request, await _read_body(request), claims))
        except InvalidTokenError:
            if operation.path.startswith("/auth/"):
                raise oauth_error(401, "Unauthorized", "the key or token is invalid") from None
            raise ApiError(401) from None
        return drop_nulls(response, operation.id)

    return answer


def _answer_errors(name: str, answer: Answer) -> Answer:
    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except ApiError as error:
            return error.response()
        except ClientDisconnect:
            return Response(status_code=400)  # the client has disconnected
        except Exception as error:  # noqa: BLE001 - every request gets a response
            if is_full(error):
                return api_error(
                    507, "InsufficientStorage", "the emulator's disk is full"
                ).response()
            if is_out_of_descriptors(error):
                reason = "the emulator has no file descriptors left; try again"
                return api_error(503, "ServiceUnavailable", reason).response()
            _log.exception("%s failed", name)
            return api_error(500, "InternalError", "the emulator failed; see its log").response()

    return endpoint


async def _read_body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise api_error(413, "TooLarge", f"the body must have at most {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
