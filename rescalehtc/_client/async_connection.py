"""One connection to the service on an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import TYPE_CHECKING

import httpcore
import httpx

from .async_deadline import AsyncDeadlineNetwork
from .body import BodyReader
from .connection import (
    KEEP_ALIVE_SECONDS,
    Connection,
    core_proxy,
    core_request,
    library_request,
    tls_layers,
)

if TYPE_CHECKING:
    import ssl

    from .._wire.answer import Response
    from .http_request import HttpRequest


class AsyncConnection(Connection):
    """A connection that suspends only the waiting task."""

    def __init__(self, url: str, context: ssl.SSLContext | None, proxy: httpx.Proxy | None) -> None:
        network = AsyncDeadlineNetwork(tls_layers(url, proxy))
        super().__init__(url, network)
        self._network = network
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            proxy=None if proxy is None else core_proxy(proxy, context),
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=network,
        )
        self._connection: httpcore.AsyncConnectionInterface | None = None

    async def _exchange(self, request: HttpRequest, max_body_bytes: int) -> Response:
        with self._network.limited():
            return await self._exchange_in_time(request, max_body_bytes)

    async def _exchange_in_time(self, request: HttpRequest, max_body_bytes: int) -> Response:
        core = core_request(library_request(request, is_async=True))
        connection = self._connection
        if connection is None or connection.is_closed() or connection.has_expired():
            if connection is not None:
                await connection.aclose()
            connection = self._connection = self._pool.create_connection(core.url.origin)
        answer = await connection.handle_async_request(core)
        headers = httpx.Headers(answer.headers)
        body = self._body = BodyReader(request.name, answer.status, headers, max_body_bytes)
        assert isinstance(answer.stream, AsyncIterable)
        pieces = aiter(answer.stream)
        try:
            async for piece in pieces:
                body.feed(piece)
        finally:
            if isinstance(pieces, AsyncGenerator):  # don't leave this to the garbage collector
                await pieces.aclose()
        await answer.aclose()  # only on success: after a failure, the connection is closed
        return body.response()
