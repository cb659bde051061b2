"""Authenticated requests to the service, with retries, pages and uploads."""

from __future__ import annotations

import copy
import json
import math
import os
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import parse_qsl, urlsplit

from .._facts import DEFAULT_PAGE_SIZE, PAGE_SIZE
from .._secret import Secret, values_in
from .._wire.answer import Page, Response, read_answer, read_page, status_error
from .._wire.operations import GET_TOKEN
from ..exceptions import (
    HtcBadRequestError,
    HtcCredentialsError,
    HtcException,
    HtcResponseError,
)
from .attempt import Attempt, Observers
from .content import Content
from .http_request import HttpRequest
from .listing import ListingGuard
from .retry import (
    Retries,
    RetrySettings,
    is_transient,
    may_retry,
    parse_retry_after,
)
from .tokens import TokenSource

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from .._wire.answer import Secrets
    from .._wire.operation import Call, Operation
    from .credentials import Credential
    from .io import Io

T = TypeVar("T")


@dataclass
class _Shared:
    """State that clients with different limits share.

    Attributes:
        answered: The number of requests that the service has answered.
        page_sizes: The maximum page size of each operation that rejected a larger one.
        process: The id of the process that owns the connections.
    """

    answered: int = 0
    page_sizes: dict[Operation[Any], int] = field(default_factory=dict["Operation[Any]", int])
    process: int = field(default_factory=os.getpid)


