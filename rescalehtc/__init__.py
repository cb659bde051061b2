"""Typed SDK for Rescale's high-throughput computing service (HTC).

Start with HtcSession, then htcprojects, htctasks and htcjobs. Modules are imported on first use, so
`import rescalehtc` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        api,
        bearer_token,
        container_registry,
        exceptions,
        hooks,
        htcjobs,
        htcprojects,
        htcsession,
        htctasks,
        htcworkspaces,
        models,
        records,
        types,
    )
    from ._version import __version__ as __version__
    from .htcsession import HtcSession

__all__ = [
    "HtcSession",
    "api",
    "bearer_token",
    "container_registry",
    "exceptions",
    "hooks",
    "htcjobs",
    "htcprojects",
    "htcsession",
    "htctasks",
    "htcworkspaces",
    "models",
    "records",
    "types",
]


def __getattr__(name: str) -> Any:
    if name == "HtcSession":
        return import_module(".htcsession", __name__).HtcSession
    if name == "__version__":
        return import_module("._version", __name__).__version__
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
