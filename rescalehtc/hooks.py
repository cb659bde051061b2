"""The arguments of a session's hooks: `HtcSession(on_request=..., on_response=...)`.

The session calls its hooks for each attempt of each request, including retries and token requests:

    def count(response: ResponseInfo) -> None:
        requests.labels(response.operation, response.status_code).inc()

    rescale = HtcSession(on_response=count)

Both arguments are immutable, and contain no key, token, header, body or query.

A hook is a synchronous function, even for asynchronous sessions. It should return quickly, because
the request waits for it. It must not use the session that called it. A submission of several calls
may call a hook from several threads at the same time.

If a hook raises an exception, the call ends immediately without a retry. The exception reaches your
code unchanged. Jobs that were submitted before the exception exist. Then the exception gets a note
that lists these jobs, and a SubmissionIncompleteError as its `__cause__`, as with Ctrl-C. Raise
your own exception type: calls such as `get_project_with_id` treat an HtcNotFoundError as the
service's response.
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
    """An attempt that the session is about to send.

    Attributes:
        operation: The operation's id, such as `submitJobs`, or `upload` for an upload to a
            presigned URL.
        method: The HTTP method.
        path: The path of the URL, without the query. Empty for an upload, because a presigned URL
            is secret.
        attempt: The number of the attempt, starting at 1 for each call.
    """

    operation: str
    method: str
    path: str
    attempt: int


@dataclass(frozen=True)
class ResponseInfo:
    """An attempt that has ended, with or without a response.

    If an interrupt or a cancellation ends an attempt, the session does not call the hook.

    Attributes:
        operation: The operation's id, as in RequestInfo.
        method: The HTTP method.
        path: The path of the URL, as in RequestInfo.
        attempt: The number of the attempt, as in RequestInfo.
        seconds: The duration of the attempt, in seconds.
        status_code: The HTTP status. None if there was no complete response.
        request_id: The service's id of the request. None if it sent none.
        error: The exception that ended the attempt. None if it succeeded. The session may still
            retry the request.
    """

    operation: str
    method: str
    path: str
    attempt: int
    seconds: float
    status_code: int | None
    request_id: str | None
    error: HtcException | None
