"""Decide which failed jobs to retry, and how. No I/O: a decision depends only on its arguments."""

from __future__ import annotations

import math
import sys
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
# `stop_if_failed` applies when this many jobs have ended, or all.
MIN_JUDGED_JOBS = 10


@dataclass(frozen=True, slots=True)
class JobFailure:
    """The failure of a job, and its limits."""

    failure_code: str | None = None
    """The service's code, such as ErrorTimeout. None if it sent none, as for a cancelled job."""
    exit_code: int | None = None
    """The container's exit code. None if the container did not run to its end."""
    memory_mib: int | None = None
    """The memory of the job in MiB. None if it is unknown."""
    timeout_seconds: int | None = None
    """The timeout of the job in seconds. None if it is unknown."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Whether to retry a failed job, and how."""

    again: bool
    """Whether to retry the job."""
    reason: str
    """A description of the reason."""
    memory_mib: int | None = None
    """The memory for the next attempt in MiB. None for the same as before."""
    timeout_seconds: int | None = None
    """The timeout of the next attempt in seconds. None for the same as before."""
    wait_seconds: float = 0.0
    """The backoff before the next attempt in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failed jobs a run retries.

    - Jobs that were preempted, or whose machine or region failed, are retried.
    - Jobs that ran out of memory are retried with `memory_factor` times the memory.
    - Jobs that reached their timeout are retried with `timeout_factor` times the timeout.
    - Jobs that ended with one of `exit_codes` are retried.
    - All other jobs stay failed, because the failure would repeat, or because you cancelled the
      job.
    """

    max_attempts: int = 3
    """The maximum number of attempts at a job, the first one included. At least 1."""
    memory_factor: float = 2.0
    """The factor for the memory of the next attempt, at least 1. With 1, the job stays failed."""
    max_memory_mib: int = MAX_MEMORY_MIB
    """The maximum memory of an attempt in MiB, 4 to 235520."""
    timeout_factor: float = 2.0
    """The factor for the timeout of the next attempt, at least 1. With 1, the job stays failed."""
    max_timeout_seconds: int = MAX_TIMEOUT_SECONDS
    """The maximum timeout of an attempt in seconds, 60 to 1209600."""
    exit_codes: Collection[int] = ()
    """The exit codes of jobs to retry."""
    backoff_seconds: float = 30.0
    """The backoff before the second attempt in seconds, at least 0. It doubles with each attempt,
    up to an hour.
    """
    stop_if_failed: float | None = None
    """The maximum share of failed jobs among the ended ones, 0 to 1. If more jobs stay failed, the
    group is cancelled. The limit applies when ten jobs have ended, or all of them. None for no
    limit.
    """

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            HtcValidationError: A value is invalid.
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
        """Decide whether to retry a failed job.

        Args:
            failure: The failure of the last attempt.
            attempts: The number of attempts so far, at least 1.
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
                return _cannot_raise(failure.memory_mib, "memory", "MiB", self.max_memory_mib)
            reason = f"out of memory: retry with {memory} instead of {failure.memory_mib} MiB"
        elif code == TIMEOUT_CODE:
            timeout = _grown(failure.timeout_seconds, self.timeout_factor, self.max_timeout_seconds)
            if timeout is None:
                return _cannot_raise(
                    failure.timeout_seconds, "timeout", "s", self.max_timeout_seconds
                )
            reason = f"timeout: retry with {timeout} instead of {failure.timeout_seconds} s"
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
        """Whether more jobs have failed than `stop_if_failed` allows.

        Args:
            failed: The number of failed jobs without a retry left.
            ended: The number of ended jobs without a retry left.
            total: The number of all jobs.
        """
        if self.stop_if_failed is None or ended < min(MIN_JUDGED_JOBS, total):
            return False
        return failed > self.stop_if_failed * ended


def _grown(value: int | None, factor: float, most: int) -> int | None:
    """A larger value. None if the value is unknown or can't be raised."""
    if value is None:
        return None
    grown = math.ceil(min(most, value * factor))  # the product may be infinite
    return grown if grown > value else None


def _cannot_raise(value: int | None, name: str, unit: str, most: int) -> RetryDecision:
    if value is None:
        return RetryDecision(False, f"its {name} is not known, so it can't be raised")
    return RetryDecision(
        False, f"its {name} of {value} {unit} can't be raised (at most {most} {unit})"
    )


def _is_integer(value: object, least: int | None, most: int | None) -> bool:
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return (least is None or value >= least) and (most is None or value <= most)


def is_number(value: object, least: float) -> bool:
    """Whether a value is a finite number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least <= value <= sys.float_info.max
