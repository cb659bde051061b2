"""A small HTTP server with scripted responses that records its requests."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from .certificates import server_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKEN = {"tokenValue": "token-1", "expiresIn": 21600}


@dataclass(frozen=True)
class Answer:
    """A scripted response. A body of bytes is sent unchanged, any other body as JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


@dataclass(frozen=True)
class ReceivedRequest:
    """A received request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    target: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """The server. `on("GET /htc/projects", answer, ...)` scripts an operation.

    Several answers are sent in order, and then the last one is repeated. A function
    is called with the request.
    """

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self._lock = threading.Lock()
        self._answers: dict[str, list[Answer | Callable[[ReceivedRequest], Answer]]] = {}
        self.on("GET /auth/token", Answer(TOKEN))
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_one(self) -> None:
                service._handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client has disconnected

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/api/v1"

    def speak_tls(self, certificate: tuple[Path, Path]) -> None:
        """Use TLS for new connections."""
        context = server_context(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def on(self, operation: str, *answers: Answer | Callable[[ReceivedRequest], Answer]) -> None:
        self._answers[operation] = list(answers)

    def requests_to(self, operation: str) -> list[ReceivedRequest]:
        method, path = operation.split(" ")
        return [a for a in self.requests if (a.method, a.path) == (method, path)]

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        request = ReceivedRequest(
            method=handler.command,
            path=parts.path.removeprefix("/api/v1"),
            query=parse_qs(parts.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in handler.headers.items()},
            body=handler.rfile.read(int(handler.headers.get("Content-Length", 0))),
            target=handler.path,
        )
        with self._lock:
            self.requests.append(request)
            scripted = self._answers.get(f"{request.method} {request.path}", [Answer(status=404)])
            answer = scripted.pop(0) if len(scripted) > 1 else scripted[0]
        if not isinstance(answer, Answer):
            answer = answer(request)
        body = answer.encoded()
        handler.send_response(answer.status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
