"""Recognize exceptions that a signal handler raised during a call of this package."""

from __future__ import annotations

import contextlib
from inspect import CO_VARARGS
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType


def is_from_signal_handler(error: BaseException) -> bool:
    """Whether a signal handler raised an exception, not the call that it interrupted.

    A handler may raise any exception at any moment, such as a TimeoutError for its own timeout. The
    exception must reach the user unchanged. A frame belongs to a handler if one of its arguments is
    the interrupted frame.
    """
    entry = error.__traceback__
    while entry is not None and entry.tb_next is not None:
        interrupted, entry = entry.tb_frame, entry.tb_next
        if any(argument is interrupted for argument in _arguments(entry.tb_frame)):
            return True
    return False


def _arguments(frame: FrameType) -> Iterator[object]:
    code = frame.f_code
    values = frame.f_locals
    named = code.co_argcount + code.co_kwonlyargcount
    for name in code.co_varnames[:named]:
        yield values.get(name)
    if code.co_flags & CO_VARARGS:
        yield from values.get(code.co_varnames[named], ())


class suppressed(contextlib.suppress):  # noqa: N801 - as contextlib's
    """Like contextlib.suppress, except for exceptions of signal handlers."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        is_suppressed = super().__exit__(kind, error, traceback)
        return bool(is_suppressed and error and not is_from_signal_handler(error))
