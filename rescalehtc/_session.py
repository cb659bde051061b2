"""The settings of a session, whichever way it runs flows."""

from __future__ import annotations

import copy
import inspect
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
from ._client.retry import RetryPolicy
from ._environment import BASE_URL_VARIABLE, variable
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


class BaseSession(ABC):
    """Who is calling, and how to reach the service."""

    is_async: ClassVar[bool]

    def __init__(
        self,
        workspace: str = DEFAULT_WORKSPACE,
        config_folder_override: str | None = None,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        status_refresh_seconds: float = 30.0,
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
        """Make a session.

        Args:
            workspace: The workspace whose key file to use. Not looked at with `api_key`.
            config_folder_override: The config folder, in place of `~/.config/rescalehtc`.
            api_key: An API key of the workspace.
            base_url: The service's address; else the variable RESCALE_API_BASE_URL, else
                `https://htc.rescale.com/api/v1`.
            status_refresh_seconds: Seconds, at least 0, between two polls, and for which the status
                of a job or task, and a job's log, are reused after they were fetched. The service
                itself refreshes them every 30 seconds.
            image_wait_seconds: Seconds, at least 0, that a submission waits for its image to become
                ready.
            timeout_seconds: Seconds, at least 0.001, that a request may take, from the connection
                to the last byte of the answer. The upload of a file has this time for each piece.
            max_retries: How often, at least 0 times, an idempotent request is retried while the
                service answers no request of the session; up to four times as often while it
                answers others. Other requests are retried only if the service certainly did not
                carry them out.
            backoff_seconds: The longest wait before the first retry in seconds, at least 0; it
                doubles each time, up to 30 s. The wait is at least half of it. A `Retry-After` of
                the service overrides it, up to 60 s.
            deadline_seconds: Seconds, at least 0.001, that a call may take with all its retries;
                each page of a listing is a call.
            settle_seconds: Seconds, at least 0, that a group must not change before a submission
                whose answer was lost is given up as uncertain.
            mark_submissions: Whether each submit request carries a unique tag,
                `rescalehtc-submission`, and a submission without a group gets a group of its own.
                They identify the jobs if the answer is lost. Without them, a submission whose
                answer is lost is always uncertain.
            on_request: A function to call before each attempt of a request; see rescalehtc.hooks.
            on_response: A function to call after each attempt of a request; see rescalehtc.hooks.
            transport: A transport of httpx to send over, such as
                `httpx.HTTPTransport(uds="/socket")`, in place of connections of the session's own.
                It must be safe to use from many threads; for an asynchronous session it is an
                asynchronous one. You close it, after the session. Such a session can't be pickled.
                With it, other rules hold: see docs/how-to/sessions.md.

        Raises:
            HtcCredentialsError: No credential was found; the message lists where it was looked for.
            HtcValidationError: An argument is invalid.
        """
        with trimmed():
            api_key = None if api_key is None else _checked_text(api_key, "api_key")
            self.workspace: str = _checked_text(workspace, "workspace")
            """The workspace's name as given."""
            given = "base_url" if base_url else BASE_URL_VARIABLE
            base_url = base_url or variable(os.environ, BASE_URL_VARIABLE) or SERVICE_URL
            self.base_url: str = _checked_url(base_url, given)
            """The service's address in use."""
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
            """Seconds, at least 0, between polls, and for which a status or log is reused."""
            self.image_wait_seconds: float = image_wait_seconds
            """Seconds, at least 0, that a submission waits for its image to become ready."""
            self.settle_seconds: float = settle_seconds
            """Seconds, at least 0, without a change before a submission is uncertain."""
            self.mark_submissions: bool = mark_submissions
            """Whether each submit request carries a unique tag, `rescalehtc-submission`."""
            hooks = {"on_request": on_request, "on_response": on_response}
            if problems := [*_hook_problems(hooks)]:
                raise HtcValidationError(type(self).__name__, problems)
            self._observers = Observers(on_request, on_response)
            self._transport = transport
            self._api_key = api_key
            self._config_folder = os.fspath(config_folder_override or CONFIG_FOLDER)
            self._timeout_seconds = timeout_seconds
            self._max_retries = max_retries
            self._backoff_seconds = backoff_seconds
            self._deadline_seconds = deadline_seconds
            _ = self.client  # without a credential this raises

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
        """Return a session with other settings that shares connections and tokens with this one.

        This session keeps its settings. For one call that must be quick:

            quick = rescale.with_options(timeout_seconds=5, max_retries=0)
            htcprojects.get_projects(quick)

        You need not close the new session. Closing either one closes the idle connections of
        both; a later call of either opens new ones. A pickle or copy of the new session has its
        settings, and connections and tokens of its own.

        An option that you leave out, or that is None, is as in this session.

        Args:
            status_refresh_seconds: How many seconds statuses and logs are answered from memory.
            image_wait_seconds: How many seconds a submission waits for its image.
            timeout_seconds: How many seconds a request may take.
            max_retries: How often an idempotent request is retried.
            backoff_seconds: The longest wait before the first retry, in seconds.
            deadline_seconds: How many seconds a call may take with all its retries.
            settle_seconds: How many seconds a group must not change before a submission whose
                answer was lost is given up as uncertain.
            mark_submissions: Whether submit requests carry a unique tag.

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
            given = {name: value for name, value in options.items() if value is not None}
            _check_options(f"{type(self).__name__}.with_options", given)
            other = object.__new__(type(self))
            vars(other).update(vars(self))
            for name, value in given.items():
                setattr(other, name if name in vars(self) else f"_{name}", value)
            vars(other)["_client"] = self.client.with_limits(
                other._retry_policy(), other._timeout_seconds
            )
            return other

    @property
    def client(self) -> Client:
        """The client that flows use. A copy of a session makes its own on its first call."""
        made: Client | None = vars(self).get("_client")
        # Of several threads at once, one sets it.
        return made or vars(self).setdefault("_client", self._new_client())

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
            self._retry_policy(),
            self._timeout_seconds,
            self._observers,
        )

    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(self._max_retries, self._backoff_seconds, self._deadline_seconds)

    @abstractmethod
    def _new_io(self) -> Io:
        """Make the network and the clock of a session of this kind."""

    def __getstate__(self) -> dict[str, Any]:
        if self._transport is not None:
            raise TypeError(
                "a session with a transport of your own can't be pickled or copied; make another one"
            )
        state = {name: value for name, value in vars(self).items() if name != "_client"}
        return {**state, "_observers": copy.copy(self._observers)}

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if "_client" in vars(self):
            self.client.io.close()

    def __repr__(self) -> str:
        base_url = getattr(self, "base_url", None)  # a traceback may show one that is not made yet
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
            name, f"must be an address such as {SERVICE_URL}, without a user or password"
        )
    return url.rstrip("/")


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
            yield Problem(name, "must be a function that is not asynchronous")


def _invalid(name: str, message: str) -> HtcValidationError:
    return HtcValidationError("HtcSession", [Problem(name, message)])
