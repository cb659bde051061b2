"""An Io for an event loop: asyncio or trio."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel
import anyio.to_thread

from ..exceptions import HtcTimeoutError
from .async_connection import AsyncConnection
from .io import Clock
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from contextlib import AbstractContextManager

    from .._wire.answer import Response
    from .http_request import HttpRequest
    from .io import Caller

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

# Tasks are cheap, but connections are not. Further requests wait for a connection.
MAX_CONNECTIONS = 100


class _LoopState:
    """The connections and locks of one event loop. Another loop can't wait for them."""

    def __init__(self, transport: Transport | None) -> None:
        self.transport = transport or Transport(max_idle=MAX_CONNECTIONS, connect=AsyncConnection)
        self.locks: dict[str, anyio.Lock] = {}
        self.slots = anyio.Semaphore(MAX_CONNECTIONS, fast_acquire=True)


class AsyncIo(Clock):
    """An Io that suspends only the waiting task."""

    def __init__(self, transport: Transport | None = None) -> None:
        """Initialize it. This does not need a running event loop.

        Args:
            transport: A custom transport, or None.
        """
        self._transport = transport
        self._loops: WeakKeyDictionary[object, _LoopState] = WeakKeyDictionary()

    @property
    def _loop_state(self) -> _LoopState:
        loop = anyio.lowlevel.current_token().native_token
        state = self._loops.get(loop)
        if state is None:
            state = self._loops[loop] = _LoopState(self._transport)
        return state

    async def send(self, request: HttpRequest, seconds: float) -> Response:
        state = self._loop_state
        expires_at = self.monotonic() + seconds
        if not await _acquire(state.slots, seconds):
            raise HtcTimeoutError(
                f"{request.name}: not sent within {seconds:.3g} s: the session has "
                f"{MAX_CONNECTIONS} requests in progress",
                False,
            )
        try:
            return await state.transport.send(request, expires_at - self.monotonic())
        finally:
            state.slots.release()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def exclusively(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        locks = self._loop_state.locks
        lock = locks.get(name)
        if lock is None:
            lock = locks[name] = anyio.Lock(fast_acquire=True)
        async with lock:
            return await work()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await anyio.to_thread.run_sync(
            partial(function, *args, **kwargs), abandon_on_cancel=True
        )

    async def shielded(self, work: Awaitable[T]) -> T:
        with anyio.CancelScope(shield=True):
            return await work
        raise RuntimeError("a shielded scope was cancelled")

    @asynccontextmanager
    async def holding(self, manager: AbstractContextManager[T]) -> AsyncGenerator[tuple[T, Caller]]:
        resource = _ContextInThreads(manager)

        async def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
            return await self.call(resource.do, partial(function, *args, **kwargs))

        try:
            yield await self.call(resource.do, resource.enter), call
        except BaseException as error:
            resource.leave(error)
            raise
        await call(resource.exit)

    async def run_workers(
        self, worker: Callable[[], Coroutine[Any, Any, None]], count: int
    ) -> None:
        if count == 1:
            await worker()
            return
        try:
            async with anyio.create_task_group() as group:
                for _ in range(count):
                    group.start_soon(worker)
            return
        except anyio.get_cancelled_exc_class() as cancelled:
            cancelled.__cause__ = None  # trio sets the exceptions of the workers as the cause
            raise
        except BaseExceptionGroup as errors:
            first: BaseException = errors.exceptions[0]
        raise first

    def close(self) -> None:
        for reference in self._loops.keyrefs():  # a copy: threads with other loops may add theirs
            loop = reference()
            state = None if loop is None else self._loops.get(loop)
            if state is not None:
                state.transport.close()

    def after_fork(self) -> None:
        self.close()
        self._loops.clear()


async def _acquire(slots: anyio.Semaphore, seconds: float) -> bool:
    """Acquire a slot. Return whether one was free in time."""
    try:
        slots.acquire_nowait()
    except anyio.WouldBlock:
        with anyio.move_on_after(seconds) as waiting:
            await slots.acquire()
        return not waiting.cancelled_caught
    return True


class _ContextInThreads(Generic[T]):
    """Runs a context manager in threads, one thread at a time.

    A cancelled task does not wait for the thread. Instead, the thread exits the context manager.
    """

    def __init__(self, manager: AbstractContextManager[T]) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._is_entered = False
        self._error: BaseException | None = None

    def enter(self) -> T:
        value = self._manager.__enter__()
        self._is_entered = True
        return value

    def exit(self, error: BaseException | None = None) -> None:
        if self._is_entered:
            self._is_entered = False
            if error is None:
                self._manager.__exit__(None, None, None)
            else:
                self._manager.__exit__(type(error), error, error.__traceback__)

    def do(self, step: Callable[[], R]) -> R:
        """Run a step."""
        with self._lock:
            result = step()
        if self._error is not None:
            self._leave(self._error)
        return result

    def leave(self, error: BaseException) -> None:
        """Exit after an error without waiting, when the current step has ended."""
        self._error = error
        self._leave(error)

    def _leave(self, error: BaseException) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self.exit(error)
            finally:
                self._lock.release()
