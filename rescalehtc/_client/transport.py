"""Sending a request over a connection that fits, and receiving the whole answer."""

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

    Each has a pool of the HTTP library of its own: in a shared pool, a thread now and then
    closes a connection that another one begins to use (encode/httpcore discussion 1000).
    """

    def __init__(
        self,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_idle: int = 10,
        connect: Callable[
            [str, ssl.SSLContext | None, httpx.Proxy | None], Connection
        ] = BlockingConnection,
    ) -> None:
        """Make one.

        Args:
            max_body_bytes: The size of the largest body that is received, after decompression.
            max_idle: How many connections are kept for later requests.
            connect: Makes a connection to an address, with TLS settings and through a proxy.
        """
        self._max_body_bytes = max_body_bytes
        self._max_idle = max_idle
        self._connect = connect
        self._idle: list[Connection] = []
        self._ssl_context: ssl.SSLContext | None = None

    async def send(self, request: HttpRequest, seconds: float) -> Response:
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
        """Close the connections that are not in use; a later request opens new ones."""
        with suppressed(IndexError):
            while True:
                self._idle.pop().close()

    # What a fork must not share is what `close` closes: the child's copies of the sockets.
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
            # One costs more than a request without TLS.
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
