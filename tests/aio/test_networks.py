"""Connections that the shared tests do not use: TLS in TLS, SOCKS, several addresses."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc._client import async_deadline
from rescalehtc.aio import api, htcjobs
from rescalehtc.exceptions import HtcConnectionError, HtcTimeoutError

from ..faults.books import BATCH, SUBMIT, Books
from ..faults.conftest import IMAGE
from ..faults.wire import Wire, answer, followed, tunnel
from ..limits import HANG_SECONDS, SHORT_SECONDS
from .conftest import async_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rescalehtc.htctasks import HtcTask

    from .conftest import Run

SERVICE = "https://service.test/api/v1"
PROJECT = "GET /htc/projects/p"


@pytest.fixture
def behind(tls: ssl.SSLContext) -> Iterator[Wire]:
    """A service with TLS."""
    with Wire(tls) as behind:
        behind.on(IMAGE, answer({"status": "READY"}))
        behind.on(PROJECT, answer({"projectId": "p"}))
        yield behind


@pytest.mark.parametrize("is_tls_in_tls", [False, True])
def test_through_a_proxy(
    behind: Wire,
    tls: ssl.SSLContext,
    wire_task: HtcTask,
    on_loop: Run,
    monkeypatch: pytest.MonkeyPatch,
    is_tls_in_tls: bool,
) -> None:
    """A submission uses a new connection. Extra bytes are never part of the next response."""
    books = Books(behind)
    large = {"projectId": "p", "padding": "x" * 300_000}
    behind.on(PROJECT, answer(large), followed(answer({"projectId": "p"}), b"HTTP/1.1 200 OK\r\n"))
    with Wire(tls if is_tls_in_tls else None) as proxy:
        proxy.on("CONNECT 443", tunnel(behind.port))
        monkeypatch.setenv("https_proxy", proxy.origin)

        async def main() -> None:
            async with async_session(SERVICE) as rescale:
                assert await api.get_htc_projects(rescale, "p") == large
                for _ in range(2):
                    assert await api.get_htc_projects(rescale, "p") == {"projectId": "p"}
                batch = await htcjobs.create_job_batch(rescale, wire_task, **BATCH)
                assert batch.json["parentJobId"] == "batch-1"

        on_loop(main)
    assert books.submissions == 1
    [submission] = behind.requests_to(SUBMIT)
    assert [request.connection for request in behind.requests].count(submission.connection) == 1


def test_a_tunnel_is_used_again(
    behind: Wire, tls: ssl.SSLContext, on_loop: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Wire(tls) as proxy:
        proxy.on("CONNECT 443", tunnel(behind.port))
        monkeypatch.setenv("https_proxy", proxy.origin)

        async def main() -> None:
            async with async_session(SERVICE) as rescale:
                for _ in range(3):
                    await api.get_htc_projects(rescale, "p")

        on_loop(main)
        assert len(proxy.requests) == 1


def test_no_proxy(wire: Wire, on_loop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            await api.get_htc_projects(rescale, "p")

    on_loop(main)


def test_a_certificate_that_nobody_trusts(
    behind: Wire, on_loop: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    async def main() -> None:
        async with async_session(behind.url, max_retries=0) as rescale:
            with pytest.raises(HtcConnectionError, match="certificate") as info:
                await api.get_htc_projects(rescale, "p")
            assert not info.value.request_sent

    on_loop(main)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that does not respond to new connections, because its queue is full."""
    with socket.create_server(("127.0.0.2", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting: list[socket.socket] = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.2", port))
            waiting.append(client)
        yield port
        for client in waiting:
            client.close()


def test_the_next_address_is_tried(
    wire: Wire, on_loop: Run, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a host has several addresses, an unresponsive address uses only its share of the time."""
    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")

    def each() -> Iterator[Any]:
        monkeypatch.setattr(async_deadline, "CONNECT_TIMEOUT_SECONDS", 0.05)
        yield (*kind, ("127.0.0.2", silent))
        monkeypatch.setattr(async_deadline, "CONNECT_TIMEOUT_SECONDS", HANG_SECONDS)
        yield (*kind, ("127.0.0.1", wire.port))

    async def addresses(*_: Any, **__: Any) -> Iterator[Any]:
        return each()

    monkeypatch.setattr(async_deadline.anyio, "getaddrinfo", addresses)

    async def main() -> None:
        async with async_session("http://service.test/api/v1", max_retries=0) as rescale:
            assert await api.get_htc_projects(rescale, "p") == {"projectId": "p"}

    on_loop(main)


def test_a_silent_service(wire: Wire, on_loop: Run) -> None:
    """The deadline also applies to a slow response."""
    gate = threading.Event()

    def drip(connection: socket.socket, request: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not gate.wait(0.01):
            connection.sendall(b"X: y\r\n")

    wire.on(PROJECT, drip)

    async def main() -> None:
        async with async_session(wire.url, max_retries=0) as rescale:
            await rescale.do_authenticate()
            quick = rescale.with_options(timeout_seconds=SHORT_SECONDS)
            with pytest.raises(HtcTimeoutError) as info:
                await api.get_htc_projects(quick, "p")
            assert info.value.request_sent
            gate.set()

    on_loop(main)


class _TlsServer:
    """The server's end of TLS, whose records can be sent together with other bytes."""

    def __init__(self, context: ssl.SSLContext, connection: socket.socket) -> None:
        self._connection = connection
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self.outgoing, server_side=True)

    def perform(self, step: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                result = step(*arguments)
            except ssl.SSLWantReadError:
                self._connection.sendall(self.outgoing.read())
                self._incoming.write(self._connection.recv(65536))
            else:
                return result


def test_bytes_after_the_end_of_the_tls_stream(tls: ssl.SSLContext, on_loop: Run) -> None:
    """They are ignored. The loop does not read them again and again."""

    def serve(connection: socket.socket) -> None:
        server = _TlsServer(tls, connection)
        server.perform(server.tls.do_handshake)
        server.perform(server.tls.read, 65536)
        server.tls.write(answer({"tokenValue": "token-1", "expiresIn": 60}).encoded())
        with contextlib.suppress(ssl.SSLWantReadError):  # the client does not end its stream
            server.tls.unwrap()
        connection.sendall(server.outgoing.read() + b"more bytes")

    async def main() -> None:
        async with async_session(wire.url.replace("http:", "https:")) as rescale:
            await rescale.do_authenticate()

    with Wire() as wire:
        wire.at_connect.append(serve)
        on_loop(main)
