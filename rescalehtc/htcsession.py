"""HtcSession: who is calling, and how to reach the service."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import api
from ._credentials import DEFAULT_WORKSPACE, SERVICE_URL, TokenSource, find_credential
from ._json_object import require_instance
from ._operation import Call, Page, Response, origin, raise_for_status, read, read_page
from ._transport import Transport
from .bearer_token import BearerToken, token_from_str
from .exceptions import HtcResponseError, HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import BinaryIO, Self

BASE_URL_VARIABLE = "RESCALE_API_BASE_URL"
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

    Args:
        workspace: The workspace whose key file to use. Not looked at with `api_key`.
        config_folder_override: The config folder, in place of `~/.config/rescalehtc`.
        api_key: An API key of the workspace.
        base_url: The service's address; else the variable RESCALE_API_BASE_URL, else
            `https://htc.rescale.com/api/v1`.
        status_refresh_seconds: For so many seconds a job's or task's status, and a job's log,
            are answered from memory after they were fetched. The service itself refreshes
            them every 30 seconds.
        image_wait_seconds: How long a submission waits for its image to become ready.
        timeout_seconds: How long the service may be silent, and how long its answer may take
            from its first byte to its last.

    Attributes:
        workspace: The workspace's name as given.
        base_url: The service's address in use.

    Raises:
        HtcCredentialsError: No credential was found; the message lists where it was looked for.
        HtcValidationError: An argument can't be right.
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
    ) -> None:
        for name, value in (("workspace", workspace), ("api_key", api_key or "")):
            require_instance(value, str, name, "HtcSession")
        self.workspace: str = workspace
        self.base_url: str = _checked_url(
            base_url or os.environ.get(BASE_URL_VARIABLE) or SERVICE_URL,
            "base_url" if base_url else BASE_URL_VARIABLE,
        )
        _check_seconds("status_refresh_seconds", status_refresh_seconds, 0.0)
        _check_seconds("image_wait_seconds", image_wait_seconds, 0.0)
        _check_seconds("timeout_seconds", timeout_seconds, 0.001)
        self.status_refresh_seconds: float = status_refresh_seconds
        self.image_wait_seconds: float = image_wait_seconds
        # os.path's leaves a home that is not known as it is, where pathlib's raises.
        config_folder = Path(os.path.expanduser(config_folder_override or CONFIG_FOLDER))  # noqa: PTH111
        self._credential = find_credential(api_key, workspace, config_folder, os.environ)
        self._tokens = TokenSource(self._credential, self.base_url, self._fetch_token)
        self._transport = Transport(self.base_url, timeout_seconds)

    def __repr__(self) -> str:
        return f"HtcSession(workspace={self.workspace!r}, base_url={self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._transport.close()

    def get_bearer_token(self) -> BearerToken:
        """Return the bearer token in use, renewed if it expires soon.

        Operation getToken, if the token has to be renewed.
        """
        return token_from_str(self._tokens.get())

    def do_authenticate(self) -> None:
        """Ask for a new bearer token. Calls do this by themselves when it is needed.

        Operation getToken.

        Raises:
            HtcCredentialsError: The service refuses the credential.
        """
        self._tokens.renew()

    def reauthenticate_if_needed(self) -> None:
        """Renew the bearer token if it expires soon. Calls do this by themselves.

        Operation getToken.
        """
        self._tokens.get()

    def send(self, call: Call, max_items: int | None = None) -> Any:
        """Send a call and return the decoded JSON; of a listing, the items of all pages.

        Args:
            call: An operation of rescalehtc.api with its parameters.
            max_items: At most this many items of a listing, or None for all of them.

        Raises:
            HtcConnectionError, HtcStatusError, HtcResponseError: see rescalehtc.exceptions.
            HtcCredentialsError: The service refuses the credential.
        """
        if not call.operation.is_listing:
            return read(call, self._exchange(call))
        items: list[Any] = []
        if max_items is not None and max_items <= 0:
            return items
        for page in self.pages(call):
            items += page
            if max_items is not None and len(items) >= max_items:
                return items[:max_items]
        return items

    def pages(self, call: Call) -> Iterator[list[Any]]:
        """Send a listing's call and yield the items of one page after the other.

        Raises:
            The same as `send`; HtcResponseError also when the listing runs in a circle.
        """
        following: Call | None = call
        seen: set[str] = set()
        while following is not None:
            address = following.url(self.base_url)
            if address in seen:
                raise HtcResponseError(
                    f"{call.operation.id}: a page names itself or an earlier one as next"
                )
            seen.add(address)
            page = self.page(following)
            yield page.items
            following = page.next

    def page(self, call: Call) -> Page:
        """Send a listing's call and return one page of it, with the call for the next one.

        Raises:
            The same as `send`.
        """
        return read_page(call, self._exchange(call), self.base_url)

    def upload(self, url: str, file: BinaryIO) -> None:
        """Send a file to a presigned address, which need not be the service's.

        Args:
            url: The address. No credential of the session goes there.
            file: The file, from where it stands.

        Raises:
            HtcConnectionError, HtcStatusError: see rescalehtc.exceptions.
        """
        raise_for_status("upload", self._transport.upload(url, file), may_show=True)

    def _exchange(self, call: Call) -> Response:
        if call.operation.authorization != "bearer":
            given = call.authorization
            if call.operation.authorization == "session":
                given = self._credential.authorization
            return self._transport.send(call, given)
        token = self._tokens.get()
        response = self._transport.send(call, f"Bearer {token}")
        if response.status == 401:  # expired earlier than it said, or withdrawn
            token = self._tokens.renew(refused=token)
            response = self._transport.send(call, f"Bearer {token}")
        return response

    def _fetch_token(self, authorization: str) -> object:
        call = api.GET_TOKEN.call(authorization=authorization)
        return read(call, self._exchange(call))


def _checked_url(url: str, name: str) -> str:
    require_instance(url, str, name, "HtcSession")
    try:
        origin(url)
        right = url.isascii() and "?" not in url and "#" not in url
    except ValueError:
        right = False
    if not right:
        example = f"must be an address such as {SERVICE_URL}, without a user or password"
        raise HtcValidationError("HtcSession", [Problem(name, example)])
    return url.rstrip("/")


def _check_seconds(name: str, value: object, least: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= threading.TIMEOUT_MAX:  # type: ignore[operator]
        message = f"must be a number of seconds of at least {least:g}"
        raise HtcValidationError("HtcSession", [Problem(name, message)])
