"""Asynchronous sessions: the facade's modules with `await`.

Await every call that takes the session, and use `async for` with every iterator that takes the
session. Names, parameters, results and exceptions are the same as in the modules of `rescalehtc`.

    from rescalehtc.aio import AsyncHtcSession, htcjobs

    async with AsyncHtcSession() as rescale:
        batch = await htcjobs.create_job_batch(rescale, task, ...)
        await batch.wait(rescale)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import api, container_registry, htcjobs, htcprojects, htctasks, htcworkspaces
    from ._session import AsyncHtcSession

__all__ = [
    "AsyncHtcSession",
    "api",
    "container_registry",
    "htcjobs",
    "htcprojects",
    "htctasks",
    "htcworkspaces",
]


def __getattr__(name: str) -> Any:
    if name == "AsyncHtcSession":
        return import_module("._session", __name__).AsyncHtcSession
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
