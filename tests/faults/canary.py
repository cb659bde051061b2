"""Secrets in all possible places, and a search for them in all output.

Each test of this folder runs with logging at DEBUG. At its end, all exceptions that it caught with
`caught`, all log records and all warnings are searched for the secrets.
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
"""The output of the current test: its source and its text."""


@contextmanager
def caught(kind: type[E], match: str | None = None) -> Iterator[ExceptionInfo[E]]:
    """Like pytest.raises, but records all texts of the exception."""
    with pytest.raises(kind, match=match) as info:
        yield info
    note(info.value)


def note(error: BaseException) -> None:
    """Record all texts of an exception and its causes."""
    for item in _with_those_behind(error, set()):
        name = type(item).__name__
        told.extend((f"{name}: {what}", text) for what, text in _told_by(item))


def leaks() -> list[str]:
    """The places that contain a secret, with some context."""
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
    for item in behind:
        yield from _with_those_behind(item, seen)


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
        # The traceback of our exceptions contains only frames of the caller.
        ours = frame.filename.startswith(PACKAGE)
        theirs = not frame.filename.startswith(HERE) and isinstance(error, HtcException)
        if ours or theirs:
            for name, value in (frame.locals or {}).items():
                yield f"{name} in {frame.filename}:{frame.lineno} {frame.name}", value
