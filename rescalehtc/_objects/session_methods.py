"""Methods that accept a blocking or an asynchronous session."""

from __future__ import annotations

import functools
import inspect
import sys
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._session import BaseSession

_PACKAGE = __name__.partition(".")[0]
_AIO = f"{_PACKAGE}.aio"


class SessionMethods:
    """The base of classes whose methods take a session as `rescale`.

    Each has a twin of the same name in `rescalehtc.aio`, with asynchronous methods. You can use an
    object with both kinds of session, because the session determines which twin's method runs.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, method in list(vars(cls).items()):
            if isinstance(method, FunctionType):
                arguments = method.__code__.co_varnames[: method.__code__.co_argcount]
                if "rescale" in arguments[:2]:
                    setattr(cls, name, _for_either_session(method))


def _for_either_session(method: FunctionType) -> Any:
    is_async = method.__module__.startswith(_AIO)

    @functools.wraps(method)
    def call(self: Any, rescale: BaseSession, *args: Any, **kwargs: Any) -> Any:
        if getattr(rescale, "is_async", is_async) == is_async:
            return method(self, rescale, *args, **kwargs)
        return _twin(method)(self, rescale, *args, **kwargs)

    if inspect.iscoroutinefunction(method) and sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(call)
    return call


def _twin(method: FunctionType) -> Any:
    """The method of the same name in the twin class."""
    source, target = (_AIO, _PACKAGE) if method.__module__.startswith(_AIO) else (_PACKAGE, _AIO)
    module: Any = import_module(target + method.__module__.removeprefix(source))
    for name in method.__qualname__.split("."):
        module = getattr(module, name)
    return module
