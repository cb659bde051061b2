"""The log of a job: from the output of its processes to lines in the store."""

from __future__ import annotations

import os
import select
import time
from json import JSONEncoder
from typing import TYPE_CHECKING, Final

from .store import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from .store import Store

# Output reaches the store after this time or this many bytes.
FLUSH_SECONDS: Final = 0.1
FLUSH_BYTES: Final = 1 << 20
# A longer line is split.
MAX_LINE_BYTES: Final = 256 << 10
READ_BYTES: Final = 64 << 10
DEFAULT_MAX_LOG_BYTES: Final = 1 << 30


class LogWriter:
    """Writes the output of a job to the store as lines, until the log has its maximum size."""

    def __init__(self, store: Store, job: int, max_bytes: int) -> None:
        self._store = store
        self._job = job
        self._max_bytes = max_bytes
        self._room = max_bytes
        self._written = 0
        self._pending: list[str] = []
        self._pending_bytes = 0
        self._flushed_at = 0.0
        self._rest = b""
        self._encode = JSONEncoder(ensure_ascii=False).encode

    def attach(self, output: IO[bytes]) -> None:
        """Read this output from now on."""
        self._output = output.fileno()
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._is_open = True

    def read(self, seconds: float) -> bool:
        """Wait for output, and add it to the log. Returns whether a process can still write."""
        if self._is_open and self._poll.poll(seconds * 1000):
            chunk = os.read(self._output, READ_BYTES)
            self._is_open = bool(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._add(lines)
            if len(self._rest) > MAX_LINE_BYTES:
                *pieces, self._rest = _split_line(self._rest)
                self._add(pieces)
        due = time.monotonic() - self._flushed_at >= FLUSH_SECONDS
        if self._pending and (due or self._pending_bytes >= FLUSH_BYTES):
            self._flush()
        return self._is_open

    def drain(self, seconds: float) -> None:
        """Read until no process can write any more. After some seconds, only read the pipe's content."""
        until = time.monotonic() + seconds
        while self._is_open and (remaining := until - time.monotonic()) > 0:
            self.read(remaining)
        self.read(0)

    def end(self) -> None:
        """Write the rest, including a last line without a line end."""
        if self._rest:
            self._add([self._rest])
            self._rest = b""
        self._flush()

    def _add(self, lines: list[bytes]) -> None:
        if self._room < 0:
            return
        time_read = now()
        for line in lines:
            for piece in _split_line(line):
                record = self._encode_line(time_read, piece.decode("utf-8", "replace"))
                self._room -= len(record.encode())
                if self._room < 0:
                    text = f"The log ends here: it has reached {self._max_bytes} bytes. The job"
                    self._pending.append(self._encode_line(time_read, f"{text} is still running."))
                    return
                self._pending.append(record)
                self._pending_bytes += len(piece)

    def _encode_line(self, time_read: str, message: str) -> str:
        return f'{{"timestamp":"{time_read}","message":{self._encode(message)}}}'

    def _flush(self) -> None:
        if self._pending:
            self._store.add_lines(self._job, self._written + 1, self._pending)
            self._written += len(self._pending)
            self._pending = []
            self._pending_bytes = 0
        self._flushed_at = time.monotonic()


def _split_line(line: bytes) -> Iterator[bytes]:
    while len(line) > MAX_LINE_BYTES:
        end = MAX_LINE_BYTES
        while end > MAX_LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        yield line[:end]
        line = line[end:]
    yield line
