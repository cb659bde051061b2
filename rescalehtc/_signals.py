"""Delay Ctrl-C and SIGTERM while a block exits."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
# The functions that exit the block of a run.
_LEAVING = ("__exit__", "__aexit__", "_leave")


class SignalGuard:
    """Makes SIGTERM raise an exception in a block, and delays signals while the block exits.

    A signal can arrive after `__exit__` was called, but before its first line ran. An exception
    would then skip the whole method. So the handler inspects the frame that it interrupts.

    Attributes:
        is_leaving: Whether signals are delayed.
        pending: The delayed signals.
    """

    def __init__(self, is_async: bool) -> None:
        """Initialize it. `install` starts it.

        Args:
            is_async: Whether the block runs on an event loop. Then SIGTERM has the effect of
                Ctrl-C, because an exception at an arbitrary moment would break the loop.
        """
        self.is_leaving: bool = False
        self.pending: list[int] = []
        self._is_async = is_async
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Install the signal handlers. Only the main thread can do this; others do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _NUMBERS:
            previous = signal.getsignal(number)
            if previous is not signal.SIG_IGN and previous is not None:
                self._previous[number] = previous
                signal.signal(number, self._handle)

    def restore(self) -> None:
        """Restore the previous signal handlers."""
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, previous)

    def raise_pending(self) -> None:
        """Call the previous handler of the first delayed signal."""
        if self.pending:
            self._pass_on(self.pending.pop(0), None)

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold signals back during a block, and raise at its end if there was one."""
        self.is_leaving = True
        try:
            yield
        finally:
            self.is_leaving = False
        self.raise_pending()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_leaving or self._is_in_leaving(frame):
            self.pending.append(number)
        else:
            self._pass_on(number, frame)

    def _is_in_leaving(self, frame: FrameType | None) -> bool:
        while frame is not None:
            module: str = frame.f_globals["__name__"]
            if frame.f_code.co_name in _LEAVING and module.endswith("htcjobs._run"):
                return True
            frame = frame.f_back
        return False

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous[number]
        interrupt = self._previous.get(signal.SIGINT)
        if callable(previous):
            previous(number, frame)
        elif self._is_async and callable(interrupt):
            interrupt(signal.SIGINT, frame)
        else:
            raise SystemExit(128 + number)
