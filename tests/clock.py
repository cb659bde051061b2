"""A clock that a test moves, for one module of the package.

The clocks of the module `time` itself must stay as they are: servers of other tests run in the
same process, and a loop that has seen the future waits until it comes.
"""

from __future__ import annotations

import time


class Clock:
    """Stands where a module has imported `time`."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.ahead = {"time": 0.0, "monotonic": 0.0}

    def time(self) -> float:
        return time.time() + self.ahead["time"]

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead["monotonic"]


class Ticks(Clock):
    """A clock that stands still but for those who sleep; it counts how often somebody slept."""

    def __init__(self) -> None:
        super().__init__()
        # Whole seconds, so that sums are exact.
        self.start = {"time": time.time() // 1, "monotonic": time.monotonic() // 1}
        self.slept: list[float] = []
        self.sleep = self._sleep  # type: ignore[method-assign,assignment]

    def time(self) -> float:
        return self.start["time"] + self.ahead["time"]

    def monotonic(self) -> float:
        return self.start["monotonic"] + self.ahead["monotonic"]

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead["monotonic"] += seconds
