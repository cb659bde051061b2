"""Cancellation is immediate, leaks nothing, and reports the jobs that may exist."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from rescalehtc.aio import api, htcjobs
from rescalehtc.exceptions import SubmissionIncompleteError

from ..faults.books import BATCH, SUBMIT, Books
from ..faults.wire import Wire, answer, computed, held
from .conftest import async_session, open_descriptors, until_on_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc.aio import AsyncHtcSession
    from rescalehtc.htctasks import HtcTask

    from ..faults.wire import ReceivedRequest, Step
    from .conftest import Run

CANCELLED_TASKS = 300


class Submitter:
    """Submits a batch that the service accepts without a response."""

    def __init__(self, wire: Wire, task: HtcTask) -> None:
        self.books = Books(wire)
        self.gate = threading.Event()
        self.seen: list[BaseException] = []
        self._wire = wire
        self._task = task
        wire.on(SUBMIT, held(self.gate, self.books.taken()))

    async def submit(self, rescale: AsyncHtcSession) -> None:
        try:
            await htcjobs.create_job_batch(rescale, self._task, **BATCH)
        except BaseException as error:
            self.seen.append(error)
            raise

    async def until_sent(self) -> None:
        await until_on_loop(lambda: bool(self._wire.requests_to(SUBMIT)))

    async def check(self, rescale: AsyncHtcSession, caplog: pytest.LogCaptureFixture) -> None:
        """The exception and the log describe the submission, and recheck finds it."""
        [error] = self.seen
        [sent] = self._wire.requests_to(SUBMIT)
        group = sent.query["group"][0]
        mark = sent.json[0]["htcJobDefinition"]["tags"]["rescalehtc-submission"]
        [note] = error.__notes__
        assert group in note
        assert (
            f"may have been submitted: 3 jobs, with the tag rescalehtc-submission of {mark}" in note
        )
        [logged] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert group in logged
        assert mark in logged
        assert "\n" not in logged
        cause = error.__cause__
        assert isinstance(cause, SubmissionIncompleteError)
        [uncertain] = cause.uncertain
        assert (uncertain.group, uncertain.requests[0].mark) == (group, mark)
        self.gate.set()
        await until_on_loop(lambda: len(self.books.jobs) == 3)
        batch = await htcjobs.recheck(rescale, uncertain)
        assert batch.json["parentJobId"] == "batch-1"
        assert self.books.submissions == 1


@pytest.fixture
def submitter(wire: Wire, wire_task: HtcTask) -> Submitter:
    return Submitter(wire, wire_task)


async def cancel_task(submitter: Submitter, rescale: AsyncHtcSession) -> None:
    task = asyncio.create_task(submitter.submit(rescale))
    await submitter.until_sent()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as info:
        await task
    assert info.value is submitter.seen[0]


async def cancel_with_timeout(submitter: Submitter, rescale: AsyncHtcSession) -> None:
    timeout = asyncio.timeout(None)

    async def expire() -> None:
        await submitter.until_sent()
        timeout.reschedule(0.0)

    expiring = asyncio.create_task(expire())
    with pytest.raises(TimeoutError) as info:
        async with timeout:
            await submitter.submit(rescale)
    await expiring
    assert info.value.__context__ is submitter.seen[0]


async def cancel_task_group(submitter: Submitter, rescale: AsyncHtcSession) -> None:
    async def fail() -> None:
        await submitter.until_sent()
        raise RuntimeError("a sibling fails")

    with pytest.raises(ExceptionGroup) as info:  # noqa: PT012 - it is raised at the end of the block
        async with asyncio.TaskGroup() as group:
            group.create_task(submitter.submit(rescale))
            group.create_task(fail())
    assert [str(error) for error in info.value.exceptions] == ["a sibling fails"]


async def cancel_gathered(submitter: Submitter, rescale: AsyncHtcSession) -> None:
    gathered = asyncio.gather(submitter.submit(rescale), asyncio.sleep(3600))
    await submitter.until_sent()
    gathered.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gathered


@pytest.mark.parametrize(
    "cancel", [cancel_task, cancel_with_timeout, cancel_task_group, cancel_gathered]
)
def test_a_submission_that_asyncio_cancels(
    wire: Wire, submitter: Submitter, cancel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with async_session(wire.url) as rescale:
            await cancel(submitter, rescale)
            await submitter.check(rescale, caplog)

    asyncio.run(main())


def test_a_submission_that_a_cancel_scope_cancels(
    wire: Wire, submitter: Submitter, on_loop: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with async_session(wire.url) as rescale:
            async with anyio.create_task_group() as group:
                group.start_soon(submitter.submit, rescale)
                await submitter.until_sent()
                group.cancel_scope.cancel()
            await submitter.check(rescale, caplog)

    on_loop(main)


def test_a_submission_in_many_calls(
    wire: Wire, wire_task: HtcTask, on_loop: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Some calls have a response, some are in progress, some were not sent."""
    books = Books(wire)
    gate = threading.Event()
    taken = books.taken()
    late = held(gate, taken)

    def choose(received: ReceivedRequest) -> Step:
        with lock:
            number = next(numbers)
        return taken if number < 2 else late

    lock, numbers = threading.Lock(), iter(range(100))
    wire.on(SUBMIT, computed(choose))
    request = {
        "batchSize": 1,
        "htcJobDefinition": {
            "imageName": "image",
            "commands": ["run"],
            "execTimeoutSeconds": 60,
            "priority": "ON_DEMAND_ECONOMY",
            "architecture": "AARCH64",
            "maxVCpus": 1,
            "maxMemory": 4000,
        },
    }
    seen: list[BaseException] = []

    async def submit(rescale: AsyncHtcSession) -> None:
        try:
            await htcjobs.submit(rescale, wire_task, [request] * 1500)
        except BaseException as error:
            seen.append(error)
            raise

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            async with anyio.create_task_group() as group:
                group.start_soon(submit, rescale)
                await until_on_loop(lambda: len(wire.requests_to(SUBMIT)) == 12)
                await until_on_loop(lambda: len(books.jobs) >= 200)
                group.cancel_scope.cancel()
            gate.set()
            await until_on_loop(lambda: len(books.jobs) == 1200)
            incomplete = seen[0].__cause__
            assert isinstance(incomplete, SubmissionIncompleteError)
            assert len(incomplete.submitted) == 200
            assert len(incomplete.uncertain) == 10
            assert len(incomplete.unsent) == 300
            for uncertain in incomplete.uncertain:
                assert len((await htcjobs.recheck(rescale, uncertain)).batches) == 100

    on_loop(main)
    assert len(caplog.records) == 1


