"""Send requests over a custom transport of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import httpcore
import httpx

from ..exceptions import HtcValidationError, Problem
from .body import BodyReader
from .connection import Connection, library_request
from .deadline import Deadline
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .._wire.answer import Response
    from .http_request import HttpRequest

LibraryTransport: TypeAlias = httpx.BaseTransport | httpx.AsyncBaseTransport

# With these exceptions, a transport reports that no byte of the request was sent.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class CustomTransport(Transport):
    """Passes every request to the user's transport.

    The transport manages the connections, and the user closes it. Variables for proxies and
    certificates are ignored.
    """

    def __init__(self, custom: object, *, is_async: bool) -> None:
        """Initialize it.

        Raises:
            HtcValidationError: The transport does not have the right type.
        """
        super().__init__()
        kind = httpx.AsyncBaseTransport if is_async else httpx.BaseTransport
        if not isinstance(custom, kind):
            problem = f"must be an httpx.{kind.__name__}, got {type(custom).__name__}"
            subject = "AsyncHtcSession" if is_async else "HtcSession"
            raise HtcValidationError(subject, [Problem("transport", problem)])
        self._custom = custom
        self._is_async = is_async

    def _new_connection(self, request: HttpRequest) -> Connection:
        return _Exchange(request.url, self._custom, self._is_async)


class _Exchange(Connection):
    """One exchange. The transport keeps the connection."""

    def __init__(self, url: str, custom: Any, is_async: bool) -> None:
        super().__init__(url, Deadline())
        self._custom = custom
        self._is_async = is_async

    async def _exchange(self, request: HttpRequest, max_body_bytes: int) -> Response:
        converted = library_request(request, is_async=self._is_async)
        # The remaining time is the timeout of each step.
        seconds = self._deadline.remaining(httpcore.ConnectTimeout)
        converted.extensions["timeout"] = httpx.Timeout(seconds).as_dict()
        self._deadline.has_sent = True
        try:
            if self._is_async:
                answer = await self._custom.handle_async_request(converted)
            else:
                answer = self._custom.handle_request(converted)
        except _NOT_SENT:
            self._deadline.has_sent = False
            raise
        body = self._body = BodyReader(
            request.name, answer.status_code, answer.headers, max_body_bytes
        )
        try:
            async for piece in self._pieces(answer):
                body.feed(piece)
                if request.seconds_per_piece is None:
                    self._deadline.remaining(httpcore.ReadTimeout)
        finally:
            if self._is_async:
                await answer.aclose()
            else:
                answer.close()
        return body.response()

    async def _pieces(self, answer: Any) -> AsyncGenerator[bytes]:
        if self._is_async:
            async for piece in answer.stream:
                yield piece
        else:
            for piece in answer.stream:
                yield piece
