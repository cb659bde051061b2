"""Connections to the service: sending a request and receiving the whole answer."""

from __future__ import annotations

import logging
import os
import re
import sys
import weakref
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import httpcore
import httpx

from .._environment import proxy_for, tls_context
from .._interrupts import is_from_signal_handler, suppressed
from .._url import origin
from .._version import __version__
from ..exceptions import (
    HtcConfigurationError,
    HtcConnectionError,
    HtcTimeoutError,
)
from .body import BodyReader
from .deadline import DeadlineNetwork

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from .._wire.answer import Response
    from .content import Content

MAX_IDLE_CONNECTIONS = 10
# A server may close an idle connection; one that was idle for longer is not used again.
KEEP_ALIVE_SECONDS = 5.0
MAX_BODY_BYTES = 256 << 20

_HEADERS = {
    "User-Agent": f"rescalehtc/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
}
_library = logging.getLogger("httpcore")


@dataclass(frozen=True)
class HttpRequest:
    """A request.

    Attributes:
        name: What it does, for messages: an operation's id.
        method: The HTTP method.
        url: The address.
        headers: Headers beside those of every request.
        body: What to send.
        is_fresh: Whether to send it on a new connection: on one that was used before, leftovers
            of another answer could be taken for the answer to this request.
        seconds_per_piece: With it, the time limit begins anew with each piece that is sent.
    """

    name: str
    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | Content | None = field(default=None, repr=False)
    is_fresh: bool = False
    seconds_per_piece: float | None = None


