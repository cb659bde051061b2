"""Exceptions that a signal handler raised while this package was at work."""

from __future__ import annotations

import contextlib
from inspect import CO_VARARGS
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType


def is_from_signal_handler(error: BaseException) -> bool:
    """Whether a signal handler raised an exception, and not the call that seems to have failed.

    A handler may raise any exception at any moment, such as a TimeoutError for a limit of its
    own. It must pass through unchanged. A handler is known by its arguments: one of them is the
    frame that was interrupted.
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
    """As contextlib.suppress, but what a signal handler raised passes through."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        is_suppressed = super().__exit__(kind, error, traceback)
        return bool(is_suppressed and error and not is_from_signal_handler(error))
