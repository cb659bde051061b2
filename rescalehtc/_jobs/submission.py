"""Submit each request at most once, and report which jobs exist.

A submission can start thousands of paid jobs, and the service does not detect duplicates. So every
request has a mark, a tag that the records of its jobs repeat. If a response is lost, the jobs are
found by their marks, or an exception reports that they were not found.
"""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, cast

from .._client.attempt import HookError
from .._facts import MAX_REQUESTS
from .._secret import redact, values_in
from .._tracebacks import trim
from .._wire.operations import GET_IMAGE_STATUS, SUBMIT_JOBS
from ..exceptions import (
    HtcConnectionError,
    HtcException,
    HtcImagePendingError,
    HtcResponseError,
    HtcStatusError,
    LostRequest,
    SubmissionIncompleteError,
    SubmissionUncertainError,
    UnsentRequest,
)
from .marks import MarkedRequest, match_answers, with_mark
from .notes import note_of, notes_of_submissions
from .recovery import find_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .._session import BaseSession
    from .waiting import Interval

_logger = logging.getLogger("rescalehtc")

P = ParamSpec("P")
T = TypeVar("T")

PARALLEL_CALLS = 10
IMAGE_POLL_SECONDS = 10.0


@dataclass
class SubmitCall:
    """One call of a submission, and its outcome.

    Attributes:
        requests: Its requests.
        is_held_back: Whether it was certainly not sent.
        answers: The service's response, or its reconstruction from the jobs that were found.
        error: The reason why there is no response.
    """

    requests: Sequence[MarkedRequest]
    is_held_back: bool = False
    answers: list[dict[str, Any]] | None = None
    error: HtcException | None = None

    @property
    def may_exist(self) -> bool:
        """Whether its jobs may exist without a response."""
        is_refused = self.error is not None and not self.error.outcome_unknown
        return not self.is_held_back and not is_refused


