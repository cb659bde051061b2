"""Show counts on standard error during a wait."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from .._tracebacks import call_back
from ..exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")


class Progress(Generic[T]):
    """Writes counts when they change.

    On a terminal and in a notebook, it updates one line. Elsewhere, it writes one line per change.
    As a context manager, it returns the function that shows the counts.
    """

    def __init__(self, progress: bool | Callable[[T], None]) -> None:
        """Create the writer.

        Args:
            progress: Whether to show the counts, or a function that shows them.

        Raises:
            HtcValidationError: The function is asynchronous.
        """
        if inspect.iscoroutinefunction(progress):
            problem = "must be a synchronous function, True or False"
            raise HtcValidationError("wait", [Problem("progress", problem)])
        self._function = partial(call_back, progress) if callable(progress) else self._show
        self._stream = sys.stderr if progress is True else None
        self._is_terminal = bool(self._stream and self._stream.isatty())
        self._is_notebook = type(self._stream).__module__.startswith("ipykernel.")
        self._shown = ""
        self._width = 0

    def _show(self, counts: T) -> None:
        text = str(counts)
        if self._stream is None or text == self._shown:
            return
        self._shown = text
        if self._is_terminal:  # a wrapped line could not be overwritten
            from shutil import get_terminal_size

            width = get_terminal_size().columns - 1
            self._stream.write(f"\r{text[:width]}\x1b[K")
        elif self._is_notebook:  # "\r" goes back to the start of the line, and erases nothing
            self._stream.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def __enter__(self) -> Callable[[T], None]:
        return self._function

    def __exit__(self, *_: object) -> None:
        if self._stream is not None and (self._is_terminal or self._is_notebook) and self._shown:
            self._stream.write("\n")
            self._stream.flush()
