"""Sending submissions so that afterwards it is known which jobs exist.

A submission may start a thousand jobs, and the service has no means to recognise one that is
sent twice. So it is sent once; if its answer is lost, the group that it was submitted with
tells what became of it, or an exception says that it is not known.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import api
from ._json_object import id_of
from ._submission import MAX_REQUESTS
from .exceptions import (
    HtcConnectionError,
    HtcException,
    HtcImagePendingError,
    HtcResponseError,
    HtcStatusError,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)
from .htcjobs import HtcJobBatch
from .htcprojects import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, TypeGuard

    from ._operation import Call
    from .htcsession import HtcSession
    from .htctasks import HtcTask
    from .models import HTCJobSubmitRequest

    Answer = dict[str, Any]

_logger = logging.getLogger("rescalehtc")

PARALLEL_CALLS = 10
IMAGE_POLL_SECONDS = 10.0
LOOKS_A_SETTLING = 6
# What a job's record repeats of the definition that it was made from. Environment variables
# are left out: their values are secrets, and this is kept in exceptions.
_TRAITS = ("imageName", "commands", "maxVCpus", "maxMemory", "execTimeoutSeconds", "architecture")


def deliver(
    rescale: HtcSession, task: HtcTask, requests: Sequence[HTCJobSubmitRequest], group: str | None
) -> HtcJobBatch:
    """Submit requests that were checked, in one call.

    Raises:
        HtcNotFoundError: The project has no such image.
        HtcImagePendingError: An image did not become ready in time.
        SubmissionUncertainError: The answer was lost, and its group does not tell.
    """
    _wait_for_images(rescale, task, requests)
    with _turn(rescale, task, group):
        search = Search(task, group, _parents(rescale, task, group), _expected(requests))
        try:
            answers = _sent_or_found(rescale, search, requests)
        except HtcException:
            raise
        except BaseException as error:  # an interrupt
            _note(error, f"a submission of {search.size} jobs {search.place} may have been taken")
            raise
    return HtcJobBatch(answers, task)


@dataclass(frozen=True, eq=False)
class Group:
    """What a session knows of a group that it submits to.

    Attributes:
        lock: One submission at a time, so that new jobs of the group are those of it.
        told: The parents of the jobs that the session's users were told of.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    told: set[str] = field(default_factory=set[str])


def _sent_or_found(
    rescale: HtcSession, search: Search, requests: Sequence[HTCJobSubmitRequest]
) -> list[Answer]:
    try:
        return _told(rescale, search, _send(rescale, search.task, requests, search.group))
    except HtcException as error:
        if not error.outcome_unknown:
            raise
        failure = _uncertain(search, error)
    answers = _settled(rescale, [failure])
    if answers is None:
        raise failure
    return answers


def deliver_all(
    rescale: HtcSession, task: HtcTask, requests: Sequence[HTCJobSubmitRequest], group: str | None
) -> HtcJobBatch:
    """Submit any number of requests that were checked, in calls that are sent in parallel.

    Raises:
        The same as `deliver`; SubmissionIncompleteError if it ends when something was
        submitted already.
    """
    _wait_for_images(rescale, task, requests)
    parts = [
        requests[start : start + MAX_REQUESTS] for start in range(0, len(requests), MAX_REQUESTS)
    ]
    with _turn(rescale, task, group):
        older = _parents(rescale, task, group)
        return _Parts(rescale, task, group, older, parts).submitted()


