"""The effects of faults on requests and responses, down to the sent bytes."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from ... import models
from ..._model_base import StrEnum
from ..tokens import read_authorization
from .requested import DEFAULT_STATUS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from ..tokens import Tokens
    from .requested import Fault, FaultKind, Faults

UNKNOWN_VALUE: Final = "EMULATED_UNKNOWN_VALUE"
UNKNOWN_FIELD: Final = "emulatedUnknownField"
FOREIGN_HOST: Final = "foreign-host.invalid"  # a reserved name

# The key of the connection in a request's state.
TRANSPORT: Final = "transport"
# Closing a socket with a linger time of 0 resets the connection.
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_LISTED_VALUES: Final = frozenset(
    value
    for listed in vars(models).values()
    if isinstance(listed, type) and issubclass(listed, StrEnum)
    for value in listed
)


async def answer_with_faults(
    faults: Faults,
    tokens: Tokens,
    operation: str,
    request: Request,
    carry_out: Callable[[Request], Awaitable[Response]],
) -> Response:
    """Carry out a request and respond, unless a fault affects it before or after."""
    fault = faults.strike_before(operation)
    if fault is not None:
        if fault.kind == "expire_token":
            _, token = read_authorization(request.headers.get("Authorization", ""))
            tokens.expire(request.headers.get("X-Amz-Security-Token", token))
        else:
            with suppress(ClientDisconnect):
                async for _ in request.stream():
                    pass  # to the client, the request may have been carried out
            return _Reset() if fault.kind == "reset_before" else _error_response(fault)
    response = await carry_out(request)
    fault = faults.strike_after(operation, lambda kind: _applies(kind, response))
    return response if fault is None else await _apply(fault, request, response)


def _applies(kind: FaultKind, response: Response) -> bool:
    """Whether a kind of fault can be applied to a response."""
    if kind in ("nulls", "unknown"):
        return _is_json(response)
    if kind in ("repeat_next", "foreign_next"):
        return _is_json(response) and isinstance(json.loads(bytes(response.body)), dict)
    if not hasattr(response, "body"):  # it is a stream
        return kind not in ("truncate", "truncate_gzip")
    return bool(response.body) or kind != "truncate_gzip"


def _is_json(response: Response) -> bool:
    return response.status_code == 200 and response.media_type == "application/json"


async def _apply(fault: Fault, request: Request, response: Response) -> Response:
    match fault.kind:
        case "delay":
            with suppress(TimeoutError):
                async with asyncio.timeout(fault.seconds):
                    await wait_for_disconnect(request.receive)
            return response
        case "status_after":
            return _error_response(fault)
        case "reset_after":
            return _Reset()
        case "truncate":
            return _Truncated(response)
        case "truncate_gzip":
            return _truncate_gzip(response)
        case _:
            return JSONResponse(_change_answer(json.loads(bytes(response.body)), fault, request))


def _error_response(fault: Fault) -> Response:
    status = fault.options.get("status", DEFAULT_STATUS)
    body = {
        "errorType": "Fault",
        "errorDescription": "this error is a fault of the emulator",
    }
    response = JSONResponse(body, status)
    if "retry_after" in fault.options:
        response.headers["Retry-After"] = str(fault.options["retry_after"])
    return response


# ---- connections


class _Reset(Response):
    """No response: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        transport: asyncio.Transport = scope["state"][TRANSPORT]
        connection: socket.socket = transport.get_extra_info("socket")
        with suppress(OSError):  # the client has disconnected
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
        await wait_for_disconnect(receive)


class _Truncated(Response):
    """A response whose connection is closed in the middle."""

    def __init__(self, whole: Response) -> None:
        super().__init__()
        body = bytes(whole.body)
        self._half = body[: len(body) // 2]
        headers = [(name, value) for name, value in whole.raw_headers if name != b"content-length"]
        self._start = {
            "type": "http.response.start",
            "status": whole.status_code,
            "headers": [*headers, (b"content-length", b"%d" % max(1, len(body)))],
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(self._start)
        await send({"type": "http.response.body", "body": self._half, "more_body": True})
        transport: asyncio.Transport = scope["state"][TRANSPORT]
        transport.close()
        await wait_for_disconnect(receive)


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the server has noticed that the connection was closed, and expects no response."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _truncate_gzip(response: Response) -> Response:
    """A response with a matching length and a truncated compressed body."""
    body = gzip.compress(bytes(response.body), mtime=0)
    headers = {"Content-Encoding": "gzip"}
    half = body[: len(body) // 2]
    return Response(half, response.status_code, headers, media_type=response.media_type)


# ---- records and pages


def _change_answer(answer: Any, fault: Fault, request: Request) -> Any:
    field = fault.options.get("field")
    match fault.kind:
        case "repeat_next":
            return {**answer, "next": str(request.url)}
        case "foreign_next":
            foreign = urlsplit(str(request.url))._replace(netloc=FOREIGN_HOST)
            return {**answer, "next": foreign.geturl()}
        case "nulls" if field is None:
            for record in _records(answer):
                record.update(dict.fromkeys(record))
            return answer
        case "nulls":
            return _replace(answer, lambda name, value: None if name == field else value)
        case _ if field is None:
            for record in _records(answer):
                record[UNKNOWN_FIELD] = {"isUnknown": True}
            return _replace(answer, _replace_listed_value)
        case _:
            return _replace(answer, lambda name, value: UNKNOWN_VALUE if name == field else value)


def _records(answer: Any) -> Iterator[dict[str, Any]]:
    """The items of a page or an array, or else the response itself."""
    items = cast("list[object]", answer)
    if isinstance(answer, dict):
        items = cast("dict[str, list[object]]", answer).get("items", [answer])
    return (cast("dict[str, Any]", item) for item in items if isinstance(item, dict))


def _replace(value: Any, replace: Callable[[str, Any], Any], name: str = "") -> Any:
    """Replace values at any depth. The elements of an array have the array's name."""
    value = replace(name, value)
    if isinstance(value, dict):
        record = cast("dict[str, Any]", value)
        return {key: _replace(below, replace, key) for key, below in record.items()}
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_replace(item, replace, name) for item in items]
    return value


def _replace_listed_value(_name: str, value: Any) -> Any:
    return UNKNOWN_VALUE if isinstance(value, str) and value in _LISTED_VALUES else value
