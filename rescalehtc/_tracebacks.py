"""Tracebacks without this package's frames, whose variables can hold secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

VARIABLE = "RESCALEHTC_TRACEBACKS"


class trimmed:  # noqa: N801 - it reads as an adjective
    """Used with `with` where a call enters the package: an exception leaves without its frames.

    Tools that show the variables of frames would show keys, tokens and environment values. With
    the variable RESCALEHTC_TRACEBACKS set to `full`, the frames are kept.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None:
            trim(error)


def trim(error: BaseException) -> None:
    """Remove this package's frames from an exception and those behind it."""
    if os.environ.get(VARIABLE) == "full":
        return
    seen: set[int] = set()
    chained: list[BaseException | None] = [error]
    while chained:
        one = chained.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = _before_package(one.__traceback__)
            chained += [one.__cause__, one.__context__]


def _before_package(traceback: TracebackType | None) -> TracebackType | None:
    """The frames up to the first one of this package."""
    if traceback is None or _is_of_package(traceback):
        return None
    last = traceback
    while last.tb_next is not None and not _is_of_package(last.tb_next):
        last = last.tb_next
    last.tb_next = None
    return traceback


def _is_of_package(traceback: TracebackType) -> bool:
    module = str(traceback.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] == __name__.partition(".")[0]
