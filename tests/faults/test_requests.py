"""The results of single requests."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, api, htctasks
from rescalehtc._client.retry import MAX_RETRY_AFTER_SECONDS
from rescalehtc.container_registry import get_container_registry
from rescalehtc.exceptions import (
    HtcConnectionError,
    HtcException,
    HtcForbiddenError,
    HtcNotFoundError,
    HtcRateLimitError,
    HtcResponseError,
    HtcServerError,
    HtcTimeoutError,
)

from ..clock import TestIo, inject_clock
from ..limits import HANG_SECONDS, NOBODY, SHORT_SECONDS
from .canary import caught
from .conftest import session
from .matrix import row
from .wire import (
    Step,
    Wire,
    answer,
    compressed,
    computed,
    drip,
    hang_up,
    raw,
    reset,
    truncated,
)

if TYPE_CHECKING:
    from rescalehtc.htctasks import HtcTask

    from .wire import ReceivedRequest

PROJECT = "GET /htc/projects/p"
FOUND = answer({"projectId": "p"})


def get(rescale: HtcSession) -> Any:
    return api.get_htc_projects(rescale, "p")


@pytest.fixture
def clock(rescale: HtcSession) -> TestIo:
    """A clock that skips and records the session's waits."""
    return inject_clock(rescale)


# ---- idempotent requests


@row("connection refused", "GET, PUT, DELETE", "retried; then HtcConnectionError")
def test_nothing_listens() -> None:
    with (
        session(NOBODY, max_retries=2) as nowhere,
        caught(HtcConnectionError, "getToken") as info,
    ):
        get(nowhere)
    assert not info.value.request_sent
    assert not info.value.outcome_unknown


@row("connection refused at first, then the service is up", "GET", "retried successfully")
def test_the_service_comes_up(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, FOUND)
    get(rescale)
    wire.on(PROJECT, reset, reset, FOUND)
    assert get(rescale) == {"projectId": "p"}


@row("connection reset before the request was read", "GET", "retried on another connection")
def test_reset_before_it_was_read(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, FOUND)
    wire.at_connect = [reset, reset, reset]
    assert get(rescale) == {"projectId": "p"}
    assert len(wire.requests_to(PROJECT)) == 1


@row("connection reset after the request was read", "GET", "retried on another connection")
def test_reset_after_it_was_read(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, reset, FOUND)
    assert get(rescale) == {"projectId": "p"}
    assert len({request.connection for request in wire.requests_to(PROJECT)}) == 2


@row("connection closed without a response", "GET", "retried")
def test_hung_up(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, hang_up, FOUND)
    assert get(rescale) == {"projectId": "p"}


@row("the service closed an idle connection", "GET, submissions", "a new connection is opened")
def test_idle_connection_closed(wire: Wire, rescale: HtcSession) -> None:
    closing = raw(answer({"projectId": "p"}).encoded())  # says nothing of closing, and closes
    wire.on(PROJECT, closing)
    for _ in range(3):
        assert get(rescale) == {"projectId": "p"}


@row("body shorter than Content-Length", "GET", "retried; then HtcConnectionError")
def test_truncated_body(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, truncated({"projectId": "p"}), FOUND)
    assert get(rescale) == {"projectId": "p"}
    wire.on(PROJECT, truncated({"projectId": "p"}))
    with caught(HtcConnectionError):
        get(rescale)
    assert len(wire.requests_to(PROJECT)) == 2 + 6


@row("truncated compressed body with a matching Content-Length", "GET", "retried")
def test_truncated_gzip(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, compressed({"projectId": "p"}, cut=-4), FOUND)
    assert get(rescale) == {"projectId": "p"}
    assert len(wire.requests_to(PROJECT)) == 2


@row("damaged compressed body", "GET", "retried")
def test_damaged_gzip(wire: Wire, rescale: HtcSession) -> None:
    damaged = answer(b"\x1f\x8b\x08\x00garbage", headers={"Content-Encoding": "gzip"})
    wire.on(PROJECT, damaged, FOUND)
    assert get(rescale) == {"projectId": "p"}


@row("truncated JSON with a matching Content-Length", "GET", "retried; then HtcResponseError")
def test_half_a_json_text(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, answer(b'{"projectId": "p'), FOUND)
    assert get(rescale) == {"projectId": "p"}
    wire.on(PROJECT, answer(b'{"projectId": "p'))
    with caught(HtcResponseError, "getProject"):
        get(rescale)


@row("invalid chunks", "GET", "retried; then HtcConnectionError")
def test_wrong_framing(wire: Wire, rescale: HtcSession) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire.on(PROJECT, raw(chunked + b"zz\r\n{}\r\n0\r\n\r\n"), raw(chunked + b"2\r\n{}"), FOUND)
    assert get(rescale) == {"projectId": "p"}


