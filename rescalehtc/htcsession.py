"""HtcSession: who is calling, and how to reach the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._client import io
from ._client.attempt import leaving
from ._client.custom_transport import CustomTransport
from ._client.transport import Transport
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
    It refers to hooks by their names, so they must be functions of a module.
    """

    is_async = False

    def _new_io(self) -> io.Io:
        custom = self._transport
        return io.BlockingIo(
            Transport() if custom is None else CustomTransport(custom, is_async=False)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

        Args:
            call: An operation of rescalehtc.api with its parameters.

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
        """Run a flow over this session's client to its end.

        Args:
            flow: A coroutine over `client`.
        """
        with leaving():
            return io.run(flow)

    def iterate(self, flow: AsyncGenerator[T]) -> Iterator[T]:
        """Iterate over a flow over this session's client.

        Args:
            flow: An asynchronous generator over `client`.
        """
        with leaving():
            yield from io.iterate(flow)
