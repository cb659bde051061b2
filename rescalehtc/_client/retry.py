"""Which requests are retried, and when. No I/O: clocks and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from .._interrupts import suppressed
from ..exceptions import HtcConfigurationError, HtcConnectionError, HtcResponseError, HtcStatusError

if TYPE_CHECKING:
    from .._wire.operation import Operation
    from ..exceptions import HtcException

REQUEST_TIMEOUT = 408
TOO_MANY_REQUESTS = 429
TRANSIENT_STATUSES = frozenset({REQUEST_TIMEOUT, TOO_MANY_REQUESTS, 500, 502, 503, 504})
MAX_BACKOFF_SECONDS = 30.0
# A longer wait that a service asks for is cut to this.
MAX_RETRY_AFTER_SECONDS = 60.0
# Retries of one request while the service answers others, as a multiple of `max_retries`.
MAX_STREAKS = 4


@dataclass(frozen=True)
class RetryPolicy:
    """How a session retries requests.

    Attributes:
        max_retries: Retries of a request while the service answers no request of the session.
        backoff_seconds: The longest wait before the first retry; it doubles each time.
        deadline_seconds: How long a call may take with all its retries.
    """

    max_retries: int
    backoff_seconds: float
    deadline_seconds: float

    def wait(self, retries: int, retry_after: float | None, chance: float) -> float:
        """Return the number of seconds to wait before a retry.

        Args:
            retries: Retries in a row so far.
            retry_after: The seconds that the service asks to wait, or None.
            chance: From 0 to 1: clients that fail together must not come back together. At
                least half of the wait is not left to chance, so that the retries together
                outlast an outage of known length.
        """
        if retry_after is not None:
            return min(retry_after, MAX_RETRY_AFTER_SECONDS)
        longest: float = self.backoff_seconds * 2.0 ** min(retries, 60)
        return min(longest, MAX_BACKOFF_SECONDS) * (1 + chance) / 2


class Retries:
    """The retries of one call.

    While the service answers other requests of the session, it is not in an outage: failures
    before such an answer do not count towards `max_retries`, up to four times as many.
    """

    def __init__(self, policy: RetryPolicy, answered: int) -> None:
        """Make one.

        Args:
            policy: The session's policy.
            answered: How many requests of the session were answered so far.
        """
        self._policy = policy
        self._answered = answered
        self._in_a_row = 0
        self.total = 0

    def next_wait(self, answered: int, retry_after: float | None, chance: float) -> float | None:
        """Count a failure; return the seconds to wait before the retry, None if there is none."""
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
    """Whether the same request may well succeed later."""
    match error:
        case HtcConfigurationError():
            return False
        case HtcConnectionError() | HtcResponseError(is_garbled=True):
            return True
        case HtcStatusError(status_code=int(status)):
            return status in TRANSIENT_STATUSES
        case _:
            return False


def may_retry(operation: Operation[Any], error: HtcException) -> bool:
    """Whether a request that failed in this way may be sent again.

    A request that is not idempotent may be only if it certainly was not carried out: no byte of
    it left, or the service refused it with 429.
    """
    match error:
        case HtcConnectionError(request_sent=False):
            return is_transient(error)
        case HtcStatusError(status_code=int(status)) if status == TOO_MANY_REQUESTS:
            return True
        case _:
            return operation.is_idempotent and is_transient(error)


def is_outcome_unknown(operation: Operation[Any], error: HtcException) -> bool:
    """Whether something may have been done that must not be done twice."""
    if operation.is_idempotent:
        return False
    match error:
        case HtcConnectionError():
            return error.request_sent
        case HtcStatusError(status_code=int(status)):
            return status == REQUEST_TIMEOUT or status >= 500
        case _:  # whatever the answer was, it did not say that the request was refused
            return isinstance(error, HtcResponseError)


def parse_retry_after(retry_after: str | None, now: float) -> float | None:
    """Read a Retry-After header, a number of seconds or a date; None if it can't be read.

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
