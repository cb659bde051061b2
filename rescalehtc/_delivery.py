"""Sending submissions so that afterwards it is known which jobs exist.

A submission may start a thousand jobs, and the service has no means to recognise one that is
sent twice. So it is sent once; if its answer is lost, the group that it was submitted with
tells what became of it, or an exception says that it is not known.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, cast

from . import api
from ._hidden import HiddenList
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
    from typing import Literal

    from ._operation import Call
    from .htcsession import HtcSession
    from .htctasks import HtcTask
    from .models import HTCJobSubmitRequest

    Answer = dict[str, Any]

PARALLEL_CALLS = 10
IMAGE_POLL_SECONDS = 10.0
LOOKS_A_SETTLING = 6
# How long an interrupt waits for the answers that are still to come.
INTERRUPT_SECONDS = 1.0
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
    with _turn(rescale, task, group) as told:
        search = _search(task, group, _parents(rescale, task, group), requests)
        try:
            answers = _sent_or_found(rescale, search, requests)
        except HtcException:
            raise
        except BaseException as error:  # an interrupt
            _note(error, f"a submission of {search.size} jobs {search.place} may have been taken")
            raise
        told |= _parents_of(answers)
    return HtcJobBatch(answers, task)


def _sent_or_found(
    rescale: HtcSession, search: Search, requests: Sequence[HTCJobSubmitRequest]
) -> list[Answer]:
    try:
        return _send(rescale, search.task, requests, search.group)
    except HtcException as error:
        if not error.outcome_unknown:
            raise
        failure = _uncertain(search, error)
    (answers,) = _settled(rescale, [failure])
    if answers is None:
        raise failure
    return answers


def deliver_all(
    rescale: HtcSession,
    task: HtcTask,
    requests: Sequence[HTCJobSubmitRequest],
    positions: Sequence[int],
    group: str | None,
) -> HtcJobBatch:
    """Submit any number of requests that were checked, in calls that are sent in parallel.

    Args:
        rescale: The session.
        task: The task.
        requests: The submit requests, none of them with more than 1000 jobs.
        positions: For each of them, the index of the caller's request that it belongs to.
        group: The group.

    Raises:
        The same as `deliver`; SubmissionIncompleteError if it ends when something was
        submitted already. An interrupt has that exception as its cause.
    """
    _wait_for_images(rescale, task, requests)
    parts = [
        requests[start : start + MAX_REQUESTS] for start in range(0, len(requests), MAX_REQUESTS)
    ]
    with _turn(rescale, task, group) as told:
        older = _parents(rescale, task, group)
        submission = _Parts(rescale, task, group, older, parts, positions)
        try:
            return submission.submitted()
        finally:
            told |= submission.told


class _Parts:
    """A submission in several calls."""

    def __init__(
        self,
        rescale: HtcSession,
        task: HtcTask,
        group: str | None,
        older: frozenset[str],
        parts: list[Sequence[HTCJobSubmitRequest]],
        positions: Sequence[int],
    ) -> None:
        self._rescale = rescale
        self._task = task
        self._group = group
        self._older = older
        self._parts = parts
        self._positions = positions
        self._lock = threading.Lock()
        self._stopped = False
        self._begun: list[int] = []
        self._outcomes: list[list[Answer] | HtcException | None] = [None] * len(parts)
        self._defects: list[Exception] = []

    def submitted(self) -> HtcJobBatch:
        """Send the parts; if some were lost and all of those found, also what was held back."""
        failures: list[HtcException] = []
        try:
            while None in self._outcomes and not failures:
                self._send_the_rest()
                self._ask_the_group()
                failures = [one for one in self._outcomes if isinstance(one, HtcException)]
        except BaseException as error:  # an interrupt
            self._tell_interrupt(error)
            raise
        if not failures:
            answers = [one for part in self._outcomes if isinstance(part, list) for one in part]
            return HtcJobBatch(answers, self._task)
        if not self._may_exist():
            raise failures[0]
        raise self._incomplete(failures[0])

    def _may_exist(self) -> bool:
        """Whether the service has taken anything, as far as is known."""
        return any(isinstance(one, list | SubmissionUncertainError) for one in self._outcomes)

    def _incomplete(self, cause: HtcException) -> SubmissionIncompleteError:
        """What became of each part."""
        batches: list[HtcJobBatch] = []
        uncertain: list[SubmissionUncertainError] = []
        unsent: list[HTCJobSubmitRequest] = []
        positions: tuple[list[int], list[list[int]], list[int]] = ([], [], [])
        start = 0
        for part, outcome in zip(self._parts, self._outcomes, strict=True):
            own = list(self._positions[start : start + len(part)])
            start += len(part)
            if isinstance(outcome, list):
                batches += [HtcJobBatch(answer, self._task) for answer in outcome]
                positions[0].extend(own)
            elif isinstance(outcome, SubmissionUncertainError):
                uncertain.append(outcome)
                positions[1].append(own)
            else:
                unsent += part
                positions[2].extend(own)
        outcome = None  # a traceback that shows variables must not show its secrets
        return SubmissionIncompleteError(batches, uncertain, unsent, cause, positions)

    def _send_the_rest(self) -> None:
        """Send what was not sent, until one fails."""
        self._stopped = False
        rest = deque(index for index, outcome in enumerate(self._outcomes) if outcome is None)
        ended = SimpleQueue[None]()
        running = min(PARALLEL_CALLS, len(rest))
        try:
            for _ in range(running):
                # Unlike those of an executor, daemon threads do not hold up the end of a program
                # that is interrupted.
                threading.Thread(target=self._work, args=(rest, ended), daemon=True).start()
            while running:
                ended.get()
                running -= 1
        except BaseException:
            with self._lock:
                self._stopped = True  # what has not begun does not begin
            _wait_briefly(ended, running)
            raise
        if self._defects:
            raise self._defects[0]

    def _work(self, rest: deque[int], ended: SimpleQueue[None]) -> None:
        """Submit one part after the other."""
        while True:
            with self._lock:
                if self._stopped or not rest:
                    ended.put(None)
                    return
                index = rest.popleft()
                self._begun.append(index)
            try:
                self._outcomes[index] = _send(
                    self._rescale, self._task, self._parts[index], self._group
                )
            except HtcException as error:
                self._stopped = True
                unknown = error.outcome_unknown
                self._outcomes[index] = self._lost_part(index, error) if unknown else error
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                self._stopped = True
                self._defects.append(error)

    def _lost_part(self, index: int, error: HtcException) -> SubmissionUncertainError:
        return _uncertain(_search(self._task, self._group, self._older, self._parts[index]), error)

    @property
    def told(self) -> set[str]:
        """The parents of the jobs that are known to be of this submission."""
        return {
            parent
            for part in self._outcomes
            if isinstance(part, list)
            for parent in _parents_of(part)
        }

    def _ask_the_group(self) -> None:
        """Look for the parts whose answers were lost, now that nothing more is under way."""
        lost = self._lost()
        if lost:
            found = _settled(self._rescale, list(lost.values()))
            for index, answers in zip(lost, found, strict=True):
                self._outcomes[index] = answers or lost[index]
            self._lost()

    def _lost(self) -> dict[int, SubmissionUncertainError]:
        """The parts whose answers were lost, ready to be looked for.

        They are looked for together: what is found must not be taken for two of them.
        """
        lost = {
            index: outcome
            for index, outcome in enumerate(self._outcomes)
            if isinstance(outcome, SubmissionUncertainError)
        }
        older = self._older | self.told
        expected = tuple(one for index in lost for one in _expected(self._parts[index]))
        start = 0
        for failure in lost.values():
            own = range(start, start + len(failure.search.own))
            failure.search = Search(self._task, self._group, older, expected, own)
            start = own.stop
        return lost

    def _tell_interrupt(self, error: BaseException) -> None:
        """Say in notes what exists, and in the cause what became of each part."""
        cause = HtcConnectionError("submitJobs: interrupted before the answer came")
        for index in self._begun:
            if self._outcomes[index] is None:
                self._outcomes[index] = self._lost_part(index, cause)
        if not self._may_exist():
            return
        if self.told:
            ids = ", ".join(sorted(self.told))
            _note(error, f"these batches were submitted: {ids}")
        if any(isinstance(one, SubmissionUncertainError) for one in self._outcomes):
            _note(error, "more batches may have been taken")
        error.__cause__ = self._incomplete(cause)


def _wait_briefly(ended: SimpleQueue[None], running: int) -> None:
    """Let requests that are under way end, so that less remains uncertain."""
    deadline = time.monotonic() + INTERRUPT_SECONDS
    with contextlib.suppress(KeyboardInterrupt, Empty):  # a second interrupt: do not wait
        for _ in range(running):
            ended.get(timeout=max(0.0, deadline - time.monotonic()))


def _send(
    rescale: HtcSession, task: HtcTask, requests: Sequence[HTCJobSubmitRequest], group: str | None
) -> list[Answer]:
    answer: list[object] = rescale.send(_call(task, requests, group))
    sizes = [request.to_json_dict().get("batchSize") or 1 for request in requests]
    batches = [_named(one, size) for one, size in zip(answer, sizes, strict=False)]
    named = [batch for batch in batches if batch is not None]
    if len(named) == len(answer) == len(requests):
        return named
    del answer, batches, named  # a traceback that shows variables must not show their secrets
    failure = HtcResponseError(
        f"submitJobs: {len(requests)} submit requests were sent, but the answer does not say what "
        "became of each"
    )
    failure.outcome_unknown = True
    raise failure


def _named(answer: object, size: int) -> Answer | None:
    """What was answered of a submit request; None if it does not name the jobs."""
    match answer:
        case {"parentJobId": str(parent), "projectId": str(), "taskId": str()} if parent:
            batch = cast("Answer", answer)
            told = batch.get("batchSize")
            return {**batch, "batchSize": size} if told in (None, size) else None
        case _:
            return None


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
        return (
            numbers <= set(map(str, range(self.size)))
            and all(
                job[name] == value
                for job in jobs
                for name, value in self.traits.items()
                if job.get(name) is not None
            )
            and all(map(self._has_envs, jobs))
        )

    def _has_envs(self, job: Answer) -> bool:
        """Whether the job has the variables of the request, where both are known.

        Often they are all that tells the requests of a submission apart.
        """
        sent: list[object] = (self.request or {}).get("htcJobDefinition", {}).get("envs") or []
        shown: object = job.get("envs")
        return not isinstance(shown, list) or all(one in shown for one in sent)


@dataclass(frozen=True)
class Search:
    """What is needed to find the jobs of a submission in its group.

    Attributes:
        task: The task.
        group: The group; without one nothing can be found.
        older: The parents of jobs that the group had before, and of those told since.
        expected: The submit requests of all submissions that were lost at the same time.
        own: The positions of this submission's among them.
    """

    task: HtcTask
    group: str | None
    older: frozenset[str]
    expected: tuple[_Expected, ...]
    own: range

    @property
    def size(self) -> int:
        """The number of jobs."""
        return sum(self.expected[i].size for i in self.own)

    @property
    def place(self) -> str:
        """Where the jobs are, if there are any."""
        task = f"task {id_of(self.task, 'taskId')} of project {id_of(self.task, 'projectId')}"
        return f"to {task}" if self.group is None else f"to group {self.group!r} of {task}"


def _search(
    task: HtcTask, group: str | None, older: frozenset[str], requests: Sequence[HTCJobSubmitRequest]
) -> Search:
    """What finds a submission that is lost alone."""
    expected = _expected(requests)
    return Search(task, group, older, expected, range(len(expected)))


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
) -> contextlib.AbstractContextManager[set[str]]:
    """One submission at a time to a group, so that its new jobs are those of the submission.

    In it one has the parents of the jobs that this session's submissions to the group made.
    """
    if group is None:
        return contextlib.nullcontext(set[str]())
    return rescale.group_turn(id_of(task, "taskId"), group)


def _jobs(rescale: HtcSession, task: HtcTask, group: str) -> dict[str, list[Answer]]:
    """The jobs of a group by their parents."""
    found: dict[str, list[Answer]] = {}
    seen: set[str] = set()
    call = api.LIST_JOBS.call(
        {"projectId": id_of(task, "projectId"), "taskId": id_of(task, "taskId")},
        query={"pageSize": PAGE_SIZE, "group": group},
    )
    for page in rescale.pages(call):
        for job in page:  # a listing that grows meanwhile may have a job twice
            if job["jobUUID"] not in seen:
                seen.add(job["jobUUID"])
                found.setdefault(job["jobUUID"].rpartition(":")[0], HiddenList()).append(job)
        job = None  # a traceback that shows variables must not show secrets
    return found


def _parents(rescale: HtcSession, task: HtcTask, group: str | None) -> frozenset[str]:
    return frozenset() if group is None else frozenset(_jobs(rescale, task, group))


def _parents_of(answers: Sequence[Answer]) -> set[str]:
    return {answer["parentJobId"] for answer in answers}


def _settled(
    rescale: HtcSession, lost: Sequence[SubmissionUncertainError]
) -> list[list[Answer] | None]:
    """Look until all jobs are there, or nothing has changed for a while.

    Returns:
        For each submission what the service would have answered; None if not all of its jobs
        are there. The exceptions are told what was seen.
    """
    nothing: list[list[Answer] | None] = [None] * len(lost)
    if lost[0].search.group is None:
        for one in lost:
            one.tell(None, "without a group its jobs can't be told from others")
        return nothing
    before: list[int] = []
    changed_at = time.monotonic()
    while True:
        try:
            answers = _look(rescale, lost)
        except HtcException as error:
            for one in lost:
                one.tell(None, f"its group could not be asked: {error}")
            return nothing
        if None not in answers:
            return answers
        seen = [len(one.job_ids) for one in lost]
        now = time.monotonic()
        if seen != before:
            before, changed_at = seen, now
        elif now - changed_at >= rescale.settle_seconds:
            return answers
        time.sleep(rescale.settle_seconds / LOOKS_A_SETTLING)


def look_again(rescale: HtcSession, failure: SubmissionUncertainError) -> HtcJobBatch | None:
    """Look for the jobs of a submission once more; None if not all of them are there."""
    search = failure.search
    if search.group is None:
        return None
    with _turn(rescale, search.task, search.group) as told:
        failure.search = replace(search, older=search.older | told)
        (answers,) = _look(rescale, [failure])
    return None if answers is None else HtcJobBatch(answers, search.task)


def _look(
    rescale: HtcSession, lost: Sequence[SubmissionUncertainError]
) -> list[list[Answer] | None]:
    """Look once. All of the searches are for the same group and at the same time."""
    search = lost[0].search
    assert search.group is not None
    new = {
        parent: jobs
        for parent, jobs in _jobs(rescale, search.task, search.group).items()
        if parent not in search.older
    }
    found: dict[int, str] = {}  # by the request's position
    for parent, jobs in sorted(new.items(), key=lambda item: -len(item[1])):
        alike = [i for i, one in enumerate(search.expected) if one.is_like(jobs)]
        free = [i for i in alike if i not in found]
        if alike and not free:  # more than was sent: somebody else submits to the group
            for failure in lost:
                failure.tell(None, "its group has more new jobs like them than were submitted")
            return [None] * len(lost)
        if free:
            found[min(free, key=lambda i: search.expected[i].size)] = parent
    for failure in lost:
        jobs = [job for i in failure.search.own if i in found for job in new[found[i]]]
        failure.tell([job["jobUUID"] for job in jobs])
    return [
        [_answer(search, search.expected[i], found[i]) for i in failure.search.own]
        if failure.seen == failure.sent
        else None
        for failure in lost
    ]


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


def _note(error: BaseException, text: str) -> None:
    error.add_note(f"rescalehtc: {text}")


def without_secrets(batch: HtcJobBatch) -> HtcJobBatch:
    """A batch that does not say what its jobs were given secretly."""
    json = dict(batch.json)
    if isinstance(definition := json.get("htcJobDefinition"), dict):
        secret = ("envs", "claims")
        json["htcJobDefinition"] = {k: v for k, v in definition.items() if k not in secret}  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return HtcJobBatch(json, batch.task)
