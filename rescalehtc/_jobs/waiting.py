"""Poll once per interval until jobs have ended, even during an outage."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, TypeVar

from .._client.retry import is_transient
from ..exceptions import HtcException, HtcValidationError, HtcWaitTimeoutError, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._client.io import Io
    from .._counts import JobCounts
    from .._session import BaseSession

_logger = logging.getLogger("rescalehtc")

T = TypeVar("T")

# The minimum time, in seconds, for a poll that starts shortly before the timeout.
MIN_POLL_SECONDS = 5.0
LOOKS_PER_SETTLING = 6


def check_timeout(timeout: float | None, argument: str, subject: str) -> None:
    """Check the timeout of a wait.

    Raises:
        HtcValidationError: It is neither None nor a number of at least 0.
    """
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and timeout >= 0):  # NaN is not either
        message = "must be None or a number of seconds of at least 0"
        raise HtcValidationError(subject, [Problem(argument, message)])


class Interval:
    """The polling interval and the timeout of one wait.

    A transient failure does not end a wait: `note_outage` logs it once.
    """

    def __init__(self, rescale: BaseSession, timeout: float | None, subject: str) -> None:
        """Create the interval.

        Args:
            rescale: The session, with the clock and the polling interval.
            timeout: The maximum wait in seconds, or None.
            subject: The call, for messages.

        Raises:
            HtcValidationError: `timeout` is not a number of at least 0.
        """
        check_timeout(timeout, "timeout", subject)
        self._io = rescale.client.io
        self._seconds = rescale.status_refresh_seconds
        self._timeout = math.inf if timeout is None else timeout
        self._subject = subject
        self._ends_at = self._io.monotonic() + self._timeout
        self._outage: HtcException | None = None

    def expires_at(self) -> float:
        """The deadline of a request that is sent now."""
        return max(self._ends_at, self._io.monotonic() + MIN_POLL_SECONDS)

    def note_answer(self) -> None:
        """Log the end of an outage after a successful poll."""
        if self._outage is not None:
            _logger.warning("%s: the service is available again", self._subject)
            self._outage = None

    def note_outage(self, error: HtcException) -> None:
        """Log a failed poll, or raise the error if it is not transient."""
        if not is_transient(error):
            raise error
        if self._outage is None:
            _logger.warning("%s: %s; polling continues", self._subject, error)
        self._outage = error

    async def wait_out(self, error: HtcException, counts: JobCounts) -> None:
        """Sleep until the next poll after a failed one, or raise the error if it is not transient.

        Raises:
            HtcWaitTimeoutError: The timeout has passed.
        """
        self.note_outage(error)
        await self.pause(counts)

    async def pause(self, counts: JobCounts) -> None:
        """Sleep until the next poll.

        Raises:
            HtcWaitTimeoutError: The timeout has passed.
        """
        remaining = self._ends_at - self._io.monotonic()
        if remaining <= 0:
            message = f"the wait timed out after {self._timeout:g} s; {counts}"
            if self._outage is not None:
                message += f"; the last poll failed: {self._outage}"
            raise HtcWaitTimeoutError(message, counts)
        await self._io.sleep(min(self._seconds, remaining))


async def wait(
    poll: Callable[[], Awaitable[JobCounts]],
    interval: Interval,
    counts: JobCounts,
    show: Callable[[JobCounts], None],
) -> JobCounts:
    """Poll until all jobs have ended.

    Args:
        poll: A function that counts the jobs.
        interval: The polling interval and timeout.
        counts: The counts before the first poll.
        show: A function that is called with the counts after each poll.

    Raises:
        HtcWaitTimeoutError: Not all jobs ended before the timeout.
    """
    while True:
        try:
            counts = await poll()
        except HtcException as error:
            interval.note_outage(error)
        else:
            interval.note_answer()
            show(counts)
            if not counts.running:
                return counts
        await interval.pause(counts)


async def settle(io: Io, seconds: float, look: Callable[[], Awaitable[tuple[T, int, bool]]]) -> T:
    """Look until nothing is missing, or nothing more has appeared for some time.

    Args:
        io: The clock.
        seconds: The time after which the missing things will not appear, in seconds.
        look: A function that returns its result, the number of things that it found, and whether
            nothing is missing.
    """
    most_found = -1
    changed_at = io.monotonic()
    while True:
        result, count, is_complete = await look()
        now = io.monotonic()
        if is_complete:
            return result
        if count > most_found:
            most_found, changed_at = count, now
        elif now - changed_at >= seconds:
            return result
        await io.sleep(seconds / LOOKS_PER_SETTLING)
