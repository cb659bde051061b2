"""HtcSession: who is calling, and how to reach the service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import api
from ._credentials import DEFAULT_WORKSPACE, TokenSource, find_credential
from ._operation import Call, Response, origin, read, read_page
from ._transport import Transport
from .bearer_token import BearerToken, token_from_str
from .exceptions import HtcResponseError, HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

SERVICE_URL = "https://htc.rescale.com/api/v1"
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
        timeout_seconds: How long a request may take from its sending to the end of its answer.

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
        self.workspace: str = workspace
        self.base_url: str = _checked_url(
            base_url or os.environ.get(BASE_URL_VARIABLE) or SERVICE_URL,
            "base_url" if base_url else BASE_URL_VARIABLE,
        )
        self.status_refresh_seconds: float = status_refresh_seconds
        self.image_wait_seconds: float = image_wait_seconds
        config_folder = Path(config_folder_override or CONFIG_FOLDER).expanduser()
        credential = find_credential(api_key, workspace, config_folder, os.environ)
        self._tokens = TokenSource(credential, self.base_url, self._fetch_token)
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
        """Renew the bearer token if it expires soon. Calls do this by themselves."""
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
        if call.operation.answer != "page":
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
            if following.target in seen:
                raise HtcResponseError(
                    f"{call.operation.id}: a page names itself or an earlier one as next"
                )
            seen.add(following.target)
            page = read_page(following, self._exchange(following), self.base_url)
            yield page.items
            following = page.next

    def _exchange(self, call: Call) -> Response:
        if call.operation.authorization == "given":
            return self._transport.send(call, call.authorization or "")
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
    try:
        origin(url)
        right = "?" not in url and "#" not in url
    except ValueError:
        right = False
    if not right:
        example = f"must be an address such as {SERVICE_URL}"
        raise HtcValidationError("HtcSession", [Problem(name, example)])
    return url.rstrip("/")
