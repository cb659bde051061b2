"""What a flow needs of the world around it: network, clock, locks, and running side by side.

A flow is a coroutine that awaits nothing but an `Io`. A blocking session runs it to its end with
`run`: there nothing ever suspends.
"""

from __future__ import annotations

import random
import time
from _thread import start_new_thread
from contextlib import asynccontextmanager
from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from .._interrupts import is_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from .._wire.answer import Response
    from .http_request import HttpRequest
    from .transport import Transport

P = ParamSpec("P")
T = TypeVar("T")


class Caller(Protocol):
    """Calls functions that may wait for a disk or a program."""

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function."""
        ...


class Io(Protocol):
    """Network, clock, locks, and running side by side."""

    async def send(self, request: HttpRequest, seconds: float) -> Response:
        """Send a request once; see `Transport.send`."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def monotonic(self) -> float:
        """The monotonic clock, in seconds."""
        ...

    def time(self) -> float:
        """The time in seconds since 1970."""
        ...

    def random(self) -> float:
        """A random number from 0 to 1."""
        ...

    async def exclusively(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do some work while nobody else does work under the same name."""
        ...

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may wait for a disk or a program.

        If the task is cancelled on an event loop, the function goes on, and its result is lost.
        """
        ...

    async def shielded(self, work: Awaitable[T]) -> T:
        """Do some work to its end, also in a task that was cancelled."""
        ...

    def holding(
        self, manager: AbstractContextManager[T]
    ) -> AbstractAsyncContextManager[tuple[T, Caller]]:
        """Enter and leave a context, such as an open file, where that may wait for a disk.

        It also gives a function that calls others like `call`. If the task is cancelled while one
        of them runs, the context is left when it ends.
        """
        ...

    async def run_workers(
        self, worker: Callable[[], Coroutine[Any, Any, None]], count: int
    ) -> None:
        """Run a worker several times side by side, at least once; return when all have ended.

        Where fewer can be run side by side, fewer are run. An exception of a worker is raised
        at once; the other threads go on, other tasks are cancelled.
        """
        ...

    def close(self) -> None:
        """Close the connections that are not in use."""
        ...

    def after_fork(self) -> None:
        """Take over neither connections nor locks from the process that was forked."""
        ...


class Clock:
    """The clocks and the chance of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def random(self) -> float:
        return random.random()  # noqa: S311 - not for secrets


class BlockingIo(Clock):
    """Blocks the thread that waits."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._locks: dict[str, Lock] = {}

    async def send(self, request: HttpRequest, seconds: float) -> Response:
        return await self._transport.send(request, seconds)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def exclusively(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        # A lock of the interpreter's own: an interrupt can't leave it held.
        with self._locks.setdefault(name, Lock()):
            return await work()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    async def shielded(self, work: Awaitable[T]) -> T:
        return await work

    @asynccontextmanager
    async def holding(self, manager: AbstractContextManager[T]) -> AsyncGenerator[tuple[T, Caller]]:
        with manager as value:
            yield value, self.call

    async def run_workers(
        self, worker: Callable[[], Coroutine[Any, Any, None]], count: int
    ) -> None:
        ended: SimpleQueue[BaseException | None] = SimpleQueue()

        def work() -> None:
            try:
                run(worker())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                ended.put(error)
            else:
                ended.put(None)

        started = 0
        try:
            while started < count - 1:
                # It does not keep an interrupted program from ending, and unlike Thread.start
                # passes an interrupt on as it is.
                start_new_thread(copy_context().run, (work,))
                started += 1
        except RuntimeError as failure:
            if is_from_signal_handler(failure):
                raise
            # No more threads can be started: at exit, or at a limit of the system.
        await worker()
        for _ in range(started):
            error = ended.get()
            if error is not None:
                raise error

    def close(self) -> None:
        self._transport.close()

    def after_fork(self) -> None:
        self._locks = {}
        self._transport.after_fork()


def run(flow: Coroutine[Any, Any, T]) -> T:
    """Run a flow over a blocking Io to its end."""
    try:
        flow.send(None)
    except StopIteration as result:
        value: T = result.value
        return value
    flow.close()
    raise RuntimeError("a flow over a blocking Io was suspended")


def iterate(flow: AsyncGenerator[T]) -> Iterator[T]:
    """Iterate over a flow over a blocking Io."""

    async def following() -> T:
        return await anext(flow)

    try:
        while True:
            try:
                item = run(following())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(_closed(flow))


async def _closed(flow: AsyncGenerator[Any]) -> None:
    await flow.aclose()
