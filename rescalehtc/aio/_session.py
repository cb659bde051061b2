"""AsyncHtcSession: a session for an event loop."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .._client.async_io import AsyncIo
from .._client.attempt import leaving
from .._client.custom_transport import CustomTransport
from .._session import BaseSession
from ..bearer_token import BearerToken, token_from_str

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine
    from typing import BinaryIO, Self, TypeVar

    from .._client.io import Io
    from .._wire.operation import Call

    T = TypeVar("T")


class AsyncHtcSession(BaseSession):
    """A session for an event loop: asyncio, or trio. The modules of `rescalehtc.aio` take it.

        async with AsyncHtcSession() as rescale:
            projects = await htcprojects.get_projects(rescale)

    Arguments, attributes and exceptions are those of `HtcSession`, but a `transport` is an
    `httpx.AsyncBaseTransport`. It can be pickled in the same way. Any number of tasks of one event loop may use it; they share up to 100 connections.
    Waiting takes no thread. A call that is cancelled ends at once, and its connection is closed.
    If a submission is cancelled, the `CancelledError` has a note that says which jobs exist and
    which may exist, and a `SubmissionIncompleteError` as its cause.
    """

    is_async = True

    def _new_io(self) -> Io:
        custom = self._transport
        return AsyncIo(None if custom is None else CustomTransport(custom, is_async=True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def aclose(self) -> None:
        """Close the connections; a later call opens new ones."""
        self.close()

    async def get_bearer_token(self) -> BearerToken:
        """Return the bearer token in use, renewed if it expires soon.

        Operation getToken, if the token has to be renewed.
        """
        return token_from_str(await self.run(self.client.tokens.get()))

    async def do_authenticate(self) -> None:
        """Fetch a new bearer token. Calls do this themselves when it is needed.

        Operation getToken.

        Raises:
            HtcCredentialsError: The service refuses the credential.
        """
        await self.run(self.client.tokens.renew())

    async def reauthenticate_if_needed(self) -> None:
        """Renew the bearer token if it expires soon. Calls do this themselves.

        Operation getToken.
        """
        await self.run(self.client.tokens.get())

    async def send(self, call: Call, max_items: int | None = None) -> Any:
        """Send a call and return the decoded JSON; of a listing, the items of all pages.

        Args:
            call: An operation of rescalehtc.api with its parameters.
            max_items: At most this many items of a listing, or None for all of them.

        Raises:
            HtcConnectionError, HtcStatusError, HtcResponseError: see rescalehtc.exceptions.
            HtcCredentialsError: The service refuses the credential.
        """
        if call.operation.is_listing:
            return await self.run(self.client.items(call, max_items))
        return await self.run(self.client.send(call))

    def pages(self, call: Call) -> AsyncGenerator[list[Any]]:
        """Send a listing's call and yield the items of one page after the other.

        Args:
            call: An operation of rescalehtc.api with its parameters.

        Raises:
            The same as `send`; HtcResponseError also if the listing has no end.
        """
        return self.iterate(self.client.pages(call))

    async def upload(self, url: str, file: BinaryIO) -> None:
        """Send a file to a presigned address, which need not be the service's.

        Args:
            url: The address. No credential of the session is sent there.
            file: A regular file opened in binary mode, sent from its position to its end. It is
                read in a thread.

        Raises:
            HtcConnectionError, HtcStatusError: see rescalehtc.exceptions.
            HtcFileError: The file can't be read, or changes during the upload.
        """
        await self.run(self.client.upload(url, file))

    async def run(self, flow: Coroutine[Any, Any, T]) -> T:
        """Run a flow over this session's client to its end.

        Args:
            flow: A coroutine over `client`.
        """
        with leaving():
            return await flow

    async def iterate(self, flow: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """Iterate over a flow over this session's client.

        Args:
            flow: An asynchronous generator over `client`.
        """
        with leaving():
            async with aclosing(flow):
                async for item in flow:
                    yield item
