"""The settings that blocking and asynchronous sessions share."""

from __future__ import annotations

import copy
import inspect
import math
import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from . import _log
from ._client.attempt import Observers
from ._client.client import Client
from ._client.credentials import (
    DEFAULT_WORKSPACE,
    SERVICE_URL,
    find_credential,
    is_printable_ascii,
)
from ._client.retry import RetrySettings
from ._environment import BASE_URL_VARIABLE, STATUS_REFRESH_VARIABLE, variable
from ._interrupts import suppressed
from ._secret import Secret
from ._tracebacks import trimmed
from ._url import origin
from .exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from ._client.custom_transport import LibraryTransport
    from ._client.io import Io
    from .hooks import RequestInfo, ResponseInfo

CONFIG_FOLDER = "~/.config/rescalehtc"
SERVICE_REFRESH_SECONDS = 30.0


class BaseSession(ABC):
    """The credential, the base URL and the settings for all calls."""

    is_async: ClassVar[bool]

    def __init__(
        self,
        workspace: str = DEFAULT_WORKSPACE,
        config_folder_override: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        status_refresh_seconds: float | None = None,
        image_wait_seconds: float = 300.0,
        timeout_seconds: float = 300.0,
        max_retries: int = 5,
        backoff_seconds: float = 1.0,
        deadline_seconds: float = 900.0,
        settle_seconds: float = 60.0,
        mark_submissions: bool = True,
        on_request: Callable[[RequestInfo], object] | None = None,
        on_response: Callable[[ResponseInfo], object] | None = None,
        transport: LibraryTransport | None = None,
    ) -> None:
        """Create a session.

        Args:
            workspace: The workspace whose key file to use. Ignored if you pass `api_key`.
            config_folder_override: The config folder. The default is `~/.config/rescalehtc`. Ignored
                if you pass `api_key`.
            api_key: An API key of the workspace.
            base_url: The service's base URL. The default is the variable RESCALE_API_BASE_URL, or
                else `https://htc.rescale.com/api/v1`.
            status_refresh_seconds: Seconds, at least 0: the polling interval, and the time for
                which a fetched job status, task summary or log is reused. The default is the
                variable RESCALEHTC_STATUS_REFRESH_SECONDS, which the emulator sets, or else 30. The
                service itself refreshes statuses every 30 seconds.
            image_wait_seconds: Seconds, at least 0: the maximum time that a submission waits for
                its image to become ready.
            timeout_seconds: Seconds, at least 0.001: the timeout of a request, from the connection
                to the last byte of the response. In a file upload, it applies to each chunk.
            max_retries: The maximum number of retries of an idempotent request, at least 0, during
                an outage. While the service answers other requests of the session, the maximum is
                four times as high. Requests that are not idempotent are retried only if the
                service certainly did not carry them out.
            backoff_seconds: Seconds, at least 0: the maximum wait before the first retry. It
                doubles with each retry, up to 30 s. The minimum wait is half of the maximum. A
                `Retry-After` header overrides the wait, up to 60 s.
            deadline_seconds: Seconds, at least 0.001: the timeout of a call with all its retries.
                Each page of a listing is a call.
            settle_seconds: Seconds, at least 0: after a lost response, the time without new jobs
                in the group before the submission is uncertain.
            mark_submissions: Whether each submit request gets a unique tag,
                `rescalehtc-submission`, and each submission without a group gets a unique group.
                They identify the jobs if the response is lost. Without them, every submission with
                a lost response is uncertain.
            on_request: A function to call before each attempt of a request; see rescalehtc.hooks.
            on_response: A function to call after each attempt of a request; see rescalehtc.hooks.
            transport: An httpx transport, such as `httpx.HTTPTransport(uds="/socket")`, to use
                instead of the default one. It must be thread-safe. An asynchronous session needs
                an asynchronous transport. Close it yourself, after the session. You can't pickle
                such a session. For other differences, see docs/how-to/sessions.md.

        Raises:
            HtcCredentialsError: No credential was found. The message lists all places where the
                session looked for one.
            HtcValidationError: An argument is invalid.
        """
        with trimmed():
            api_key = None if api_key is None else _checked_text(api_key, "api_key")
            folder = config_folder_override or CONFIG_FOLDER
            if isinstance(folder, os.PathLike):
                folder = os.fspath(folder)
            if api_key is None:  # otherwise both are ignored, as in 1.1.0
                workspace = _checked_text(workspace, "workspace")
                folder = _checked_text(folder, "config_folder_override")
            self.workspace: str = workspace
            """The workspace's name that you passed."""
            source = "base_url" if base_url else BASE_URL_VARIABLE
            base_url = base_url or variable(os.environ, BASE_URL_VARIABLE) or SERVICE_URL
            self.base_url: str = _checked_url(base_url, source)
            """The service's base URL in use."""
            if status_refresh_seconds is None:
                status_refresh_seconds = _default_refresh_seconds(os.environ)
            _check_options(
                type(self).__name__,
                {
                    "status_refresh_seconds": status_refresh_seconds,
                    "image_wait_seconds": image_wait_seconds,
                    "timeout_seconds": timeout_seconds,
                    "max_retries": max_retries,
                    "backoff_seconds": backoff_seconds,
                    "deadline_seconds": deadline_seconds,
                    "settle_seconds": settle_seconds,
                    "mark_submissions": mark_submissions,
                },
            )
            self.status_refresh_seconds: float = status_refresh_seconds
            """Seconds, at least 0: the polling interval, and how long a status is reused."""
            self.image_wait_seconds: float = image_wait_seconds
            """Seconds, at least 0: the maximum wait of a submission for its image."""
            self.settle_seconds: float = settle_seconds
            """Seconds, at least 0, without new jobs before a submission is uncertain."""
            self.mark_submissions: bool = mark_submissions
            """Whether each submit request gets a unique tag, `rescalehtc-submission`."""
            hooks = {"on_request": on_request, "on_response": on_response}
            if problems := [*_hook_problems(hooks)]:
                raise HtcValidationError(type(self).__name__, problems)
            self._observers = Observers(on_request, on_response)
            self._transport = transport
            self._api_key = api_key
            self._config_folder = folder
            self._timeout_seconds = timeout_seconds
            self._max_retries = max_retries
            self._backoff_seconds = backoff_seconds
            self._deadline_seconds = deadline_seconds
            _ = self.client  # raises if there is no credential

    def with_options(
        self,
        *,
        status_refresh_seconds: float | None = None,
        image_wait_seconds: float | None = None,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        backoff_seconds: float | None = None,
        deadline_seconds: float | None = None,
        settle_seconds: float | None = None,
        mark_submissions: bool | None = None,
    ) -> Self:
        """Return a session with other settings, which shares connections and tokens with this one.

        The settings of this session do not change. For example, to fail fast in one call:

            quick = rescale.with_options(timeout_seconds=5, max_retries=0)
            htcprojects.get_projects(quick)

        You do not need to close the new session. If you close either session, the idle
        connections of both are closed, and later calls open new ones. A pickle or copy of the new
        session has the same settings, but its own connections and tokens.

        An option that you omit, or that is None, keeps the value of this session.

        Args:
            status_refresh_seconds: The polling interval, and the time for which statuses and logs
                are reused, in seconds.
            image_wait_seconds: The maximum wait of a submission for its image, in seconds.
            timeout_seconds: The timeout of a request, in seconds.
            max_retries: The maximum number of retries of an idempotent request.
            backoff_seconds: The maximum wait before the first retry, in seconds.
            deadline_seconds: The timeout of a call with all its retries, in seconds.
            settle_seconds: The time without new jobs before a submission with a lost response is
                uncertain, in seconds.
            mark_submissions: Whether submit requests get a unique tag.

        Raises:
            HtcValidationError: An argument is invalid.
        """
        with trimmed():
            options = {
                "status_refresh_seconds": status_refresh_seconds,
                "image_wait_seconds": image_wait_seconds,
                "timeout_seconds": timeout_seconds,
                "max_retries": max_retries,
                "backoff_seconds": backoff_seconds,
                "deadline_seconds": deadline_seconds,
                "settle_seconds": settle_seconds,
                "mark_submissions": mark_submissions,
            }
            changes = {name: value for name, value in options.items() if value is not None}
            _check_options(f"{type(self).__name__}.with_options", changes)
            other = object.__new__(type(self))
            vars(other).update(vars(self))
            for name, value in changes.items():
                setattr(other, name if name in vars(self) else f"_{name}", value)
            vars(other)["_client"] = self.client.with_limits(
                other._retry_settings(), other._timeout_seconds
            )
            return other

    @property
    def client(self) -> Client:
        """The client that flows use. A copy of a session creates its own client on first use."""
        client: Client | None = vars(self).get("_client")
        # If several threads create a client, setdefault keeps the first one.
        return client or vars(self).setdefault("_client", self._new_client())

    def _new_client(self) -> Client:
        try:
            _log.set_up(os.environ)
        except ValueError as error:
            raise _invalid(_log.VARIABLE, str(error)) from None
        credential = find_credential(self._api_key, self.workspace, self._config_folder, os.environ)
        return Client(
            self._new_io(),
            self.base_url,
            credential,
            self._retry_settings(),
            self._timeout_seconds,
            self._observers,
        )

    def _retry_settings(self) -> RetrySettings:
        return RetrySettings(self._max_retries, self._backoff_seconds, self._deadline_seconds)

    @abstractmethod
    def _new_io(self) -> Io:
        """Create the network and the clock for this kind of session."""

    def __getstate__(self) -> dict[str, Any]:
        if self._transport is not None:
            raise TypeError(
                "a session with a custom transport can't be pickled or copied; make a new session"
            )
        state = {name: value for name, value in vars(self).items() if name != "_client"}
        return {**state, "_observers": copy.copy(self._observers)}

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        if "_client" in vars(self):
            self.client.io.close()

    def __repr__(self) -> str:
        base_url = getattr(self, "base_url", None)  # missing if a traceback shows a new session
        return f"{type(self).__name__}(workspace={self.workspace!r}, base_url={base_url!r})"


