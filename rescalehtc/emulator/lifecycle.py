"""Job statuses, their transitions, and the endings of jobs. No I/O."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final, NamedTuple

from ..models import HTCJobErrorCodeName as FailureCode
from ..models import RescaleJobStatus as Status

if TYPE_CHECKING:
    from collections.abc import Mapping

STEPS: Final[Mapping[Status, frozenset[Status]]] = {
    Status.SUBMITTED_TO_RESCALE: frozenset({Status.SUBMITTED_TO_PROVIDER, Status.FAILED}),
    Status.SUBMITTED_TO_PROVIDER: frozenset({Status.RUNNABLE, Status.FAILED}),
    Status.RUNNABLE: frozenset({Status.STARTING, Status.FAILED}),
    # Back to RUNNABLE: the job is retried.
    Status.STARTING: frozenset({Status.RUNNING, Status.RUNNABLE, Status.FAILED}),
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.RUNNABLE, Status.FAILED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
}
WAITING: Final = Status.SUBMITTED_TO_RESCALE
STARTED: Final = (
    Status.SUBMITTED_TO_PROVIDER,
    Status.RUNNABLE,
    Status.STARTING,
    Status.RUNNING,
)
COUNTED: Final = tuple(STEPS)


class Container(NamedTuple):
    """The result of a command."""

    exit_code: int
    reason: str | None

    def to_json(self) -> dict[str, int | str | None]:
        """The dictionary that the service sends."""
        return {"exitCode": self.exit_code, "reason": self.reason}


class Ending(NamedTuple):
    """The result of a job, or of one attempt of a job."""

    status: Status
    reason: str | None = None
    failure_code: FailureCode | None = None
    container: Container | None = None
    may_retry: bool = False
    cancelled: bool = False


def check_step(before: Status, after: Status) -> None:
    """Check a transition between statuses.

    Raises:
        ValueError: The transition is not allowed.
    """
    if after not in STEPS[before]:
        raise ValueError(f"a job can't go from {before} to {after}")


def exited(returncode: int) -> Ending:
    """The command ended. A negative code is the number of a signal."""
    container = _container(returncode)
    if returncode == 0:
        return Ending(Status.SUCCEEDED, container=container)
    reason = (container and container.reason) or f"the command ended with exit code {returncode}"
    code = FailureCode.ERROR_NON_ZERO_CONTAINER_EXIT_CODE
    return Ending(Status.FAILED, reason, code, container, may_retry=True)


def out_of_memory(memory_mib: int | None, returncode: int | None) -> Ending:
    """The container was killed because it needed more memory than it may have."""
    reason = f"the container exceeded its memory limit, maxMemory {memory_mib} MiB"
    code = FailureCode.ERROR_NOT_ENOUGH_MEMORY
    return Ending(Status.FAILED, reason, code, _container(returncode), may_retry=True)


def timed_out(seconds: float, returncode: int | None) -> Ending:
    """The command was stopped by its timeout."""
    reason = f"stopped after execTimeoutSeconds, {seconds:g} s"
    return Ending(Status.FAILED, reason, FailureCode.ERROR_TIMEOUT, _container(returncode))


def cancelled(returncode: int | None = None) -> Ending:
    """A user cancelled the job, before it started or while it was running."""
    container = _container(returncode)
    return Ending(Status.FAILED, "cancelled by user", container=container, cancelled=True)


def not_started(reason: str) -> Ending:
    """The command could not be started."""
    return Ending(Status.FAILED, reason, FailureCode.ERROR_STARTING_CONTAINER, may_retry=True)


def preempted(returncode: int | None) -> Ending:
    """The job lost its instance."""
    reason = "the instance was terminated while the job was running"
    code = FailureCode.ERROR_INSTANCE_TERMINATION
    return Ending(Status.FAILED, reason, code, _container(returncode), may_retry=True)


def interrupted(reason: str, returncode: int | None = None) -> Ending:
    """The emulator stopped or failed while the job was running."""
    code = FailureCode.ERROR_INFRASTRUCTURE_FAULT
    return Ending(Status.FAILED, reason, code, _container(returncode))


def _container(returncode: int | None) -> Container | None:
    if returncode is None:
        return None
    if returncode >= 0:
        return Container(returncode, None)
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {-returncode}"
    return Container(128 - returncode, f"the command was ended by {name}")