class Client:
    """Sends calls with one credential. Its methods are flows: see `Io`.

    Attributes:
        io: The network and the clock.
        base_url: The service's base URL.
        tokens: The source of bearer tokens.
        observers: The log, hooks and spans.
    """

    def __init__(
        self,
        io: Io,
        base_url: str,
        credential: Credential,
        policy: RetrySettings,
        timeout_seconds: float,
        observers: Observers,
    ) -> None:
        self.io: Io = io
        self.observers: Observers = observers
        self.base_url: str = base_url
        self.tokens: TokenSource = TokenSource(io, credential, base_url, self._fetch_token)
        self._credential = credential
        self.retry: RetrySettings = policy
        self.timeout_seconds: float = timeout_seconds
        self._shared = _Shared()

    def with_limits(self, policy: RetrySettings, timeout_seconds: float) -> Client:
        """Return a client with other limits that shares connections and tokens with this one."""
        other = copy.copy(self)
        other.retry = policy
        other.timeout_seconds = timeout_seconds
        other.tokens = self.tokens.with_fetch(other._fetch_token)
        return other

    async def send(self, call: Call, *, expires_at: float = math.inf) -> Any:
        """Send a call that is not a listing, and return the decoded response.

        Args:
            call: The call.
            expires_at: The deadline, in seconds of the monotonic clock.

        Raises:
            HtcConnectionError, HtcStatusError, HtcResponseError, HtcCredentialsError.
        """
        return await self._exchange(call, read_answer, expires_at)

    async def items(self, call: Call, max_items: int | None = None) -> list[Any]:
        """Return the items of a listing: all of them, or at most `max_items`.

        Raises:
            The same as `send`.
        """
        items: list[Any] = []
        if max_items is not None and max_items <= 0:
            return items
        async with aclosing(self.pages(call)) as pages:
            async for page in pages:
                items += page
                if max_items is not None and len(items) >= max_items:
                    break
        return items[:max_items]

    async def pages(
        self, call: Call, *, expires_at: Callable[[], float] = lambda: math.inf
    ) -> AsyncGenerator[list[Any]]:
        """Yield the pages of a listing as lists of items, without repeated items.

        Args:
            call: The call for the first page.
            expires_at: A function that returns the deadline of the next page.

        Raises:
            The same as `send`. Also HtcResponseError if the listing has no end.
        """
        guard = ListingGuard(call.operation.id)
        following: Call | None = call
        while following is not None:
            page = await self.page(following, expires_at=expires_at())
            yield guard.new_items(page, following.url(self.base_url))
            following = page.next
            del page  # before the next one is decoded

    async def page(self, call: Call, *, expires_at: float = math.inf) -> Page:
        """Return one page of a listing, with the call for the next one.

        If a page is too large for the service or for this session, half as many items are
        requested. If the service rejected the size, later listings of the operation use the
        smaller size from the start.

        Raises:
            The same as `send`.
        """
        size = call.page_size or DEFAULT_PAGE_SIZE
        server_size = self._shared.page_sizes.get(call.operation, size)
        if server_size < size:
            size = server_size
            call = call.with_page_size(size)
        is_refused = False
        while True:
            try:
                page = await self._exchange(call, self._read_page, expires_at)
            except HtcBadRequestError:
                # Probably the page size. Any other mistake fails again with a smaller page.
                if is_refused or size < PAGE_SIZE or not call.is_first_page:
                    raise
                is_refused = True
            except HtcResponseError as error:
                if not error.is_too_large or size <= 1:
                    raise
            else:
                if is_refused:
                    self._shared.page_sizes[call.operation] = size
                return page
            size //= 2
            call = call.with_page_size(size)

    async def upload(self, url: str, file: BinaryIO) -> None:
        """Upload a file to a presigned URL, without credentials.

        Raises:
            HtcConnectionError, HtcStatusError.
            HtcFileError: The file can't be read, or changes during the upload.
        """
        self._notice_fork()
        content = Content(file)
        request = HttpRequest(
            name="upload",
            method="PUT",
            url=url,
            headers={"Content-Length": str(content.size)},
            body=content,
            is_fresh=True,
            seconds_per_piece=self.timeout_seconds,
        )

        def secrets() -> list[str]:
            query = urlsplit(url).query
            return [query, *(value for _, value in parse_qsl(query)), self._credential.secret]

        def read(response: Response, secrets: Secrets) -> None:
            if response.status >= 300:
                raise status_error("upload", response, secrets, may_show=False)

        with self.observers.call("upload"):
            attempt = Attempt(self.observers, self.io, request, 1, None, secrets)
            try:
                await attempt.send(self.timeout_seconds, read)
            except HtcException:
                attempt.log()
                raise
            attempt.log()

    async def _exchange(
        self,
        call: Call,
        read: Callable[[Call, Response, Secrets], T],
        expires_at: float,
    ) -> T:
        """Send a call, retry it if that is safe, and read the response."""
        self._notice_fork()
        with self.observers.call(call.operation.id):
            return await self._send_until_answered(call, read, expires_at)

    async def _send_until_answered(
        self,
        call: Call,
        read: Callable[[Call, Response, Secrets], T],
        expires_at: float,
    ) -> T:
        expires_at = min(expires_at, self.io.monotonic() + self.retry.deadline_seconds)
        retries = Retries(self.retry, self._shared.answered)
        refused: str | None = None
        number = 0
        while True:
            number += 1
            authorization = await self._authorization(call, refused)
            request = self._request(call, authorization)
            secrets = partial(self._secrets, call, authorization)
            attempt = Attempt(self.observers, self.io, request, number, call.operation, secrets)
            try:
                seconds = min(expires_at - self.io.monotonic(), self.timeout_seconds)
                answer = await attempt.send(seconds, partial(read, call))
            except HtcException as error:
                if error.status_code == 401 and refused is None and call.operation.needs_token:
                    refused = authorization  # it expired early, or was revoked
                    attempt.log("retry with another token")
                    continue
                wait = self._wait_before_retry(call, error, retries, attempt.response, expires_at)
                if wait is None:
                    attempt.log()
                    raise
                attempt.log(f"retry in {wait:.1f} s")
            else:
                attempt.log()
                self._shared.answered += 1
                return answer
            await self.io.sleep(wait)

    def _wait_before_retry(
        self,
        call: Call,
        error: HtcException,
        retries: Retries,
        response: Response | None,
        expires_at: float,
    ) -> float | None:
        """The seconds to wait before a retry; None if the call is not retried."""
        if not is_transient(error):
            self._shared.answered += 1
        if not may_retry(call.operation, error):
            return None
        retry_after = parse_retry_after(response and response.retry_after, self.io.time())
        wait = retries.next_wait(self._shared.answered, retry_after, self.io.random())
        return wait if wait is not None and self.io.monotonic() + wait < expires_at else None

    def _request(self, call: Call, authorization: str | None) -> HttpRequest:
        headers: dict[str, str] = {}
        if authorization:
            if not (authorization.isascii() and authorization.isprintable()):
                raise HtcCredentialsError(
                    f"{call.operation.id}: the key or token contains invalid characters; its value "
                    "is not shown here"
                )
            headers["Authorization"] = authorization
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return HttpRequest(
            name=call.operation.id,
            method=call.operation.method,
            url=call.url(self.base_url),
            headers=headers,
            body=call.body,
            is_fresh=not call.operation.is_idempotent,
        )

    def _read_page(self, call: Call, response: Response, secrets: Secrets) -> Page:
        return read_page(call, response, self.base_url, secrets)

    async def _authorization(self, call: Call, refused: str | None) -> str | None:
        """The Authorization header. A new token if the service rejected the last one."""
        if call.operation.needs_token:
            if refused is None:
                return f"Bearer {await self.tokens.get()}"
            return f"Bearer {await self.tokens.renew(refused=refused.removeprefix('Bearer '))}"
        if call.operation.authorization == "session":
            return self._credential.authorization
        return call.authorization

    async def _fetch_token(self, authorization: str) -> object:
        return await self.send(GET_TOKEN.call(authorization=authorization))

    def _secrets(self, call: Call, authorization: str | None) -> list[str]:
        """The secrets of a request, which the service may repeat, but messages must not show."""
        from .transport import proxy_secrets  # imports the HTTP library

        secrets = [self._credential.secret, (authorization or "").partition(" ")[2]]
        secrets += proxy_secrets(self.base_url)
        if call.body is not None:
            secrets += values_in(json.loads(call.body))
        return [Secret(secret) for secret in secrets]

    def _notice_fork(self) -> None:
        if self._shared.process != os.getpid():
            self.io.after_fork()  # first, because other threads must not use the connections
            self._shared.process = os.getpid()
