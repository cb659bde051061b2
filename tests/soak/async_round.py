"""Rounds with asynchronous sessions, whose tasks are cancelled instead of interrupted."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rescalehtc.aio
from rescalehtc.aio import AsyncHtcSession

from .round import Round

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from anyio.from_thread import BlockingPortal

MOST_SECONDS_BETWEEN = 0.0005


class AsyncRound(Round):
    """A round whose calls run on an event loop, each for a waiting thread."""

    kind = AsyncHtcSession
    modules = rescalehtc.aio
    portal: BlockingPortal

    def _run(self, created: Coroutine[Any, Any, Any]) -> Any:
        async def running() -> tuple[Any, BaseException | None]:
            self._current = asyncio.current_task()
            try:
                return await created, None
            except BaseException as error:  # noqa: BLE001 - raised below
                return None, error

        result, error = self.portal.call(running)
        if error is not None:
            raise error
        return result

    @contextmanager
    def _interrupting(self, seconds: float, count: int) -> Iterator[list[BaseException]]:
        self._current: asyncio.Task[Any] | None = None
        self._interrupts: list[BaseException] = []
        pauses = [
            seconds,
            *(self._chance.uniform(0, MOST_SECONDS_BETWEEN) for _ in range(count - 1)),
        ]
        is_over = threading.Event()

        def cancel() -> None:
            for pause in pauses:
                if is_over.wait(pause) or self._current is None:
                    return
                self._current.get_loop().call_soon_threadsafe(self._current.cancel)

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            yield self._interrupts
        finally:
            is_over.set()
            thread.join()

    def _is_interrupt(self, error: BaseException) -> bool:
        if not isinstance(error, asyncio.CancelledError):
            return False
        self._interrupts.append(error)
        return True
