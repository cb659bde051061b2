"""Submissions that are interrupted at random moments, once or several times."""

from __future__ import annotations

import random
import signal
import sys
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from rescalehtc import htcjobs
from rescalehtc._jobs import submission
from rescalehtc.exceptions import (
    HtcException,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)
from rescalehtc.htcprojects import HtcProject
from rescalehtc.htctasks import HtcTask

from ..faults.books import REQUEST, SUBMIT, Books
from ..faults.conftest import IMAGE, session
from ..faults.wire import Wire, answer, computed, hang_up, reset
from ..leftovers import leftovers_closed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from ..faults.wire import ReceivedRequest, Step

INTERRUPT = "from a signal handler"
TAG = "rescalehtc-submission"
KINDS = (KeyboardInterrupt, TimeoutError, RuntimeError, OSError, ConnectionResetError)
LONGEST_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.0005
MOST_INTERRUPTS = 2


class Interrupts:
    """Raises exceptions from a signal handler while a call into the package runs.

    Attributes:
        raised: The exceptions that it raised, since `after`.
    """

    def __init__(self, chance: random.Random) -> None:
        self.raised: list[BaseException] = []
        self._chance = chance
        self._left = 0

    @contextmanager
    def after(self, seconds: float, count: int) -> Iterator[None]:
        """Interrupt the block after some seconds, and again shortly afterwards."""
        self.raised, self._left = [], count
        before = signal.signal(signal.SIGALRM, self._strike)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _strike(self, _: int, frame: FrameType | None) -> None:
        is_repr = False  # of a finalized socket, where exceptions are dropped
        inner = frame
        while inner is not None and not inner.f_globals["__name__"].startswith("rescalehtc"):
            is_repr = is_repr or inner.f_code.co_name == "__repr__"
            inner = inner.f_back
        if inner is None or is_repr or self._left == 0:
            return  # between calls, the exception would end the test
        self._left -= 1
        error = self._chance.choice(KINDS)(INTERRUPT)
        self.raised.append(error)
        signal.setitimer(signal.ITIMER_REAL, self._chance.uniform(1e-6, LONGEST_PAUSE_SECONDS))
        raise error


def interrupt_submissions(count: int, seed: int) -> Counter[str]:
    """Interrupt submissions, and compare the results of the caller with the service's jobs.

    Returns:
        The counts.
    """
    chance = random.Random(seed)
    figures = Counter[str]()
    errors = ""
    returned: dict[str, int] = {}
    ignored: list[Any] = []
    project = HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
    task = HtcTask({"projectId": "p", "taskId": "t"}, project)
    with (
        Wire() as wire,
        session(wire.url) as rescale,
        mock.patch.object(submission, "MAX_REQUESTS", 2),
        mock.patch.object(submission, "PARALLEL_CALLS", 3),
        # Exceptions that a handler raises in a finalizer can't be raised,
        mock.patch.object(sys, "unraisablehook", ignored.append),
        # nor those that it raises while a warning about an open socket is issued.
        warnings.catch_warnings(action="ignore"),
        leftovers_closed(),
    ):
        books = Books(wire)
        wire.on(IMAGE, answer({"status": "READY"}))
        wire.on(SUBMIT, computed(lambda request: _chosen(books, chance, request)))
        htcjobs.submit(rescale, task, [_request("first")], group="first")
        interrupts = Interrupts(chance)
        for number in range(count):
            requests = [_request(f"{number}-{i}") for i in range(chance.choice([1, 1, 2, 7]))]
            group = chance.choice([None, "g"])
            times = chance.randint(1, MOST_INTERRUPTS)
            ignored.clear()
            try:
                with interrupts.after(chance.uniform(1e-4, LONGEST_SECONDS), times):
                    if len(requests) == 1 and chance.random() < 0.5:
                        batch = htcjobs.create_job_batch_raw(rescale, task, requests, group=group)
                    else:
                        batch = htcjobs.submit(rescale, task, requests, group=group)
            except BaseException as error:  # noqa: BLE001 - that is what is tested
                figures["raised"] += 1
                errors += _told(error)
                left = [item for item in interrupts.raised if not _is_dropped(item, error, ignored)]
                if left:
                    assert error is left[-1], f"{left} became {error!r}"
                else:
                    assert isinstance(error, HtcException), error
            else:
                left = [item for item in interrupts.raised if not _is_dropped(item, None, ignored)]
                assert not left, f"{left} had no effect"
                for i, part in enumerate(batch.batches):
                    returned[part.json["parentJobId"]] = i
                    case = part.json["htcJobDefinition"]["tags"]["case"]
                    assert case == f"{number}-{i}", f"{case} was returned for {number}-{i}"
            figures[f"{len(interrupts.raised)} interrupts"] += 1
        # Requests in progress arrive, and the session works.
        time.sleep(0.2)
        wire.on(SUBMIT, books.taken())
        assert len(htcjobs.submit(rescale, task, [_request("last")] * 7, group="last").batches) == 7
        cases = Counter[str]()
        for job in books.jobs:
            tags = {tag["key"]: tag["value"] for tag in job["tags"]}
            parent = job["jobUUID"].rpartition(":")[0]
            if job["group"] in ("first", "last"):
                continue
            cases[tags["case"]] += 1
            is_told = parent in returned or f" {parent}," in errors or f" {tags[TAG]}," in errors
            assert is_told, f"nobody learned of {job}"
        assert set(cases.values()) <= {1}, "a request was carried out twice"
        figures["jobs"] = len(books.jobs)
        ignored.clear()
        left, interrupts.raised = [], []
    return figures


def _is_dropped(error: BaseException, caught: BaseException | None, ignored: list[Any]) -> bool:
    """Whether the interpreter dropped an exception that was raised while it finalized an object.

    If it drops the exception silently, no frame has seen it.
    """
    is_ignored = any(item.exc_value is error for item in ignored)
    return is_ignored or (error is not caught and error.__traceback__ is None)


def _request(case: str) -> dict[str, Any]:
    definition = {**REQUEST["htcJobDefinition"], "tags": {"case": case}}
    return {"batchSize": 1, "htcJobDefinition": definition}


def _chosen(books: Books, chance: random.Random, request: ReceivedRequest) -> Step:
    time.sleep(chance.choice([0.0, 0.001, 0.004]))
    lost = [books.taken(reset), books.taken(hang_up), books.taken(answer(status=503)), reset]
    return chance.choice([books.taken()] * 6 + [answer(status=429)] + lost)


def _told(error: BaseException) -> str:
    """The ids and marks in an exception's text, each between a space and a comma."""
    match error:
        case SubmissionUncertainError():
            names = [str(request.mark) for request in error.requests]
        case SubmissionIncompleteError():
            names = [str(batch["parentJobId"]) for batch in error.submitted]
            return "".join(f" {name}," for name in names) + "".join(map(_told, error.uncertain))
        case _:
            lines = [line for note in getattr(error, "__notes__", []) for line in note.splitlines()]
            named = [
                line for line in lines if "submitted: " in line and "not submitted" not in line
            ]
            names = " ".join(named).replace(",", " ").split()
    return "".join(f" {name}," for name in names)
