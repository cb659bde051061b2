"""Connections never mix up responses, and a request that a proxy refuses was not sent."""

from __future__ import annotations

import base64
import contextlib
import gc
import gzip
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, api, htcjobs
from rescalehtc.exceptions import (
    HtcConnectionError,
    HtcException,
    HtcResponseError,
    HtcStatusError,
    HtcTimeoutError,
    SubmissionUncertainError,
)

from ..limits import NOBODY, SHORT_SECONDS
from .books import BATCH, SUBMIT, Books
from .canary import MARK, caught
from .conftest import IMAGE, session
from .matrix import row
from .wire import Step, Wire, answer, computed, followed, hang_up, held, raw, reset, tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rescalehtc.htctasks import HtcTask

    from .wire import ReceivedRequest

PROJECT = "GET /htc/projects/p"
OTHER = "GET /htc/projects/q"
CANCEL = "POST /htc/projects/p/tasks/t/jobs/cancel"


def get(rescale: HtcSession, name: str) -> Any:
    return api.get_htc_projects(rescale, name)


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """A service with and without TLS."""
    context = request.getfixturevalue("tls") if request.param == "https" else None
    with Wire(context) as server:
        server.on(IMAGE, answer({"status": "READY"}))
        server.on(PROJECT, answer({"projectId": "p"}))
        server.on(OTHER, answer({"projectId": "q"}))
        yield server


# ---- extra bytes

STALE = {
    "429": answer(status=429).encoded(),
    "401": answer(status=401).encoded(),
    "200": answer({"projectId": "stale"}).encoded(),
    "200 of a submission": answer([{"parentJobId": "stale"}]).encoded(),
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a byte": b"x",
    "a line end": b"\r\n",
}
FRAMINGS = {
    "length": answer({"projectId": "p"}),
    "gzip": answer(gzip.compress(b'{"projectId": "p"}'), headers={"Content-Encoding": "gzip"}),
    "chunks": answer({"projectId": "p"}, is_chunked=True),
}


@row(
    "extra bytes in the same chunk as a response", "every request", "never part of another response"
)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("leftover", STALE.values(), ids=STALE.keys())
def test_leftovers(server: Wire, task: HtcTask, leftover: bytes, framing: str) -> None:
    books = Books(server)
    server.on(PROJECT, followed(FRAMINGS[framing], leftover))
    with session(server.url) as rescale:
        for _ in range(2):
            assert get(rescale, "p") == {"projectId": "p"}
            assert get(rescale, "q") == {"projectId": "q"}
        get(rescale, "p")
        batch = htcjobs.create_job_batch(rescale, task, **BATCH)
        assert batch.json["parentJobId"] == "batch-1"
    assert books.submissions == 1
    spoiled: set[int] = set()
    for request in server.requests:
        assert request.connection not in spoiled
        if request.path == "/htc/projects/p":
            spoiled.add(request.connection)


@row("bytes on an idle connection", "every request", "never part of another response")
@pytest.mark.parametrize("leftover", STALE.values(), ids=STALE.keys())
def test_late_leftovers(server: Wire, leftover: bytes) -> None:
    sent = threading.Event()

    def late(connection: socket.socket, request: ReceivedRequest) -> bool:
        connection.sendall(answer({"projectId": "p"}).encoded())
        connection.sendall(leftover)
        sent.set()
        return True

    server.on(PROJECT, late)
    with session(server.url) as rescale:
        assert get(rescale, "p") == {"projectId": "p"}
        assert sent.wait(60)
        assert get(rescale, "q") == {"projectId": "q"}


@row("the connection was used before", "submission", "a new connection is opened")
def test_a_submission_goes_out_on_a_fresh_connection(server: Wire, task: HtcTask) -> None:
    Books(server)
    with session(server.url) as rescale:
        get(rescale, "p")
        htcjobs.create_job_batch(rescale, task, **BATCH)
    [submission] = server.requests_to(SUBMIT)
    before = server.requests[: server.requests.index(submission)]
    assert submission.connection not in {request.connection for request in before}


@row("extra data after a compressed body, within Content-Length", "every response", "retried")
@pytest.mark.parametrize("more", [b"x", gzip.compress(b"{}", mtime=0)])
def test_data_behind_a_compressed_body(wire: Wire, rescale: HtcSession, more: bytes) -> None:
    body = gzip.compress(b'{"projectId": "p"}') + more
    spoiled = answer(body, headers={"Content-Encoding": "gzip"})
    wire.on(PROJECT, spoiled, answer({"projectId": "right"}))
    assert get(rescale, "p") == {"projectId": "right"}