def test_a_submission_cancelled_before_it_is_sent(
    wire: Wire, wire_task: HtcTask, on_loop: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing to report."""
    books = Books(wire)
    gate = threading.Event()
    image = "GET /htc/projects/p/container-registry/images/image"
    wire.on(image, held(gate, answer({"status": "READY"})))
    seen: list[BaseException] = []

    async def submit(rescale: AsyncHtcSession) -> None:
        try:
            await htcjobs.create_job_batch(rescale, wire_task, **BATCH)
        except BaseException as error:
            seen.append(error)
            raise

    async def main() -> None:
        async with (
            async_session(wire.url) as rescale,
            anyio.create_task_group() as group,
        ):
            group.start_soon(submit, rescale)
            await until_on_loop(lambda: bool(wire.requests_to(image)))
            group.cancel_scope.cancel()

    on_loop(main)
    gate.set()
    assert not hasattr(seen[0], "__notes__")
    assert seen[0].__cause__ is None
    assert not caplog.records
    assert not books.submissions


def test_a_storm_of_cancellations(
    wire: Wire,
    wire_task: HtcTask,
    on_loop: Run,
    until: Callable[[Callable[[], bool]], None],
) -> None:
    """No connection is leaked or blocked, and the session still works."""
    Books(wire)
    chance = random.Random(12)
    before = open_descriptors()
    pages = [{"projectId": "p", "padding": "x" * 100_000}]
    wire.on("GET /htc/projects", answer({"items": pages}))

    async def work(rescale: AsyncHtcSession, number: int) -> None:
        while True:
            match number % 4:
                case 0:
                    await api.get_htc_projects(rescale, "p")
                case 1:
                    await htcjobs.create_job_batch(rescale, wire_task, **BATCH)
                case 2:
                    await rescale.send(api.LIST_PROJECTS.call())
                case _:
                    await rescale.do_authenticate()

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            async with anyio.create_task_group() as group:
                for number in range(CANCELLED_TASKS):
                    group.start_soon(cancelled_at_random, rescale, number)
            async with anyio.create_task_group() as group:
                for _ in range(150):  # more than the number of connections
                    group.start_soon(api.get_htc_projects, rescale, "p")

    async def cancelled_at_random(rescale: AsyncHtcSession, number: int) -> None:
        rounds = chance.randrange(60)
        async with anyio.create_task_group() as group:
            group.start_soon(work, rescale, number)
            for _ in range(rounds):
                await anyio.sleep(0)
            group.cancel_scope.cancel()

    on_loop(main)
    until(lambda: open_descriptors() <= before)
