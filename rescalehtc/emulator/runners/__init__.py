"""Runners of jobs: as processes on this machine, or in containers of their images."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final, Literal, Protocol, Self, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..lifecycle import Ending
    from ..store import Job

RunnerName = Literal["process", "container"]
RUNNERS: Final[tuple[RunnerName, ...]] = get_args(RunnerName)


class StartError(Exception):
    """A job can't be started. The message is the reason."""


class RunningJob(Protocol):
    """A started job. The end of its `with` block frees its resources."""

    @property
    def output(self) -> IO[bytes]:
        """The output of the job."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of a signal. None while the job runs."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self, seconds: float) -> bool:
        """Wait until the job ends, or for some seconds. Returns whether the job has ended."""
        ...

    def terminate(self) -> None:
        """Send SIGTERM to the job."""
        ...

    def kill(self) -> None:
        """Kill the job."""
        ...

    def finish(self) -> None:
        """Kill the remaining processes. The output can still be read."""
        ...

    def ending(self) -> Ending:
        """Return the ending of a job that was not stopped."""
        ...


class Runner(Protocol):
    """Starts jobs during its `with` block."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def start(
        self, job: Job, attempt: int, variables: Mapping[str, str], is_stopped: Callable[[], bool]
    ) -> RunningJob:
        """Start a job.

        Args:
            job: The job.
            attempt: The number of the attempt, from 1.
            variables: The job's environment variables, except those of the runner.
            is_stopped: A function that returns whether the job must stop before its start.

        Raises:
            StartError: The job can't be started.
        """
        ...
