"""What may be sent again, and when. No I/O: clocks and chance are handed in."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from .exceptions import HtcConfigurationError, HtcConnectionError, HtcResponseError, HtcStatusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._operation import Operation
    from .exceptions import HtcException

# Statuses after which the same request may well succeed.
REQUEST_TIMEOUT = 408
TOO_MANY_REQUESTS = 429
PASSING_STATUSES = frozenset({REQUEST_TIMEOUT, TOO_MANY_REQUESTS, 500, 502, 503, 504})
MAX_BACKOFF_SECONDS = 30.0
# A longer wait that a service asks for is cut to this.
MAX_RETRY_AFTER_SECONDS = 60.0
# In an outage a session repeats so many requests, and then one for every ten that succeed.
BUDGET = 20
SUCCESSES_A_REPETITION = 10


@dataclass(frozen=True)
class RetryPolicy:
    """How a session repeats requests.

    Attributes:
        max_retries: How often a request is sent again at most.
        backoff_seconds: The longest wait before the first time; it doubles each time.
        deadline_seconds: How long a call may take with all its repetitions.
    """

    max_retries: int
    backoff_seconds: float
    deadline_seconds: float

    def wait(self, retries: int, asked: float | None, chance: Callable[[], float]) -> float:
        """How many seconds to wait before sending again.

        Args:
            retries: How often it was sent again already.
            asked: For how long the service asks to wait, or None.
            chance: Gives a number from 0 to 1: clients that fail together must not come back
                together.
        """
        if asked is not None:
            return min(asked, MAX_RETRY_AFTER_SECONDS)
        longest: float = self.backoff_seconds * 2.0 ** min(retries, 60)
        return min(longest, MAX_BACKOFF_SECONDS) * chance()


class RetryBudget:
    """How many repetitions a session has left: an outage is not answered with a storm."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._successes = BUDGET * SUCCESSES_A_REPETITION  # what is left, in successes

    def take(self) -> bool:
        """Use one repetition up; false if there is none left."""
        with self._lock:
            if self._successes < SUCCESSES_A_REPETITION:
                return False
            self._successes -= SUCCESSES_A_REPETITION
            return True

    def succeeded(self) -> None:
        """Give a part of one back."""
        with self._lock:
            self._successes = min(BUDGET * SUCCESSES_A_REPETITION, self._successes + 1)


def may_be_sent_again(operation: Operation, error: HtcException) -> bool:
    """Whether a request that failed in this way may be sent again.

    What changes something more each time it is carried out is sent again only when it is
    certain that it was not: nothing of it left, or the service refused it as one too many.
    """
    match error:
        case HtcConfigurationError():
            return False
        case HtcConnectionError(request_sent=False):
            return True
        case HtcStatusError() if error.status_code == TOO_MANY_REQUESTS:
            return True
        case HtcConnectionError() | HtcResponseError(is_garbled=True):
            return operation.is_repeatable
        case HtcStatusError(status_code=int(status)):
            return operation.is_repeatable and status in PASSING_STATUSES
        case _:
            return False


def is_outcome_unknown(operation: Operation, error: HtcException) -> bool:
    """Whether something may have been done that must not be done twice."""
    if operation.is_repeatable:
        return False
    match error:
        case HtcConnectionError():
            return error.request_sent
        case HtcStatusError(status_code=int(status)):
            return status == REQUEST_TIMEOUT or status >= 500
        case _:  # whatever the answer was, it did not say that the request was refused
            return isinstance(error, HtcResponseError)


def seconds_asked_for(retry_after: str | None, now: float) -> float | None:
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
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
