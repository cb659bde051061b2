"""Sending bytes and receiving bytes. The only file that knows the HTTP library."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
import weakref
import zlib
from typing import TYPE_CHECKING

import httpcore
import httpx

from . import __version__
from ._content import Content
from ._environment import proxy_for, tls_context
from ._hidden import HiddenBytes
from ._operation import Call, Response, origin
from .exceptions import (
    HtcConfigurationError,
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcResponseError,
    HtcTimeoutError,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from typing import Any, BinaryIO

    from httpcore import SOCKET_OPTION

MAX_CONNECTIONS = 10
CONNECT_TIMEOUT_SECONDS = 20.0
# A server may close a connection that idles; one that idles for longer is not used again.
KEEP_ALIVE_SECONDS = 5.0
MAX_BODY_BYTES = 256 << 20
_WRITE_BYTES = 64 << 10
_GZIP = 16 + zlib.MAX_WBITS


class Transport:
    """Connections to the service, each used by one thread at a time.

    They are not in one pool of the HTTP library, which now and then takes a connection that
    another thread begins to use for one that the server closed.
    """

    def __init__(self, base_url: str, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._idle: list[_Connection] = []
        self._ssl_context: ssl.SSLContext | None = None

    def send(self, call: Call, authorization: str | None, deadline: float = math.inf) -> Response:
        """Send once and receive the whole answer.

        Args:
            call: What to send.
            authorization: The header's value.
            deadline: When it has to be over at the latest, in seconds of the monotonic clock.

        Raises:
            HtcTimeoutError: No whole answer in time.
            HtcConnectionError: The service can't be reached, or the answer broke off.
            HtcResponseError: The answer is too large, or of an unknown encoding.
        """
        headers = {"Authorization": authorization} if authorization else {}
        if authorization and not (authorization.isascii() and authorization.isprintable()):
            raise HtcCredentialsError(
                f"{call.operation.id}: the key or token holds characters that none has; it is "
                "not shown here"
            )
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        deadline = min(deadline, time.monotonic() + self._timeout_seconds)
        url = call.url(self._base_url)
        name = call.operation.id
        if not self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise HtcTimeoutError(f"{name}: every connection was in use", request_sent=False)
        try:
            connection = self._taken(name, url)
            try:
                response = connection.send(
                    name, call.operation.method, url, call.body, headers, deadline
                )
            except BaseException:
                connection.close()
                raise
            with self._lock:
                self._idle.append(connection)
            return response
        finally:
            self._free.release()

    def upload(self, url: str, file: BinaryIO) -> Response:
        """Send a file to a presigned address, with nothing that says who sends it.

        The time limit starts again with each piece of the file that was sent.

        Raises:
            The same as `send`; HtcFileError if the file can't be read or changes meanwhile.
        """
        content = Content(file)
        connection = self._new_connection("upload", url)
        try:
            return connection.send(
                "upload",
                "PUT",
                url,
                content,
                {"Content-Length": str(content.size)},
                time.monotonic() + self._timeout_seconds,
                seconds_a_piece=self._timeout_seconds,
            )
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections that nobody uses; a later request opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def after_fork(self) -> None:
        """Take nothing over from the process that this one was forked from."""
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.close()

    def _taken(self, name: str, url: str) -> _Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._new_connection(name, url)

    def _new_connection(self, name: str, url: str) -> _Connection:
        try:
            proxy = _proxy(url)
            context = None
            # A context costs more than a request without one.
            if "https" in (origin(url)[0], proxy and proxy.url.scheme):
                with self._lock:
                    if self._ssl_context is None:
                        certificates = tls_context(os.environ)
                        self._ssl_context = certificates or httpx.create_ssl_context(
                            trust_env=False
                        )
                    context = self._ssl_context
            return _Connection(context, proxy)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            reason = str(error)
        raise HtcConfigurationError(f"{name}: no connection can be set up: {reason}", False)


class _Connection:
    """A connection that is made when it is needed, and made again when it was closed."""

    def __init__(self, context: ssl.SSLContext | None, proxy: httpx.Proxy | None) -> None:
        self._watch = _Watch()
        self._http = _Http(self._watch, context, proxy)
        # Programs written for 1.1.0 do not close their sessions.
        weakref.finalize(self, self._http.close)

    def send(
        self,
        name: str,
        method: str,
        url: str,
        content: bytes | Content | None,
        headers: dict[str, str],
        deadline: float,
        *,
        seconds_a_piece: float | None = None,
    ) -> Response:
        self._watch.begin(deadline, seconds_a_piece)
        began = time.monotonic()
        try:
            response = self._http.handle_request(
                httpx.Request(
                    method,
                    url,
                    headers={**_HEADERS, **headers},
                    content=content,
                    extensions={"trace": _hide} if _library.isEnabledFor(logging.DEBUG) else None,
                )
            )
            try:
                body = _whole_body(name, response)
            finally:
                response.close()
            return Response(response.status_code, body, response.headers.get("Retry-After"))
        except httpx.TimeoutException:
            within = f"within {deadline - began:.3g} s"
            failure: HtcException = HtcTimeoutError(
                f"{name}: no whole answer from {_host(url)} {within}", self._watch.has_sent
            )
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, zlib.error) as error:
            reason = str(error) or type(error).__name__
            failure = HtcConnectionError(
                f"{name}: no answer from {_host(url)}: {reason}", self._watch.has_sent
            )
        raise failure

    def close(self) -> None:
        self._http.close()


_HEADERS = {
    "User-Agent": f"rescalehtc/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
}


_library = logging.getLogger("httpcore")


def _hide(event: str, info: dict[str, Any]) -> None:
    """Let the library log an answer's headers without their values, which may be secret."""
    if event.endswith("receive_response_headers.complete"):
        *status_line, headers = info["return_value"]
        info["return_value"] = (*status_line, [name for name, _ in headers])


