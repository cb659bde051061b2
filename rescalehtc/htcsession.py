"""HtcSession: who is calling, and how to reach the service."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from ._client import io
from ._client.client import Client
from ._client.credentials import (
    DEFAULT_WORKSPACE,
    SERVICE_URL,
    find_credential,
    is_printable_ascii,
)
from ._client.retry import RetryPolicy
from ._client.transport import Transport
from ._environment import BASE_URL_VARIABLE, variable
from ._interrupts import suppressed
from ._secret import Secret
from ._tracebacks import trimmed
from ._url import origin
from .bearer_token import BearerToken, token_from_str
from .exceptions import HtcException as HtcException
from .exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator
    from typing import BinaryIO, Self, TypeVar

    from ._wire.operation import Call

    T = TypeVar("T")

CONFIG_FOLDER = "~/.config/rescalehtc"


class HtcSession:
    """A connection to the service, passed to every call. Safe to use from many threads.

    Making one sends nothing; the first call authenticates. It is a context manager that
    closes its connections at the end:

        with HtcSession() as rescale:
            projects = htcprojects.get_projects(rescale)

    The credential is `api_key`; else the variable RESCALE_HTC_REFRESH_TOKEN, which is set
    inside running jobs; else, unless a workspace is named, the variables RESCALE_API_KEY or
    RESCALE_API_TOKEN; else the file `<config folder>/<workspace>/rescale_api_token.txt`.

    A session can be pickled and copied, as process pools do. The copy has the same settings and
    address, and connections, locks and tokens of its own. A pickle contains the API key only if
    you passed `api_key`. Otherwise the copy looks for a credential again, on its first call, in
    the environment and the files of the process that it is in. A pickle never contains a token.

    Args:
        workspace: The workspace whose key file to use. Not looked at with `api_key`.
        config_folder_override: The config folder, in place of `~/.config/rescalehtc`.
        api_key: An API key of the workspace.
        base_url: The service's address; else the variable RESCALE_API_BASE_URL, else
            `https://htc.rescale.com/api/v1`.
        status_refresh_seconds: How long the status of a job or task, and a job's log, are
            answered from memory after they were fetched. The service itself refreshes them
            every 30 seconds.
        image_wait_seconds: How long a submission waits for its image to become ready.
        timeout_seconds: How long a request may take, from the connection to the last byte of
            the answer. The upload of a file has this time for each piece of it.
        max_retries: How often an idempotent request is retried while the service answers no
            request of the session; up to four times as often while it answers others. Other
            requests are retried only if the service certainly did not carry them out.
        backoff_seconds: The longest wait before the first retry; it doubles each time, up to
            30 s. The wait is at least half of it. A `Retry-After` of the service overrides it,
            up to 60 s.
        deadline_seconds: How long a call may take with all its retries; each page of a listing
            is a call.
        settle_seconds: How long a group must not change before a submission whose answer was
            lost is given up as uncertain.
        mark_submissions: Whether each submit request carries a unique tag,
            `rescalehtc-submission`, and a submission without a group gets a group of its own.
            They identify the jobs if the answer is lost. Without them, a submission whose
            answer is lost is always uncertain.

    Attributes:
        workspace: The workspace's name as given.
        base_url: The service's address in use.

    Raises:
        HtcCredentialsError: No credential was found; the message lists where it was looked for.
        HtcValidationError: An argument is invalid.
    """

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
    ) -> None:
        with trimmed():
            api_key = None if api_key is None else _checked_text(api_key, "api_key")
            self.workspace: str = _checked_text(workspace, "workspace")
            given = "base_url" if base_url else BASE_URL_VARIABLE
            base_url = base_url or variable(os.environ, BASE_URL_VARIABLE) or SERVICE_URL
            self.base_url: str = _checked_url(base_url, given)
            _check_seconds("status_refresh_seconds", status_refresh_seconds, 0.0)
            _check_seconds("image_wait_seconds", image_wait_seconds, 0.0)
            _check_seconds("timeout_seconds", timeout_seconds, 0.001)
            _check_seconds("backoff_seconds", backoff_seconds, 0.0)
            _check_seconds("deadline_seconds", deadline_seconds, 0.001)
            _check_seconds("settle_seconds", settle_seconds, 0.0)
            _check_count("max_retries", max_retries)
            self.status_refresh_seconds: float = status_refresh_seconds
            self.image_wait_seconds: float = image_wait_seconds
            self.settle_seconds: float = settle_seconds
            self.mark_submissions: bool = mark_submissions
            self._api_key = api_key
            self._config_folder = os.fspath(config_folder_override or CONFIG_FOLDER)
            self._timeout_seconds = timeout_seconds
            self._retry_policy = RetryPolicy(max_retries, backoff_seconds, deadline_seconds)
            _ = self.client  # without a credential this raises

    @property
    def client(self) -> Client:
        """The client that flows use. A copy of a session makes its own on its first call."""
        made: Client | None = vars(self).get("_client")
        # Of several threads at once, one sets it.
        return made or vars(self).setdefault("_client", self._new_client())

    def _new_client(self) -> Client:
        credential = find_credential(self._api_key, self.workspace, self._config_folder, os.environ)
        return Client(
            io.BlockingIo(Transport()),
            self.base_url,
            credential,
            self._retry_policy,
            self._timeout_seconds,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_client"}

    def __repr__(self) -> str:
        base_url = getattr(self, "base_url", None)  # a traceback may show one that is not made yet
        return f"HtcSession(workspace={self.workspace!r}, base_url={base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if "_client" in vars(self):
            self.client.io.close()

    def get_bearer_token(self) -> BearerToken:
        """Return the bearer token in use, renewed if it expires soon.

        Operation getToken, if the token has to be renewed.
        """
        return token_from_str(self.run(self.client.tokens.get()))

    def do_authenticate(self) -> None:
        """Fetch a new bearer token. Calls do this themselves when it is needed.

        Operation getToken.

        Raises:
            HtcCredentialsError: The service refuses the credential.
        """
        self.run(self.client.tokens.renew())

    def reauthenticate_if_needed(self) -> None:
        """Renew the bearer token if it expires soon. Calls do this themselves.

        Operation getToken.
        """
        self.run(self.client.tokens.get())

    def send(self, call: Call, max_items: int | None = None) -> Any:
        """Send a call and return the decoded JSON; of a listing, the items of all pages.

        Args:
            call: An operation of rescalehtc.api with its parameters.
            max_items: At most this many items of a listing, or None for all of them.

        Raises:
            HtcConnectionError, HtcStatusError, HtcResponseError: see rescalehtc.exceptions.
            HtcCredentialsError: The service refuses the credential.
        """
        if call.operation.is_listing:
            return self.run(self.client.items(call, max_items))
        return self.run(self.client.send(call))

    def pages(self, call: Call) -> Iterator[list[Any]]:
        """Send a listing's call and yield the items of one page after the other.

        Raises:
            The same as `send`; HtcResponseError also if the listing has no end.
        """
        return self.iterate(self.client.pages(call))

    def upload(self, url: str, file: BinaryIO) -> None:
        """Send a file to a presigned address, which need not be the service's.

        Args:
            url: The address. No credential of the session is sent there.
            file: A regular file opened in binary mode, sent from its position to its end.

        Raises:
            HtcConnectionError, HtcStatusError: see rescalehtc.exceptions.
            HtcFileError: The file can't be read, or changes during the upload.
        """
        self.run(self.client.upload(url, file))

    def run(self, flow: Coroutine[Any, Any, T]) -> T:
        """Run a flow over this session's client to its end."""
        with trimmed():
            return io.run(flow)

    def iterate(self, flow: AsyncGenerator[T]) -> Iterator[T]:
        """Iterate over a flow over this session's client."""
        with trimmed():
            yield from io.iterate(flow)


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


def _check_seconds(name: str, value: object, least: float) -> None:
    in_range = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and least <= value <= threading.TIMEOUT_MAX
    )
    if not in_range:
        raise _invalid(name, f"must be a number of seconds of at least {least:g}")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _invalid(name, "must be an integer of at least 0")


def _invalid(name: str, message: str) -> HtcValidationError:
    return HtcValidationError("HtcSession", [Problem(name, message)])
