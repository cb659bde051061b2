"""What becomes of submissions: afterwards it is known which jobs exist."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, _delivery, htcjobs
from rescalehtc.exceptions import (
    HtcAuthenticationError,
    HtcBadRequestError,
    HtcConnectionError,
    HtcForbiddenError,
    HtcImagePendingError,
    HtcNotFoundError,
    HtcRateLimitError,
    HtcStatusError,
    HtcTimeoutError,
    HtcValidationError,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)

from ..limits import HANG_SECONDS, SHORT_SECONDS
from .books import BATCH, JOBS, REQUEST, SUBMIT, Books
from .canary import ENV, TOKEN_2, caught
from .conftest import IMAGE, session
from .matrix import row
from .wire import Step, Wire, answer, compressed, drip, hang_up, held, raw, reset, truncated

if TYPE_CHECKING:
    from rescalehtc.htcjobs import HtcJobBatch
    from rescalehtc.htctasks import HtcTask

    from .wire import Asked

HTML = answer(b"<html>Bad Gateway</html>")
LOST = {
    "reset": reset,
    "hung up": hang_up,
    "truncated": truncated([{"parentJobId": "batch-1"}]),
    "truncated gzip": compressed([{"parentJobId": "batch-1"}], cut=-4),
    "no HTTP": raw(b"\x00\x01\x02\r\n\r\n"),
    "HTML": HTML,
    "another JSON": answer({"jobs": 3}),
    "too few": answer([]),
    "null": answer(None),
    "no ids": answer([{}]),
    "redirect": answer(status=302, headers={"Location": "http://127.0.0.1:9/"}),
    **{str(status): answer(status=status) for status in (408, 500, 502, 503, 504, 599)},
}
every_loss = pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())


@pytest.fixture
def books(wire: Wire) -> Books:
    return Books(wire)


def create(rescale: HtcSession, task: HtcTask, group: str | None = None) -> HtcJobBatch:
    return htcjobs.create_job_batch(rescale, task, **BATCH, group=group)


def ids(batch: HtcJobBatch) -> list[str]:
    return [job.json["jobUUID"] for job in batch.to_jobs()]


def batch_ids(number: int, size: int = 3) -> list[str]:
    return [f"batch-{number}:{index}" for index in range(size)]


# ---- sent again, since it was certainly not taken


@row("connection refused", "submission", "sent again; then HtcConnectionError, nothing uncertain")
def test_refused(task: HtcTask, caplog: pytest.LogCaptureFixture) -> None:
    with Wire() as wire:
        ready = answer({"status": "READY"}, headers={"Connection": "close"})
        wire.on(IMAGE, lambda connection, asked: wire.stop_listening() or ready(connection, asked))
        rescale = session(wire.url, max_retries=2)
        with caught(HtcConnectionError) as info:
            create(rescale, task)
    assert not info.value.request_sent
    assert not info.value.outcome_unknown
    assert caplog.text.count("submitJobs: no answer") == 2


@row("429, with or without Retry-After", "submission", "sent again")
def test_too_many(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    busy = answer(status=429)
    wire.on(SUBMIT, busy, answer(status=429, headers={"Retry-After": "0"}), books.taken())
    assert ids(create(rescale, task)) == batch_ids(1)
    assert books.submissions == 3


@row("429 without end", "submission", "HtcRateLimitError; nothing was taken")
def test_too_many_for_ever(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, answer(status=429))
    with caught(HtcRateLimitError) as info:
        create(rescale, task)
    assert not info.value.outcome_unknown


@row("401: the token ended early", "submission", "one renewal, then sent again")
def test_refused_token(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    rescale.do_authenticate()
    wire.on("GET /auth/token", answer({"tokenValue": TOKEN_2, "expiresIn": 21600}))
    wire.on(SUBMIT, answer(status=401), books.taken())
    assert ids(create(rescale, task)) == batch_ids(1)
    first, second = wire.asked_for(SUBMIT)
    assert first.headers["authorization"] != second.headers["authorization"]


@row("401 after the renewal too", "submission", "HtcAuthenticationError; nothing was taken")
def test_refused_token_for_ever(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    wire.on(SUBMIT, answer(status=401))
    with caught(HtcAuthenticationError) as info:
        create(rescale, task)
    assert not info.value.outcome_unknown
    assert books.submissions == 2


@row("400, 403, 404", "submission", "its exception at once; nothing was taken")
@pytest.mark.parametrize("status", [400, 403, 404])
def test_refused_submission(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, status: int
) -> None:
    said = {"errorType": "VALIDATION", "errorDescription": "no"}
    wire.on(SUBMIT, answer(said, status=status))
    with caught(HtcStatusError) as info:
        create(rescale, task)
    assert not info.value.outcome_unknown
    assert books.submissions == 1


@row("the image is not there, or stays PENDING", "submission", "its exception; nothing was sent")
def test_no_image(wire: Wire, task: HtcTask, books: Books) -> None:
    with session(wire.url, image_wait_seconds=0.0) as rescale:
        wire.on(IMAGE, answer({"status": "PENDING"}))
        with caught(HtcImagePendingError):
            create(rescale, task)
        wire.on(IMAGE, answer(status=404))
        with caught(HtcNotFoundError):
            create(rescale, task)
    assert books.submissions == 0


# ---- a lost answer


@row(
    "lost or unreadable answer, 408, any 5xx; not taken",
    "submission without a group",
    "sent once; SubmissionUncertainError",
)
@every_loss
def test_lost_without_a_group(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, lost: Step
) -> None:
    wire.on(SUBMIT, lost)
    with caught(SubmissionUncertainError) as info:
        create(rescale, task)
    error = info.value
    assert (error.sent, error.seen, error.job_ids, error.group) == (3, None, [], None)
    assert (error.project_id, error.task_id, error.cause.outcome_unknown) == ("p", "t", True)
    assert "without a group" in str(error)
    assert books.submissions == 1
    with caught(SubmissionUncertainError):
        error.recheck(rescale)
    assert books.submissions == 1


@row(
    "lost or unreadable answer, 408, any 5xx; taken",
    "submission with a group",
    "sent once; the batch is found in the group and returned",
)
@every_loss
def test_lost_and_landed(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, lost: Step
) -> None:
    wire.on(SUBMIT, books.taken(lost))
    batch = create(rescale, task, group="g")
    assert ids(batch) == batch_ids(1)
    assert batch.json["batchSize"] == 3
    assert batch.json["group"] == "g"
    assert books.submissions == 1


@row(
    "lost or unreadable answer, 408, any 5xx; not taken",
    "submission with a group",
    "sent once; SubmissionUncertainError that saw 0 of 3 jobs",
)
@every_loss
def test_lost_and_not_landed(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, lost: Step
) -> None:
    wire.on(SUBMIT, lost)
    with caught(SubmissionUncertainError) as info:
        create(rescale, task, group="g")
    assert (info.value.seen, info.value.job_ids) == (0, [])
    assert "3 jobs to group 'g' of task t of project p" in str(info.value)
    assert books.submissions == 1


@row("the answer takes longer than timeout_seconds", "submission", "as a lost answer")
def test_late_answer(wire: Wire, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, books.taken(drip(b"HTTP/1.1 200 OK\r\n", b"X-Filler: y\r\n")))
    with session(wire.url, timeout_seconds=SHORT_SECONDS) as rescale:
        assert ids(create(rescale, task, group="g")) == batch_ids(1)
        with caught(SubmissionUncertainError) as info:
            create(rescale, task)
    assert info.value.phase == "no answer"
    assert isinstance(info.value.cause, HtcTimeoutError)
    assert books.submissions == 2


@row("what went wrong", "submission", "phase: no answer, unreadable answer or server error")
@pytest.mark.parametrize(
    ("lost", "phase"),
    [(reset, "no answer"), (HTML, "unreadable answer"), (answer(status=502), "server error")],
)
def test_the_phase(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, lost: Step, phase: str
) -> None:
    wire.on(SUBMIT, lost)
    with caught(SubmissionUncertainError, phase) as info:
        create(rescale, task, group="g")
    assert info.value.phase == phase


@row("landed in part", "submission with a group", "SubmissionUncertainError with the ids seen")
def test_landed_in_part(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, books.taken(reset, jobs_of_each=2))
    with caught(SubmissionUncertainError) as info:
        create(rescale, task, group="g")
    assert (info.value.seen, info.value.job_ids) == (2, batch_ids(1, 2))
    assert "2 of them were seen" in str(info.value)


@row("lands late, while it is looked for", "submission with a group", "the batch is returned")
def test_lands_while_looked_for(wire: Wire, task: HtcTask, books: Books) -> None:
    submitted: list[Asked] = []
    looks = 0

    def lose(connection: Any, asked: Asked) -> None:
        submitted.append(asked)
        reset(connection)

    def look(connection: Any, asked: Asked) -> object:
        nonlocal looks
        looks += bool(submitted)
        if looks == 3:
            books.take(submitted[0])
        return answer({"items": books.groups_jobs("g")})(connection, asked)

    wire.on(SUBMIT, lose)
    wire.on(JOBS, look)
    with session(wire.url, settle_seconds=5.0) as rescale:
        # A sixth of it lies between two looks.
        assert ids(create(rescale, task, group="g")) == batch_ids(1)
    assert looks == 3


@row("lands after it was given up", "submission with a group", "recheck returns the batch")
def test_recheck(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, reset)
    with caught(SubmissionUncertainError) as info:
        create(rescale, task, group="g")
    with caught(SubmissionUncertainError):
        info.value.recheck(rescale)
    books.take(wire.asked_for(SUBMIT)[0])
    assert ids(info.value.recheck(rescale)) == batch_ids(1)
    assert books.submissions == 1


@row("the exception was pickled", "submission with a group", "recheck works in another process")
def test_pickled_recheck(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, reset)
    with caught(SubmissionUncertainError) as info:
        create(rescale, task, group="g")
    books.take(wire.asked_for(SUBMIT)[0])
    again: SubmissionUncertainError = pickle.loads(pickle.dumps(info.value))
    assert str(again) == str(info.value)
    assert (again.phase, again.sent, again.group) == ("no answer", 3, "g")
    assert ids(again.recheck(rescale)) == batch_ids(1)


@row("an older batch like it is in the group", "submission with a group", "told apart")
@pytest.mark.parametrize("landed", [True, False])
def test_older_batch(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, landed: bool
) -> None:
    assert ids(create(rescale, task, group="g")) == batch_ids(1)
    wire.on(SUBMIT, books.taken(reset) if landed else reset)
    if landed:
        assert ids(create(rescale, task, group="g")) == batch_ids(2)
    else:
        with caught(SubmissionUncertainError) as info:
            create(rescale, task, group="g")
        assert info.value.seen == 0


@row("two new batches like it in the group", "submission with a group", "it can't be told")
def test_somebody_else_submits_the_same(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    def twice(connection: Any, asked: Asked) -> None:
        books.take(asked)
        books.take(asked)
        reset(connection)

    wire.on(SUBMIT, twice)
    with caught(SubmissionUncertainError, "more new jobs like them") as info:
        create(rescale, task, group="g")
    assert info.value.seen is None


@row("a new batch unlike it in the group", "submission with a group", "told apart")
def test_somebody_else_submits_something_else(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    def another(connection: Any, asked: Asked) -> None:
        books.add("other:0", "g", {"imageName": "another-image"})
        books.take(asked)
        reset(connection)

    wire.on(SUBMIT, another)
    assert ids(create(rescale, task, group="g")) == batch_ids(1)


@row("the group can't be looked up", "submission with a group", "SubmissionUncertainError")
def test_lookup_fails(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    listed = answer({"items": []})
    wire.on(SUBMIT, books.taken(reset))
    wire.on(JOBS, listed, answer(status=403))
    with caught(SubmissionUncertainError, "could not be asked") as info:
        create(rescale, task, group="g")
    assert info.value.seen is None
    wire.on(JOBS, answer({"items": books.groups_jobs("g")}))
    assert ids(info.value.recheck(rescale)) == batch_ids(1)


@row("the group can't be looked up beforehand", "submission with a group", "nothing is sent")
def test_no_look_beforehand(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(JOBS, answer(status=403))
    with caught(HtcForbiddenError):
        create(rescale, task, group="g")
    assert books.submissions == 0


@row("the lookup is cut short", "submission with a group", "asked again, never taken for whole")
def test_lookup_truncated(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    jobs = [{"jobUUID": one, "imageName": "image"} for one in batch_ids(1)]
    wire.on(SUBMIT, books.taken(reset))
    wire.on(JOBS, answer({"items": []}), truncated({"items": jobs}), answer({"items": jobs}))
    assert ids(create(rescale, task, group="g")) == batch_ids(1)


@row("many batches in one call, landed in part", "create_job_batch_raw", "told of each job")
def test_raw_landed_in_part(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    def first_only(connection: Any, asked: Asked) -> None:
        books.take(asked)
        books.jobs = [job for job in books.jobs if job["jobUUID"].startswith("batch-1:")]
        reset(connection)

    wire.on(SUBMIT, first_only)
    with caught(SubmissionUncertainError) as info:
        htcjobs.create_job_batch_raw(rescale, task, [REQUEST, REQUEST], group="g")
    assert (info.value.sent, info.value.job_ids) == (6, batch_ids(1))


@row("the job's record can't be fetched", "create_single_job", "the job is returned all the same")
def test_single_job_without_a_record(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    arguments = {name: value for name, value in BATCH.items() if name != "batch_size"}
    job = htcjobs.create_single_job(rescale, task, **arguments, group="g")
    assert job.json["jobUUID"] == "batch-1:0"
    wire.on(SUBMIT, books.taken(reset))
    job = htcjobs.create_single_job(rescale, task, **arguments, group="g")
    assert job.json["jobUUID"] == "batch-2:0"


@row("lost answer", "create_single_job", "as a batch of one job")
def test_single_job_lost(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    arguments = {name: value for name, value in BATCH.items() if name != "batch_size"}
    wire.on(SUBMIT, reset)
    with caught(SubmissionUncertainError, "a submission of 1 job") as info:
        htcjobs.create_single_job(rescale, task, **arguments)
    assert info.value.sent == 1


@row("wrong arguments", "submission", "HtcValidationError with all of them; nothing was sent")
def test_wrong_arguments(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    with caught(HtcValidationError) as info:
        htcjobs.create_job_batch(rescale, task, **{**BATCH, "batch_size": 0, "priority": "low"})
    assert [problem.where for problem in info.value.problems] == ["batch_size", "priority"]
    with caught(HtcValidationError):
        htcjobs.create_single_job(
            rescale, task, "low", "image", 60, envs=[{"name": "A=B", "value": ENV}]
        )
    wrong = {**REQUEST, "batchSize": "many"}
    with caught(HtcValidationError):
        htcjobs.create_job_batch_raw(rescale, task, [wrong])
    with caught(HtcValidationError):
        htcjobs.submit(rescale, task, [wrong])
    assert wire.asked == []


# ---- in parts


def requests(count: int) -> list[dict[str, Any]]:
    return [{**REQUEST, "batchSize": 1}] * count


@row("every answer is lost; all parts taken", "submit with a group", "the batch is returned")
def test_all_parts_found(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, books.taken(reset))
    batch = htcjobs.submit(rescale, task, requests(150), group="g")
    assert sorted(ids(batch)) == sorted(job["jobUUID"] for job in books.jobs)
    assert len(ids(batch)) == 150
    assert books.submissions == 2


@row("one part's answer is lost, the part taken", "submit with a group", "the rest is sent too")
@pytest.mark.parametrize("parallel", [1, 10])
def test_one_part_lost(
    wire: Wire,
    rescale: HtcSession,
    task: HtcTask,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    parallel: int,
) -> None:
    monkeypatch.setattr(_delivery, "PARALLEL_CALLS", parallel)
    wire.on(SUBMIT, books.taken(answer(status=502)), books.taken())
    told = ids(htcjobs.submit(rescale, task, requests(350), group="g"))
    assert sorted(told) == sorted(job["jobUUID"] for job in books.jobs)
    assert len(told) == 350
    assert books.submissions == 4


@row(
    "one part is lost",
    "submit without a group",
    "SubmissionIncompleteError: each request is in a batch, uncertain or unsent",
)
def test_one_part_lost_without_a_group(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    wire.on(SUBMIT, books.taken(), books.taken(reset), books.taken())
    with caught(SubmissionIncompleteError) as info:
        htcjobs.submit(rescale, task, requests(1200))
    error = info.value
    uncertain = sum(one.sent for one in error.uncertain)
    assert uncertain == 100
    assert len(error.batches) + uncertain + len(error.unsent) == 1200
    told = {job for batch in error.batches for job in ids(batch)}
    assert told <= {job["jobUUID"] for job in books.jobs}
    assert len(books.jobs) == len(told) + uncertain
    assert books.submissions == len(told) // 100 + 1


@row("one part is refused", "submit", "SubmissionIncompleteError; the rest can be submitted again")
def test_one_part_refused(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, books.taken(), answer(status=400), books.taken())
    with caught(SubmissionIncompleteError) as info:
        htcjobs.submit(rescale, task, requests(1200), group="g")
    error = info.value
    assert error.uncertain == []
    assert len(error.batches) + len(error.unsent) == 1200
    assert error.status_code == 400
    again = htcjobs.submit(rescale, task, error.unsent, group="g")
    told = [job for batch in error.batches for job in ids(batch)] + ids(again)
    assert sorted(told) == sorted(job["jobUUID"] for job in books.jobs)
    assert len(told) == len(set(told)) == 1200


@row("the first part is refused", "submit", "its exception; nothing was taken")
def test_all_parts_refused(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, answer(status=400))
    with caught(HtcBadRequestError):
        htcjobs.submit(rescale, task, requests(150))
    assert books.jobs == []


# ---- interrupts


@row("Ctrl-C while the answer is waited for", "submission", "a note says so; the session goes on")
def test_interrupted(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    gate = threading.Event()
    wire.on(SUBMIT, interrupting(held(gate, books.taken())), books.taken())
    with caught(KeyboardInterrupt) as info:
        create(rescale, task, group="g")
    gate.set()
    assert "a submission of 3 jobs to group 'g'" in info.value.__notes__[0]
    assert "may have been taken" in info.value.__notes__[0]
    assert len(ids(create(rescale, task, group="h"))) == 3


@row(
    "Ctrl-C while the group is looked up", "submission with a group", "a note; the session goes on"
)
def test_interrupted_lookup(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    gate = threading.Event()
    listed = answer({"items": []})
    wire.on(SUBMIT, reset, books.taken())
    wire.on(JOBS, listed, interrupting(held(gate, listed)), listed)
    with caught(KeyboardInterrupt) as info:
        create(rescale, task, group="g")
    gate.set()
    assert "may have been taken" in "".join(info.value.__notes__)
    assert len(ids(create(rescale, task, group="h"))) == 3


@row("Ctrl-C", "submit in parts", "a note names what was submitted; the session goes on")
def test_interrupted_parts(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    done = threading.Event()

    def first(connection: Any, asked: Asked) -> object:
        sent = books.taken()(connection, asked)
        done.set()
        return sent

    def second(connection: Any, asked: Asked) -> object:
        done.wait(HANG_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)
        return books.taken()(connection, asked)

    wire.on(SUBMIT, first, second, books.taken())
    with caught(KeyboardInterrupt) as info:
        htcjobs.submit(rescale, task, requests(200), group="g")
    assert "batch-1" in "".join(info.value.__notes__)
    assert len(ids(create(rescale, task, group="h"))) == 3


def interrupting(step: Step) -> Step:
    """Press Ctrl-C in this process, whose main thread waits for the answer."""

    def interrupt(connection: Any, asked: Asked) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return step(connection, asked)

    return interrupt