def _whole_body(name: str, response: httpx.Response) -> bytes:
    """The body, decompressed.

    Raises:
        HtcResponseError: It is too large, or compressed in a way that was not asked for.
        httpx.RemoteProtocolError, zlib.error: It is not whole.
    """
    stream = response.stream
    assert isinstance(stream, httpx.SyncByteStream)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise HtcResponseError(f"{name}: the answer is compressed in an unknown way")
    pieces: list[bytes] = []
    size = 0
    gzip = zlib.decompressobj(_GZIP) if "gzip" in encoding else None
    for received in stream:
        piece = gzip.decompress(received, MAX_BODY_BYTES + 1 - size) if gzip else received
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY_BYTES:
            del pieces, piece, received  # a traceback that shows variables must not show them
            raise HtcResponseError(f"{name}: the answer has more than {MAX_BODY_BYTES} bytes")
    if gzip and not gzip.eof and response.status_code not in (204, 304):
        raise httpx.RemoteProtocolError("the compressed answer is not whole")
    return HiddenBytes(b"".join(pieces))


class _Watch:
    """What a connection shares with its streams: when to be done, and what has left."""

    def __init__(self) -> None:
        self.begin(math.inf, None)

    def begin(self, deadline: float, seconds_a_piece: float | None) -> None:
        self.deadline = deadline
        self.seconds_a_piece = seconds_a_piece
        self.has_sent = False

    def left(self, late: type[Exception]) -> float:
        """The seconds that are left; raises if there are none."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise late
        return seconds


class _Stream(httpcore.NetworkStream):
    """A stream whose reads and writes all together keep a deadline."""

    def __init__(self, stream: httpcore.NetworkStream, watch: _Watch) -> None:
        self._stream = stream
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._watch.left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        buffer = HiddenBytes(buffer)  # an interrupt can strike here
        for start in range(0, len(buffer), _WRITE_BYTES):
            left = self._watch.left(httpcore.WriteTimeout)
            self._watch.has_sent = True
            self._stream.write(buffer[start : start + _WRITE_BYTES], left)
            if self._watch.seconds_a_piece is not None:
                self._watch.deadline = time.monotonic() + self._watch.seconds_a_piece

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        left = self._watch.left(httpcore.ConnectTimeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, left)
        self._watch.has_sent = False  # what was sent so far was for a proxy
        return _Stream(stream, self._watch)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Network(httpcore.NetworkBackend):
    """Opens streams that keep a deadline."""

    def __init__(self, watch: _Watch) -> None:
        self._network = httpcore.SyncBackend()
        self._watch = watch

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = min(self._watch.left(httpcore.ConnectTimeout), CONNECT_TIMEOUT_SECONDS)
        stream = self._network.connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(stream, self._watch)


class _Http(httpx.HTTPTransport):
    """The library's transport with one connection, on a network that keeps a deadline."""

    def __init__(
        self, watch: _Watch, context: ssl.SSLContext | None, proxy: httpx.Proxy | None
    ) -> None:
        # Not super's, which takes no network and makes a TLS context also for plain HTTP.
        network = _Network(watch)
        if proxy is None:
            self._pool = httpcore.ConnectionPool(
                ssl_context=context,
                max_connections=1,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=network,
            )
            return
        address = httpcore.URL(
            scheme=proxy.url.raw_scheme,
            host=proxy.url.raw_host,
            port=proxy.url.port,
            target=proxy.url.raw_path,
        )
        if proxy.url.scheme.startswith("socks5"):
            self._pool = httpcore.SOCKSProxy(
                proxy_url=address,
                proxy_auth=proxy.raw_auth,
                ssl_context=context,
                max_connections=1,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=network,
            )
        else:
            self._pool = httpcore.HTTPProxy(
                proxy_url=address,
                proxy_auth=proxy.raw_auth,
                ssl_context=context,
                proxy_ssl_context=context if proxy.url.scheme == "https" else None,
                max_connections=1,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=network,
            )


def _proxy(url: str) -> httpx.Proxy | None:
    found = proxy_for(url, os.environ)
    if found is None:
        return None
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        return httpx.Proxy(found.address)
    raise found.error()


def _host(url: str) -> str:
    """Where a request went, without path and query: they may hold a secret."""
    scheme, host, port = origin(url)
    return f"{scheme}://{host}:{port}"
