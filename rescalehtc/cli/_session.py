"""The session of a command."""

from __future__ import annotations

import threading
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .._client.credentials import DEFAULT_WORKSPACE, SERVICE_URL
from ..exceptions import HtcConfigurationError, HtcConnectionError, HtcException
from ..htcsession import HtcSession
from ..rauthenticate import BACKOFF_SECONDS
from . import _output, _profiles

if TYPE_CHECKING:
    from ..hooks import RequestInfo, ResponseInfo

SECONDS_BEFORE_NOTICE = 2.5
SECONDS_TO_COMPLETE = 3.0
LOOK_SECONDS = 0.2


class CommandSession(HtcSession):
    """The session of a command.

    Attributes:
        profile: The profile in use.
        is_quiet: Whether to print and store nothing, as for shell completion.
    """

    def __init__(
        self, profile: _profiles.Profile, interval: float | None = None, *, is_quiet: bool = False
    ) -> None:
        self.profile = profile
        self.is_quiet = is_quiet
        self._notices = _Notices(profile)
        super().__init__(
            profile.workspace or DEFAULT_WORKSPACE,
            base_url=profile.base_url,
            status_refresh_seconds=interval,
            backoff_seconds=BACKOFF_SECONDS,
            on_request=None if is_quiet else self._notices.on_request,
            on_response=None if is_quiet else self._notices.on_response,
        )
        self._notices.deadline_seconds = self._deadline_seconds

    def close(self) -> None:
        """Close the connections."""
        self._notices.end()
        super().close()


class _Notices:
    """Prints one message if the service can't be reached, or does not respond soon."""

    deadline_seconds: float

    def __init__(self, profile: _profiles.Profile) -> None:
        self._place = f"{profile.address} ({profile.address_origin})"
        self._asked_at: float | None = None
        self._is_over = threading.Event()
        self._lock = threading.RLock()  # a signal handler may send requests
        self._thread: threading.Thread | None = None

    def on_request(self, _info: RequestInfo) -> None:
        self._asked_at = time.monotonic()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, daemon=True)
                self._thread.start()

    def on_response(self, info: ResponseInfo) -> None:
        self._asked_at = None
        error = info.error
        if isinstance(error, HtcConnectionError) and not isinstance(error, HtcConfigurationError):
            reason = str(error).rpartition(": ")[2]
            minutes = f"{self.deadline_seconds / 60:g} minutes"
            self._say(f"can't reach {self._place}: {reason}; retrying for up to {minutes}")

    def end(self) -> None:
        self._is_over.set()

    def _look(self) -> None:
        while not self._is_over.wait(min(SECONDS_BEFORE_NOTICE, LOOK_SECONDS)):
            asked_at = self._asked_at
            if asked_at is not None and time.monotonic() - asked_at >= SECONDS_BEFORE_NOTICE:
                self._say(f"waiting for {self._place}")

    def _say(self, text: str) -> None:
        with self._lock:
            is_first = not self._is_over.is_set()
            self._is_over.set()
        if is_first:
            _output.say(f"rescalehtc: {text}")


def open_session(
    profile_name: str | None, interval: float | None = None, *, is_quiet: bool = False
) -> CommandSession:
    """Return a session with the settings of a profile. Print the base URL if it is not the default.

    Args:
        profile_name: The profile; None for the session that HtcSession() makes.
        interval: The session's `status_refresh_seconds`; None for its default.
        is_quiet: Whether to print nothing, and to give up after a few seconds.
    """
    rescale = CommandSession(_profiles.find(profile_name), interval, is_quiet=is_quiet)
    if is_quiet:
        return rescale.with_options(deadline_seconds=SECONDS_TO_COMPLETE)
    if rescale.base_url != SERVICE_URL:
        _output.say(f"rescalehtc: using the service at {rescale.base_url}")
    return rescale


def require_storage() -> None:
    """Check that the packages for files are installed.

    Raises:
        HtcException: They are not installed.
    """
    if not find_spec("obstore"):
        raise HtcException('files need more packages: pip install "rescalehtc[storage]>=2"')
