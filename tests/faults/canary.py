"""Secrets that are planted wherever one can be, and a look at all that is told.

Each test of this folder runs with logging at DEBUG; whatever it catches with `caught`, and
whatever was logged or warned of, is searched for them when it is over.
"""

from __future__ import annotations

import pickle
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from rescalehtc.exceptions import HtcException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest._code import ExceptionInfo

E = TypeVar("E", bound=BaseException)

MARK = "cAnArY"
API_KEY = f"{MARK}-api-key"
TOKEN = f"{MARK}-bearer-1"
TOKEN_2 = f"{MARK}-bearer-2"
REFRESH_TOKEN = f"{MARK}-refresh"
REGISTRY_TOKEN = f"{MARK}-registry"
ENV = f"{MARK}-env"
CLAIM = f"{MARK}-claim"
SIGNATURE = f"{MARK}-signature"

HERE = str(Path(__file__).parent.parent)
PACKAGE = str(Path(__file__).parent.parent.parent / "rescalehtc")

told: list[tuple[str, str | bytes]] = []
"""What was told in the test that runs: where, and what."""


@contextmanager
def caught(kind: type[E], match: str | None = None) -> Iterator[ExceptionInfo[E]]:
    """As pytest.raises; all that the exception tells is noted."""
    with pytest.raises(kind, match=match) as info:
        yield info
    note(info.value)


def note(error: BaseException) -> None:
    """Note all that an exception and those behind it tell."""
    for one in _with_those_behind(error, set()):
        name = type(one).__name__
        told.extend((f"{name}: {what}", text) for what, text in _told_by(one))


def leaks() -> list[str]:
    """Where a secret was told, with some of what stands around it."""
    found: list[str] = []
    for where, text in told:
        text = text.decode("latin-1") if isinstance(text, bytes) else text
        if (at := text.find(MARK)) >= 0:
            found.append(f"{where}: …{text[max(0, at - 100) : at + 40]}…")
    return found


def _with_those_behind(error: object, seen: set[int]) -> Iterator[BaseException]:
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    behind: list[Any] = [error.__cause__, error.__context__, getattr(error, "cause", None)]
    behind += getattr(error, "uncertain", [])
    for one in behind:
        yield from _with_those_behind(one, seen)


def _told_by(error: BaseException) -> Iterator[tuple[str, str | bytes]]:
    yield "str", str(error)
    yield "repr", repr(error)
    yield "args", repr(error.args)
    yield "notes", repr(getattr(error, "__notes__", ()))
    yield "attributes", repr(vars(error))
    if isinstance(error, HtcException):
        yield "pickle", pickle.dumps(error)
    summary = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in summary.stack:
        # An exception of ours leads through nobody else's frames but the caller's.
        ours = frame.filename.startswith(PACKAGE)
        theirs = not frame.filename.startswith(HERE) and isinstance(error, HtcException)
        if ours or theirs:
            for name, value in (frame.locals or {}).items():
                yield f"{name} in {frame.filename}:{frame.lineno} {frame.name}", value
