"""The HTTP server: its address, its start and stop, and its connections."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, Self, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..exceptions import HtcException
from .descriptors import are_descriptors_scarce, descriptor_limit, is_out_of_descriptors
from .faults.effects import TRANSPORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

_log = logging.getLogger("rescalehtc.emulator")

KEEP_ALIVE_SECONDS: Final = 60
# A connection that has been idle for this time may be closed if few descriptors are free.
IDLE_SECONDS: Final = 1.0
# When the server stops, responses may be completed during this time.
GRACE_SECONDS: Final = 1.0


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Raises:
        HtcException: The server can't listen on the address.
    """
    if not host:  # Python would listen on all addresses
        raise HtcException("the host is empty; use 127.0.0.1, or 0.0.0.0 for all addresses")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = str((isinstance(error, OSError) and error.strerror) or error)
        reason = reason.partition(" (while attempting")[0]
        raise HtcException(f"can't listen on {host}, port {port}: {reason}") from error
    # Without this, the body of a response waits 40 ms until its header is acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def origin(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    address, port = listener.getsockname()[:2]
    host = ipaddress.ip_address(address)
    if host.is_unspecified:  # all addresses of this machine, including the loopback address
        host = ipaddress.ip_address("127.0.0.1" if host.version == 4 else "::1")
    return f"http://[{host}]:{port}" if host.version == 6 else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Serves an application on a listening socket, in a thread, during a `with` block."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        self._listener = listener
        self._ready: Future[None] = Future()
        self._has_warned = False

    def __enter__(self) -> Self:
        """Start, and wait until the server is ready.

        Raises:
            HtcException: The server did not start.
        """
        self._thread = threading.Thread(target=self._run, name="emulator", daemon=True)
        self._thread.start()
        try:
            error = self._ready.exception()
        except BaseException:  # such as Ctrl-C
            self._stop()
            raise
        if error is not None:
            reason = f"{type(error).__name__}: {error}"
            raise HtcException(f"the emulator's server did not start: {reason}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        self.should_exit = True
        self._thread.join()

    def descriptors(self) -> Iterator[int]:
        """The file descriptors of its connections."""
        for connection in self.server_state.connections:
            yield connection.transport.get_extra_info("socket").fileno()

    def _run(self) -> None:
        try:
            with self._listener:  # new connections fail when the server has ended
                self.run(sockets=[self._listener])
            error: BaseException = RuntimeError("it ended immediately")
        except BaseException as raised:  # noqa: BLE001 - the server may raise SystemExit
            error = raised
            if self._ready.done():
                _log.exception("the emulator's server failed")
        if not self._ready.done():
            self._ready.set_exception(error)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and signal that the server is ready."""
        asyncio.get_running_loop().set_exception_handler(self._loop_failed)
        await super().startup(sockets)
        if self.started:
            self._ready.set_result(None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop. Connections that are still open after the grace period are closed."""
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._abort_connections)
        await super().shutdown(sockets)

    def _abort_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def on_tick(self, counter: int) -> bool:
        """Close idle connections while few descriptors are free. Called every 0.1 s."""
        if are_descriptors_scarce():
            self._warn()
            for connection in cast("list[_Connection]", list(self.server_state.connections)):
                if connection.is_idle():
                    connection.shutdown()
        return await super().on_tick(counter)

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if is_out_of_descriptors(context.get("exception")):
            self._warn()  # asyncio retries after a second, possibly when the socket is closed
        elif not self.should_exit:
            loop.default_exception_handler(context)

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "few file descriptors are free: idle connections are closed, and jobs may wait. "
                "The limit is %s; increase it with `ulimit -n`",
                descriptor_limit(),
            )


class _Connection(H11Protocol):
    """A connection that is accessible from its responses."""

    def connection_made(self, transport: Any) -> None:
        self.app_state: dict[str, Any] = {**self.app_state, TRANSPORT: transport}
        self._used_at = self.loop.time()
        super().connection_made(transport)

    def on_response_complete(self) -> None:
        self._used_at = self.loop.time()
        super().on_response_complete()

    def is_idle(self) -> bool:
        """Whether the connection has been idle for long enough to be closed."""
        cycle: Any = self.cycle  # None before the first request, unlike its type
        waits = cycle is None or cycle.response_complete
        return waits and self.loop.time() - self._used_at >= IDLE_SECONDS
