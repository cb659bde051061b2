"""One attempt of a request, and its observers: log, hooks and spans."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from .._tracebacks import call_back, trim, trimmed
from .._wire.answer import shown
from ..exceptions import HtcException
from ..hooks import RequestInfo, ResponseInfo
from .retry import is_outcome_unknown

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from .._wire.answer import Response, Secrets
    from .._wire.operation import Operation
    from .http_request import HttpRequest
    from .io import Io

    ResponseHook = Callable[[ResponseInfo], object]

T = TypeVar("T")

_REQUEST_ID_CHARACTERS = 200
_logger = logging.getLogger("rescalehtc")


class Tracing(Protocol):
    """Creates spans; see rescalehtc.otel."""

    def call(self, name: str) -> AbstractContextManager[None]:
        """A span around a call."""
        ...

    def attempt(
        self, request: RequestInfo, url: str, route: str
    ) -> AbstractContextManager[ResponseHook]:
        """A span around an attempt. Returns a function to call with the end of the attempt.

        Args:
            request: The attempt.
            url: The URL, without secrets.
            route: The operation's path, with the names of its parameters.
        """
        ...

    def job_variables(self) -> dict[str, str]:
        """The environment variables with which a job continues the current trace."""
        ...


@dataclass
class Observers:
    """The observers of a session's attempts.

    Attributes:
        on_request: A function that is called before each attempt.
        on_response: A function that is called after each attempt.
        tracing: An object that creates spans.
    """

    on_request: Callable[[RequestInfo], object] | None = None
    on_response: ResponseHook | None = None
    tracing: Tracing | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there are no observers."""
        return self.on_request is None and self.on_response is None and self.tracing is None

    def call(self, name: str) -> AbstractContextManager[None]:
        """A span around a call, if tracing is on."""
        return nullcontext() if self.tracing is None else self.tracing.call(name)

    def job_variables(self) -> dict[str, str]:
        """The environment variables with which a job continues the trace, if it should."""
        return {} if self.tracing is None else self.tracing.job_variables()


class HookError(BaseException):
    """Wraps an exception of a hook, so that flows don't mistake it for an error of the service.

    Attributes:
        error: The exception.
        outcome_unknown: Whether the hook was called after a non-idempotent request that may have
            been carried out.
    """

    def __init__(self, error: Exception, outcome_unknown: bool) -> None:
        super().__init__(error)
        self.error: Exception = error
        self.outcome_unknown: bool = outcome_unknown


class leaving(trimmed):  # noqa: N801 - it reads as a verb
    """A context manager around flows that unwraps exceptions of hooks."""

    __slots__ = ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, HookError):
            context = error.error.__context__
            trim(error.error)
            try:
                raise error.error
            finally:
                error.error.__context__ = context
        super().__exit__(kind, error, traceback)


class Attempt:
    """One attempt of a request.

    Attributes:
        response: The response, if there is one.
    """

    def __init__(
        self,
        observers: Observers,
        io: Io,
        request: HttpRequest,
        number: int,
        operation: Operation[Any] | None,
        secrets: Secrets,
    ) -> None:
        """Initialize an attempt.

        Args:
            observers: The observers.
            io: The network and the clock.
            request: The request.
            number: 1 for the first attempt of a call.
            operation: The operation. None for an upload to a presigned URL.
            secrets: A function that returns the secrets to redact.
        """
        self.response: Response | None = None
        self._observers = observers
        self._io = io
        self._request = request
        self._number = number
        self._operation = operation
        self._secrets = secrets
        self._seconds = 0.0
        self._error: HtcException | None = None

    async def send(self, seconds: float, read: Callable[[Response, Secrets], T]) -> T:
        """Send the request once, and read the response.

        Args:
            seconds: The timeout.
            read: A function that reads the response. It also takes `secrets`.

        Raises:
            HtcException: There is no response, or `read` raised it. It has the request id.
            HookError: A hook raised an exception.
        """
        observers = self._observers
        if observers.is_empty:
            return await self._send(seconds, read)
        info = RequestInfo(self._request.name, self._request.method, self._path(), self._number)
        with self._span(info) as end_span:
            _call_hook(observers.on_request, info, outcome_unknown=False)
            try:
                answer = await self._send(seconds, read)
            except HtcException:
                self._end(info, end_span)
                raise
            self._end(info, end_span)
            return answer

    async def _send(self, seconds: float, read: Callable[[Response, Secrets], T]) -> T:
        started = self._io.monotonic()
        try:
            self.response = await self._io.send(self._request, seconds)
            return read(self.response, self._secrets)
        except HtcException as error:
            error.request_id = self._shown((self.response or error).request_id)
            if self._operation is not None:
                error.outcome_unknown = is_outcome_unknown(self._operation, error)
            self._error = error
            raise
        finally:
            self._seconds = self._io.monotonic() - started

    def log(self, then: str | None = None) -> None:
        """Log the end of the attempt, on one line.

        Args:
            then: The next step after an error, such as a retry. None if the error is raised.
        """
        if not _logger.isEnabledFor(logging.INFO):
            return
        request, response, error = self._request, self.response, self._error
        target = request.method
        if _logger.isEnabledFor(logging.DEBUG):
            target = f"{target} {self._path()}".rstrip()
        ended = f"{target} {response.status}" if response else f"{target} without a response"
        line = f"{request.name}: {ended} in {self._seconds:.3f} s, attempt {self._number}"
        if request_id := self._request_id():
            line += f", request id {request_id}"
        if error and then:
            line += f": {' '.join(str(error).split())}; {then}"
        elif error:  # the caller gets the message
            line += f": {type(error).__name__}"
        _logger.info("%s", line)

    def _end(self, info: RequestInfo, end_span: ResponseHook | None) -> None:
        error, response = self._error, self.response
        if error:
            trim(error)
        ended = ResponseInfo(
            info.operation,
            info.method,
            info.path,
            info.attempt,
            self._seconds,
            response.status if response else None,
            self._request_id(),
            error,
        )
        if end_span:
            end_span(ended)
        is_harmless = self._operation is None or self._operation.is_idempotent
        is_refused = error is not None and not error.outcome_unknown
        _call_hook(
            self._observers.on_response, ended, outcome_unknown=not (is_harmless or is_refused)
        )

    def _span(self, info: RequestInfo) -> AbstractContextManager[ResponseHook | None]:
        tracing = self._observers.tracing
        if tracing is None:
            return nullcontext()
        if self._operation:
            url = self._request.url.partition("?")[0]
            return tracing.attempt(info, url, self._operation.path)
        parts = urlsplit(self._request.url)
        host = parts.netloc.rpartition("@")[2]
        return tracing.attempt(info, f"{parts.scheme}://{host}/REDACTED", "")

    def _path(self) -> str:
        """The path. Hidden for presigned URLs, which may be secret as a whole."""
        return urlsplit(self._request.url).path if self._operation else ""

    def _request_id(self) -> str | None:
        if self._error:
            return self._error.request_id
        return self._shown(self.response.request_id if self.response else None)

    def _shown(self, request_id: str | None) -> str | None:
        """The redacted id, because a service may send anything."""
        return request_id and (shown(request_id, self._secrets, _REQUEST_ID_CHARACTERS) or None)


def _call_hook(hook: Callable[[T], object] | None, info: T, *, outcome_unknown: bool) -> None:
    if hook is None:
        return
    try:
        call_back(hook, info)
        return
    except Exception as error:  # noqa: BLE001 - the session re-raises it unchanged
        carrier = HookError(error, outcome_unknown)
    raise carrier
