"""What the hooks of a session are called with: `HtcSession(on_request=..., on_response=...)`.

A hook is called for each attempt of each request, retries and token requests included:

    def count(response: ResponseInfo) -> None:
        requests.labels(response.operation, response.status_code).inc()

    rescale = HtcSession(on_response=count)

Both objects are immutable, and hold no key, token, header, body or query.

A hook is a plain function, also for asynchronous sessions, and should return quickly: the request
waits for it. It must not use the session that called it. A submission of several calls may call
it from several threads at once.

If a hook raises an exception, the call ends at once, without a retry, and the exception reaches
your code unchanged. If it is raised after jobs were submitted, they exist all the same: the
exception gets a note that lists them, and a SubmissionIncompleteError as its `__cause__`, as when
you press Ctrl-C. Raise an exception of your own: calls such as `get_project_with_id` take an
HtcNotFoundError for the service's answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .exceptions import HtcException

__all__ = ["RequestInfo", "ResponseInfo"]


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True)
class RequestInfo:
    """An attempt that is about to be sent.

    Attributes:
        operation: The operation's id, such as `submitJobs`; `upload` for an upload to a
            presigned address.
        method: The HTTP method.
        path: The path of the address, without the query. Empty for an upload, since whoever
            knows a presigned address may use it.
        attempt: 1 for the first attempt of a call, then 2, and so on.
    """

    operation: str
    method: str
    path: str
    attempt: int


@dataclass(frozen=True)
class ResponseInfo:
    """An attempt that has ended, with an answer or without one.

    A hook is not called for an attempt that an interrupt or a cancellation ended.

    Attributes:
        operation: The operation's id, as in RequestInfo.
        method: The HTTP method.
        path: The path of the address, as in RequestInfo.
        attempt: The number of the attempt, as in RequestInfo.
        seconds: How long the attempt took, in seconds.
        status_code: The HTTP status; None if no whole answer came.
        request_id: The service's id of the request; None if it sent none.
        error: The exception that the attempt ended with; None if it succeeded. The request may
            be retried all the same.
    """

    operation: str
    method: str
    path: str
    attempt: int
    seconds: float
    status_code: int | None
    request_id: str | None
    error: HtcException | None
