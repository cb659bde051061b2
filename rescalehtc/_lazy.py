"""Import names of a module on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def importer(module: str, **sources: str) -> Callable[[str], Any]:
    """Return a module's `__getattr__`.

    Args:
        module: The module's `__name__`.
        sources: For each name, the sibling module that has it.
    """

    def get(name: str) -> Any:
        if name not in sources:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(f".{sources[name]}", __package__), name)

    return get
