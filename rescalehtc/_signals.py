"""Ctrl-C and SIGTERM where a block must not be left before its end was handled."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class SignalGuard:
    """Makes SIGTERM raise in a block, and holds signals back while the block is left.

    A signal may strike where `__exit__` begins, before any of its lines: there an exception would
    skip all of it. So the handler looks at the frame that it interrupts.

    Attributes:
        is_leaving: Whether signals are held back.
        pending: The signals that were held back.
    """

    def __init__(self, leaving: tuple[str, ...], is_async: bool) -> None:
        """Make one; `install` makes it act.

        Args:
            leaving: The names of the functions, of modules named `_run`, that leave the block.
            is_async: Whether the block runs on an event loop. SIGTERM then acts as Ctrl-C does,
                because a loop must not be interrupted by an exception at any moment.
        """
        self.is_leaving: bool = False
        self.pending: list[int] = []
        self._leaving = leaving
        self._is_async = is_async
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Handle the signals from now on; in threads other than the main one nothing is done."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _NUMBERS:
            previous = signal.getsignal(number)
            if previous is not signal.SIG_IGN and previous is not None:
                self._previous[number] = previous
                signal.signal(number, self._handle)

    def restore(self) -> None:
        """Let the signals act as they did before."""
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, previous)

    def raise_pending(self) -> None:
        """Let a signal that was held back act now."""
        if self.pending:
            self._pass_on(self.pending[0], None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_leaving or self._is_in_leaving(frame):
            self.pending.append(number)
        else:
            self._pass_on(number, frame)

    def _is_in_leaving(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_name in self._leaving and frame.f_globals["__name__"].endswith(
                "htcjobs._run"
            ):
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
