"""Showing counts on standard error while somebody waits."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

from ..exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._counts import JobCounts


class Progress:
    """Shows counts when they change: on a terminal in one line, elsewhere one line each time.

    Used with `with`, it gives the function that shows them.
    """

    def __init__(self, progress: bool | Callable[[JobCounts], None]) -> None:
        """Make one.

        Args:
            progress: Whether to show anything, or a function that shows the counts.

        Raises:
            HtcValidationError: The function is asynchronous.
        """
        if inspect.iscoroutinefunction(progress):
            problem = "must be a function that is not asynchronous, or True or False"
            raise HtcValidationError("wait", [Problem("progress", problem)])
        self._function = progress if callable(progress) else self._show
        self._stream = sys.stderr if progress is True else None
        self._is_terminal = bool(self._stream and self._stream.isatty())
        self._shown = ""

    def _show(self, counts: JobCounts) -> None:
        text = str(counts)
        if self._stream is None or text == self._shown:
            return
        self._shown = text
        if self._is_terminal:  # a line that is wrapped could not be written over
            from shutil import get_terminal_size

            width = get_terminal_size().columns - 1
            self._stream.write(f"\r{text[:width]}\x1b[K")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def __enter__(self) -> Callable[[JobCounts], None]:
        return self._function

    def __exit__(self, *_: object) -> None:
        if self._stream is not None and self._is_terminal and self._shown:
            self._stream.write("\n")
            self._stream.flush()