class _Parts:
    """A submission in several calls."""

    def __init__(
        self,
        rescale: HtcSession,
        task: HtcTask,
        group: str | None,
        older: frozenset[str],
        parts: list[Sequence[HTCJobSubmitRequest]],
    ) -> None:
        self._rescale = rescale
        self._task = task
        self._group = group
        self._older = older
        self._parts = parts
        self._stopped = threading.Event()
        self._outcomes: list[list[Answer] | HtcException | None] = [None] * len(parts)

    def submitted(self) -> HtcJobBatch:
        failures: list[HtcException] = []
        try:
            while None in self._outcomes and not failures:  # again after a lost part was found
                self._submit_what_is_left()
                self._ask_the_group()
                failures = [one for one in self._outcomes if isinstance(one, HtcException)]
        except BaseException as error:
            self._note_interrupt(error)
            raise
        answers = [one for part in self._outcomes if isinstance(part, list) for one in part]
        if not failures:
            return HtcJobBatch(answers, self._task)
        uncertain = [one for one in failures if isinstance(one, SubmissionUncertainError)]
        if not answers and not uncertain:
            raise failures[0]
        unsent = [
            request
            for part, outcome in zip(self._parts, self._outcomes, strict=True)
            if not isinstance(outcome, list | SubmissionUncertainError)
            for request in part
        ]
        batches = [HtcJobBatch(answer, self._task) for answer in answers]
        del answers  # a traceback that shows variables must not show their secrets
        raise SubmissionIncompleteError(batches, uncertain, unsent, failures[0])

    def _submit_what_is_left(self) -> None:
        self._stopped.clear()
        left = [index for index, outcome in enumerate(self._outcomes) if outcome is None]
        with ThreadPoolExecutor(min(PARALLEL_CALLS, len(left))) as threads:
            try:
                list(threads.map(self._submit, left))
            finally:
                self._stopped.set()  # an interrupt: what has not begun does not begin

    def _submit(self, index: int) -> None:
        if self._stopped.is_set():
            return
        part = self._parts[index]
        search = Search(self._task, self._group, self._older, _expected(part))
        try:
            answers = _send(self._rescale, self._task, part, self._group)
            self._outcomes[index] = _told(self._rescale, search, answers)
        except HtcException as error:
            self._stopped.set()
            unknown = error.outcome_unknown
            self._outcomes[index] = _uncertain(search, error) if unknown else error

    def _ask_the_group(self) -> None:
        """Look for the parts whose answers were lost, now that nothing more is under way."""
        lost = [one for one in self._outcomes if isinstance(one, SubmissionUncertainError)]
        answers = _settled(self._rescale, lost) if lost else None
        for index, outcome in enumerate(self._outcomes):
            if answers is not None and isinstance(outcome, SubmissionUncertainError):
                size = len(self._parts[index])
                self._outcomes[index], answers = answers[:size], answers[size:]

    def _note_interrupt(self, error: BaseException) -> None:
        told = [one for part in self._outcomes if isinstance(part, list) for one in part]
        ids = ", ".join(str(answer.get("parentJobId")) for answer in told)
        if told:
            _note(error, f"these batches were submitted: {ids}")
        if any(isinstance(one, SubmissionUncertainError) for one in self._outcomes):
            _note(error, "more batches may have been taken")


def _send(
    rescale: HtcSession, task: HtcTask, requests: Sequence[HTCJobSubmitRequest], group: str | None
) -> list[Answer]:
    answer: list[object] = rescale.send(_call(task, requests, group))
    named = [one for one in answer if _names_jobs(one)]
    if len(named) == len(answer) == len(requests):
        return named
    del answer, named  # a traceback that shows variables must not show their secrets
    failure = HtcResponseError(
        f"submitJobs: {len(requests)} submit requests were sent, but the answer does not say what "
        "became of each"
    )
    failure.outcome_unknown = True
    raise failure


def _names_jobs(answer: object) -> TypeGuard[Answer]:
    """Whether this says which jobs were made of a submit request."""
    match answer:
        case {"parentJobId": str()}:
            return True
        case _:
            return False


def _call(task: HtcTask, requests: Sequence[HTCJobSubmitRequest], group: str | None) -> Call:
    return api.SUBMIT_JOBS.call(
        {"projectId": id_of(task, "projectId"), "taskId": id_of(task, "taskId")},
        query={"group": group},
        body=[request.to_json_dict() for request in requests],
    )


def _wait_for_images(
    rescale: HtcSession, task: HtcTask, requests: Sequence[HTCJobSubmitRequest]
) -> None:
    """Return when the images are ready: the service refuses jobs of one that is still copied."""
    for image_name in dict.fromkeys(r.htc_job_definition.image_name for r in requests):
        _wait_for_image(rescale, task, image_name)


