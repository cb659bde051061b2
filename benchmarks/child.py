"""What each measured process does: the work of one name, timed, and its peak of memory.

It imports next to nothing, so that a row about imports is about theirs.
"""

import sys
import time
from collections.abc import Mapping


class Clock:
    """Measures the `with` block: what comes before it is preparation."""

    seconds: float = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started


def run(works: Mapping[str, object]) -> None:
    """Do the work that the command line names; print seconds, KiB and what came of it."""
    _, name, size = sys.argv
    work = works[name]
    assert callable(work)
    clock = Clock()
    outcome: object = work(clock, int(size))
    print(clock.seconds, peak_kib(), outcome)


def peak_kib() -> int:
    """The most memory that this process held, in KiB.

    Not ru_maxrss where there is a better one: that begins with the size of the parent process.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
