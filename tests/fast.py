"""A pytest plugin that skips each test as soon as it starts a process or an emulator.

`make test-fast` runs the tests with it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from rescalehtc.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Generator

STARTING = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"}
is_testing = False


def audit(event: str, _: object) -> None:
    if is_testing and event in STARTING:
        pytest.skip("it starts a process")


def start(_: Emulator) -> Emulator:
    pytest.skip("it starts an emulator")


def pytest_configure() -> None:
    sys.addaudithook(audit)
    Emulator.__enter__ = start  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    global is_testing
    is_testing = True
    try:
        return (yield)
    finally:
        is_testing = False
