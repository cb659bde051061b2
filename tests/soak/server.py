"""An emulator in its own process, which can be killed and restarted with its data."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from rescalehtc.emulator import Emulator, Fault
from rescalehtc.exceptions import HtcException

from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

# Forks of a process that has imported these modules start fast, and share no thread.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


class Server:
    """The emulator. It keeps its folder and its address from one process to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join()

    def _start(self) -> None:
        self._pipe, other = _processes.Pipe()
        self._process = _processes.Process(
            target=_serve, args=(other, self._folder, self._port), daemon=True
        )
        self._process.start()
        other.close()
        self.url, self.api_key = self._pipe.recv()
        self._port = int(self.url.split(":")[2].split("/")[0])

    def restart(self) -> None:
        """Stop the emulator normally, and start the next one."""
        self.__exit__()
        self._start()

    def kill(self) -> None:
        """Kill the emulator, and start the next one."""
        self._process.kill()
        self.__exit__()
        self._start()

    def fault(self, operation: str, kind: str, options: dict[str, Any]) -> None:
        self._pipe.send((operation, kind, options))

    def lift(self) -> Counter[tuple[str, str]]:
        """Remove all faults, and return how often each kind affected each operation."""
        self._pipe.send(None)
        return self._pipe.recv()


def _serve(pipe: Connection, folder: Path, port: int) -> None:
    with _started(folder, port) as emulator:
        emulator.set_workspace_limit(0)  # jobs wait, because this does not test running them
        pipe.send((emulator.url, emulator.api_key))
        faults: list[Fault] = []
        while True:
            try:
                command = pipe.recv()
            except (EOFError, ConnectionResetError):
                return
            if command is not None:
                operation, kind, options = command
                faults.append(emulator.fault(operation, kind, **options))
                continue
            for fault in faults:
                fault.lift()
            struck = Counter[tuple[str, str]]()
            for fault in faults:
                struck[fault.operation, fault.kind] += fault.count
            pipe.send(+struck)
            faults.clear()


@contextmanager
def _started(folder: Path, port: int) -> Iterator[Emulator]:
    """An emulator. A connection of another program may briefly use its port."""
    deadline = time.monotonic() + HANG_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                emulator = stack.enter_context(Emulator(data=folder, port=port, slots=1))
                break
            except HtcException:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)
        yield emulator
