"""One connection to the service, and the exceptions for its failures."""

from __future__ import annotations

import logging
import re
import sys
import weakref
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from .._interrupts import is_from_signal_handler
from .._url import origin
from .._version import __version__
from ..exceptions import HtcConnectionError, HtcTimeoutError
from .body import BodyReader
from .content import Content
from .deadline import Deadline, DeadlineNetwork

if TYPE_CHECKING:
    import ssl
    from typing import Self

    from .._wire.answer import Response
    from .http_request import HttpRequest

# Servers close idle connections, so one that was idle for longer is not reused.
KEEP_ALIVE_SECONDS = 5.0

_HEADERS = {
    "User-Agent": f"rescalehtc/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
}
_library = logging.getLogger("httpcore")


class Connection(ABC):
    """A connection that opens on first use, and reopens after it was closed."""

    def __init__(self, url: str, deadline: Deadline) -> None:
        self.origin: tuple[str, str, int] = origin(url)
        self._deadline = deadline
        self._body: BodyReader | None = None
        # Programs written for 1.1.0 do not close their sessions.
        self._finalizer = weakref.finalize(self, deadline.close)

    @property
    def is_reusable(self) -> bool:
        """Whether all received bytes were part of the response."""
        return self._deadline.stream is not None and not self._deadline.stream.has_unread

    async def send(self, request: HttpRequest, seconds: float, max_body_bytes: int) -> Response:
        """Send the request once, and receive the response; see `Transport.send`."""
        self._deadline.start(seconds, request.seconds_per_piece)
        self._body = None
        before = sys.exception()  # the one that the caller is handling
        try:
            response = await self._exchange(request, max_body_bytes)
            self._body = None
            return response
        except _FAILURES as error:
            # The library wraps exceptions that a signal handler raised during socket I/O.
            wrapped: BaseException | None = error
            while wrapped is not None and wrapped is not before:
                if is_from_signal_handler(wrapped):
                    raise wrapped from None
                wrapped = wrapped.__context__
            failure = connection_failure(request, error, seconds, self._deadline.has_sent)
            failure.request_id = self._body.request_id if self._body else None
        raise failure

    @abstractmethod
    async def _exchange(self, request: HttpRequest, max_body_bytes: int) -> Response:
        """Send a request and receive the response, without handling failures."""

    def close(self) -> None:
        """Close it without waiting."""
        self._deadline.close()
        self._finalizer.detach()  # a finalizer drops the exception of a signal handler


def tls_layers(url: str, proxy: httpx.Proxy | None) -> int:
    """The number of TLS layers around a request: the service's, and possibly a proxy's."""
    is_tls = origin(url)[0] == "https"
    return is_tls + (is_tls and proxy is not None and proxy.url.scheme == "https")