class Submission:
    """A submission in one or several calls, which are sent in parallel.

    Every exception that reaches the user must pass `prepare_to_leave` before.
    """

    def __init__(self, interval: Interval | None = None) -> None:
        """Initialize a submission without requests. With an interval, it outlasts outages."""
        self._interval = interval
        self._task_ids: Mapping[str, str] = {}
        self._group: str | None = None
        self._calls: list[SubmitCall] = []
        self._queue: deque[SubmitCall] = deque()
        self._is_stopped = False

    async def send(
        self,
        rescale: BaseSession,
        task_ids: Mapping[str, str],
        requests: Sequence[tuple[int, dict[str, Any]]],
        group: str | None,
    ) -> list[dict[str, Any]]:
        """Send all calls, and return the response to each request, in order.

        If responses were lost but all of their jobs were found, the calls that were held back are
        sent too.

        Args:
            rescale: The session.
            task_ids: The path parameters of the task.
            requests: Validated submit requests, each with its position.
            group: The group, or None.

        Raises:
            HtcNotFoundError: The project does not have the image.
            HtcImagePendingError: An image was not ready before the timeout.
            SubmissionIncompleteError: A call failed after others succeeded, or is uncertain.
            HtcException: The first call failed, and nothing was submitted.
        """
        client = rescale.client
        token = secrets.token_hex(8)
        is_marked = rescale.mark_submissions
        has_own_group = group is None and is_marked
        with client.observers.call("submit"):
            variables = client.observers.job_variables()
            marked = [
                with_mark(position, json, f"{token}-{number}" if is_marked else None, variables)
                for number, (position, json) in enumerate(requests)
            ]
            starts = range(0, len(marked), MAX_REQUESTS)
            calls = [SubmitCall(marked[start : start + MAX_REQUESTS]) for start in starts]
            self._rescale = rescale
            self._task_ids = task_ids
            self._group = f"rescalehtc-{token}" if has_own_group else group
            self._queue = deque(calls)
            self._calls = calls
            await self._wait_for_images()
            while self._queue and not self._failed():
                self._is_stopped = False
                workers = min(PARALLEL_CALLS, len(self._queue))
                await client.io.run_workers(self._send_calls, workers)
                await self._find_lost(has_own_group and len(marked) == 1)
            if failed := self._failed():
                raise self._failure(failed)
            return [answer for call in self._calls for answer in call.answers or ()]

    async def _send_calls(self) -> None:
        """Send calls of the queue until the queue is empty or a call fails."""
        while not self._is_stopped:
            try:
                call = self._queue.popleft()
            except IndexError:
                return
            try:
                call.answers = await self._send_call(call)
            except HookError as error:
                call.is_held_back = not error.outcome_unknown
                self._is_stopped = True
                raise
            except HtcException as error:
                trim(error)  # the error may become the cause of another one
                call.error = error
                self._is_stopped = True

    async def _send_call(self, call: SubmitCall) -> list[dict[str, Any]]:
        body = [request.json for request in call.requests]
        answer: list[object] = await self._rescale.client.send(
            SUBMIT_JOBS.call(self._task_ids, query={"group": self._group}, body=body)
        )
        answers = match_answers(answer, call.requests)
        if answers is None:
            error = HtcResponseError(
                f"submitJobs: {len(body)} submit requests were sent, but the response does not "
                "identify the jobs of each request"
            )
            error.outcome_unknown = True
            raise error
        return answers

    async def _find_lost(self, is_alone_in_group: bool) -> None:
        """Search for the jobs of the calls whose responses were lost."""
        lost = [call for call in self._failed() if call.may_exist]
        if not lost:
            return
        errors = [self._uncertain(call) for call in lost]
        found_parents = await find_lost(
            self._rescale.client,
            errors,
            settle_seconds=self._rescale.settle_seconds,
            is_alone_in_group=is_alone_in_group,
            interval=self._interval,
        )
        for call, error, parents in zip(lost, errors, found_parents, strict=True):
            # The service may also repeat the submission's secrets in a listing of jobs.
            error.reason = redact(
                error.reason, values_in([request.json for request in call.requests])
            )
            call.error = error
            if parents is not None:
                pairs = zip(call.requests, parents, strict=True)
                call.answers = [self._answer(request, parent) for request, parent in pairs]

    def _uncertain(self, call: SubmitCall) -> SubmissionUncertainError:
        cause = call.error or HtcConnectionError("submitJobs: interrupted before the response")
        if isinstance(cause, SubmissionUncertainError):
            return cause
        phase: Literal["no response", "unreadable response", "server error"] = "unreadable response"
        if isinstance(cause, HtcConnectionError):
            phase = "no response"
        elif isinstance(cause, HtcStatusError):
            phase = "server error"
        return SubmissionUncertainError(
            project_id=self._task_ids["projectId"],
            task_id=self._task_ids["taskId"],
            group=self._group,
            requests=[
                LostRequest(request.position, request.size, request.mark)
                for request in call.requests
            ],
            phase=phase,
            cause=cause,
        )

    def _answer(self, request: MarkedRequest, parent: str) -> dict[str, Any]:
        """The response that the service would have sent."""
        ids = {"group": self._group, "parentJobId": parent, "batchSize": request.size}
        return {**request.json, **self._task_ids, **ids}

    def _failed(self) -> list[SubmitCall]:
        return [call for call in self._calls if call.error is not None and call.answers is None]

    def _failure(self, failed: list[SubmitCall]) -> HtcException:
        errors = [call.error for call in failed if call.error is not None]
        cause = errors[0].cause if isinstance(errors[0], SubmissionUncertainError) else errors[0]
        incomplete = self._incomplete(cause)
        return incomplete if incomplete.submitted or incomplete.uncertain else errors[0]

    def _incomplete(self, cause: HtcException) -> SubmissionIncompleteError:
        """The outcome of each request. After an interrupt, calls may still be in progress."""
        self._hold_back()
        submitted: list[tuple[int, dict[str, Any]]] = []
        uncertain: list[SubmissionUncertainError] = []
        unsent: dict[int, int] = {}
        for call in self._calls:
            if (answers := call.answers) is not None:
                for request, answer in zip(call.requests, answers, strict=True):
                    fields = {name: answer[name] for name in _SUBMITTED if name in answer}
                    submitted.append((request.position, fields))
            elif call.may_exist:
                uncertain.append(self._uncertain(call))
            else:
                for request in call.requests:
                    unsent[request.position] = unsent.get(request.position, 0) + request.size
        return SubmissionIncompleteError(
            [fields for _, fields in submitted],
            [position for position, _ in submitted],
            uncertain,
            [UnsentRequest(*item) for item in unsent.items()],
            cause,
        )

    async def _wait_for_images(self) -> None:
        """Return when the images are ready. The service rejects jobs with a PENDING image."""
        requests = [request.json for call in self._calls for request in call.requests]
        for image in dict.fromkeys(json["htcJobDefinition"]["imageName"] for json in requests):
            await self._wait_for_image(image)

    async def _wait_for_image(self, name: str) -> None:
        client, seconds = self._rescale.client, self._rescale.image_wait_seconds
        ids = {"projectId": self._task_ids["projectId"], "imageName": name}
        expires_at = client.io.monotonic() + seconds
        while True:
            status = (await client.send(GET_IMAGE_STATUS.call(ids))).get("status")
            if status == "READY":
                return
            if status != "PENDING":
                raise HtcResponseError(
                    f"getImageStatus: image {name} has the unknown status {status!r}"
                )
            remaining = expires_at - client.io.monotonic()
            if remaining <= 0:
                raise HtcImagePendingError(
                    f"image {name} is still PENDING after {seconds:g} s; "
                    "nothing was submitted; submit again later, or increase image_wait_seconds"
                )
            await client.io.sleep(min(IMAGE_POLL_SECONDS, remaining))

    def _hold_back(self) -> None:
        """Remove the calls that were not started from the queue."""
        while True:
            try:
                call = self._queue.popleft()
            except IndexError:
                return
            call.is_held_back = True

    def prepare_to_leave(self, error: BaseException) -> None:
        """Prepare an exception to leave the package: remove the package's frames.

        An interrupt, or an exception of a hook, gets a note that lists the jobs that exist and the
        jobs that may exist, and a SubmissionIncompleteError as its cause.
        """
        try:
            if not isinstance(error, SubmissionIncompleteError | SubmissionUncertainError):
                self._describe_in(error)
            trim(error)
        except BaseException as another:  # another interrupt
            self.prepare_to_leave(another)
            raise

    def log_cancellation(self, error: BaseException) -> None:
        """Log the note of a cancellation, because many programs ignore cancellations."""
        if not isinstance(error, Exception):
            for note in notes_of_submissions(error):
                _logger.warning("%s", "; ".join(note.split("\n  ")))

    def _describe_in(self, interrupt: BaseException) -> None:
        if notes_of_submissions(interrupt):
            return
        incomplete = self._incomplete(HtcConnectionError("submitJobs: interrupted"))
        if incomplete.submitted or incomplete.uncertain:
            interrupt.add_note(note_of(incomplete, self._group))
            interrupt.__cause__ = interrupt.__cause__ or incomplete


