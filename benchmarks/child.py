"""The main function of each measured process: do the work, and print its time and peak memory.

It imports little, so that the rows about imports measure only the imports of the package.
"""

import sys
import time
from collections.abc import Mapping


class Clock:
    """Measures the `with` block, without the preparation before it."""

    seconds: float = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started


def run(works: Mapping[str, object]) -> None:
    """Do the work that the arguments name, and print its seconds, KiB and outcome."""
    _, name, size = sys.argv
    work = works[name]
    assert callable(work)
    clock = Clock()
    outcome: object = work(clock, int(size))
    print(clock.seconds, peak_kib(), outcome)


def peak_kib() -> int:
    """The peak memory of this process in KiB.

    Linux's ru_maxrss starts with the size of the parent process, so this reads VmHWM there.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
