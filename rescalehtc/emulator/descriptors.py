"""Detect a shortage of file descriptors early, and retry until some are free."""

from __future__ import annotations

import errno
import os
import resource
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# The number of descriptors that are reserved for jobs and uploads.
_RESERVE: Final = 64
_RETRY_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.1


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Whether an error means that the process or the system has no free descriptor."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def descriptor_limit() -> int:
    """Return the maximum number of descriptors of the process. -1 if it is unlimited."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def are_descriptors_scarce() -> bool:
    """Whether too few descriptors are free, so that idle connections should be closed."""
    try:
        lowest_free = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        if is_out_of_descriptors(error):
            return True
        raise
    os.close(lowest_free)
    most = descriptor_limit()
    return most != resource.RLIM_INFINITY and lowest_free >= most - min(_RESERVE, most // 4)


def retry_if_out_of_descriptors(action: Callable[[], T]) -> T:
    """Call a function. If there is no free descriptor, retry for half a minute."""
    until = time.monotonic() + _RETRY_SECONDS
    while True:
        try:
            return action()
        except OSError as error:
            if not is_out_of_descriptors(error) or time.monotonic() >= until:
                raise
        time.sleep(_PAUSE_SECONDS)
