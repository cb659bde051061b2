"""A server of raw bytes, which can also send invalid HTTP.

A step is a function of the connection and the request. `answer` and the functions
below it make steps.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from ..limits import HANG_SECONDS
from .canary import TOKEN

DRIP_SECONDS = 0.02


@dataclass(frozen=True)
class ReceivedRequest:
    """A received request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Step = Callable[[socket.socket, ReceivedRequest], object]
"""Handles a request. Returns True to keep the connection."""


class Wire:
    """The server. `on("GET /htc/projects", step, ...)` scripts an operation.

    Several steps run in order, and then the last one is repeated.

    Attributes:
        otherwise: The step for requests of other operations.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[ReceivedRequest] = []
        self.at_connect: list[Callable[..., object]] = []
        self._lock = threading.Lock()
        self.otherwise: Step = answer(status=404)
        self._steps: dict[str, list[Step]] = {}
        self._open: set[socket.socket] = set()
        self._connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self.on("GET /auth/token", answer({"tokenValue": TOKEN, "expiresIn": 21600}))

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def origin(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/api/v1"

    def on(self, operation: str, *steps: Step) -> None:
        self._steps[operation] = list(steps)

    def requests_to(self, operation: str) -> list[ReceivedRequest]:
        method, path = operation.split(" ")
        return [a for a in self.requests if (a.method, a.path) == (method, path)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._lock:
                self._connections += 1
                number = self._connections
                at_connect = self.at_connect.pop(0) if self.at_connect else None
                self._open.add(connection)
            threading.Thread(
                target=self._serve, args=(connection, number, at_connect), daemon=True
            ).start()

    def _serve(
        self,
        connection: socket.socket,
        number: int,
        at_connect: Callable[..., object] | None,
    ) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # disconnected
            stack.enter_context(connection)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
                stack.enter_context(connection)
                with self._lock:
                    self._open.add(connection)
            if at_connect is not None:
                at_connect(connection)
                return
            file = connection.makefile("rb")
            while (request := _read_request(file, number)) is not None:
                if not self._step(request)(connection, request):
                    break
        with self._lock:
            self._open.discard(connection)

    def _step(self, request: ReceivedRequest) -> Step:
        with self._lock:
            self.requests.append(request)
            steps = self._steps.get(f"{request.method} {request.path}", [self.otherwise])
            return steps.pop(0) if len(steps) > 1 else steps[0]

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def __exit__(self, *_: object) -> None:
        self.stop_listening()
        with self._lock:
            left = list(self._open)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _read_request(file: Any, connection: int) -> ReceivedRequest | None:
    line = file.readline().decode("latin-1")
    if not line:
        return None
    method, target, _ = line.split(" ")
    headers: dict[str, str] = {}
    while (header := file.readline().decode("latin-1").strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    size = int(headers.get("content-length", "0"))
    body = file.read(size)
    if len(body) < size:  # the client was interrupted
        return None
    parts = urlsplit(target)
    return ReceivedRequest(
        method=method,
        path=parts.path.removeprefix("/api/v1"),
        query=parse_qs(parts.query, keep_blank_values=True),
        headers=headers,
        body=body,
        connection=connection,
    )


# ---- steps


@dataclass(frozen=True)
class answer:  # noqa: N801 - it reads as a verb
    """Respond normally: bytes unchanged, anything else as JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    is_chunked: bool = False

    def __call__(self, connection: socket.socket, request: ReceivedRequest) -> bool:  # noqa: ARG002
        connection.sendall(self.encoded())
        return True

    def encoded(self) -> bytes:
        body = self.body
        if not isinstance(body, bytes):
            body = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Length": str(len(body)), **self.headers}
        if self.is_chunked:
            headers = {"Transfer-Encoding": "chunked", **self.headers}
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Status\r\n{head}\r\n".encode() + body


def computed(function: Callable[[ReceivedRequest], Step]) -> Step:
    """Let a function choose the step."""
    return lambda connection, request: function(request)(connection, request)


def followed(step: answer, leftover: bytes) -> Step:
    """Respond, send extra bytes in the same chunk, and keep the connection."""

    def send(connection: socket.socket, request: ReceivedRequest) -> bool:
        connection.sendall(step.encoded() + leftover)
        return True

    return send


def tunnel(port: int, opened: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Step:
    """Open the tunnel that a client requests from a proxy, to this local port."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while received := source.recv(65536):
                target.sendall(received)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def step(connection: socket.socket, request: ReceivedRequest | None = None) -> None:
        with socket.create_connection(("127.0.0.1", port)) as service:
            connection.sendall(opened)
            back = threading.Thread(target=copy, args=(service, connection), daemon=True)
            back.start()
            copy(connection, service)
            back.join()

    return step


def raw(sent: bytes) -> Step:
    """Send these bytes, and close the connection."""
    return lambda connection, request: connection.sendall(sent)


def hang_up(connection: socket.socket, request: ReceivedRequest | None = None) -> None:
    """Close the connection without sending a byte."""


def reset(connection: socket.socket, request: ReceivedRequest | None = None) -> None:
    """Reset the connection, so that the other end gets an error."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.detach() if connection.fileno() < 0 else socket.close(connection.detach())


def truncated(body: Any, cut: int = 5) -> Step:
    """Send all of a response except its last bytes, and close the connection."""
    return raw(answer(body).encoded()[:-cut])


def compressed(body: Any, cut: int | None = None) -> Step:
    """Send a compressed response, optionally truncated, with a matching length."""
    squeezed = gzip.compress(json.dumps(body).encode())[:cut]
    return answer(squeezed, headers={"Content-Encoding": "gzip"})


def drip(sent: bytes, then: bytes = b"") -> Step:
    """Send some bytes at once, and then others one at a time, repeatedly."""

    def step(connection: socket.socket, request: ReceivedRequest | None = None) -> None:
        connection.sendall(sent)
        while True:
            for byte in then or b"x":
                connection.sendall(bytes([byte]))
                time.sleep(DRIP_SECONDS)

    return step


def interrupt_main_thread(number: signal.Signals = signal.SIGINT) -> None:
    """Send a signal to the main thread while it waits for a socket.

    If a signal arrives right before a wait, Python handles it only after the wait. Some
    systems show that a thread sleeps, but not in which function: then, it must sleep for a second.
    """
    thread = Path(f"/proc/self/task/{threading.main_thread().native_id}")
    latest = time.monotonic() + HANG_SECONDS
    unnamed = 0
    while "poll" not in (function := (thread / "wchan").read_text()) and unnamed < 1000:
        assert time.monotonic() < latest, f"the main thread did not wait, but was in {function}"
        sleeps = (thread / "stat").read_text().rpartition(") ")[2].startswith("S")
        unnamed = unnamed + 1 if sleeps and function in ("", "0") else 0
        time.sleep(0.001)
    os.kill(os.getpid(), number)


def held(gate: threading.Event, step: Step) -> Step:
    """Run a step when the gate opens."""

    def wait(connection: socket.socket, request: ReceivedRequest) -> object:
        gate.wait(HANG_SECONDS)
        return step(connection, request)

    return wait
