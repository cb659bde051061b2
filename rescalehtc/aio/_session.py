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
    """A session for an event loop (asyncio or trio). Pass it to the modules of `rescalehtc.aio`.

        async with AsyncHtcSession() as rescale:
            projects = await htcprojects.get_projects(rescale)

    It has the same arguments, attributes and exceptions as `HtcSession`, except that `transport`
    is an `httpx.AsyncBaseTransport`. You can pickle it in the same way. Any number of tasks of one
    event loop may use it. They share up to 100 connections. Waiting uses no thread.

    When you cancel a call, it ends immediately and its connection is closed. If you cancel a
    submission, the `CancelledError` has a note that lists the jobs that exist and the jobs that
    may exist, and a `SubmissionIncompleteError` as its cause.
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
        """Close the connections. A later call opens new ones."""
        self.close()

    async def get_bearer_token(self) -> BearerToken:
        """Return the bearer token in use. Renews it if it expires soon.

        Operation getToken, if the token must be renewed.
        """
        return token_from_str(await self.run(self.client.tokens.get()))

    async def do_authenticate(self) -> None:
        """Fetch a new bearer token. Calls do this automatically when needed.

        Operation getToken.

        Raises:
            HtcCredentialsError: The service rejected the credential.
        """
        await self.run(self.client.tokens.renew())

    async def reauthenticate_if_needed(self) -> None:
        """Renew the bearer token if it expires soon. Calls do this automatically.

        Operation getToken.
        """
        await self.run(self.client.tokens.get())

    async def send(self, call: Call, max_items: int | None = None) -> Any:
        """Send a call and return the decoded JSON. For a listing, return the items of all pages.

        Args:
            call: An operation of rescalehtc.api with its parameters.
            max_items: The maximum number of items of a listing. None for all items.

        Raises:
            HtcConnectionError, HtcStatusError, HtcResponseError: See rescalehtc.exceptions.
            HtcCredentialsError: The service rejected the credential.
        """
        if call.operation.is_listing:
            return await self.run(self.client.items(call, max_items))
        return await self.run(self.client.send(call))

    def pages(self, call: Call) -> AsyncGenerator[list[Any]]:
        """Send the call of a listing, and yield its pages as lists of items.

        Args:
            call: An operation of rescalehtc.api with its parameters.

        Raises:
            The same as `send`. Also HtcResponseError if the listing has no end.
        """
        return self.iterate(self.client.pages(call))

    async def upload(self, url: str, file: BinaryIO) -> None:
        """Upload a file to a presigned URL, which may be on another host.

        Args:
            url: The URL. The request contains no credential of the session.
            file: A regular file, opened in binary mode. It is sent from its current position to
                its end, and read in a thread.

        Raises:
            HtcConnectionError, HtcStatusError: See rescalehtc.exceptions.
            HtcFileError: The file can't be read, or changes during the upload.
        """
        await self.run(self.client.upload(url, file))

    async def run(self, flow: Coroutine[Any, Any, T]) -> T:
        """Run a flow to its end.

        Args:
            flow: A coroutine that uses this session's `client`.
        """
        with leaving():
            return await flow

    async def iterate(self, flow: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """Iterate over the results of a flow.

        Args:
            flow: An asynchronous generator that uses this session's `client`.
        """
        with leaving():
            async with aclosing(flow):
                async for item in flow:
                    yield item
