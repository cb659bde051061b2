"""Standard streams and signal handlers for console scripts."""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, TextIO

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


@contextlib.contextmanager
def console() -> Generator[None]:
    """Run a console script.

    Inside, every standard stream is usable, even if the process was started without it. Writing to
    a closed standard output raises OSError. Failures to write to standard error are ignored,
    because a message must not make the command fail. SIGTERM and SIGHUP raise SystemExit with the
    status 128 + their number, so that cleanup code runs.
    """
    _open_missing_descriptors()
    atexit.register(ignore_interrupts)
    before = sys.stdin, sys.stdout, sys.stderr
    with open(os.devnull, "r+", encoding="utf-8") as null, _signals_raise():  # noqa: PTH123
        # A stream is None if its descriptor was closed when the process was started.
        sys.stdin = sys.stdin or null
        sys.stdout = output = cast("TextIO", sys.stdout or _Closed())
        sys.stderr = _Lenient(sys.stderr or null)
        _escape_unencodable(output)
        try:
            yield
        finally:
            sys.stderr.flush()
            _flush_or_discard(output)
            sys.stdin, sys.stdout, sys.stderr = before


def _escape_unencodable(stream: TextIO) -> None:
    """Replace characters that the encoding does not support by escape sequences."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def discard(stream: TextIO) -> None:
    """Discard unwritten output, because the interpreter would try to write it again at exit."""
    with contextlib.suppress(OSError, ValueError):  # not a file, or closed
        descriptor = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
        stream.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is an open terminal."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def ignore_interrupts() -> None:
    """Ignore Ctrl-C from now on, because only short cleanup is left."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Closed(io.TextIOBase):
    """A closed standard output."""

    def write(self, _text: str) -> NoReturn:
        raise OSError(errno.EBADF, "it is closed")


class _Lenient(io.TextIOBase):
    """An error stream that never fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        _flush_or_discard(self._stream)

    def isatty(self) -> bool:
        return is_terminal(self._stream)

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute in typeshed
        return self._stream.encoding

    @property
    def buffer(self) -> Any:
        return self._stream.buffer


def _flush_or_discard(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        discard(stream)


def _open_missing_descriptors() -> None:
    """Open closed descriptors 0, 1 and 2, so that no file or connection gets these numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


@contextlib.contextmanager
def _signals_raise() -> Generator[None]:
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            # A signal that is ignored, as with nohup, stays ignored.
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _exit)
        before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
