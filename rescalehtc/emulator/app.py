"""The HTTP side: from operations to handlers, who may call, and what an error looks like."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from .handlers import authentication, images, jobs, projects, storage, tasks, workspaces
from .handlers.received import Received, RefusedError, refused
from .tokens import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .._operation import Operation
    from .handlers.received import Handler, Service

_log = logging.getLogger("rescalehtc.emulator")

BASE_PATH: Final = "/api/v1"
MAX_BODY_BYTES: Final = 32 << 20

HANDLERS: Final[Mapping[Operation, Handler]] = {
    **authentication.HANDLERS,
    **workspaces.HANDLERS,
    **projects.HANDLERS,
    **images.HANDLERS,
    **storage.HANDLERS,
    **tasks.HANDLERS,
    **jobs.HANDLERS,
}


def create_app(service: Service, host: str) -> Starlette:
    """Make the application, for a server that listens on this host."""
    operations = [
        Route(
            # A number is read by its handler: the router's own reading fails for long ones.
            operation.path.replace(":int}", "}"),
            _endpoint(operation.id, _operation(service, operation, handler)),
            methods=[operation.method],
        )
        for operation, handler in HANDLERS.items()
    ]

    async def upload(request: Request) -> Response:
        return await storage.receive_upload(service, request)

    # A web page must not reach a loopback server by a name that it had resolved to it.
    hosts = ["127.0.0.1", "localhost", "[::1]", host] if _is_loopback(host) else ["*"]
    return Starlette(
        routes=[
            Mount(BASE_PATH, Router(operations, redirect_slashes=False)),
            Route(
                storage.UPLOAD_PATH + "{path:path}", _endpoint("upload", upload), methods=["PUT"]
            ),
        ],
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


def _operation(
    service: Service, operation: Operation, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        claims: Mapping[str, Any] = {}
        if operation.authorization == "bearer":
            claims = authentication.bearer_claims(service, request)
        return handler(Received(service, request, await _body(request), claims))

    return answer


def _endpoint(
    name: str, answer: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except RefusedError as error:
            return error.response()
        except InvalidTokenError:
            return Response(status_code=401)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception:  # noqa: BLE001 - a request that goes wrong is answered too
            _log.exception("%s failed", name)
            return refused(500, "InternalError", "the emulator failed; see its log").response()

    return endpoint


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise refused(413, "TooLarge", f"a body has at most {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
