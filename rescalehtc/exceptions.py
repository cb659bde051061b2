"""Every exception that leaves this package.

    HtcException
     ├── HtcValidationError (also ValueError)      refused here, before anything was sent
     ├── HtcCredentialsError                       no API key or token was found, or none is right
     ├── HtcConnectionError (also ConnectionError) no answer, or not all of it
     │    ├── HtcTimeoutError (also TimeoutError)  no answer in time
     │    └── HtcConfigurationError                a proxy or certificate variable is invalid
     ├── HtcStatusError                            the service answered with an error status
     │    ├── HtcBadRequestError                   400
     │    ├── HtcAuthenticationError               401
     │    ├── HtcForbiddenError                    403
     │    ├── HtcNotFoundError                     404
     │    ├── HtcRateLimitError                    429
     │    └── HtcServerError                       500 and above
     ├── HtcImagePendingError (also TimeoutError)  an image did not become ready
     ├── SubmissionUncertainError                  sent, and not known whether it was taken
     ├── SubmissionIncompleteError                 of several parts, not all were taken
     ├── HtcWaitTimeoutError (also TimeoutError)   jobs did not end in time
     ├── HtcResponseError                          an answer that can't be understood
     ├── HtcFileError (also OSError)               a file can't be read or written
     └── NotFetchedError (also AttributeError)     a field that the service was not asked for

Every call that reaches the service can raise HtcConnectionError, HtcStatusError,
HtcResponseError and HtcCredentialsError. What is looked up by its id and is not there is None,
not an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._counts import JobCounts

__all__ = [
    "HtcAuthenticationError",
    "HtcBadRequestError",
    "HtcConfigurationError",
    "HtcConnectionError",
    "HtcCredentialsError",
    "HtcException",
    "HtcFileError",
    "HtcForbiddenError",
    "HtcImagePendingError",
    "HtcNotFoundError",
    "HtcRateLimitError",
    "HtcResponseError",
    "HtcServerError",
    "HtcStatusError",
    "HtcTimeoutError",
    "HtcValidationError",
    "HtcWaitTimeoutError",
    "LostRequest",
    "NotFetchedError",
    "Problem",
    "SubmissionIncompleteError",
    "SubmissionUncertainError",
    "UnsentRequest",
]


def __dir__() -> list[str]:
    return __all__


class HtcException(Exception):  # noqa: N818 - the name is part of the documented interface
    """The base of this package's exceptions.

    Attributes:
        status_code: The HTTP status if the service answered with 400 or above, else None.
        outcome_unknown: Whether the service may have carried out an operation that creates or
            changes something, although it failed. Such a request is not sent again by itself.
        request_id: The id that the service gave the request, which its support can look up;
            None if there was no answer, or one without an id. The message ends with it.
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
        if isinstance(self, OSError):  # its errno is not in __dict__
            state["errno"] = self.errno
        return _restore, (type(self), self.args), state


def _restore(kind: type[HtcException], args: tuple[object, ...]) -> HtcException:
    """Make an exception from its pickle: the state follows."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class Problem(NamedTuple):
    """One thing that is wrong with an argument or a payload."""

    where: str
    """The argument's name, such as `max_vcpus` or `envs[0].name`; or the path in a payload, such
    as `[0].htcJobDefinition.maxVCpus`.
    """
    message: str
    """What would be right and, where it is no secret, what was given."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class HtcValidationError(HtcException, ValueError):
    """Arguments or a payload break rules; nothing was sent.

    Attributes:
        problems: Everything that is wrong, not just the first; at most the first 1,000 problems
            and one that says there are more.
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
    """No API key or refresh token was found where one is looked for, or it can't be used."""


class HtcConnectionError(HtcException, ConnectionError):
    """The service could not be reached, or the connection broke before the answer was complete.

    It is an OSError whose `errno` is None.

    Attributes:
        request_sent: Whether any byte of the request may have left; if not, the service
            can't have carried it out.
    """

    def __init__(self, message: str, request_sent: bool = True) -> None:
        super().__init__(message)
        self.request_sent: bool = request_sent


class HtcTimeoutError(HtcConnectionError, TimeoutError):
    """The service did not answer in time."""


class HtcConfigurationError(HtcConnectionError):
    """A variable for proxies or certificates is invalid. The message names it, not its value.

    The request was not sent, and is not retried.
    """


class HtcImagePendingError(HtcException, TimeoutError):
    """An image did not become ready within the session's `image_wait_seconds`."""


class HtcWaitTimeoutError(HtcException, TimeoutError):
    """Not all jobs that were waited for have ended in time. They go on.

    Attributes:
        counts: What was seen of the jobs.
    """

    def __init__(self, message: str, counts: JobCounts) -> None:
        self.counts: JobCounts = counts
        super().__init__(message)


