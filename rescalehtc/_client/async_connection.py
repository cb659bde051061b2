"""One connection to the service on an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

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
    from collections.abc import AsyncIterator

    from .._wire.answer import Response
    from .http_request import HttpRequest


class AsyncConnection(Connection):
    """A connection that suspends only the waiting task."""

    def __init__(self, url: str, context: ssl.SSLContext | None, proxy: httpx.Proxy | None) -> None:
        network = AsyncDeadlineNetwork(tls_layers(url, proxy))
        super().__init__(url, network)
        self._network = network
        self._transport = _AsyncPoolTransport(network, context, proxy)

    async def _exchange(self, request: HttpRequest, max_body_bytes: int) -> Response:
        with self._network.kept():
            return await self._exchange_in_time(request, max_body_bytes)

    async def _exchange_in_time(self, request: HttpRequest, max_body_bytes: int) -> Response:
        made = library_request(request, is_async=True)
        answer = await self._transport.handle_async_request(made)
        body = self._body = BodyReader(request.name, answer, max_body_bytes)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        pieces = aiter(answer.stream)
        try:
            async for piece in pieces:
                body.feed(piece)
        finally:
            if isinstance(pieces, AsyncGenerator):  # don't leave this to the garbage collector
                await pieces.aclose()
        await answer.stream.aclose()  # only on success: after a failure, the connection is closed
        return body.response()


class _AsyncPoolTransport(httpx.AsyncBaseTransport):
    """Like the blocking transport: a connection of the library on our own network backend."""

    def __init__(
        self,
        network: AsyncDeadlineNetwork,
        context: ssl.SSLContext | None,
        proxy: httpx.Proxy | None,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            proxy=None if proxy is None else core_proxy(proxy, context),
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=network,
        )
        self._connection: httpcore.AsyncConnectionInterface | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        core = core_request(request)
        connection = self._connection
        if connection is None or connection.is_closed() or connection.has_expired():
            await self.aclose()
            connection = self._connection = self._pool.create_connection(core.url.origin)
        answer = await connection.handle_async_request(core)
        assert isinstance(answer.stream, AsyncIterable)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_AsyncAnswerStream(answer.stream)
        )

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...


class _AsyncAnswerStream(httpx.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        if isinstance(self._stream, _Closable):
            await self._stream.aclose()
