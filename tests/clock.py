"""Clocks that a test can move.

The clock of the process must not change, because servers of other tests run in the same process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rescalehtc import HtcSession
    from rescalehtc._client.io import Io


class Clock:
    """Replaces the module `time` in a module of the emulator."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.ahead = {"time": 0.0, "monotonic": 0.0}

    def time(self) -> float:
        return time.time() + self.ahead["time"]

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead["monotonic"]


class TestIo:
    """An Io whose clock moves only when a test or a sleep moves it.

    Everything else uses another Io.

    Attributes:
        ahead: The seconds by which the clock was moved.
        time_ahead: The seconds by which the time of day was moved in addition.
        chance: The return value of `random`. None for a random number.
        slept: The seconds of each sleep. With `is_instant`, a sleep moves the clock instead.
    """

    __test__ = False

    def __init__(self, io: Io, *, is_instant: bool = True) -> None:
        self.real = io
        self._is_instant = is_instant
        # Whole seconds, so that sums are exact.
        self._start = io.monotonic() // 1
        self._start_time = io.time() // 1
        self.ahead = 0.0
        self.time_ahead = 0.0
        self.chance: float | None = None
        self.slept: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def monotonic(self) -> float:
        return self._start + self.ahead

    def time(self) -> float:
        return self._start_time + self.ahead + self.time_ahead

    def random(self) -> float:
        return self.real.random() if self.chance is None else self.chance

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._is_instant:
            self.ahead += seconds
        else:
            await self.real.sleep(seconds)


def inject_clock(rescale: HtcSession, *, is_instant: bool = True) -> TestIo:
    """Give a session its own clock."""
    real = rescale.client.io
    if isinstance(real, TestIo):
        real = real.real
    io: Any = TestIo(real, is_instant=is_instant)
    rescale.client.io = rescale.client.tokens.io = io
    return io