def _checked_text(text: object, name: str) -> str:
    if not isinstance(text, str):
        raise _invalid(name, f"must be a string, got {type(text).__name__}")
    return Secret(text) if name == "api_key" else text


def _checked_url(url: str, name: str) -> str:
    url = _checked_text(url, name).strip()
    is_valid = False
    with suppressed(ValueError):
        origin(url)
        is_valid = is_printable_ascii(url) and "?" not in url and "#" not in url
    if not is_valid:
        raise _invalid(
            name, f"must be a URL such as {SERVICE_URL}, without user, query and fragment"
        )
    return url.rstrip("/")


def _default_refresh_seconds(environ: Mapping[str, str]) -> float:
    """Return the interval that the environment sets, else the service's own."""
    text = variable(environ, STATUS_REFRESH_VARIABLE)
    if text is None:
        return SERVICE_REFRESH_SECONDS
    seconds = math.nan
    with suppressed(ValueError):
        seconds = float(text)
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise _invalid(STATUS_REFRESH_VARIABLE, "must be a number of seconds of at least 0")
    return seconds


_LEAST_SECONDS = {"timeout_seconds": 0.001, "deadline_seconds": 0.001}


def _check_options(subject: str, options: Mapping[str, object]) -> None:
    problems: list[Problem] = []
    for name, value in options.items():
        least = _LEAST_SECONDS.get(name, 0.0)
        is_flag = name == "mark_submissions"
        if is_flag:
            is_valid, expected = True, "True or False"
        elif name == "max_retries":
            is_valid = isinstance(value, int) and value >= 0
            expected = "an integer of at least 0"
        else:
            is_valid = isinstance(value, int | float) and least <= value <= threading.TIMEOUT_MAX
            expected = f"a number of seconds of at least {least:g}"
        if not is_valid or isinstance(value, bool) != is_flag:
            problems.append(Problem(name, f"must be {expected}"))
    if problems:
        raise HtcValidationError(subject, problems)


def _hook_problems(hooks: Mapping[str, object]) -> Iterator[Problem]:
    for name, hook in hooks.items():
        if hook is not None and (not callable(hook) or inspect.iscoroutinefunction(hook)):
            yield Problem(name, "must be a synchronous function")


def _invalid(name: str, message: str) -> HtcValidationError:
    return HtcValidationError("HtcSession", [Problem(name, message)])
