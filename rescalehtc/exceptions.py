"""All exceptions of this package.

    HtcException
     ├── HtcValidationError (also ValueError)      invalid arguments; nothing was sent
     ├── HtcCredentialsError                       the API key or token is missing or invalid
     ├── HtcConnectionError (also ConnectionError) no complete response
     │    ├── HtcTimeoutError (also TimeoutError)  no complete response in time
     │    └── HtcConfigurationError                a proxy or certificate variable is invalid
     ├── HtcStatusError                            a response with an error status
     │    ├── HtcBadRequestError                   400
     │    ├── HtcAuthenticationError               401
     │    ├── HtcForbiddenError                    403
     │    ├── HtcNotFoundError                     404
     │    ├── HtcRateLimitError                    429
     │    └── HtcServerError                       500 and above
     ├── HtcImagePendingError (also TimeoutError)  an image did not become ready in time
     ├── SubmissionUncertainError                  sent, but possibly not accepted
     ├── SubmissionIncompleteError                 only some of the requests were submitted
     ├── HtcWaitTimeoutError (also TimeoutError)   jobs did not end in time
     ├── RunStoppedError                           too many jobs of a run failed
     ├── HtcResponseError                          an invalid response
     ├── HtcFileError (also OSError)               a file can't be read or written
     └── NotFetchedError (also AttributeError)     a field that was not fetched

Every call that sends requests can raise HtcConnectionError, HtcStatusError, HtcResponseError and
HtcCredentialsError. Lookups by id return None if nothing matches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._counts import JobCounts

__all__ = [
    "HtcAuthenticationError", "HtcBadRequestError", "HtcConfigurationError",
    "HtcConnectionError", "HtcCredentialsError", "HtcException", "HtcFileError",
    "HtcForbiddenError", "HtcImagePendingError", "HtcNotFoundError", "HtcRateLimitError",
    "HtcResponseError", "HtcServerError", "HtcStatusError", "HtcTimeoutError",
    "HtcValidationError", "HtcWaitTimeoutError", "LostRequest", "NotFetchedError", "Problem",
    "RunStoppedError", "SubmissionIncompleteError", "SubmissionUncertainError", "UnsentRequest",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


class HtcException(Exception):  # noqa: N818 - the name is part of the documented interface
    """The base class of this package's exceptions.

    Attributes:
        status_code: The HTTP status of an error response (400 or above), else None.
        outcome_unknown: Whether the service may have created or changed something, although the
            request failed. The session does not retry such a request.
        request_id: The service's id of the request, to quote to its support. None if there was no
            response, or if it had no id. The message ends with the request id.
    """

    outcome_unknown: bool = False
    request_id: str | None = None

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code: int | None = status_code

    def __str__(self) -> str:
        message = super().__str__()
        if self.request_id is None or self.request_id in message:
            return message
        return f"{message} (request id {self.request_id})"

    def __reduce__(self) -> tuple[object, ...]:
        state: dict[str, Any] = dict(self.__dict__)
        if isinstance(self, OSError):  # __dict__ does not contain errno
            state["errno"] = self.errno
        return _restore, (type(self), self.args), state


def _restore(kind: type[HtcException], args: tuple[object, ...]) -> HtcException:
    """Create an exception without its state, for unpickling."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class Problem(NamedTuple):
    """A problem with an argument or a payload."""

    where: str
    """The argument's name, such as `max_vcpus` or `envs[0].name`, or the path in a payload, such as
    `[0].htcJobDefinition.maxVCpus`.
    """
    message: str
    """The description of the problem, with the valid values and, unless it may be a secret, the
    invalid value.
    """

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class HtcValidationError(HtcException, ValueError):
    """Arguments or a payload are invalid. Nothing was sent.

    Attributes:
        problems: All problems. If there are more than 1,000, the first 1,000 and an entry that
            says so.
    """

    def __init__(self, subject: str, problems: Iterable[Problem]) -> None:
        self.subject: str = subject
        self.problems: list[Problem] = list(problems)
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        lines = [f"{count} {noun} in {subject}; nothing was sent"]
        lines += [f"  {problem}" for problem in self.problems]
        super().__init__("\n".join(lines))


class HtcCredentialsError(HtcException):
    """The API key or refresh token is missing or invalid."""


