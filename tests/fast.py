"""A pytest plugin that skips each test as soon as it starts a process or an emulator.

`make test-fast` runs the tests with it.
"""

from __future__ import annotations

import sys
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Never

import pytest

from rescalehtc.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Generator

STARTING = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"}
is_testing = False


def skip(*_: object) -> Never:
    pytest.skip("it starts a process or an emulator")


def audit(event: str, _: object) -> None:
    if is_testing and event in STARTING:
        skip()


def pytest_configure() -> None:
    sys.addaudithook(audit)
    BaseProcess.start = skip  # type: ignore[method-assign]
    Emulator.__enter__ = skip  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    global is_testing
    is_testing = True
    try:
        return (yield)
    finally:
        is_testing = False
