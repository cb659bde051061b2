"""Fixtures for tests of asynchronous sessions: event loops and a server of raw bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from rescalehtc.aio import AsyncHtcSession
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

from ..faults.conftest import IMAGE
from ..faults.wire import Wire, answer
from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

BACKENDS = ["asyncio", "trio"]
API_KEY = "key-1"

Run = Any
"""Runs a coroutine function without arguments on a loop."""


@pytest.fixture(params=BACKENDS)
def on_loop(request: pytest.FixtureRequest) -> Run:
    def run(main: Callable[[], Awaitable[Any]]) -> Any:
        async def limited() -> Any:
            with anyio.fail_after(HANG_SECONDS):
                return await main()

        return anyio.run(limited, backend=request.param)

    return run


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as wire:
        wire.on(IMAGE, answer({"status": "READY"}))
        wire.on("GET /htc/projects/p", answer({"projectId": "p"}))
        yield wire


@pytest.fixture
def wire_task() -> HtcTask:
    """A task on the server of raw bytes."""
    project = HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
    return HtcTask({"projectId": "p", "taskId": "t"}, project)


def async_session(url: str, **settings: Any) -> AsyncHtcSession:
    quick = {
        "api_key": API_KEY,
        "status_refresh_seconds": 0.0,
        "backoff_seconds": 0.0,
        "settle_seconds": 0.0,
        "timeout_seconds": HANG_SECONDS,
    }
    return AsyncHtcSession(base_url=url, **{**quick, **settings})


async def until_on_loop(condition: Callable[[], bool]) -> None:
    """Wait for a condition on a loop."""
    while not condition():
        await anyio.sleep(0.005)


def open_descriptors() -> int:
    """The number of open files and sockets of this process."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208