class HtcConnectionError(HtcException, ConnectionError):
    """The service could not be reached, or the connection broke before the end of the response.

    It is an OSError whose `errno` is None.

    Attributes:
        request_sent: Whether any byte of the request may have been sent. If False, the service
            did not carry out the request.
    """

    def __init__(self, message: str, request_sent: bool = True) -> None:
        super().__init__(message)
        self.request_sent: bool = request_sent


class HtcTimeoutError(HtcConnectionError, TimeoutError):
    """There was no complete response in time."""


class HtcConfigurationError(HtcConnectionError):
    """A variable for proxies or certificates is invalid. The message does not show its value.

    The request was not sent, and is not retried.
    """


class HtcImagePendingError(HtcException, TimeoutError):
    """An image did not become ready within the session's `image_wait_seconds`."""


class HtcWaitTimeoutError(HtcException, TimeoutError):
    """Some jobs did not end before the timeout. The jobs keep running.

    Attributes:
        counts: The last counts of the jobs.
    """

    def __init__(self, message: str, counts: JobCounts) -> None:
        self.counts: JobCounts = counts
        super().__init__(message)


class RunStoppedError(HtcException):
    """More jobs of a run failed than `stop_if_failed` of its policy allows.

    The run cancelled its other jobs.

    Attributes:
        counts: The number of jobs per last known status.
        causes: The number of failed jobs per cause, the most frequent cause first.
    """

    def __init__(self, counts: JobCounts, causes: dict[str, int], is_cancelled: bool) -> None:
        self.counts: JobCounts = counts
        self.causes: dict[str, int] = causes
        done = "; the other jobs of the group were cancelled" if is_cancelled else ""
        shown = "".join(f"\n  {count} with {cause}" for cause, count in causes.items())
        super().__init__(f"too many jobs failed: {counts}{done}{shown}")


class HtcStatusError(HtcException):
    """The response has an error status.

    Attributes:
        status_code: The HTTP status.
        operation: The operation's id in openapi/htc.yaml.
        error_type: The service's name for the error. None if it sent none.
        description: The service's description of the error. None if it sent none.
    """

    def __init__(
        self,
        operation: str,
        status_code: int,
        error_type: str | None = None,
        description: str | None = None,
    ) -> None:
        self.operation: str = operation
        self.error_type: str | None = error_type
        self.description: str | None = description
        explanation = ": ".join(part for part in (error_type, description) if part)
        message = f"{operation} failed with HTTP {status_code}"
        super().__init__(f"{message}: {explanation}" if explanation else message, status_code)


class HtcBadRequestError(HtcStatusError):
    """400: the request is invalid."""


class HtcAuthenticationError(HtcStatusError):
    """401: the API key or token is invalid."""


class HtcForbiddenError(HtcStatusError):
    """403: the token does not allow this."""


class HtcNotFoundError(HtcStatusError):
    """404: the object does not exist."""


class HtcRateLimitError(HtcStatusError):
    """429: too many requests."""


class HtcServerError(HtcStatusError):
    """500 or above: the service failed."""


STATUS_ERRORS: dict[int, type[HtcStatusError]] = {
    400: HtcBadRequestError,
    401: HtcAuthenticationError,
    403: HtcForbiddenError,
    404: HtcNotFoundError,
    429: HtcRateLimitError,
}


class HtcResponseError(HtcException):
    """The response is invalid for the operation.

    Attributes:
        is_garbled: Whether the response could not be decoded, because it was damaged in transit.
        is_too_large: Whether the response exceeds the size limit.
    """

    def __init__(
        self, message: str, is_garbled: bool = False, *, is_too_large: bool = False
    ) -> None:
        super().__init__(message)
        self.is_garbled: bool = is_garbled
        self.is_too_large: bool = is_too_large


class LostRequest(NamedTuple):
    """A submit request whose response was lost."""

    position: int
    """The position in the list of requests that you submitted, starting at 0. A request with a
    `batchSize` above 1000 is split into several requests with the same position.
    """
    batch_size: int
    """The number of its jobs."""
    mark: str | None
    """The value of the tag `rescalehtc-submission` of its jobs. None without marks."""


class UnsentRequest(NamedTuple):
    """A submit request, or a part of one, that was not submitted."""

    position: int
    """The position in the list of requests that you submitted, starting at 0."""
    batch_size: int
    """The number of its jobs that were not submitted."""


