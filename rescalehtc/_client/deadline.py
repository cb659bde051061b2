"""Streams that enforce a deadline and know whether a request was sent."""

from __future__ import annotations

import math
import ssl
import time
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import httpcore

from .._interrupts import is_from_signal_handler, suppressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from httpcore import SOCKET_OPTION

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 20.0
READ_BYTES = 256 << 10
RECORD_BYTES = 16 << 10  # the maximum of TLS
WRITE_BYTES = 64 << 10


class Stream(Protocol):
    """The part of a stream that Deadline uses."""

    @property
    def has_unread(self) -> bool:
        """Whether the stream may have unread bytes."""
        ...

    def close_now(self) -> None:
        """Close the stream without waiting."""
        ...


class Deadline:
    """The deadline of a connection's current exchange.

    Attributes:
        has_sent: Whether any byte of the request may have been sent to the service.
        stream: The stream in use, if there is one.
    """

    def __init__(self, tls_layers: int = 0) -> None:
        """Initialize it.

        Args:
            tls_layers: The number of TLS layers around the request. Bytes that are sent before the
                last layer go to a proxy and are not the request.
        """
        self._tls_layers = tls_layers
        self.stream: Stream | None = None
        self.start(math.inf)

    def start(self, seconds: float, seconds_per_piece: float | None = None) -> None:
        """Start an exchange.

        Args:
            seconds: The timeout.
            seconds_per_piece: If given, the timeout restarts with each chunk that is sent.
        """
        self._expires_at = time.monotonic() + seconds
        self._seconds_per_piece = seconds_per_piece
        self.has_sent = False

    def remaining(self, expired: type[Exception]) -> float:
        """Return the remaining seconds, or raise `expired` if there are none."""
        seconds = self._expires_at - time.monotonic()
        if seconds <= 0:
            raise expired
        return seconds

    def note_write(self, buffer: bytes, tls_layers: int) -> None:
        """Record that bytes are about to be sent on a stream with this number of TLS layers."""
        is_for_socks = not self.has_sent and buffer[:1] <= b"\5"  # HTTP never starts with this byte
        if tls_layers >= self._tls_layers and not is_for_socks:
            self.has_sent = True
        if self._seconds_per_piece is not None:
            self._expires_at = time.monotonic() + self._seconds_per_piece

    def close(self) -> None:
        """Close the stream without the library's locks: an interrupt can leave them held."""
        if self.stream is not None:
            with suppressed(OSError):  # a broken connection needs no closing
                self.stream.close_now()


class DeadlineStream(httpcore.NetworkStream):
    """A stream with one deadline for all its reads and writes.

    It returns the last received byte in a separate read. If a reader has a complete response before
    it reads that byte, there are extra bytes: `has_unread` is True, and the connection must not be
    reused, because these bytes would look like the next response. This starts with the request,
    because the library reads each response of a SOCKS proxy at once.
    """

    def __init__(
        self, stream: httpcore.NetworkStream, network: DeadlineNetwork, tls_layers: int = 0
    ) -> None:
        self._stream = stream
        self._network = network
        self._tls_layers = tls_layers
        self._last_byte = b""
        self._failure: httpcore.ReadError | None = None
        network.stream = self

    @property
    def has_unread(self) -> bool:
        """Whether the stream may have unread bytes.

        TLS in TLS has a buffer that can't be inspected.
        """
        return bool(self._last_byte) or self._tls_layers > 1

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        if self._last_byte:
            received, self._last_byte = self._last_byte, b""
            return received
        if self._failure:
            raise self._failure
        limit = self._network.remaining(httpcore.ReadTimeout)
        received = _call(self._stream.read, max(max_bytes, READ_BYTES), limit)
        if self._tls_layers == 1:
            received = self._with_further_records(received)
        if len(received) > 1 and self._network.has_sent:
            received, self._last_byte = received[:-1], received[-1:]
        return received

    def _with_further_records(self, received: bytes) -> bytes:
        """Add the other received TLS records. A read returns one record."""
        tls: ssl.SSLSocket = self._stream.get_extra_info("socket")
        tls.settimeout(0)
        pieces = [received]
        try:
            while pieces[-1] and len(pieces) < READ_BYTES // RECORD_BYTES:
                pieces.append(tls.recv(RECORD_BYTES))
        except OSError as error:
            if is_from_signal_handler(error):
                raise
            if not isinstance(error, ssl.SSLWantReadError):
                self._failure = httpcore.ReadError(str(error))  # the next read raises it
        return b"".join(pieces)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        for start in range(0, len(buffer), WRITE_BYTES):
            limit = self._network.remaining(httpcore.WriteTimeout)
            self._network.note_write(buffer, self._tls_layers)
            _call(self._stream.write, buffer[start : start + WRITE_BYTES], limit)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        limit = self._network.remaining(httpcore.ConnectTimeout)
        name = None if server_hostname is None else _encoded(server_hostname)
        stream = _call(self._stream.start_tls, ssl_context, name, limit)
        return DeadlineStream(stream, self._network, self._tls_layers + 1)

    def close(self) -> None:
        self._stream.close()

    close_now = close

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._last_byte:
            return True
        return self._stream.get_extra_info(info)


class DeadlineNetwork(Deadline, httpcore.NetworkBackend):
    """The network backend of one connection, with a deadline."""

    def __init__(self, tls_layers: int = 0) -> None:
        super().__init__(tls_layers)
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        limit = min(self.remaining(httpcore.ConnectTimeout), CONNECT_TIMEOUT_SECONDS)
        name = _encoded(host)
        stream = _call(self._network.connect_tcp, name, port, limit, local_address, socket_options)
        return DeadlineStream(stream, self)


def _encoded(host: str) -> Any:
    """An ASCII host name as bytes.

    The interpreter encodes a string as IDNA. Up to Python 3.11, it replaces an exception that a
    signal handler raises during the encoding by its own exception.
    """
    return host.encode("ascii")


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of the library, and protect an OSError that a signal handler raises.

    The library would treat it as a network failure, and would even drop it while it sends.
    """
    try:
        return function(*args, **kwargs)
    except (httpcore.NetworkError, httpcore.TimeoutException) as error:
        cause = error.__cause__
        if not (isinstance(cause, Exception) and is_from_signal_handler(cause)):
            raise
    raise cause