@row("a response that is not HTTP", "GET", "HtcConnectionError")
def test_no_http(wire: Wire, rescale: HtcSession) -> None:
    wire.on(PROJECT, raw(b"SSH-2.0-OpenSSH_9.9\r\n"))
    with caught(HtcConnectionError):
        get(rescale)


@row("408, 429, 500, 502, 503, 504", "GET, PUT, DELETE, cancel, create repository", "retried")
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_status(wire: Wire, rescale: HtcSession, task: HtcTask, status: int) -> None:
    job = "/htc/projects/p/tasks/t"
    registry = {"projectId": "p", "containerRegistry": "registry.example.com/p"}
    wire.on(PROJECT, answer(registry))
    calls: dict[str, Any] = {
        PROJECT: lambda: get(rescale),
        "PUT /htc/projects/p/dimensions": lambda: api.put_htc_projects_dimensions(rescale, "p", []),
        "DELETE /htc/projects/p/limits": lambda: task.project.delete_all_limits(rescale),
        f"POST {job}/jobs/cancel": lambda: task.cancel_jobs_in_task(rescale),
        "POST /htc/projects/p/container-registry/repo/r": lambda: get_container_registry(
            rescale, task.project
        ).create_repo(rescale, "r"),
    }
    for operation, call in calls.items():
        body: Any = [] if "dimensions" in operation else registry
        wire.on(operation, answer(status=status), answer(body))
        before = len(wire.requests_to(operation))
        call()
        assert len(wire.requests_to(operation)) - before >= 2


@row("any other error status", "every request", "the exception immediately")
@pytest.mark.parametrize(
    ("status", "kind"), [(400, HtcException), (403, HtcForbiddenError), (404, HtcNotFoundError)]
)
def test_another_status(
    wire: Wire, rescale: HtcSession, status: int, kind: type[HtcException]
) -> None:
    wire.on(PROJECT, answer(status=status))
    with caught(kind):
        get(rescale)
    assert len(wire.requests_to(PROJECT)) == 1


@row("Retry-After in seconds", "429, 503", "waits as long as requested")
def test_retry_after_in_seconds(wire: Wire, rescale: HtcSession, clock: TestIo) -> None:
    wire.on(PROJECT, answer(status=503, headers={"Retry-After": "7"}), FOUND)
    get(rescale)
    assert clock.slept == [7.0]


@row("Retry-After as a date", "429, 503", "waits as long as requested")
def test_retry_after_as_a_date(wire: Wire, rescale: HtcSession, clock: TestIo) -> None:
    date = formatdate(clock.time() + 30, usegmt=True)
    wire.on(PROJECT, answer(status=429, headers={"Retry-After": date}), FOUND)
    get(rescale)
    assert 29 <= clock.slept[0] <= 30  # the date has no fractions of a second


@row("Retry-After in the past", "429, 503", "retried immediately")
def test_retry_after_in_the_past(wire: Wire, rescale: HtcSession, clock: TestIo) -> None:
    date = formatdate(clock.time() - 3000, usegmt=True)
    wire.on(PROJECT, answer(status=429, headers={"Retry-After": date}), FOUND)
    get(rescale)
    assert clock.slept == [0.0]


@row("invalid Retry-After", "429, 503", "retried with the usual backoff")
@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "²", "Mon, 99 Foo 2026", ""])
def test_retry_after_garbage(wire: Wire, rescale: HtcSession, clock: TestIo, value: str) -> None:
    header = {"Retry-After": value.encode().decode("latin-1")}
    wire.on(PROJECT, answer(status=503, headers=header), FOUND)
    get(rescale)
    assert clock.slept == [0.0]  # the session's backoff_seconds is 0


@row("Retry-After of years", "429, 503", "waits at most 60 s")
def test_retry_after_of_years(wire: Wire, rescale: HtcSession, clock: TestIo) -> None:
    wire.on(PROJECT, answer(status=503, headers={"Retry-After": "9" * 40}), FOUND)
    get(rescale)
    assert clock.slept == [MAX_RETRY_AFTER_SECONDS]


@row("repeated failures", "GET", "exponential backoff up to 30 s, with jitter")
def test_waits_grow(wire: Wire) -> None:
    wire.on(PROJECT, answer(status=500))
    with session(wire.url, backoff_seconds=4.0, max_retries=8, deadline_seconds=1e6) as rescale:
        clock = inject_clock(rescale)
        with caught(HtcServerError):
            get(rescale)
    assert len(clock.slept) == 8
    longest = [4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0]
    assert all(most / 2 <= wait <= most for wait, most in zip(clock.slept, longest, strict=True))
    assert len(set(clock.slept)) == 8