@row("an upload to the storage", "every request after it", "never uses the storage's connection")
def test_the_connection_of_a_storage(
    wire: Wire, rescale: HtcSession, task: HtcTask, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("content")
    wire.on(PROJECT, answer({"projectId": "p"}))
    with Wire() as storage:
        storage.on("PUT /file", answer(status=200))
        presigned = answer({"url": f"{storage.origin}/file"})
        wire.on("GET /htc/projects/p/tasks/t/storage/presigned-url", presigned)
        task.upload_file(rescale, tmp_path / "file", "file")
        assert get(rescale, "p") == {"projectId": "p"}
        assert len(storage.requests) == 1


@row("a reset within a response of many TLS records", "every request", "retried; never truncated")
@pytest.mark.parametrize("ending", [reset, hang_up])
def test_an_answer_of_many_records_is_cut(server: Wire, ending: Step) -> None:
    """Several records are read at once; the failure that follows them is not lost."""
    whole = {"projectId": "p", "padding": "x" * 200_000}
    begun = answer(whole).encoded()[:-20_000]

    def cut(connection: socket.socket, request: ReceivedRequest) -> object:
        connection.sendall(begun)
        return ending(connection, request)

    server.on(PROJECT, cut, answer(whole))
    with session(server.url) as rescale:
        assert get(rescale, "p") == whole
    assert len(server.requests_to(PROJECT)) == 2


@row("a TLS record arrives in two parts", "every request", "read completely")
def test_a_record_that_comes_in_two_pieces(tls: ssl.SSLContext) -> None:
    body = {"projectId": "p", "padding": "x" * 40_000}
    with Wire(tls) as server, socket.create_server(("127.0.0.1", 0)) as listener:

        def copy(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):  # one end hung up
                while received := source.recv(1000):
                    target.sendall(received)
                target.shutdown(socket.SHUT_WR)

        def relay() -> None:
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", server.port)) as service:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=copy, args=(service, client), daemon=True)
                back.start()
                copy(client, service)
                back.join()

        relaying = threading.Thread(target=relay, daemon=True)
        relaying.start()
        server.on(PROJECT, answer(body))
        with session(f"https://127.0.0.1:{listener.getsockname()[1]}/api/v1") as rescale:
            assert get(rescale, "p") == body
        relaying.join()


# ---- answers that are not final, and bodies where none may be


@row("1xx before the response", "every request", "ignored")
@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_informational_answers(server: Wire, status: bytes) -> None:
    before = b"HTTP/1.1 %s\r\nLink: x\r\n\r\n" % status
    server.on(PROJECT, raw(before * 3 + answer({"projectId": "p"}).encoded()))
    with session(server.url) as rescale:
        assert get(rescale, "p") == {"projectId": "p"}
        assert get(rescale, "q") == {"projectId": "q"}


@row("101 Switching Protocols", "every request", "HtcConnectionError; a submission is uncertain")
def test_switching_protocols(server: Wire, task: HtcTask) -> None:
    Books(server)
    switching = raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nx")
    server.on(PROJECT, switching)
    server.on(SUBMIT, switching)
    with session(server.url) as rescale:
        with caught(HtcConnectionError, "getProject"):
            get(rescale, "p")
        assert get(rescale, "q") == {"projectId": "q"}
        with caught(SubmissionUncertainError):
            htcjobs.create_job_batch(rescale, task, **BATCH)
    assert len(server.requests_to(SUBMIT)) == 1


@row("a body with 204 or 304", "every request", "not read; the connection is closed")
@pytest.mark.parametrize("body", [b"x", answer({"projectId": "stale"}).encoded()])
def test_a_body_where_none_may_be(server: Wire, body: bytes) -> None:
    server.on(CANCEL, answer(body, status=204))
    server.on(PROJECT, answer(body, status=304))
    with session(server.url) as rescale:
        api.post_htc_projects_tasks_jobs_cancel(rescale, "p", "t")
        assert get(rescale, "q") == {"projectId": "q"}
        with caught(HtcResponseError, "HTTP 304"):
            get(rescale, "p")
        assert get(rescale, "q") == {"projectId": "q"}


# ---- proxies

CONNECT = "CONNECT 443"  # how the server here names a request for service.test:443
SERVICE = "https://service.test/api/v1"
PASSWORD = f"{MARK}-proxy"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A proxy for https and http."""
    with Wire() as proxy:
        for name in ("https_proxy", "http_proxy"):
            monkeypatch.setenv(name, proxy.origin.replace("://", f"://me:{PASSWORD}@"))
        yield proxy


@pytest.fixture
def behind(tls: ssl.SSLContext) -> Iterator[Wire]:
    """The service behind the proxy."""
    with Wire(tls) as service:
        service.on(IMAGE, answer({"status": "READY"}))
        yield service


REFUSALS: dict[str, Step] = {
    "403": answer(b"<html>no</html>", status=403),
    "407": answer(status=407, headers={"Proxy-Authenticate": "Basic"}),
    "407 that repeats the password": raw(
        f"HTTP/1.1 407 {PASSWORD} is wrong\r\nContent-Length: 0\r\n\r\n".encode()
    ),
    "502": answer(status=502),
    "503": answer(status=503, headers={"Retry-After": "1"}),
    "reset": reset,
    "hang up": hang_up,
    "garbage": raw(f"{PASSWORD}\0\1\2 garbage\r\n\r\n".encode()),
    "garbage in the head": raw(f"HTTP/1.1 200 OK\r\n{PASSWORD}\r\n\r\n".encode()),
    "half a head": raw(b"HTTP/1.1 200 Conn"),
    "accepts, and hangs up": raw(b"HTTP/1.1 200 OK\r\n\r\n"),
    "accepts, without TLS": raw(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 what?\r\n\r\n"),
}


@row(
    "a proxy refuses, resets or sends garbage", "submission", "HtcConnectionError; it was not sent"
)
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_proxy_that_rejects(proxy: Wire, behind: Wire, task: HtcTask, refusal: Step) -> None:
    books = Books(behind)
    proxy.on(CONNECT, tunnel(behind.port), refusal)
    with (
        session(SERVICE, max_retries=2) as rescale,
        caught(HtcConnectionError, "submitJobs") as info,
    ):
        htcjobs.create_job_batch(rescale, task, **BATCH)
    assert not info.value.request_sent
    assert not info.value.outcome_unknown
    assert len(proxy.requests_to(CONNECT)) == 1 + 3
    assert books.submissions == 0


@row("a proxy refuses only the first time", "submission", "retried, and accepted once")
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_proxy_that_rejects_at_first(
    proxy: Wire, behind: Wire, task: HtcTask, refusal: Step
) -> None:
    books = Books(behind)
    proxy.on(CONNECT, tunnel(behind.port), refusal, refusal, tunnel(behind.port))
    with session(SERVICE) as rescale:
        assert htcjobs.create_job_batch(rescale, task, **BATCH).json["parentJobId"] == "batch-1"
    assert books.submissions == 1


@row("a proxy does not respond", "change", "HtcTimeoutError; it was not sent")
def test_a_silent_proxy(proxy: Wire) -> None:
    gate = threading.Event()
    proxy.on(CONNECT, held(gate, hang_up))
    with session(SERVICE, max_retries=1, timeout_seconds=SHORT_SECONDS) as rescale:
        with caught(HtcTimeoutError) as info:
            api.post_oauth_token(rescale)
        gate.set()
    assert not info.value.request_sent
    assert not info.value.outcome_unknown
    assert len(proxy.requests_to(CONNECT)) == 2


@row("nothing listens at the proxy's address", "change", "HtcConnectionError; it was not sent")
def test_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", NOBODY)
    with session(SERVICE, max_retries=1) as rescale, caught(HtcConnectionError) as info:
        api.post_oauth_token(rescale)
    assert not info.value.request_sent


@row("a tunnel breaks after the request", "submission", "recovered like a lost response")
def test_a_tunnel_that_breaks(proxy: Wire, behind: Wire, task: HtcTask) -> None:
    books = Books(behind)
    behind.on(SUBMIT, books.taken(hang_up))
    proxy.on(CONNECT, tunnel(behind.port))
    with session(SERVICE) as rescale, caught(HtcConnectionError) as info:
        path = {"projectId": "p", "taskId": "t"}
        rescale.send(api.SUBMIT_JOBS.call(path, body=[{"htcJobDefinition": {}}]))
    assert info.value.request_sent
    assert info.value.outcome_unknown
    assert books.submissions == 1


@row(
    "an HTTP proxy refuses or fails",
    "change",
    "after 407 it was not carried out; after 502 it may have been",
)
@pytest.mark.parametrize(("status", "is_unknown"), [(407, False), (403, False), (502, True)])
def test_a_forward_proxy(proxy: Wire, status: int, is_unknown: bool) -> None:
    """The error of the proxy may repeat the credentials."""

    def refuse(request: ReceivedRequest) -> Step:
        value = request.headers["proxy-authorization"].removeprefix("Basic ")
        assert base64.b64decode(value) == f"me:{PASSWORD}".encode()
        return answer({"message": f"{value} or {PASSWORD} is wrong"}, status=status)

    proxy.on("GET /auth/token", computed(refuse))
    proxy.on("POST /oauth2/token", computed(refuse))
    with session("http://service.test/api/v1", max_retries=0) as rescale:
        with caught(HtcStatusError, r"\*\*\*") as info:
            api.post_oauth_token(rescale)
        assert info.value.outcome_unknown is is_unknown
        with caught(HtcStatusError, r"\*\*\*"):
            get(rescale, "p")
    assert len(proxy.requests_to("POST /oauth2/token")) == 1


@row("an HTTP proxy resets the connection", "change", "it may have been carried out")
def test_a_forward_proxy_that_resets(proxy: Wire) -> None:
    proxy.on("POST /oauth2/token", reset)
    with session("http://service.test/api/v1") as rescale, caught(HtcException) as info:
        api.post_oauth_token(rescale)
    assert info.value.outcome_unknown
    assert len(proxy.requests_to("POST /oauth2/token")) == 1


@row("a SOCKS proxy refuses, resets or sends garbage", "change", "it was not sent")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "does",
    [
        reset,
        hang_up,
        lambda connection: connection.sendall(b"HTTP/1.1 400 what?\r\n\r\n"),
        lambda connection: connection.sendall(b"\5\xff"),
        lambda connection: (connection.recv(9), connection.sendall(b"\5\0"), connection.recv(99)),
    ],
    ids=["reset", "hang up", "garbage", "no method", "hang up later"],
)
def test_a_socks_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str, does: Any) -> None:
    pytest.importorskip("socksio")
    with Wire() as proxy:
        proxy.at_connect = [does] * 9
        monkeypatch.setenv("all_proxy", f"socks5://127.0.0.1:{proxy.port}")
        with (
            session(f"{scheme}://service.test/api/v1", max_retries=2) as rescale,
            caught(HtcConnectionError) as info,
        ):
            api.post_oauth_token(rescale)
        assert len(proxy.at_connect) == 6
    assert not info.value.request_sent
    assert not info.value.outcome_unknown


@row("a SOCKS proxy", "every request", "sent through the proxy, even with extra bytes")
@pytest.mark.parametrize("login", ["", f"me:{PASSWORD}@"])
def test_through_a_socks_proxy(
    server: Wire, task: HtcTask, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    pytest.importorskip("socksio")
    books = Books(server)
    server.on(PROJECT, followed(answer({"projectId": "p"}), b"x"))

    def socks(connection: socket.socket) -> None:
        connection.recv(99)
        connection.sendall(b"\5\2" if login else b"\5\0")
        if login:
            assert PASSWORD.encode() in connection.recv(999)
            connection.sendall(b"\1\0")
        connection.recv(999)
        open_tunnel: Any = tunnel(server.port, b"\5\0\0\1" + bytes(6))
        open_tunnel(connection)

    with Wire() as proxy:
        proxy.at_connect = [socks] * 9
        monkeypatch.setenv("all_proxy", f"socks5://{login}127.0.0.1:{proxy.port}")
        with session(server.url.replace("127.0.0.1", "service.test")) as rescale:
            assert get(rescale, "p") == {"projectId": "p"}
            assert get(rescale, "q") == {"projectId": "q"}
            htcjobs.create_job_batch(rescale, task, **BATCH)
    assert books.submissions == 1
    assert len(proxy.at_connect) == 9 - 3  # the token shares one with the leftovers


@row("a connection that fails when it is closed", "every request", "not an error of the caller")
def test_a_connection_that_fails_when_it_is_closed(server: Wire) -> None:
    """Closing a connection raises no error, even if the connection is broken."""
    with session(server.url) as rescale:
        get(rescale, "p")
        (connection,) = [
            item
            for item in gc.get_objects()
            if isinstance(item, socket.socket) and peer_port(item) == server.port
        ]
        os.close(connection.fileno())
        rescale.close()
        assert connection.fileno() < 0


def peer_port(connection: socket.socket) -> int | None:
    with contextlib.suppress(OSError):
        if connection.family == socket.AF_INET:
            return int(connection.getpeername()[1])
    return None