def _wait_for_image(rescale: HtcSession, task: HtcTask, image_name: str) -> None:
    started = time.monotonic()
    while True:
        image = api.get_htc_projects_container_registry_images(
            rescale, id_of(task, "projectId"), image_name
        )
        status = image.get("status")
        if status == "READY":
            return
        if status != "PENDING":
            raise HtcResponseError(f"getImageStatus: image {image_name} has status {status!r}")
        left = rescale.image_wait_seconds - (time.monotonic() - started)
        if left <= 0:
            raise HtcImagePendingError(
                f"image {image_name} is still PENDING after {rescale.image_wait_seconds:g} s; "
                "nothing was submitted"
            )
        time.sleep(min(IMAGE_POLL_SECONDS, left))


# ---- what became of a submission whose answer was lost


@dataclass(frozen=True)
class _Expected:
    """A submit request, and what its jobs would show of it.

    Attributes:
        size: The number of its jobs.
        traits: What the records of its jobs repeat.
        request: The request itself. A pickle does not carry it: it holds secrets.
    """

    size: int
    traits: dict[str, Any]
    request: Answer | None

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "traits": self.traits, "request": None}

    def __repr__(self) -> str:
        return f"_Expected(size={self.size})"

    def is_like(self, jobs: Sequence[Answer]) -> bool:
        """Whether these jobs, which have a parent in common, can have been made from it."""
        numbers = {job["jobUUID"].rpartition(":")[2] for job in jobs}
        return numbers <= set(map(str, range(self.size))) and all(
            job[name] == value
            for job in jobs
            for name, value in self.traits.items()
            if job.get(name) is not None
        )


@dataclass(frozen=True)
class Search:
    """What is needed to find the jobs of a submission in its group.

    Attributes:
        task: The task.
        group: The group; without one nothing can be found.
        older: The parents of jobs that the group had before.
        expected: The submit requests.
    """

    task: HtcTask
    group: str | None
    older: frozenset[str]
    expected: tuple[_Expected, ...]

    @property
    def size(self) -> int:
        """The number of jobs."""
        return sum(one.size for one in self.expected)

    @property
    def place(self) -> str:
        """Where the jobs are, if there are any."""
        task = f"task {id_of(self.task, 'taskId')} of project {id_of(self.task, 'projectId')}"
        return f"to {task}" if self.group is None else f"to group {self.group!r} of {task}"


def _expected(requests: Sequence[HTCJobSubmitRequest]) -> tuple[_Expected, ...]:
    expected: list[_Expected] = []
    for request in requests:
        sent = request.to_json_dict()
        definition = sent["htcJobDefinition"]
        traits = {name: definition[name] for name in _TRAITS if name in definition}
        expected.append(_Expected(sent.get("batchSize") or 1, traits, sent))
    return tuple(expected)


def _uncertain(search: Search, error: HtcException) -> SubmissionUncertainError:
    phase: Literal["no answer", "unreadable answer", "server error"] = "unreadable answer"
    if isinstance(error, HtcConnectionError):
        phase = "no answer"
    elif isinstance(error, HtcStatusError):
        phase = "server error"
    return SubmissionUncertainError(search, phase, error)


def _turn(
    rescale: HtcSession, task: HtcTask, group: str | None
) -> contextlib.AbstractContextManager[object]:
    """One submission at a time to a group, so that its new jobs are those of the submission."""
    if group is None:
        return contextlib.nullcontext()
    return rescale.group(id_of(task, "taskId"), group).lock


def _told(rescale: HtcSession, search: Search, answers: list[Answer]) -> list[Answer]:
    """Remember what the user is told of: it is not taken for a submission whose answer was lost."""
    if search.group is not None:
        known = rescale.group(id_of(search.task, "taskId"), search.group).told
        known.update(str(answer.get("parentJobId")) for answer in answers)
    return answers


