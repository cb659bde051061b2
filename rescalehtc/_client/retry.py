"""Decide which requests are retried, and when. No I/O: time and randomness are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from .._interrupts import suppressed
from ..exceptions import (
    HtcConfigurationError,
    HtcConnectionError,
    HtcFileError,
    HtcResponseError,
    HtcStatusError,
)

if TYPE_CHECKING:
    from .._wire.operation import Operation
    from ..exceptions import HtcException

REQUEST_TIMEOUT = 408
TOO_MANY_REQUESTS = 429
TRANSIENT_STATUSES = frozenset({REQUEST_TIMEOUT, TOO_MANY_REQUESTS, 500, 502, 503, 504})
MAX_BACKOFF_SECONDS = 30.0
# The maximum wait for a Retry-After header, in seconds.
MAX_RETRY_AFTER_SECONDS = 60.0
# The maximum number of retries while other requests succeed, as a multiple of `max_retries`.
MAX_STREAKS = 4


@dataclass(frozen=True)
class RetrySettings:
    """How a session retries requests.

    Attributes:
        max_retries: The maximum number of retries while the service answers no request.
        backoff_seconds: The maximum wait before the first retry. It doubles with each retry.
        deadline_seconds: The timeout of a call with all its retries.
    """

    max_retries: int
    backoff_seconds: float
    deadline_seconds: float

    def wait(self, retries: int, retry_after: float | None, chance: float) -> float:
        """Return the number of seconds to wait before a retry.

        Args:
            retries: The number of consecutive retries so far.
            retry_after: The seconds in the service's Retry-After header, or None.
            chance: The jitter, a random number from 0 to 1, so that clients that fail at the same
                time do not retry at the same time. Only half of the wait is random, so that all
                retries together outlast an outage of known length.
        """
        if retry_after is not None:
            return min(retry_after, MAX_RETRY_AFTER_SECONDS)
        longest: float = self.backoff_seconds * 2.0 ** min(retries, 60)
        return min(longest, MAX_BACKOFF_SECONDS) * (1 + chance) / 2


class Retries:
    """The retries of one call.

    While other requests of the session succeed, there is no outage. Failures before such a success
    do not count towards `max_retries`, up to four times `max_retries`.
    """

    def __init__(self, policy: RetrySettings, answered: int) -> None:
        """Create the count of retries.

        Args:
            policy: The session's policy.
            answered: The number of requests of the session that the service has answered so far.
        """
        self._policy = policy
        self._answered = answered
        self._in_a_row = 0
        self.total = 0

    def next_wait(self, answered: int, retry_after: float | None, chance: float) -> float | None:
        """Count a failure, and return the wait before the retry. None if there is no retry."""
        if answered != self._answered:
            self._answered, self._in_a_row = answered, 0
        most = self._policy.max_retries
        if self._in_a_row >= most or self.total >= most * MAX_STREAKS:
            return None
        wait = self._policy.wait(self._in_a_row, retry_after, chance)
        self._in_a_row += 1
        self.total += 1
        return wait


def is_transient(error: HtcException) -> bool:
    """Whether an error is transient."""
    match error:
        case HtcConfigurationError():
            return False
        case (
            HtcConnectionError()
            | HtcResponseError(is_garbled=True)
            | HtcFileError(is_transient=True)
        ):
            return True
        case HtcStatusError(status_code=int(status)):
            return status in TRANSIENT_STATUSES
        case _:
            return False


def may_retry(operation: Operation[Any], error: HtcException) -> bool:
    """Whether a request may be retried after this error.

    A request that is not idempotent may be retried only if it was certainly not carried out: no
    byte was sent, or the service answered 429.
    """
    match error:
        case HtcConnectionError(request_sent=False):
            return is_transient(error)
        case HtcStatusError(status_code=int(status)) if status == TOO_MANY_REQUESTS:
            return True
        case _:
            return operation.is_idempotent and is_transient(error)


def is_outcome_unknown(operation: Operation[Any], error: HtcException) -> bool:
    """Whether a non-idempotent request may have been carried out."""
    if operation.is_idempotent:
        return False
    match error:
        case HtcConnectionError():
            return error.request_sent
        case HtcStatusError(status_code=int(status)):
            return status == REQUEST_TIMEOUT or status >= 500
        case _:  # no other response means that the service rejected the request
            return isinstance(error, HtcResponseError)


def parse_retry_after(retry_after: str | None, now: float) -> float | None:
    """Parse a Retry-After header, a number of seconds or a date. Return None if it is invalid.

    Args:
        retry_after: The header's value.
        now: The time in seconds since 1970.
    """
    if retry_after is None:
        return None
    from email.utils import parsedate_to_datetime

    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with suppressed(ValueError, TypeError, IndexError, OverflowError, OSError):
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now)
    return None