@row("the wait would exceed deadline_seconds", "429, 503", "the exception immediately")
def test_no_wait_beyond_the_deadline(wire: Wire) -> None:
    wire.on(PROJECT, answer(status=429, headers={"Retry-After": "50"}))
    with session(wire.url, deadline_seconds=40.0) as rescale:
        clock = inject_clock(rescale)
        with caught(HtcRateLimitError):
            get(rescale)
    assert clock.slept == []


@row("an outage", "a call", "max_retries retries with backoff")
@pytest.mark.parametrize("fault", [answer(status=500), answer(status=503), reset, hang_up])
def test_a_dead_service(wire: Wire, fault: Step) -> None:
    with session(wire.url, backoff_seconds=1.0) as rescale:
        rescale.do_authenticate()
        clock = inject_clock(rescale)
        wire.on(PROJECT, fault)
        for _ in range(10):
            with caught(HtcException):
                get(rescale)
    assert len(wire.requests_to(PROJECT)) == 10 * 6
    # A call with six attempts takes at least a quarter of a minute.
    assert sum(clock.slept) >= 10 * 15.5


@row("an outage", "64 threads", "max_retries retries per thread")
def test_a_dead_service_and_64_threads(wire: Wire) -> None:
    with session(wire.url, backoff_seconds=1.0, deadline_seconds=1e6) as rescale:
        rescale.do_authenticate()
        clock = inject_clock(rescale)
        wire.on(PROJECT, answer(status=503))

        def ask(_: int) -> bool:
            try:
                get(rescale)
            except HtcServerError:
                return True
            return False

        with ThreadPoolExecutor(64) as threads:
            assert all(threads.map(ask, range(64)))
    assert len(wire.requests_to(PROJECT)) == 64 * 6
    assert len(clock.slept) == 64 * 5


@row("connections reset for 2 s", "64 threads", "no call fails")
def test_64_threads_through_resets(wire: Wire) -> None:
    with session(wire.url, backoff_seconds=1.0, deadline_seconds=1e6) as rescale:
        rescale.do_authenticate()
        clock = inject_clock(rescale)
        began = clock.monotonic()

        def blip(request: ReceivedRequest) -> Step:
            return reset if clock.monotonic() < began + 2.0 else FOUND

        wire.on(PROJECT, computed(blip))
        with ThreadPoolExecutor(64) as threads:
            calls = [threads.submit(get, rescale) for _ in range(64)]
            assert [call.result() for call in calls] == [{"projectId": "p"}] * 64
    assert clock.slept


@row("every other request fails", "1 and 32 threads", "no call fails")
@pytest.mark.parametrize("fault", [answer(status=503), reset, truncated({"projectId": "p"})])
@pytest.mark.parametrize("count", [1, 32])
def test_every_other_request_fails(wire: Wire, count: int, fault: Step) -> None:
    numbers = itertools.count()
    with session(wire.url, backoff_seconds=1.0, deadline_seconds=1e6) as rescale:
        rescale.do_authenticate()
        inject_clock(rescale)
        wire.on(PROJECT, computed(lambda request: FOUND if next(numbers) % 2 else fault))
        with ThreadPoolExecutor(count) as threads:
            calls = [threads.submit(get, rescale) for _ in range(2 * count)]
            assert [call.result() for call in calls] == [{"projectId": "p"}] * (2 * count)


@row("max_retries=0", "every request", "no retries")
def test_no_retries(wire: Wire) -> None:
    wire.on(PROJECT, answer(status=503))
    with session(wire.url, max_retries=0) as rescale, caught(HtcServerError):
        get(rescale)
    assert len(wire.requests_to(PROJECT)) == 1


@row("no response", "every request", "HtcTimeoutError after timeout_seconds")
def test_no_answer(wire: Wire) -> None:
    gate = threading.Event()
    wire.on(PROJECT, lambda connection, request: gate.wait(HANG_SECONDS))
    with session(wire.url) as rescale:
        get_token(rescale)
        with caught(HtcTimeoutError, r"within [\d.]+ s") as info:
            get(rescale.with_options(timeout_seconds=SHORT_SECONDS, max_retries=1))
        gate.set()
    assert info.value.request_sent
    assert len(wire.requests_to(PROJECT)) == 2


HEAD = b"HTTP/1.1 200 OK\r\n"


