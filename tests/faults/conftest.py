"""Fixtures: the server of raw bytes, and a session connected to it, with secrets."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import pytest

from rescalehtc import HtcSession
from rescalehtc._client.io import BlockingIo
from rescalehtc._client.transport import Transport
from rescalehtc.hooks import RequestInfo, ResponseInfo
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

from ..limits import HANG_SECONDS
from . import canary
from .wire import Wire, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "GET /htc/projects/p/container-registry/images/image"


@pytest.fixture(autouse=True)
def no_secret_is_told(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[None]:
    """No log record, output or exception in this folder's tests contains a secret.

    A warning is an exception in all tests.
    """
    canary.told.clear()
    caplog.set_level(logging.DEBUG)
    yield
    # Hypothesis logs the values that it tries, which do not come from this package.
    logged = [r for r in caplog.get_records("call") if not r.name.startswith("hypothesis")]
    canary.told.extend(("log", repr(vars(record)) + record.getMessage()) for record in logged)
    canary.told.extend(("output", text) for text in capfd.readouterr())
    leaks = canary.leaks()
    canary.told.clear()
    assert not leaks, "\n".join(leaks)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Handle Ctrl-C, even if the tests run in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as wire:
        wire.on(IMAGE, answer({"status": "READY"}))
        yield wire


@pytest.fixture
def rescale(wire: Wire) -> Iterator[HtcSession]:
    """A session with short waits."""
    with session(wire.url) as rescale:
        yield rescale


@pytest.fixture
def task() -> HtcTask:
    project = HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
    return HtcTask({"projectId": "p", "taskId": "t"}, project)


def session(url: str, **settings: float) -> HtcSession:
    quick = {
        "status_refresh_seconds": 0.0,
        "backoff_seconds": 0.0,
        "settle_seconds": 0.0,
        "timeout_seconds": HANG_SECONDS,
    }
    hooks = {"on_request": note_hook, "on_response": note_hook}
    return HtcSession(api_key=canary.API_KEY, base_url=url, **hooks, **{**quick, **settings})  # type: ignore[arg-type]


def note_hook(info: RequestInfo | ResponseInfo) -> None:
    """Record all arguments of hooks."""
    canary.told.append(("hook", repr(vars(info))))
    if isinstance(info, ResponseInfo) and info.error:
        canary.note(info.error)


def limit_bodies(rescale: HtcSession, max_body_bytes: int) -> None:
    """Limit the size of bodies that a session accepts."""
    rescale.close()
    rescale.client.io = BlockingIo(Transport(max_body_bytes))