class BlockingConnection(Connection):
    """A connection that blocks the waiting thread.

    `httpx.HTTPTransport` has no parameter for a network backend. The pool only creates the library's
    connection, because its methods for sending use locks that an interrupt can leave held.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None, proxy: httpx.Proxy | None) -> None:
        network = DeadlineNetwork(tls_layers(url, proxy))
        super().__init__(url, network)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            proxy=None if proxy is None else core_proxy(proxy, context),
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=network,
        )
        self._connection: httpcore.ConnectionInterface | None = None

    async def _exchange(self, request: HttpRequest, max_body_bytes: int) -> Response:
        core = core_request(library_request(request))
        connection = self._connection
        if connection is None or connection.is_closed() or connection.has_expired():
            if connection is not None:
                connection.close()
            connection = self._connection = self._pool.create_connection(core.url.origin)
        answer = connection.handle_request(core)
        headers = httpx.Headers(answer.headers)
        body = self._body = BodyReader(request.name, answer.status, headers, max_body_bytes)
        assert isinstance(answer.stream, Iterable)
        for piece in answer.stream:
            body.feed(piece)
        answer.close()  # only on success: after a failure, the connection is closed
        return body.response()


class _ContentInThreads(httpx.AsyncByteStream):
    """Reads a file in threads. Not a generator, because a generator would have to be closed."""

    def __init__(self, content: Content) -> None:
        self._pieces = iter(content)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        from anyio.to_thread import run_sync

        piece = await run_sync(next, self._pieces, b"", abandon_on_cancel=True)
        if not piece:
            raise StopAsyncIteration
        return piece


def library_request(request: HttpRequest, *, is_async: bool = False) -> httpx.Request:
    """Convert a request to one of httpx."""
    headers = {**_HEADERS, **request.headers}
    content: Any = request.body
    in_threads = is_async and isinstance(content, Content)
    converted = httpx.Request(
        request.method, request.url, headers=headers, content=None if in_threads else content
    )
    if in_threads:
        converted.stream = _ContentInThreads(content)
    if _library.isEnabledFor(logging.DEBUG):
        converted.extensions["trace"] = _hide_texts_on_loop if is_async else _hide_texts
    return converted


def core_request(request: httpx.Request) -> httpcore.Request:
    """Convert a request of httpx to one of httpcore."""
    return httpcore.Request(
        request.method,
        _core_url(request.url),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


def core_proxy(proxy: httpx.Proxy, context: ssl.SSLContext | None) -> httpcore.Proxy:
    """Convert a proxy of httpx to one of httpcore."""
    is_tls = proxy.url.scheme == "https"
    auth = proxy.raw_auth and (proxy.raw_auth[0], _SecretBytes(proxy.raw_auth[1]))
    return httpcore.Proxy(_core_url(proxy.url), auth=auth, ssl_context=context if is_tls else None)


class _SecretBytes(bytes):
    """A password, which the library logs when it connects to a SOCKS proxy."""

    def __repr__(self) -> str:
        return "***"


def _hide_texts(event: str, info: dict[str, Any]) -> None:
    """Let the library log only the status of a response, because the rest may contain secrets."""
    match info:
        case {"return_value": (_, int(status), *_)} if "headers" in event:
            info["return_value"] = status
        case {"exception": BaseException() as error}:
            info["exception"] = type(error)
        case _:
            pass


async def _hide_texts_on_loop(event: str, info: dict[str, Any]) -> None:
    _hide_texts(event, info)


def _proxy_failures() -> tuple[type[Exception], ...]:
    try:  # httpcore uses it for SOCKS proxies, and does not convert its exceptions
        from socksio.exceptions import SOCKSError
    except ImportError:
        return (httpcore.ProxyError, httpx.ProxyError)
    return (httpcore.ProxyError, httpx.ProxyError, SOCKSError)


_PROXY_FAILURES = _proxy_failures()
_FAILURES: tuple[type[Exception], ...] = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    *_PROXY_FAILURES,
    httpcore.UnsupportedProtocol,
    httpx.HTTPError,
    httpx.InvalidURL,
    UnicodeError,
    zlib.error,
)


def connection_failure(
    request: HttpRequest, error: Exception, seconds: float, has_sent: bool
) -> HtcConnectionError:
    """Create the exception for an error of the HTTP library.

    Args:
        request: The request.
        error: The library's exception.
        seconds: The timeout of the request.
        has_sent: Whether any byte of the request may have been sent to the service.
    """
    host = _host(request.url)
    if isinstance(error, httpcore.TimeoutException | httpx.TimeoutException):
        message = f"{request.name}: no complete response from {host} within {seconds:.3g} s"
        return HtcTimeoutError(message, has_sent)
    if isinstance(error, _PROXY_FAILURES):
        # The text after the status is from the proxy.
        status = re.match(r"\d{3}", str(error))
        reason = f"HTTP {status[0]}" if status else str(error)
        return HtcConnectionError(
            f"{request.name}: the proxy does not connect to {host}: {reason}", False
        )
    reason = type(error).__name__
    if isinstance(error, httpcore.NetworkError | httpx.NetworkError):
        reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or reason
    elif isinstance(error, httpcore.ProtocolError | httpx.ProtocolError):
        reason = str(error).partition(":")[0] or reason  # the rest quotes received bytes
    return HtcConnectionError(f"{request.name}: no response from {host}: {reason}", has_sent)


def _host(url: str) -> str:
    """The URL without path and query, which may contain secrets."""
    scheme, host, port = origin(url)
    return f"{scheme}://{host}:{port}"
