"""HtcSession: the credential, the base URL and the settings for all calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._client import io
from ._client.attempt import leaving
from ._session import BaseSession
from .bearer_token import BearerToken, token_from_str
from .exceptions import HtcException

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator
    from typing import BinaryIO, Self, TypeVar

    from ._wire.operation import Call

    T = TypeVar("T")

__all__ = ["BearerToken", "HtcException", "HtcSession"]


def __dir__() -> list[str]:
    return __all__


class HtcSession(BaseSession):
    """A session with the service, which you pass to every call. Thread-safe.

    The constructor sends nothing, and the first call authenticates. As a context manager, a
    session closes its connections at the end:

        with HtcSession() as rescale:
            projects = htcprojects.get_projects(rescale)

    A session uses the first credential that it finds, in this order:

    1. the argument `api_key`
    2. the variable RESCALE_HTC_REFRESH_TOKEN, which the service sets inside jobs
    3. the variables RESCALE_API_KEY and RESCALE_API_TOKEN, unless you name a workspace
    4. the file `<config folder>/<workspace>/rescale_api_token.txt`

    You can pickle and copy a session, for example for a process pool. The copy has the same
    settings and base URL, but its own connections, locks and tokens. A pickle contains the API
    key only if you passed `api_key`. Otherwise the copy reads a credential on its first call, from
    the environment and files of its process. A pickle never contains a token. It refers to hooks
    by name, so hooks must be functions of a module.
    """

    is_async = False

    def _new_io(self) -> io.Io:
        # The HTTP library takes longer to import than all of this package.
        from ._client.custom_transport import CustomTransport
        from ._client.transport import Transport

        custom = self._transport
        return io.BlockingIo(
            Transport() if custom is None else CustomTransport(custom, is_async=False)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_bearer_token(self) -> BearerToken:
        """Return the bearer token in use. Renews it if it expires soon.

        Operation getToken, if the token must be renewed.
        """
        return token_from_str(self.run(self.client.tokens.get()))

    def do_authenticate(self) -> None:
        """Fetch a new bearer token. Calls do this automatically when needed.

        Operation getToken.

        Raises:
            HtcCredentialsError: The service rejected the credential.
        """
        self.run(self.client.tokens.renew())

    def reauthenticate_if_needed(self) -> None:
        """Renew the bearer token if it expires soon. Calls do this automatically.

        Operation getToken.
        """
        self.run(self.client.tokens.get())

    def send(self, call: Call, max_items: int | None = None) -> Any:
        """Send a call and return the decoded JSON. For a listing, return the items of all pages.

        Args:
            call: An operation of rescalehtc.api with its parameters.
            max_items: The maximum number of items of a listing. None for all items.

        Raises:
            HtcConnectionError, HtcStatusError, HtcResponseError: See rescalehtc.exceptions.
            HtcCredentialsError: The service rejected the credential.
        """
        if call.operation.is_listing:
            return self.run(self.client.items(call, max_items))
        return self.run(self.client.send(call))

    def pages(self, call: Call) -> Iterator[list[Any]]:
        """Send the call of a listing, and yield its pages as lists of items.

        Args:
            call: An operation of rescalehtc.api with its parameters.

        Raises:
            The same as `send`. Also HtcResponseError if the listing has no end.
        """
        return self.iterate(self.client.pages(call))

    def upload(self, url: str, file: BinaryIO) -> None:
        """Upload a file to a presigned URL, which may be on another host.

        Args:
            url: The URL. The request contains no credential of the session.
            file: A regular file, opened in binary mode. It is sent from its current position to
                its end.

        Raises:
            HtcConnectionError, HtcStatusError: See rescalehtc.exceptions.
            HtcFileError: The file can't be read, or changes during the upload.
        """
        self.run(self.client.upload(url, file))

    def run(self, flow: Coroutine[Any, Any, T]) -> T:
        """Run a flow to its end.

        Args:
            flow: A coroutine that uses this session's `client`.
        """
        with leaving():
            return io.run(flow)

    def iterate(self, flow: AsyncGenerator[T]) -> Iterator[T]:
        """Iterate over the results of a flow.

        Args:
            flow: An asynchronous generator that uses this session's `client`.
        """
        with leaving():
            yield from io.iterate(flow)
