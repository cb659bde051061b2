"""Pause the garbage collector."""

from __future__ import annotations

import functools
import gc
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def without_collections(function: Callable[P, T]) -> Callable[P, T]:
    """Pause the collector during a function that creates many objects but no cycles.

    Otherwise the collector would repeatedly scan objects that are all in use.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if not gc.isenabled():  # possibly paused by another thread, which will enable it
            return function(*args, **kwargs)
        try:
            gc.disable()
            return function(*args, **kwargs)
        finally:
            gc.enable()

    return call
