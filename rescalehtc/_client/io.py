"""The I/O of flows: network, clock, locks and workers.

A flow is a coroutine that awaits only an `Io`. A blocking session runs a flow with `run`, in which
nothing ever suspends.
"""

from __future__ import annotations

import random
import time
from _thread import start_new_thread
from contextlib import asynccontextmanager
from contextvars import copy_context
from queue import SimpleQueue
from threading import RLock
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
    """Calls functions that may block, on a disk or a program."""

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function."""
        ...


class Io(Protocol):
    """Network, clock, locks and workers."""

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
        """Do some work while holding the lock with this name."""
        ...

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may block, on a disk or a program.

        If the task is cancelled on an event loop, the function continues, and its result is lost.
        """
        ...

    async def shielded(self, work: Awaitable[T]) -> T:
        """Do some work to its end, even in a cancelled task."""
        ...

    def holding(
        self, manager: AbstractContextManager[T]
    ) -> AbstractAsyncContextManager[tuple[T, Caller]]:
        """Enter and exit a context manager that may block, such as an open file.

        Also returns a function that works like `call`. If the task is cancelled while a function
        runs, the context manager exits when the function has ended.
        """
        ...

    async def run_workers(
        self, worker: Callable[[], Coroutine[Any, Any, None]], count: int
    ) -> None:
        """Run up to `count` workers in parallel, at least one, and wait for all of them.

        An exception of a worker is raised immediately. The other workers continue if they are
        threads, and are cancelled if they are tasks.
        """
        ...

    def close(self) -> None:
        """Close the idle connections."""
        ...

    def after_fork(self) -> None:
        """Drop the connections and locks of the parent process."""
        ...


class Clock:
    """The clocks and random numbers of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def random(self) -> float:
        return random.random()  # noqa: S311 - not for secrets


class BlockingIo(Clock):
    """An Io that blocks the waiting thread."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._locks: dict[str, RLock] = {}

    async def send(self, request: HttpRequest, seconds: float) -> Response:
        return await self._transport.send(request, seconds)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def exclusively(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        # An interrupt can't leave a lock of the interpreter held. A signal handler that uses the
        # session in the thread that holds the lock must not wait for itself.
        with self._locks.setdefault(name, RLock()):
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
                # Unlike Thread.start, this raises an interrupt unchanged, and the thread does not
                # keep an interrupted program from exiting.
                start_new_thread(copy_context().run, (work,))
                started += 1
        except RuntimeError as failure:
            if is_from_signal_handler(failure):
                raise
            # No more threads can be started, because of a system limit or at exit.
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
    """Run a flow with a blocking Io to its end."""
    try:
        flow.send(None)
    except StopIteration as result:
        value: T = result.value
        return value
    flow.close()
    raise RuntimeError("a flow with a blocking Io was suspended")


def iterate(flow: AsyncGenerator[T]) -> Iterator[T]:
    """Iterate over the results of a flow with a blocking Io."""

    async def following() -> T:
        return await anext(flow)

    try:
        while True:
            try:
                item = run(following())
            except StopAsyncIteration:
                return
            yield item
            del item  # before the next one is created
    finally:
        run(_closed(flow))


async def _closed(flow: AsyncGenerator[Any]) -> None:
    await flow.aclose()
