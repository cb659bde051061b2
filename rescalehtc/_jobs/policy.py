"""Which failed jobs are run again, and how. No I/O: a decision depends only on its arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._facts import MAX_MEMORY_MIB, MAX_TIMEOUT_SECONDS
from ..exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Collection

PREEMPTED_CODES = ("ErrorInstanceTermination",)
PROVIDER_CODES = ("ErrorInfrastructureFault", "ErrorProviderDown", "ErrorProviderRegionDown")
MEMORY_CODE = "ErrorNotEnoughMemory"
TIMEOUT_CODE = "ErrorTimeout"
EXIT_CODE = "ErrorNonZeroContainerExitCode"

MAX_BACKOFF_SECONDS = 3600.0
# A share of failed jobs is judged when this many have ended, or all.
MIN_JUDGED_JOBS = 10


@dataclass(frozen=True, slots=True)
class JobFailure:
    """How a job failed, and with what limits."""

    failure_code: str | None = None
    """The service's code, such as ErrorTimeout; None if it gave none, as for a cancelled job."""
    exit_code: int | None = None
    """The container's exit code, if it ran to an end."""
    memory_mib: int | None = None
    """The memory that it had, in MiB; None if that is not known."""
    timeout_seconds: int | None = None
    """The seconds that it could run; None if that is not known."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Whether a failed job is run again, and how."""

    again: bool
    """Whether it is run again."""
    reason: str
    """Why, in words."""
    memory_mib: int | None = None
    """The memory for the next attempt in MiB; None for the same as before."""
    timeout_seconds: int | None = None
    """The seconds that the next attempt may run; None for the same as before."""
    wait_seconds: float = 0.0
    """Seconds to wait before the next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failed jobs a run submits again.

    - A preempted job, and one that failed with its machine or region, is run again.
    - A job that ran out of memory is run again with `memory_factor` times as much.
    - A job that ran into its timeout is run again with `timeout_factor` times as long.
    - A job that ended with one of `exit_codes` is run again.
    - Every other job stays failed: the failure would repeat itself, or you cancelled the job.
    """

    max_attempts: int = 3
    """How often a job is run in all, at least 1."""
    memory_factor: float = 2.0
    """What the memory is multiplied by, at least 1; with 1 the job stays failed."""
    max_memory_mib: int = MAX_MEMORY_MIB
    """The most memory for an attempt in MiB, 4 to 235520."""
    timeout_factor: float = 2.0
    """What the timeout is multiplied by, at least 1; with 1 the job stays failed."""
    max_timeout_seconds: int = MAX_TIMEOUT_SECONDS
    """The longest timeout of an attempt in seconds, 60 to 1209600."""
    exit_codes: Collection[int] = ()
    """Exit codes after which a job is run again."""
    backoff_seconds: float = 30.0
    """Seconds, at least 0, before the second attempt; they double each time, up to an hour."""
    stop_if_failed: float | None = None
    """The share of jobs, 0 to 1, that may stay failed among those that have ended. If more do, the
    group is cancelled. It is judged from ten ended jobs on, and when all have ended. None for no
    limit."""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            HtcValidationError: A value is out of its range.
        """
        share = self.stop_if_failed
        codes = self.exit_codes
        checks = [
            ("max_attempts", _is_integer(self.max_attempts, 1, None), "an integer of at least 1"),
            ("memory_factor", is_number(self.memory_factor, 1), "a number of at least 1"),
            (
                "max_memory_mib",
                _is_integer(self.max_memory_mib, 4, MAX_MEMORY_MIB),
                f"an integer from 4 to {MAX_MEMORY_MIB}",
            ),
            ("timeout_factor", is_number(self.timeout_factor, 1), "a number of at least 1"),
            (
                "max_timeout_seconds",
                _is_integer(self.max_timeout_seconds, 60, MAX_TIMEOUT_SECONDS),
                f"an integer from 60 to {MAX_TIMEOUT_SECONDS}",
            ),
            (
                "exit_codes",
                isinstance(codes, list | tuple | set | frozenset | range)
                and all(_is_integer(code, None, None) for code in codes),
                "a list or set of integers",
            ),
            ("backoff_seconds", is_number(self.backoff_seconds, 0), "a number of at least 0"),
            (
                "stop_if_failed",
                share is None or (is_number(share, 0) and share <= 1),
                "None or a number from 0 to 1",
            ),
        ]
        problems = [
            Problem(name, f"must be {right}") for name, is_right, right in checks if not is_right
        ]
        if problems:
            raise HtcValidationError("RetryPolicy", problems)

    def decide(self, failure: JobFailure, attempts: int) -> RetryDecision:
        """Decide whether a failed job is run again.

        Args:
            failure: How the last attempt failed.
            attempts: How often the job was run so far, at least 1.
        """
        code = failure.failure_code
        memory = timeout = None
        if code in PREEMPTED_CODES:
            reason = "preempted"
        elif code in PROVIDER_CODES:
            reason = "its machine or region failed"
        elif code == MEMORY_CODE:
            memory = _grown(failure.memory_mib, self.memory_factor, self.max_memory_mib)
            if memory is None:
                return _kept(failure.memory_mib, "memory", "MiB", self.max_memory_mib)
            reason = f"out of memory: {failure.memory_mib} MiB become {memory} MiB"
        elif code == TIMEOUT_CODE:
            timeout = _grown(failure.timeout_seconds, self.timeout_factor, self.max_timeout_seconds)
            if timeout is None:
                return _kept(failure.timeout_seconds, "timeout", "s", self.max_timeout_seconds)
            reason = f"timeout: {failure.timeout_seconds} s become {timeout} s"
        elif code == EXIT_CODE and failure.exit_code in self.exit_codes:
            reason = f"exit code {failure.exit_code} is one of exit_codes"
        elif code == EXIT_CODE:
            return RetryDecision(False, f"exit code {failure.exit_code} is not one of exit_codes")
        else:
            return RetryDecision(False, f"{code or 'a failure without a code'} is not retried")
        if attempts >= self.max_attempts:
            return RetryDecision(
                False, f"{reason}, but this was attempt {attempts} of {self.max_attempts}"
            )
        longest = self.backoff_seconds * 2.0 ** min(attempts - 1, 60)
        return RetryDecision(True, reason, memory, timeout, min(longest, MAX_BACKOFF_SECONDS))

    def is_exceeded(self, failed: int, ended: int, total: int) -> bool:
        """Whether more jobs than `stop_if_failed` allows have failed for good.

        Args:
            failed: Jobs that have ended and stay failed.
            ended: Jobs that have ended for good.
            total: All jobs.
        """
        if self.stop_if_failed is None or ended < min(MIN_JUDGED_JOBS, total):
            return False
        return failed > self.stop_if_failed * ended


def _grown(value: int | None, factor: float, most: int) -> int | None:
    """A larger value; None if it is not known, or can't grow."""
    if value is None:
        return None
    grown = min(most, math.ceil(value * factor))
    return grown if grown > value else None


def _kept(value: int | None, what: str, unit: str, most: int) -> RetryDecision:
    if value is None:
        return RetryDecision(False, f"its {what} is not known, so it can't be raised")
    return RetryDecision(
        False, f"its {what} of {value} {unit} can't be raised (at most {most} {unit})"
    )


def _is_integer(value: object, least: int | None, most: int | None) -> bool:
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return (least is None or value >= least) and (most is None or value <= most)


def is_number(value: object, least: float) -> bool:
    """Whether a value is a finite number, and not too small."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= least
