"""Custom transports: `HtcSession(transport=...)`."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import socket
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import UnixStreamServer
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects
from rescalehtc.aio import AsyncHtcSession
from rescalehtc.aio import htcprojects as async_htcprojects
from rescalehtc.exceptions import (
    HtcConnectionError,
    HtcNotFoundError,
    HtcResponseError,
    HtcServerError,
    HtcTimeoutError,
    HtcValidationError,
    SubmissionUncertainError,
)

from .limits import NOBODY
from .service import Answer
from .test_hooks import IMAGE, JOB, JOBS, NO_PROJECTS, PROJECTS, SUBMIT, submit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rescalehtc.htctasks import HtcTask

    from .service import Service

URL = "https://htc.example/api/v1"
TOKEN = {"tokenValue": "token-1", "expiresIn": 900}


class Scripted(httpx.MockTransport):
    """Responds by path without a network, and records the requests."""

    def __init__(self, answers: dict[str, Callable[[httpx.Request], httpx.Response]]) -> None:
        super().__init__(self._answer)
        self.requests: list[httpx.Request] = []
        self._answers = answers

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = f"{request.method} {request.url.path.removeprefix('/api/v1')}"
        if path == "GET /auth/token":
            return httpx.Response(200, json=TOKEN)
        return self._answers.get(path, lambda _: httpx.Response(404))(request)

    def session(self, **settings: Any) -> HtcSession:
        quick = {"backoff_seconds": 0.0, "settle_seconds": 0.0, **settings}
        return HtcSession(api_key="key-1", base_url=URL, transport=self, **quick)


def raising(error: type[Exception]) -> Callable[[httpx.Request], httpx.Response]:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("why")

    return fail


def test_every_request_goes_over_it_with_the_session_s_headers_and_time_limit() -> None:
    found = {"items": [{"projectId": "p"}]}
    transport = Scripted({PROJECTS: lambda _: httpx.Response(200, json=found)})
    with transport.session(timeout_seconds=7.0) as rescale:
        [project] = htcprojects.get_projects(rescale)
    assert project.json == {"projectId": "p"}
    token, listing = transport.requests
    assert token.headers["Authorization"] == "Token key-1"
    assert listing.headers["Authorization"] == "Bearer token-1"
    assert listing.headers["User-Agent"].startswith("rescalehtc/")
    for request in (token, listing):
        limits: dict[str, float] = request.extensions["timeout"]
        assert set(limits) == {"connect", "read", "write", "pool"}
        assert all(0 < seconds <= 7.0 for seconds in limits.values())


def test_one_of_httpx_reaches_the_service(service: Service) -> None:
    service.on(PROJECTS, Answer({"items": []}, 200, {"x-request-id": "id-1"}))
    with (
        httpx.HTTPTransport() as transport,
        HtcSession(api_key="key-1", base_url=service.url, transport=transport) as rescale,
    ):
        assert htcprojects.get_projects(rescale) == []
        assert htcprojects.get_projects(rescale.with_options(max_retries=0)) == []
        rescale.close()
        assert htcprojects.get_projects(rescale) == [], "it is the user's to close"
    assert len(service.requests_to("GET /auth/token")) == 1


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets here")
def test_a_session_over_a_socket_of_this_machine(tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"items": [], "tokenValue": "t", "expiresIn": 900}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    path = str(tmp_path / "s")
    with UnixStreamServer(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with (
            httpx.HTTPTransport(uds=path) as transport,
            HtcSession(api_key="k", base_url="http://any.example", transport=transport) as rescale,
        ):
            assert htcprojects.get_projects(rescale) == []
        server.shutdown()
        thread.join()


@pytest.fixture
def invalid_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "no valid value")


def test_variables_for_proxies_and_certificates_do_not_matter(invalid_variables: None) -> None:
    transport = Scripted({PROJECTS: lambda _: httpx.Response(200, json={"items": []})})
    with transport.session() as rescale:
        assert htcprojects.get_projects(rescale) == []


NOT_SENT = [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError]
MAYBE_SENT = [httpx.ReadError, httpx.ReadTimeout, httpx.WriteError, httpx.RemoteProtocolError]


@pytest.mark.parametrize("kind", [*NOT_SENT, *MAYBE_SENT])
def test_its_errors_become_those_of_the_package(kind: type[Exception]) -> None:
    transport = Scripted({PROJECTS: raising(kind)})
    expected = HtcTimeoutError if issubclass(kind, httpx.TimeoutException) else HtcConnectionError
    with (
        transport.session(max_retries=1) as rescale,
        pytest.raises(expected, match="listProjects") as caught,
    ):
        htcprojects.get_projects(rescale)
    assert caught.value.request_sent == (kind in MAYBE_SENT)
    assert len(transport.requests) == 3, "it was retried"


@pytest.mark.parametrize("kind", [*NOT_SENT, *MAYBE_SENT])
def test_a_submission_is_retried_only_if_none_of_it_left(
    scripted_task: HtcTask, kind: type[Exception]
) -> None:
    transport = Scripted(
        {
            IMAGE: lambda _: httpx.Response(200, json={"status": "READY"}),
            SUBMIT: raising(kind),
            JOBS: lambda _: httpx.Response(200, json={"items": []}),
        }
    )
    expected = HtcConnectionError if kind in NOT_SENT else SubmissionUncertainError
    with transport.session(max_retries=2) as rescale, pytest.raises(expected):
        submit(rescale, scripted_task)
    sent = [request for request in transport.requests if request.method == "POST"]
    assert len(sent) == (3 if kind in NOT_SENT else 1)


def test_what_else_it_raises_passes_through(scripted_task: HtcTask) -> None:
    error = ValueError("a bug in it")

    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    transport = Scripted(
        {IMAGE: lambda _: httpx.Response(200, json={"status": "READY"}), SUBMIT: fail}
    )
    with transport.session() as rescale, pytest.raises(ValueError, match="a bug") as caught:
        submit(rescale, scripted_task)
    assert caught.value is error
    assert "may have been submitted" in error.__notes__[0]


def test_answers_are_read_as_always() -> None:
    packed = httpx.Response(200, json={"items": []}).content
    transport = Scripted(
        {
            "GET /htc/projects/a": lambda _: httpx.Response(500, headers={"x-request-id": "id-1"}),
            "GET /htc/projects/b": lambda _: httpx.Response(200, content=b"{"),
            "GET /htc/projects/c": lambda _: httpx.Response(302, headers={"Location": "/other"}),
            PROJECTS: lambda _: httpx.Response(200, content=iter([packed[:3], packed[3:]])),
        }
    )
    with transport.session(max_retries=0) as rescale:
        with pytest.raises(HtcServerError) as caught:
            htcprojects.get_project_with_id(rescale, "a")
        assert caught.value.request_id == "id-1"
        for name in "bc":
            with pytest.raises(HtcResponseError):
                htcprojects.get_project_with_id(rescale, name)
        assert htcprojects.get_project_with_id(rescale, "d") is None
        assert htcprojects.get_projects(rescale) == []


def test_an_answer_that_comes_too_slowly_ends_the_attempt() -> None:
    def drip(_: httpx.Request) -> httpx.Response:
        def pieces() -> Iterator[bytes]:
            while True:
                yield b" "

        return httpx.Response(200, content=pieces())

    transport = Scripted({PROJECTS: drip})
    with transport.session() as rescale:
        rescale.do_authenticate()
        hasty = rescale.with_options(timeout_seconds=0.05, max_retries=0)
        with pytest.raises(HtcTimeoutError):
            htcprojects.get_projects(hasty)


def test_an_upload_goes_over_it_too() -> None:
    stored: list[bytes] = []

    def store(request: httpx.Request) -> httpx.Response:
        stored.append(request.read())
        return httpx.Response(200)

    with Scripted({"PUT /store": store}).session() as rescale:
        rescale.upload(f"{URL}/store?sig=1", io.BytesIO(b"content"))
    assert stored == [b"content"]


@pytest.mark.parametrize("wrong", [httpx.Client, httpx.AsyncHTTPTransport, object])
def test_an_invalid_transport_is_rejected(wrong: type[Any]) -> None:
    message = f"transport: must be an httpx.BaseTransport, got {wrong.__name__}"
    with pytest.raises(HtcValidationError, match=message):
        HtcSession(api_key="key-1", transport=wrong())
    with pytest.raises(HtcValidationError, match="AsyncBaseTransport, got HTTP"):
        AsyncHtcSession(api_key="key-1", transport=httpx.HTTPTransport())


def test_such_a_session_can_not_be_pickled_or_copied_and_says_so() -> None:
    rescale = Scripted({}).session()
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="custom transport can't be pickled or copied"):
            way(rescale)


def test_an_asynchronous_session_takes_an_asynchronous_one(service: Service) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    service.on("PUT /store", Answer())

    async def use() -> None:
        async with (
            httpx.AsyncHTTPTransport() as transport,
            AsyncHtcSession(api_key="key-1", base_url=service.url, transport=transport) as rescale,
        ):
            assert await async_htcprojects.get_projects(rescale) == []
            await rescale.upload(f"{service.url}/store", io.BytesIO(b"content"))
            with pytest.raises(HtcNotFoundError):
                await rescale.upload(f"{service.url}/nowhere", io.BytesIO(b""))
        async with (
            httpx.AsyncHTTPTransport() as transport,
            AsyncHtcSession(
                api_key="key-1", base_url=NOBODY, transport=transport, max_retries=0
            ) as rescale,
        ):
            with pytest.raises(HtcConnectionError) as caught:
                await async_htcprojects.get_projects(rescale)
            assert not caught.value.request_sent

    anyio.run(use)
    assert service.requests_to("PUT /store")[0].body == b"content"


def test_debugging_the_library_does_not_disturb_an_asynchronous_session(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.on(PROJECTS, NO_PROJECTS)
    caplog.set_level(logging.DEBUG)

    async def use() -> None:
        async with AsyncHtcSession(api_key="key-1", base_url=service.url) as rescale:
            assert await async_htcprojects.get_projects(rescale) == []

    anyio.run(use)
    assert "receive_response_headers.complete return_value=200" in caplog.text
    assert "key-1" not in caplog.text
    assert "token-1" not in caplog.text


def test_a_batch_of_many_calls_uses_it_from_many_threads(scripted_task: HtcTask) -> None:
    numbers = iter(range(1000))

    def take(request: httpx.Request) -> httpx.Response:
        ids = {"projectId": "p", "taskId": "t"}
        answers = [
            {**item, **ids, "parentJobId": f"j{next(numbers)}"}
            for item in json.loads(request.content)
        ]
        return httpx.Response(200, json=answers)

    ready = {IMAGE: lambda _: httpx.Response(200, json={"status": "READY"}), SUBMIT: take}
    with Scripted(ready).session() as rescale:
        batch = htcjobs.submit(rescale, scripted_task, [{"htcJobDefinition": JOB}] * 250)
    assert len(batch.batches) == 250
