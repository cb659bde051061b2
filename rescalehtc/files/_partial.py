"""Downloaded files appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from typing import TYPE_CHECKING

from .._interrupts import suppressed
from ..exceptions import HtcFileError

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import BinaryIO

# The time to wait for another transfer that writes the same file.
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.05

try:
    import fcntl
except ImportError:  # Windows
    _fcntl = None
else:
    _fcntl = fcntl


@contextlib.contextmanager
def downloaded(target: str, modified: float) -> Generator[BinaryIO]:
    """Open a file that gets its name and time if the block succeeds, and is removed otherwise.

    The name of the partial file depends only on the target. A download after a kill therefore
    replaces the partial file. The file is locked, so that no other process writes to it.

    Args:
        target: The path.
        modified: The time of the file afterwards, in seconds since 1970.

    Raises:
        HtcFileError: The target is not a regular file, or another transfer is still writing the
            same file after WAIT_SECONDS.
    """
    # Root could replace a device. A folder fails later.
    if os.path.exists(target) and not (os.path.isfile(target) or os.path.isdir(target)):
        raise HtcFileError(f"{target!a} can't be replaced: it is not a regular file")
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    digest = hashlib.sha256(os.path.basename(target).encode(errors="surrogatepass")).hexdigest()
    partial = os.path.join(os.path.dirname(target), f".{digest[:16]}.partial")
    with _locked(partial, target) as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.utime(partial, (modified, modified))
            if os.name == "nt":  # it can't be renamed while it is open
                file.close()
            os.replace(partial, target)
        except BaseException:
            with suppressed(OSError):
                os.unlink(partial)
            raise


def _locked(partial: str, target: str) -> BinaryIO:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        file = os.fdopen(descriptor, "r+b")
        try:
            if _fcntl is None:
                return file
            _fcntl.flock(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
            with suppressed(FileNotFoundError):  # another transfer has just ended
                if os.path.samestat(os.fstat(file.fileno()), os.stat(partial)):
                    return file
        except BlockingIOError:
            file.close()
            if time.monotonic() >= deadline:
                reason = "another transfer is writing it"
                raise HtcFileError(f"{target!a} was not written: {reason}") from None
            time.sleep(POLL_SECONDS)
        except BaseException:
            file.close()
            raise
        file.close()
