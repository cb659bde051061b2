"""Write files atomically."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ._interrupts import is_from_signal_handler, suppressed
from .exceptions import HtcException, HtcFileError

if TYPE_CHECKING:
    from collections.abc import Generator
    from os import PathLike
    from typing import BinaryIO

MAX_SETTINGS_BYTES = 16 << 20


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a writer, if it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_settings(path: str | PathLike[str]) -> bytes:
    """Read a file of this package, such as a key. Never waits, unlike reading a pipe.

    Raises:
        OSError: The file can't be read, is not a regular file, or is too large.
    """
    with open(path, "rb", opener=open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
        content = file.read(MAX_SETTINGS_BYTES + 1)
    if len(content) > MAX_SETTINGS_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return content


@contextlib.contextmanager
def replaced_whole(destination: str | bytes | PathLike[str]) -> Generator[BinaryIO]:
    """Open a temporary file that replaces the destination on success, and is removed on failure.

    If the destination is not a regular file but a device or a pipe, write to it directly.

    Raises:
        HtcFileError: The file can't be written.
    """
    try:
        path = os.fsdecode(destination)
    except TypeError:
        failure = HtcFileError(f"{destination!a} can't be written: it is not a path")
        failure.errno = errno.EINVAL
        raise failure from None
    try:
        before = os.stat(path) if os.path.exists(path) else None
        if before and not stat.S_ISREG(before.st_mode):
            with open(path, "wb") as file:
                yield file
            return
        if before and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if path.endswith(os.sep):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target = os.path.realpath(path)
        partial = os.path.join(os.path.dirname(target), f".{os.urandom(8).hex()}.partial")
        try:
            with open(partial, "xb") as file:
                if before:
                    os.chmod(partial, stat.S_IMODE(before.st_mode))
                yield file
            os.replace(partial, target)
        finally:
            with suppressed(FileNotFoundError):
                os.unlink(partial)
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        # HtcTimeoutError is an OSError too, but not an error of the file.
        if isinstance(error, HtcException) or is_from_signal_handler(error):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        failure = HtcFileError(f"{destination!a} can't be written: {reason}")
        failure.errno = getattr(error, "errno", None) or errno.EINVAL
    else:
        return
    raise failure
