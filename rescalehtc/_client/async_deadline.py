"""Streams for an event loop that enforce a deadline and know whether a request was sent.

They use non-blocking sockets, and wait with anyio. The streams of event loops read ahead, so a
connection would look clean although it has received bytes that belong to no response.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import httpcore

from .deadline import CONNECT_TIMEOUT_SECONDS, READ_BYTES, WRITE_BYTES, Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from httpcore import SOCKET_OPTION

T = TypeVar("T")

_CONNECTING = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)


class _Bytes(Protocol):
    """A stream of bytes."""

    @property
    def has_unread(self) -> bool: ...
    async def receive(self, max_bytes: int) -> bytes: ...
    async def send(self, buffer: bytes) -> None: ...


class _SocketBytes:
    """The bytes of a socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.has_unread: bool = False  # unread bytes are still in the system's buffer

    async def receive(self, max_bytes: int) -> bytes:
        while True:
            await anyio.wait_readable(self._socket)
            try:
                return self._socket.recv(max_bytes)
            except BlockingIOError:  # spurious wakeup
                continue

    async def send(self, buffer: bytes) -> None:
        unsent = memoryview(buffer)
        while unsent:
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)


class _TlsBytes:
    """A TLS stream over another stream."""

    def __init__(self, outer: _Bytes, context: ssl.SSLContext, hostname: str | None) -> None:
        self._outer = outer
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls: ssl.SSLObject = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=hostname
        )

    @property
    def has_unread(self) -> bool:
        return bool(self._incoming.pending or self.tls.pending()) or self._outer.has_unread

    async def handshake(self) -> None:
        await self._perform(self.tls.do_handshake)

    async def receive(self, max_bytes: int) -> bytes:
        pieces: list[bytes] = []
        try:
            pieces.append(await self._perform(partial(self.tls.read, max_bytes)))
            # A read returns one record of at most 16 KiB, and nothing after the end of the stream.
            while pieces[-1] and self._incoming.pending:
                pieces.append(self.tls.read(max_bytes))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError):
            pass  # the next read raises it again
        return b"".join(pieces)

    async def send(self, buffer: bytes) -> None:
        unsent = memoryview(buffer)
        while unsent:
            unsent = unsent[await self._perform(partial(self.tls.write, unsent)) :]

    async def _perform(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                if received := await self._outer.receive(READ_BYTES):
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                await self._flush()  # send the TLS alert
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._outer.send(self._outgoing.read())


class AsyncDeadlineStream(httpcore.AsyncNetworkStream):
    """Like DeadlineStream, for an event loop."""

    def __init__(
        self,
        connected: socket.socket,
        network: AsyncDeadlineNetwork,
        content: _Bytes,
        tls_layers: int = 0,
    ) -> None:
        self._socket = connected
        self._network = network
        self._content = content
        self._tls_layers = tls_layers
        self._last_byte = b""
        network.stream = self

    @property
    def has_unread(self) -> bool:
        """Whether the stream may have unread bytes."""
        return bool(self._last_byte) or self._content.has_unread

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        if self._last_byte:
            received, self._last_byte = self._last_byte, b""
            return received
        try:
            received = await self._content.receive(max(max_bytes, READ_BYTES))
        except OSError as error:
            raise httpcore.ReadError(error) from error
        if len(received) > 1 and self._network.has_sent:
            received, self._last_byte = received[:-1], received[-1:]
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        for start in range(0, len(buffer), WRITE_BYTES):
            self._network.note_write(buffer, self._tls_layers)
            piece = buffer[start : start + WRITE_BYTES]
            try:
                await self._content.send(piece)
            except OSError as error:
                raise httpcore.WriteError(error) from error

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        try:
            content = _TlsBytes(self._content, ssl_context, server_hostname)
            await content.handshake()
        except OSError as error:
            raise httpcore.ConnectError(error) from error
        return AsyncDeadlineStream(self._socket, self._network, content, self._tls_layers + 1)

    def close_now(self) -> None:
        """Close the stream without waiting."""
        self._socket.close()

    async def aclose(self) -> None:
        self.close_now()

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":
                if self._last_byte or self._socket.fileno() < 0:
                    return True
                self._socket.setblocking(False)
                try:
                    self._socket.recv(1, socket.MSG_PEEK)
                except BlockingIOError:
                    return False
                except OSError:
                    return True
                return True
            case "ssl_object" if isinstance(self._content, _TlsBytes):
                return self._content.tls
            case "socket":
                return self._socket
            case _:
                return None


class AsyncDeadlineNetwork(Deadline, httpcore.AsyncNetworkBackend):
    """The network backend of one connection on an event loop, with a deadline."""

    _scope: anyio.CancelScope

    @contextmanager
    def limited(self) -> Generator[None]:
        """Raise the library's timeout exception if the block exceeds the deadline.

        There is one scope per exchange, because one per read and write would cost a third of the
        exchange's time.
        """
        with anyio.move_on_after(self.remaining(httpcore.ConnectTimeout)) as self._scope:
            yield
        if self._scope.cancelled_caught:
            raise httpcore.ReadTimeout

    def note_write(self, buffer: bytes, tls_layers: int) -> None:
        """Record that bytes are about to be sent on a stream with this number of TLS layers."""
        super().note_write(buffer, tls_layers)
        if self._seconds_per_piece is not None:
            self._scope.deadline = anyio.current_time() + self._seconds_per_piece

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError("the host has no address")
        try:
            addresses = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(error) from error
        for address in addresses:
            try:
                with anyio.move_on_after(CONNECT_TIMEOUT_SECONDS):
                    connected = await _connect(*address)
                    return AsyncDeadlineStream(connected, self, _SocketBytes(connected))
                failure = httpcore.ConnectTimeout()
            except OSError as error:
                failure = httpcore.ConnectError(error)
        raise failure

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def _connect(
    family: int, kind: int, protocol: int, _: str, address: tuple[Any, ...]
) -> socket.socket:
    """Connect to an address."""
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connection.connect_ex(address)
        if code in _CONNECTING:
            await anyio.wait_writable(connection)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))  # noqa: TRY301 - the handler closes the socket
    except BaseException:
        connection.close()
        raise
    return connection
