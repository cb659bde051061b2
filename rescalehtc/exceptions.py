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

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._delivery import Search
    from ._waiting import JobCounts
    from .htcjobs import HtcJobBatch
    from .htcsession import HtcSession
    from .models import HTCJobSubmitRequest


class HtcException(Exception):  # noqa: N818 - the name is part of the documented interface
    """The base of this package's exceptions.

    Attributes:
        status_code: The HTTP status if the service answered with 400 or above, else None.
        outcome_unknown: Whether the service may have carried out an operation that creates or
            changes something, although it failed. Such a request is not sent again by itself.
    """

    outcome_unknown: bool = False

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code: int | None = status_code


class Problem(NamedTuple):
    """One thing that is wrong with an argument or a payload.

    Attributes:
        where: The argument's name, such as `max_vcpus` or `envs[0].name`; or the path in a
            payload, such as `[0].htcJobDefinition.maxVCpus`.
        message: What would be right and, where it is no secret, what was given.
    """

    where: str
    message: str

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

    def __reduce__(self) -> tuple[type[HtcValidationError], tuple[object, ...], object]:
        return type(self), (self.subject, self.problems), self.__dict__


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

    def __reduce__(self) -> tuple[type[HtcWaitTimeoutError], tuple[object, ...], object]:
        return type(self), (str(self), self.counts), self.__dict__


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

    def __reduce__(self) -> tuple[type[HtcStatusError], tuple[object, ...], object]:
        arguments = (self.operation, self.status_code, self.error_type, self.description)
        return type(self), arguments, self.__dict__


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
    """

    def __init__(self, message: str, is_garbled: bool = False) -> None:
        super().__init__(message)
        self.is_garbled: bool = is_garbled


class SubmissionUncertainError(HtcException):
    """A submission was sent, and it is not known whether the service took it.

    Nothing is sent again by itself: that might start the jobs twice. Look into the task, or
    ask again later with `recheck`.

    Attributes:
        project_id: The project.
        task_id: The task that the jobs, if there are any, are in.
        group: The group that was submitted to, or None.
        sent: The number of jobs in the submission.
        phase: What went wrong.
        cause: The exception behind it.
        seen: How many jobs of the submission were seen in the group when it was last asked;
            None if that can't be told.
        job_ids: The ids of the jobs seen.
    """

    def __init__(
        self,
        search: Search,
        phase: Literal["no answer", "unreadable answer", "server error"],
        cause: HtcException,
    ) -> None:
        super().__init__("", cause.status_code)
        self.search: Search = search
        self.project_id: str = search.task.json["projectId"]
        self.task_id: str = search.task.json["taskId"]
        self.group: str | None = search.group
        self.sent: int = search.size
        self.phase: Literal["no answer", "unreadable answer", "server error"] = phase
        self.cause: HtcException = cause
        self.outcome_unknown = True
        self.tell(None, "its group was not asked yet")

    def tell(self, job_ids: list[str] | None, trouble: str = "") -> None:
        """Take in what was seen; None and the reason if that can't be told."""
        self.job_ids: list[str] = job_ids or []
        self.seen: int | None = None if job_ids is None else len(job_ids)
        self._trouble = trouble

    def __str__(self) -> str:
        jobs = "1 job" if self.sent == 1 else f"{self.sent} jobs"
        seen = self._trouble
        if self.seen is not None:
            seen = f"{self.seen} of them were seen in the group when it was last asked"
        return (
            f"it is not known whether the service took a submission of {jobs} {self.search.place} "
            f"({self.phase})\n  {self.cause}\n  {seen}\n  nothing was sent a second time"
        )

    def recheck(self, rescale: HtcSession) -> HtcJobBatch:
        """Look again for the jobs of the submission; nothing is submitted.

        Do so before another process submits to the group: jobs that are like these ones
        could not be told from them.

        Operation listJobs.

        Returns:
            The batch, if all jobs of the submission are in its group.

        Raises:
            SubmissionUncertainError: It still can't be told; this exception, with what was
                seen this time.
        """
        from ._delivery import look_again

        batch = look_again(rescale, self)
        if batch is None:
            raise self
        return batch

    def __reduce__(self) -> tuple[type[SubmissionUncertainError], tuple[object, ...], object]:
        return type(self), (self.search, self.phase, self.cause), self.__dict__


class SubmissionIncompleteError(HtcException):
    """Of a submission in several parts, not every part is known to be with the service.

    Attributes:
        batches: What the service took, in the order of the parts.
        uncertain: A SubmissionUncertainError for each part of which it is not known.
        cause: The exception that ended it.
        batch_positions: For each of `batches`, the index of the request that it belongs to among
            the requests passed to `submit`. One of more than 1000 jobs has several batches.
        uncertain_positions: The same for each of `uncertain`, as a list: a part holds up to 100
            requests.
        unsent_positions: The same for each of `unsent`.

    A pickle of it carries no secrets: its `batches` are without the environment variables and
    claims, and `unsent` is not in it.
    """

    def __init__(
        self,
        batches: list[HtcJobBatch],
        uncertain: list[SubmissionUncertainError],
        unsent: list[HTCJobSubmitRequest],
        cause: HtcException,
        positions: tuple[list[int], list[list[int]], list[int]],
    ) -> None:
        self.batch_positions: list[int]
        self.uncertain_positions: list[list[int]]
        self.unsent_positions: list[int]
        self.batch_positions, self.uncertain_positions, self.unsent_positions = positions
        self.batches: list[HtcJobBatch] = batches
        self.uncertain: list[SubmissionUncertainError] = uncertain
        self._unsent: list[HTCJobSubmitRequest] | None = unsent
        self.cause: HtcException = cause
        super().__init__(
            f"a submission in parts is incomplete: {len(batches)} batches were submitted, of "
            f"{len(uncertain)} parts it is not known, {len(unsent)} submit requests were not "
            f"submitted\n  {cause}",
            cause.status_code,
        )

    @property
    def unsent(self) -> list[HTCJobSubmitRequest]:
        """The submit requests that the service does not have; they can be submitted again.

        Raises:
            HtcException: The exception was pickled.
        """
        if self._unsent is None:
            raise HtcException("a pickle does not carry submit requests: they may hold secrets")
        return self._unsent

    def __reduce__(self) -> tuple[type[SubmissionIncompleteError], tuple[object, ...], object]:
        from ._delivery import without_secrets

        batches = [without_secrets(batch) for batch in self.batches]
        state = {**self.__dict__, "batches": batches, "_unsent": None, "args": self.args}
        positions = (self.batch_positions, self.uncertain_positions, self.unsent_positions)
        return type(self), (batches, self.uncertain, [], self.cause, positions), state


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

    def __reduce__(self) -> tuple[type[NotFetchedError], tuple[object, ...], object]:
        return type(self), (self.record, self.field, self.fetched_by), self.__dict__