def submits(function: Callable[Concatenate[Submission, P], T]) -> Callable[P, T]:
    """Decorate a public function whose first parameter is a new submission.

    All exceptions pass `prepare_to_leave`, even repeated interrupts. This is not a context manager,
    because an interrupt at the start of `__exit__` would not pass `prepare_to_leave`.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        submission = Submission()
        try:
            return function(submission, *args, **kwargs)
        except BaseException as error:
            try:
                submission.prepare_to_leave(error)
            except BaseException as another:
                submission.prepare_to_leave(another)
                raise
            raise

    async def call_on_loop(*args: P.args, **kwargs: P.kwargs) -> Any:
        submission = Submission()
        try:
            flow: Any = function(submission, *args, **kwargs)
            return await flow
        except BaseException as error:
            submission.prepare_to_leave(error)
            submission.log_cancellation(error)
            raise

    wrapper = cast("Any", call_on_loop if inspect.iscoroutinefunction(function) else call)
    functools.update_wrapper(wrapper, function)
    whole = inspect.signature(function)
    wrapper.__signature__ = whole.replace(parameters=[*whole.parameters.values()][1:])
    return cast("Callable[P, T]", wrapper)


_SUBMITTED = ("projectId", "taskId", "group", "parentJobId", "batchSize", "jobName")
