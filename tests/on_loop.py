"""A pytest plugin that runs the core of each blocking session on an event loop.

`make test-loop` runs the tests that use sessions with it. So the same tests cover asynchronous
sessions, which drive the same flows with another Io.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from rescalehtc import HtcSession
from rescalehtc._client.async_io import AsyncIo
from rescalehtc._client.attempt import leaving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
    from contextlib import AbstractContextManager

    from rescalehtc._client.io import Io

# The files whose tests use sessions in the test process.
ON_A_LOOP = {
    "test_container_registry.py",
    "test_content.py",
    "test_credentials.py",
    "test_delivery.py",
    "test_every_operation.py",
    "test_failures.py",
    "test_following.py",
    "test_hooks.py",
    "test_htcjobs.py",
    "test_htcprojects.py",
    "test_htcsession.py",
    "test_htctasks.py",
    "test_htcworkspaces.py",
    "test_log.py",
    "test_logs.py",
    "test_options.py",
    "test_otel.py",
    "test_pickling.py",
    "test_request_ids.py",
    "test_retry.py",
    "test_submission.py",
    "test_transport.py",
    "test_waiting.py",
    "faults/test_connections.py",
    "faults/test_fuzz.py",
    "faults/test_listings_and_logs.py",
    "faults/test_requests.py",
    "faults/test_secrets.py",
    "faults/test_submissions.py",
    "faults/test_threads.py",
    "faults/test_tokens.py",
    "faults/test_waits.py",
    "runs/test_planning.py",
    "runs/test_reattaching.py",
    "runs/test_rerunning.py",
    "runs/test_why.py",
}
# Tests of behavior that differs on an event loop, each with the reason.
SIGNALS = "a signal handler runs in the main thread, which only waits for the loop here"
THREADS = "it looks at the threads or frames of the blocking session"
NESTED = "it uses a session within a flow of another one, where the loop can't wait"
NOT_ON_A_LOOP = {
    "tests/faults/test_listings_and_logs.py::test_an_interrupt": SIGNALS,
    "tests/faults/test_threads.py::test_an_interrupted_renewal": SIGNALS,
    "tests/faults/test_tokens.py::test_a_failing_token_is_requested_once": THREADS,
    "tests/faults/test_secrets.py::test_frames_of_the_package": THREADS,
    "tests/test_pickling.py::test_a_session_in_use_by_a_thread_can_be_copied": NESTED,
}
PROCESSES = "its session is in another process, without this plugin"
TESTS = Path(__file__).parent

lock = threading.Lock()
started: list[tuple[AbstractContextManager[BlockingPortal], BlockingPortal]] = []


def portal() -> BlockingPortal:
    """The event loop of this process, in its own thread."""
    with lock:
        if not started:
            context = start_blocking_portal(name="loop")
            started.append((context, context.__enter__()))
        return started[0][1]


def call(function: Callable[[], Awaitable[Any]]) -> Any:
    """Call a function on the loop. An exception that is not an Exception would end the portal."""

    async def caught() -> tuple[Any, BaseException | None]:
        try:
            return await function(), None
        except BaseException as error:  # noqa: BLE001 - raised below
            return None, error

    result, error = portal().call(caught)
    if error is not None:
        raise error
    return result


def new_io(self: HtcSession) -> Io:
    return AsyncIo()


def run(self: HtcSession, flow: Coroutine[Any, Any, Any]) -> Any:
    async def running() -> Any:
        return await flow

    with leaving():
        return call(running)


def iterate(self: HtcSession, flow: AsyncGenerator[Any]) -> Iterator[Any]:
    async def following() -> Any:
        try:
            return [await anext(flow)]
        except StopAsyncIteration:
            return []

    with leaving():
        try:
            while item := call(following):
                yield item[0]
        finally:
            call(flow.aclose)


def audit(event: str, _: object) -> None:
    is_test = threading.current_thread() is threading.main_thread()
    if event == "subprocess.Popen" and is_test and started:  # except for jobs of the emulator
        pytest.skip(PROCESSES)


def pytest_configure() -> None:
    HtcSession._new_io = new_io
    HtcSession.run = run
    HtcSession.iterate = iterate
    sys.addaudithook(audit)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.suffix != ".py":
        return None
    return collection_path not in {TESTS / name for name in ON_A_LOOP} or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, reason in NOT_ON_A_LOOP.items():
            if item.nodeid.startswith(name):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_unconfigure() -> None:
    while started:
        started.pop()[0].__exit__(None, None, None)
