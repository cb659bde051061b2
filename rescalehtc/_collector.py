"""Pause the garbage collector."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def without_collections(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that creates many objects but no cycles, while the collector is paused.

    Otherwise the collector would repeatedly scan objects that are all in use.
    """
    is_enabled = gc.isenabled()
    try:
        gc.disable()
        return function(*args, **kwargs)
    finally:
        if is_enabled:
            gc.enable()