def _jobs(rescale: HtcSession, task: HtcTask, group: str) -> dict[str, list[Answer]]:
    """The jobs of a group by their parents."""
    found: dict[str, list[Answer]] = {}
    call = api.LIST_JOBS.call(
        {"projectId": id_of(task, "projectId"), "taskId": id_of(task, "taskId")},
        query={"pageSize": PAGE_SIZE, "group": group},
    )
    for page in rescale.pages(call):
        for job in page:
            found.setdefault(job["jobUUID"].rpartition(":")[0], []).append(job)
    return found


def _parents(rescale: HtcSession, task: HtcTask, group: str | None) -> frozenset[str]:
    return frozenset() if group is None else frozenset(_jobs(rescale, task, group))


def _settled(rescale: HtcSession, lost: Sequence[SubmissionUncertainError]) -> list[Answer] | None:
    """Look until all jobs are there, or nothing has changed for a while.

    Returns:
        What the service would have answered; None if not all of the jobs are there. The
        exceptions are told what was seen.
    """
    before: list[int] = []
    changed_at = time.monotonic()
    while lost[0].search.group is not None:
        try:
            answers = look(rescale, lost)
        except HtcException as error:
            for one in lost:
                one.tell(None, f"its group could not be asked: {error}")
            return None
        if answers is not None:
            return answers
        seen = [len(one.job_ids) for one in lost]
        now = time.monotonic()
        if seen != before:
            before, changed_at = seen, now
        elif now - changed_at >= rescale.settle_seconds:
            return None
        time.sleep(rescale.settle_seconds / LOOKS_A_SETTLING)
    for one in lost:
        one.tell(None, "without a group its jobs can't be told from others")
    return None


def look(rescale: HtcSession, lost: Sequence[SubmissionUncertainError]) -> list[Answer] | None:
    """Look once. All of the searches are for the same group and at the same time."""
    search = lost[0].search
    assert search.group is not None
    known = search.older | rescale.group(id_of(search.task, "taskId"), search.group).told
    new = {
        parent: jobs
        for parent, jobs in _jobs(rescale, search.task, search.group).items()
        if parent not in known
    }
    expected = [one for failure in lost for one in failure.search.expected]
    found: dict[int, str] = {}  # by the request's position
    for parent, jobs in sorted(new.items(), key=lambda item: -len(item[1])):
        alike = [i for i, one in enumerate(expected) if one.is_like(jobs)]
        free = [i for i in alike if i not in found]
        if alike and not free:  # more than was sent: somebody else submits to the group
            for one in lost:
                one.tell(None, "its group has more new jobs like them than were submitted")
            return None
        if free:
            found[min(free, key=lambda i: expected[i].size)] = parent
    position = 0
    for failure in lost:
        own = range(position, position + len(failure.search.expected))
        jobs = [job for i in own if i in found for job in new[found[i]]]
        failure.tell([job["jobUUID"] for job in jobs])
        position = own.stop
    if any(i not in found or len(new[found[i]]) < one.size for i, one in enumerate(expected)):
        return None
    answers = [_answer(search, one, found[i]) for i, one in enumerate(expected)]
    return _told(rescale, search, answers)


def _answer(search: Search, expected: _Expected, parent: str) -> Answer:
    """What the service would have answered."""
    return {
        **(expected.request or {}),
        "batchSize": expected.size,
        "projectId": id_of(search.task, "projectId"),
        "taskId": id_of(search.task, "taskId"),
        "group": search.group,
        "parentJobId": parent,
    }


def without_secrets(batch: HtcJobBatch) -> HtcJobBatch:
    """A batch that does not say what its jobs were given secretly."""
    json = dict(batch.json)
    if isinstance(definition := json.get("htcJobDefinition"), dict):
        secret = ("envs", "claims")
        json["htcJobDefinition"] = {k: v for k, v in definition.items() if k not in secret}  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return HtcJobBatch(json, batch.task)


def _note(error: BaseException, text: str) -> None:
    error.add_note(f"rescalehtc: {text}")