@row("one byte at a time", "headers, body, chunks", "HtcTimeoutError after timeout_seconds")
@pytest.mark.parametrize(
    "step",
    [
        drip(HEAD, b"X-Filler: y\r\n"),
        drip(HEAD + b"Content-Length: 1000000\r\n\r\n"),
        drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_dripping(wire: Wire, step: Step) -> None:
    wire.on(PROJECT, step)
    with session(wire.url) as rescale:
        get_token(rescale)
        with caught(HtcTimeoutError):
            get(rescale.with_options(timeout_seconds=SHORT_SECONDS, max_retries=0))


@row("one byte at a time in every attempt", "every request", "the call ends after deadline_seconds")
def test_dripping_on_every_attempt(wire: Wire) -> None:
    wire.on(PROJECT, drip(HEAD, b"X-Filler: y\r\n"))
    with session(wire.url) as rescale:
        get_token(rescale)
        hasty = rescale.with_options(
            timeout_seconds=SHORT_SECONDS, deadline_seconds=2.5 * SHORT_SECONDS, max_retries=100
        )
        started = time.monotonic()
        with caught(HtcTimeoutError):
            get(hasty)
    assert time.monotonic() - started >= 2 * SHORT_SECONDS
    assert len(wire.requests_to(PROJECT)) <= 3


@row("a TLS handshake that never ends", "every request", "HtcTimeoutError; nothing was sent")
def test_handshake_without_end(wire: Wire) -> None:
    wire.at_connect = [drip(b"\x16\x03\x03\x3f\xff")] * 2
    url = wire.url.replace("http:", "https:")
    hasty = session(url, timeout_seconds=0.3, max_retries=1)
    with hasty as rescale, caught(HtcTimeoutError) as info:
        get(rescale)
    assert not info.value.request_sent


@row("an untrusted certificate", "every request", "HtcConnectionError")
def test_no_tls(wire: Wire) -> None:
    wire.at_connect = [lambda connection: connection.sendall(b"HTTP/1.1 400 no TLS\r\n\r\n")] * 2
    url = wire.url.replace("http:", "https:")
    with session(url, max_retries=1) as rescale, caught(HtcConnectionError) as info:
        get(rescale)
    assert not info.value.request_sent


# ---- non-idempotent requests


def create_task(rescale: HtcSession, task: HtcTask) -> Any:
    return htctasks.create_task_with_name(rescale, task.project, "a task")


def create_project(rescale: HtcSession, task: HtcTask) -> Any:
    return api.post_htc_projects(rescale, {"projectName": "a project"})


def archive(rescale: HtcSession, task: HtcTask) -> Any:
    return task.archive(rescale)


CHANGES = [
    ("POST /htc/projects/p/tasks", create_task),
    ("POST /htc/projects", create_project),
    ("PATCH /htc/projects/p/tasks/t", archive),
]
LOST = [reset, hang_up, truncated({"taskId": "t"}), answer(b"<html>"), answer(status=500)]


@row(
    "lost or unreadable response, 5xx",
    "create task, create project, PATCH",
    "not retried; the exception has outcome_unknown=True",
)
@pytest.mark.parametrize(("operation", "change"), CHANGES)
@pytest.mark.parametrize("lost", LOST)
def test_a_change_is_not_made_twice(
    wire: Wire, rescale: HtcSession, task: HtcTask, operation: str, change: Any, lost: Step
) -> None:
    wire.on(operation, lost)
    with caught(HtcException) as info:
        change(rescale, task)
    assert info.value.outcome_unknown
    assert len(wire.requests_to(operation)) == 1


@row(
    "connection refused",
    "create task, create project, PATCH",
    "retried; then HtcConnectionError with outcome_unknown=False",
)
@pytest.mark.parametrize(("operation", "change"), CHANGES)
def test_a_change_that_did_not_leave(
    task: HtcTask, caplog: pytest.LogCaptureFixture, operation: str, change: Any
) -> None:
    with Wire() as wire:
        rescale = session(wire.url, max_retries=3)
        get_token(rescale)
    with rescale, caught(HtcConnectionError) as info:
        change(rescale, task)
    assert not info.value.outcome_unknown
    assert caplog.text.count("; retry in ") == 3


@row(
    "429",
    "create task, create project, PATCH",
    "retried, because the service did not carry it out",
)
@pytest.mark.parametrize(("operation", "change"), CHANGES)
def test_a_change_that_was_not_made_is_tried_again(
    wire: Wire, rescale: HtcSession, task: HtcTask, operation: str, change: Any
) -> None:
    done = answer({"taskId": "t", "projectId": "p"})
    wire.on(operation, answer(status=429), answer(status=429), done)
    change(rescale, task)
    assert len(wire.requests_to(operation)) == 3


@row("400, 403, 404, 409", "create task, PATCH", "the exception has outcome_unknown=False")
@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_a_change_that_was_rejected(
    wire: Wire, rescale: HtcSession, task: HtcTask, status: int
) -> None:
    wire.on("POST /htc/projects/p/tasks", answer(status=status))
    with caught(HtcException) as info:
        create_task(rescale, task)
    assert not info.value.outcome_unknown
    assert len(wire.requests_to("POST /htc/projects/p/tasks")) == 1


def get_token(rescale: HtcSession) -> None:
    """Fetch the session's token before the test."""
    rescale.do_authenticate()
