"""Send requests over a pool of connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import httpx

from .._environment import proxy_for, tls_context
from .._interrupts import is_from_signal_handler, suppressed
from .._url import origin
from ..exceptions import HtcConfigurationError
from .connection import BlockingConnection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from .._wire.answer import Response
    from .connection import Connection
    from .http_request import HttpRequest

MAX_BODY_BYTES = 256 << 20


class Transport:
    """Connections, each used by one thread or task at a time.

    Each connection has its own pool of the HTTP library. In a shared pool, one thread sometimes
    closes a connection that another thread starts to use (encode/httpcore discussion 1000).
    """

    def __init__(
        self,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_idle: int = 10,
        connect: Callable[
            [str, ssl.SSLContext | None, httpx.Proxy | None], Connection
        ] = BlockingConnection,
    ) -> None:
        """Initialize it.

        Args:
            max_body_bytes: The maximum size of a response body after decompression.
            max_idle: The maximum number of idle connections.
            connect: A function that makes a connection, given a URL, TLS settings and a proxy.
        """
        self._max_body_bytes = max_body_bytes
        self._max_idle = max_idle
        self._connect = connect
        self._idle: list[Connection] = []
        self._ssl_context: ssl.SSLContext | None = None

    async def send(self, request: HttpRequest, seconds: float) -> Response:
        """Send a request once, and receive the response.

        Args:
            request: The request.
            seconds: The timeout.

        Raises:
            HtcTimeoutError: There is no complete response within the timeout.
            HtcConnectionError: The service can't be reached, or the response is incomplete.
            HtcResponseError: The response is too large, or has an unknown content encoding.
        """
        connection = None if request.is_fresh else self._idle_connection(request)
        connection = connection or self._new_connection(request)
        try:
            response = await connection.send(request, seconds, self._max_body_bytes)
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable and len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def close(self) -> None:
        """Close the idle connections. A later request opens new ones."""
        with suppressed(IndexError):
            while True:
                self._idle.pop().close()

    # A forked child closes its copies of the sockets, because it must not share them.
    after_fork = close

    def _idle_connection(self, request: HttpRequest) -> Connection | None:
        with suppressed(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.origin == origin(request.url):
                    return connection
                connection.close()
        return None

    def _new_connection(self, request: HttpRequest) -> Connection:
        try:
            proxy = _proxy(request.url)
            context = None
            # Creating a context takes longer than a request without TLS.
            if "https" in (origin(request.url)[0], proxy and proxy.url.scheme):
                if self._ssl_context is None:
                    certificates = tls_context(os.environ)
                    self._ssl_context = certificates or httpx.create_ssl_context(trust_env=False)
                context = self._ssl_context
            return self._connect(request.url, context, proxy)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            if is_from_signal_handler(error):
                raise
            reason = str(error)
        message = f"{request.name}: no connection can be set up: {reason}"
        raise HtcConfigurationError(message, False)


def _proxy(url: str) -> httpx.Proxy | None:
    proxy = proxy_for(url, os.environ)
    if proxy is None:
        return None
    with suppressed(httpx.InvalidURL, ValueError):
        return httpx.Proxy(proxy.address)
    raise proxy.error()


def proxy_secrets(url: str) -> list[str]:
    """The credentials sent to the proxy for a URL, which the proxy may repeat."""
    with suppressed(ImportError, ValueError, httpx.InvalidURL):
        proxy = _proxy(url)
        if proxy is not None and proxy.auth is not None:
            return [":".join(proxy.auth), proxy.auth[1]]
    return []