class SubmissionUncertainError(HtcException):
    """The response to a submission was lost, and the service may or may not have accepted it.

    The session does not retry the submission, because this could start the jobs twice. Use
    `htcjobs.recheck` to search for the jobs again, in this process or in another one. You can
    pickle the exception. It contains no secrets.

    Attributes:
        project_id: The id of the project.
        task_id: The id of the task.
        group: The group of the submission, or None.
        requests: The submit requests of the call whose response was lost.
        sent: The number of jobs in the submission.
        phase: How the response was lost.
        cause: The exception that caused this one.
        job_ids: The ids of the submission's jobs that were found in the group.
        seen: The number of jobs that were found. None if the group could not be searched.
    """

    def __init__(
        self,
        *,
        project_id: str,
        task_id: str,
        group: str | None,
        requests: Sequence[LostRequest],
        phase: Literal["no response", "unreadable response", "server error"],
        cause: HtcException,
    ) -> None:
        super().__init__("", cause.status_code)
        self.request_id: str | None = cause.request_id
        self.project_id: str = project_id
        self.task_id: str = task_id
        self.group: str | None = group
        self.requests: tuple[LostRequest, ...] = tuple(requests)
        self.sent: int = sum(request.batch_size for request in requests)
        self.phase: Literal["no response", "unreadable response", "server error"] = phase
        self.cause: HtcException = cause
        self.outcome_unknown = True
        self.job_ids: list[str] = []
        self.seen: int | None = None
        self.reason: str = "the jobs' group has not been searched yet"

    def __str__(self) -> str:
        jobs = "1 job" if self.sent == 1 else f"{self.sent} jobs"
        place = f"task {self.task_id} of project {self.project_id}"
        if self.group is not None:
            place = f"group {self.group!r} of {place}"
        return (
            f"the submission of {jobs} to {place} is uncertain ({self.phase})\n"
            f"  {self.cause}\n  {self.reason}\n"
            "  the submission was not retried; use htcjobs.recheck to search for the jobs again"
        )


class SubmissionIncompleteError(HtcException):
    """A submission in several calls stopped before all requests were submitted.

    You can pickle the exception. It contains no secrets.

    Attributes:
        submitted: One dictionary per submitted batch, in the order of the requests, with
            `projectId`, `taskId`, `group`, `parentJobId`, `batchSize` and `jobName`. Use
            `HtcJobBatch(error.submitted, task)` to make a batch object.
        positions: For each batch in `submitted`, the position of its request in the list that you
            submitted. A request for more than 1000 jobs has several batches.
        uncertain: One SubmissionUncertainError per call whose response was lost.
        unsent: The requests that were not submitted, by position.
        cause: The exception that stopped the submission.
    """

    def __init__(
        self,
        submitted: Sequence[dict[str, Any]],
        positions: Sequence[int],
        uncertain: Sequence[SubmissionUncertainError],
        unsent: Sequence[UnsentRequest],
        cause: HtcException,
    ) -> None:
        self.submitted: list[dict[str, Any]] = list(submitted)
        self.positions: list[int] = list(positions)
        self.uncertain: list[SubmissionUncertainError] = list(uncertain)
        self.unsent: list[UnsentRequest] = list(unsent)
        self.cause: HtcException = cause
        super().__init__(
            f"the submission is incomplete; batches submitted: {len(submitted)}, "
            f"uncertain calls: {len(uncertain)}, requests not submitted: {len(unsent)}\n"
            f"  {cause}",
            cause.status_code,
        )
        self.request_id: str | None = cause.request_id
        self.outcome_unknown: bool = bool(uncertain)


class HtcFileError(HtcException, OSError):
    """A file can't be read or written. If `is_transient`, the storage did not respond or failed."""

    is_transient: bool = False


class NotFetchedError(HtcException, AttributeError):
    """You read a field of a record that was not fetched.

    Attributes:
        field: The field's name.
        fetched_by: The call that fetches the field, or None.
    """

    def __init__(self, record: str, field: str, fetched_by: str | None = None) -> None:
        self.record: str = record
        self.field: str = field
        self.fetched_by: str | None = fetched_by
        hint = f"; call {fetched_by} to fetch it" if fetched_by else ""
        super().__init__(f"{record}.{field} was not fetched{hint}")