class HtcStatusError(HtcException):
    """The service answered with an error status.

    Attributes:
        status_code: The HTTP status.
        operation: The operation's id in openapi/htc.yaml.
        error_type: The service's short name for the error, if it gave one.
        description: The service's description of the error, if it gave one.
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
        said = ": ".join(part for part in (error_type, description) if part)
        message = f"{operation} was answered with HTTP {status_code}"
        super().__init__(f"{message}: {said}" if said else message, status_code)


class HtcBadRequestError(HtcStatusError):
    """400: the request breaks a rule of the service."""


class HtcAuthenticationError(HtcStatusError):
    """401: the API key or token is not valid."""


class HtcForbiddenError(HtcStatusError):
    """403: the token does not allow this."""


class HtcNotFoundError(HtcStatusError):
    """404: there is no such thing."""


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
    """The service's answer is not what the operation is described to answer.

    Attributes:
        is_garbled: Whether it could not even be decoded, as when it was damaged on the way.
        is_too_large: Whether it has more bytes than a session reads.
    """

    def __init__(
        self, message: str, is_garbled: bool = False, *, is_too_large: bool = False
    ) -> None:
        super().__init__(message)
        self.is_garbled: bool = is_garbled
        self.is_too_large: bool = is_too_large


class LostRequest(NamedTuple):
    """A submit request whose answer was lost."""

    position: int
    """Its position among the requests that you submitted, from 0. A request with a `batchSize`
    above 1000 is sent as several, which share its position.
    """
    batch_size: int
    """Number of its jobs."""
    mark: str | None
    """The value of the tag `rescalehtc-submission` of its jobs; None without marks."""


class UnsentRequest(NamedTuple):
    """A submit request, or a part of one, that was not submitted."""

    position: int
    """Its position among the requests that you submitted, from 0."""
    batch_size: int
    """Number of its jobs that were not submitted."""


class SubmissionUncertainError(HtcException):
    """The answer to a submission was lost, and it is not known whether the service took it.

    Nothing is sent again: that might start the jobs twice. `htcjobs.recheck` looks for the jobs
    again, in this process or another one: the exception can be pickled, and holds no secrets.

    Attributes:
        project_id: The project.
        task_id: The task.
        group: The group that was submitted to, or None.
        requests: The submit requests of the call whose answer was lost.
        sent: Number of jobs in the submission.
        phase: How the answer was lost.
        cause: The exception behind it.
        job_ids: Ids of the submission's jobs that were seen in the group.
        seen: How many these are; None if the group could not be searched.
    """

    def __init__(
        self,
        *,
        project_id: str,
        task_id: str,
        group: str | None,
        requests: Sequence[LostRequest],
        phase: Literal["no answer", "unreadable answer", "server error"],
        cause: HtcException,
    ) -> None:
        super().__init__("", cause.status_code)
        self.request_id: str | None = cause.request_id
        self.project_id: str = project_id
        self.task_id: str = task_id
        self.group: str | None = group
        self.requests: tuple[LostRequest, ...] = tuple(requests)
        self.sent: int = sum(request.batch_size for request in requests)
        self.phase: Literal["no answer", "unreadable answer", "server error"] = phase
        self.cause: HtcException = cause
        self.outcome_unknown = True
        self.job_ids: list[str] = []
        self.seen: int | None = None
        self.reason: str = "its group was not searched yet"

    def __str__(self) -> str:
        jobs = "1 job" if self.sent == 1 else f"{self.sent} jobs"
        place = f"task {self.task_id} of project {self.project_id}"
        if self.group is not None:
            place = f"group {self.group!r} of {place}"
        return (
            f"it is not known whether the service took a submission of {jobs} to {place} "
            f"({self.phase})\n  {self.cause}\n  {self.reason}\n  nothing was sent again"
        )


class SubmissionIncompleteError(HtcException):
    """A submission in several calls stopped before all requests were submitted.

    It can be pickled, and holds no secrets.

    Attributes:
        submitted: A dictionary for each batch that the service took, in the order of the
            requests: `projectId`, `taskId`, `group`, `parentJobId`, `batchSize` and `jobName`.
            `HtcJobBatch(error.submitted, task)` makes a batch of them.
        positions: For each of `submitted`, the position of its request among those that you
            submitted. A request for more than 1000 jobs has several batches.
        uncertain: A SubmissionUncertainError for each call whose answer was lost.
        unsent: The requests that were not submitted, by their positions.
        cause: The exception that stopped it.
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
            f"the submission is incomplete: {len(submitted)} batches were submitted, "
            f"{len(uncertain)} calls are uncertain, {len(unsent)} requests were not submitted\n"
            f"  {cause}",
            cause.status_code,
        )
        self.request_id: str | None = cause.request_id
        self.outcome_unknown: bool = bool(uncertain)


class HtcFileError(HtcException, OSError):
    """A file can't be read or written."""


class NotFetchedError(HtcException, AttributeError):
    """A field of a record was read that the service has not been asked for.

    Attributes:
        field: The field's name.
        fetched_by: The call that would fetch it, where there is one.
    """

    def __init__(self, record: str, field: str, fetched_by: str | None = None) -> None:
        self.record: str = record
        self.field: str = field
        self.fetched_by: str | None = fetched_by
        hint = f"; {fetched_by} fetches it" if fetched_by else ""
        super().__init__(f"{record}.{field} was not fetched{hint}")
