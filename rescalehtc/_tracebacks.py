"""Tracebacks without this package's frames, whose variables can hold secrets."""

from __future__ import annotations

import os
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

VARIABLE = "RESCALEHTC_TRACEBACKS"


class trimmed:  # noqa: N801 - it reads as an adjective
    """A context manager for public calls that removes the package's frames from exceptions.

    Tools that show local variables in tracebacks would show keys, tokens and environment values.
    With RESCALEHTC_TRACEBACKS=full, the frames are kept.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None:
            trim(error)


def call_back(function: Callable[[T], object], argument: T) -> None:
    """Call a function of the user. Tracebacks keep its frames."""
    function(argument)


def trim(error: BaseException) -> None:
    """Remove this package's frames from an exception and its causes and contexts."""
    if os.environ.get(VARIABLE) == "full":
        return
    seen: set[int] = set()
    chained: list[BaseException | None] = [error]
    while chained:
        current = chained.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            current.__traceback__ = _without_package(current.__traceback__)
            chained += [current.__cause__, current.__context__]


def _without_package(traceback: TracebackType | None) -> TracebackType | None:
    """The frames of the user, without those of this package and the libraries that it calls."""
    frames: list[TracebackType] = []
    is_inside = False
    while traceback is not None:
        frame = traceback.tb_frame
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == __name__.partition(".")[0]:
            is_inside = frame.f_code is not call_back.__code__
        elif not is_inside:
            frames.append(traceback)
        traceback = traceback.tb_next
    for entry, following in zip_longest(frames, frames[1:]):
        entry.tb_next = following
    return frames[0] if frames else None
