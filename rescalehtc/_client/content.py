"""The content of an uploaded file: its size and its bytes."""

from __future__ import annotations

import os
import stat
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from .._interrupts import is_from_signal_handler
from ..exceptions import HtcFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_BYTES = 64 << 10


class Content:
    """The bytes of a file from its current position to its end, read during the upload.

    Args:
        file: A regular file opened in binary mode, or a seekable file object in memory.

    Attributes:
        size: The number of bytes.

    Raises:
        HtcFileError: The file is not a regular file, or not seekable.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file: IO[Any] = file  # may be opened in text mode
        try:
            self._state = self._current_state()
            if self._state is not None and not stat.S_ISREG(self._state[0]):
                raise self._error("it is not a regular file; copy its content to one first")
            start = file.tell()
            self.size: int = max(0, file.seek(0, os.SEEK_END) - start)
            file.seek(start)
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            if is_from_signal_handler(error):
                raise
            raise self._error(error) from None

    def __iter__(self) -> Iterator[bytes]:
        """Read the content.

        The last chunk is sent only if the file has not changed since the start, because a storage
        discards an incomplete upload.

        Raises:
            HtcFileError: The file changed, or can't be read.
        """
        remaining = self.size
        while remaining:
            try:
                piece = self._file.read(min(remaining, _READ_BYTES))
                state = self._current_state()
            except (OSError, ValueError) as error:
                if is_from_signal_handler(error):
                    raise
                raise self._error(error) from None
            if not isinstance(piece, bytes):
                raise self._error("it is not opened in binary mode")
            remaining -= len(piece)
            if not piece or (not remaining and state != self._state):
                raise self._error("it changed during the upload; upload it when it is complete")
            yield piece

    def _current_state(self) -> tuple[int, int, int] | None:
        """Type, size and time of the last change. None for a file in memory."""
        try:
            status = os.fstat(self._file.fileno())
        except (AttributeError, OSError) as error:
            is_failure = isinstance(error, OSError) and error.errno is not None
            if is_failure or is_from_signal_handler(error):
                raise
            return None  # io.UnsupportedOperation: the file has no descriptor
        return stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns

    def _error(self, reason: str | Exception) -> HtcFileError:
        if isinstance(reason, HtcFileError):
            return reason
        name = getattr(self._file, "name", None)
        file_name = "the file" if name is None or isinstance(name, int) else str(name)
        why = getattr(reason, "strerror", None) or reason
        return HtcFileError(f"{file_name} can't be uploaded: {why}")