class Transport:
    """Connections, each used by one thread at a time.

    Each has a pool of the HTTP library of its own: in a shared pool, a thread now and then
    closes a connection that another one begins to use (encode/httpcore discussion 1000).
    """

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        """Make one.

        Args:
            max_body_bytes: The size of the largest body that is received, after decompression.
        """
        self._max_body_bytes = max_body_bytes
        self._idle: list[_Connection] = []
        self._ssl_context: ssl.SSLContext | None = None

    def send(self, request: HttpRequest, seconds: float) -> Response:
        """Send once and receive the whole answer.

        Args:
            request: The request.
            seconds: How long it may take.

        Raises:
            HtcTimeoutError: No whole answer in time.
            HtcConnectionError: The service can't be reached, or the answer broke off.
            HtcResponseError: The answer is too large, or of an unknown encoding.
        """
        connection = None if request.is_fresh else self._idle_connection(request)
        connection = connection or self._new_connection(request)
        try:
            response = connection.send(request, seconds, self._max_body_bytes)
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable and len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def close(self) -> None:
        """Close the connections that are not in use; a later request opens new ones."""
        with suppressed(IndexError):
            while True:
                self._idle.pop().close()

    # What a fork must not share is what `close` closes: the child's copies of the sockets.
    after_fork = close

    def _idle_connection(self, request: HttpRequest) -> _Connection | None:
        with suppressed(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.origin == origin(request.url):
                    return connection
                connection.close()
        return None

    def _new_connection(self, request: HttpRequest) -> _Connection:
        try:
            proxy = _proxy(request.url)
            context = None
            # One costs more than a request without TLS.
            if "https" in (origin(request.url)[0], proxy and proxy.url.scheme):
                if self._ssl_context is None:
                    certificates = tls_context(os.environ)
                    self._ssl_context = certificates or httpx.create_ssl_context(trust_env=False)
                context = self._ssl_context
            return _Connection(request.url, context, proxy)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            if is_from_signal_handler(error):
                raise
            reason = str(error)
        message = f"{request.name}: no connection can be set up: {reason}"
        raise HtcConfigurationError(message, False)


class _Connection:
    """A connection that is made when it is needed, and made again when it was closed."""

    def __init__(self, url: str, context: ssl.SSLContext | None, proxy: httpx.Proxy | None) -> None:
        self.origin: tuple[str, str, int] = origin(url)
        is_tls = self.origin[0] == "https"
        is_proxy_tls = is_tls and proxy is not None and proxy.url.scheme == "https"
        self._network = DeadlineNetwork(is_tls + is_proxy_tls)
        self._transport = _PoolTransport(self._network, context, proxy)
        # Programs written for 1.1.0 do not close their sessions.
        self._finalizer = weakref.finalize(self, self._network.close)

    @property
    def is_reusable(self) -> bool:
        """Whether every byte that came in was part of the answer."""
        return self._network.stream is not None and not self._network.stream.has_unread

    def send(self, request: HttpRequest, seconds: float, max_body_bytes: int) -> Response:
        self._network.start(seconds, request.seconds_per_piece)
        before = sys.exception()  # what the caller is dealing with
        try:
            answer = self._transport.handle_request(
                httpx.Request(
                    request.method,
                    request.url,
                    headers={**_HEADERS, **request.headers},
                    content=request.body,
                    extensions={"trace": _hide_texts} if _is_traced() else None,
                )
            )
            body = BodyReader(request.name, answer, max_body_bytes)
            assert isinstance(answer.stream, httpx.SyncByteStream)
            for piece in answer.stream:
                body.feed(piece)
            answer.stream.close()  # only now: after a failure the whole connection goes
            return body.response()
        except _FAILURES as error:
            # The library wraps what a signal handler raised while a socket was waited for.
            wrapped: BaseException | None = error
            while wrapped is not None and wrapped is not before:
                if is_from_signal_handler(wrapped):
                    raise wrapped from None
                wrapped = wrapped.__context__
            failure = connection_failure(request, error, seconds, self._network.has_sent)
        raise failure

    def close(self) -> None:
        self._network.close()
        self._finalizer.detach()  # it would drop the exception of a signal handler


def _proxy_failures() -> tuple[type[Exception], ...]:
    try:  # the library needs it for SOCKS proxies, and does not translate its exceptions
        from socksio.exceptions import SOCKSError
    except ImportError:
        return (httpcore.ProxyError,)
    return (httpcore.ProxyError, SOCKSError)


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
    """Make the exception for an error of the HTTP library.

    Args:
        request: The request.
        error: The library's exception.
        seconds: How long the request was allowed to take.
        has_sent: Whether any byte of the request may have left for the service.
    """
    host = _host(request.url)
    if isinstance(error, httpcore.TimeoutException | httpx.TimeoutException):
        message = f"{request.name}: no whole answer from {host} within {seconds:.3g} s"
        return HtcTimeoutError(message, has_sent)
    if isinstance(error, _PROXY_FAILURES):
        # After the status, the text is the proxy's.
        status = re.match(r"\d{3}", str(error))
        reason = f"HTTP {status[0]}" if status else str(error)
        return HtcConnectionError(
            f"{request.name}: the proxy does not connect to {host}: {reason}", False
        )
    reason = type(error).__name__
    if isinstance(error, httpcore.NetworkError):
        reason = str(error) or reason
    elif isinstance(error, httpcore.ProtocolError | httpx.ProtocolError):
        reason = str(error).partition(":")[0] or reason  # the rest quotes what came in
    return HtcConnectionError(f"{request.name}: no answer from {host}: {reason}", has_sent)


class _PoolTransport(httpx.BaseTransport):
    """A transport of the HTTP library with one connection, on a network of ours.

    Its own HTTPTransport takes no network. Its pool only makes the connection: what sends
    through it takes locks, which an interrupt can leave held.
    """

    def __init__(
        self,
        network: DeadlineNetwork,
        context: ssl.SSLContext | None,
        proxy: httpx.Proxy | None,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            proxy=None if proxy is None else _core_proxy(proxy, context),
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=network,
        )
        self._connection: httpcore.ConnectionInterface | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = _core_url(request.url)
        connection = self._connection
        if connection is None or connection.is_closed() or connection.has_expired():
            self.close()
            connection = self._connection = self._pool.create_connection(url.origin)
        answer = connection.handle_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_AnswerStream(answer.stream)
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> None: ...


class _AnswerStream(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        if isinstance(self._stream, _Closable):
            self._stream.close()


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


def _core_proxy(proxy: httpx.Proxy, context: ssl.SSLContext | None) -> httpcore.Proxy:
    is_tls = proxy.url.scheme == "https"
    return httpcore.Proxy(
        _core_url(proxy.url), auth=proxy.raw_auth, ssl_context=context if is_tls else None
    )


def _is_traced() -> bool:
    return _library.isEnabledFor(logging.DEBUG)


def _hide_texts(event: str, info: dict[str, Any]) -> None:
    """Let the library log nothing that came in but the status: the rest may hold secrets."""
    match info:
        case {"return_value": (_, int(status), *_)} if "headers" in event:
            info["return_value"] = status
        case {"exception": BaseException() as error}:
            info["exception"] = type(error)
        case _:
            pass


def _proxy(url: str) -> httpx.Proxy | None:
    found = proxy_for(url, os.environ)
    if found is None:
        return None
    with suppressed(httpx.InvalidURL, ValueError):
        return httpx.Proxy(found.address)
    raise found.error()


def proxy_secrets(url: str) -> list[str]:
    """What the proxy for an address is sent to prove who asks; it may repeat that."""
    with suppressed(ImportError, ValueError, httpx.InvalidURL):
        proxy = _proxy(url)
        if proxy is not None and proxy.auth is not None:
            return [":".join(proxy.auth), proxy.auth[1]]
    return []


def _host(url: str) -> str:
    """Where a request went, without path and query: they may hold a secret."""
    scheme, host, port = origin(url)
    return f"{scheme}://{host}:{port}"
