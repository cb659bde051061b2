"""The ways to run a job: as a process of this machine, or in a container of its image."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final, Literal, Protocol, Self, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..lifecycle import Ending
    from ..store import Job

RunnerName = Literal["process", "container"]
RUNNERS: Final[tuple[RunnerName, ...]] = get_args(RunnerName)


class StartError(Exception):
    """A job can't be started; the message says why."""


class RunningJob(Protocol):
    """A job that was started. Leaving its `with` block frees all that it used."""

    @property
    def output(self) -> IO[bytes]:
        """What it writes."""
        ...

    @property
    def returncode(self) -> int | None:
        """How it ended: an exit code, or the negative number of a signal."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self, seconds: float) -> bool:
        """Wait for its end, for at most some seconds. Returns whether it has ended."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    def finish(self) -> None:
        """End all that is left of it. What it has written can still be read."""
        ...

    def ending(self) -> Ending:
        """How it ended by itself."""
        ...


class Runner(Protocol):
    """Starts jobs, in its `with` block."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def start(
        self, job: Job, attempt: int, variables: Mapping[str, str], is_stopped: Callable[[], bool]
    ) -> RunningJob:
        """Start a job.

        Args:
            job: The job.
            attempt: The number of the attempt at it.
            variables: Its environment variables, beside those that depend on where it runs.
            is_stopped: Tells whether the job has to end before it was started.

        Raises:
            StartError: It can't be started.
        """
        ...
