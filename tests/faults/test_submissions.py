"""After a submission, the caller knows which jobs exist."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs
from rescalehtc._jobs import submission
from rescalehtc._jobs.marks import MARK_TAG
from rescalehtc.exceptions import (
    HtcAuthenticationError,
    HtcBadRequestError,
    HtcConnectionError,
    HtcImagePendingError,
    HtcNotFoundError,
    HtcRateLimitError,
    HtcStatusError,
    HtcTimeoutError,
    HtcValidationError,
    SubmissionIncompleteError,
    SubmissionUncertainError,
)

from ..limits import SHORT_SECONDS
from .books import BATCH, JOBS, REQUEST, SUBMIT, Books
from .canary import ENV, TOKEN_2, caught
from .conftest import IMAGE, session
from .matrix import row
from .wire import (
    Step,
    Wire,
    answer,
    compressed,
    drip,
    hang_up,
    held,
    interrupt_main_thread,
    raw,
    reset,
    truncated,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc.htcjobs import HtcJobBatch
    from rescalehtc.htctasks import HtcTask

    from .wire import ReceivedRequest

    Until = Callable[[Callable[[], bool]], None]

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


# ---- retried, because it was certainly not accepted


@row(
    "connection refused", "submission", "retried; then HtcConnectionError, and nothing is uncertain"
)
def test_rejected(task: HtcTask, caplog: pytest.LogCaptureFixture) -> None:
    with Wire() as wire:
        ready = answer({"status": "READY"}, headers={"Connection": "close"})
        wire.on(
            IMAGE, lambda connection, request: wire.stop_listening() or ready(connection, request)
        )
        rescale = session(wire.url, max_retries=2)
        with caught(HtcConnectionError) as info:
            create(rescale, task)
    assert not info.value.request_sent
    assert not info.value.outcome_unknown
    assert caplog.text.count("submitJobs: no response") == 2


@row("429, with or without Retry-After", "submission", "retried")
def test_too_many(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    busy = answer(status=429)
    wire.on(SUBMIT, busy, answer(status=429, headers={"Retry-After": "0"}), books.taken())
    assert ids(create(rescale, task)) == batch_ids(1)
    assert books.submissions == 3


@row("429 on every attempt", "submission", "HtcRateLimitError; nothing was accepted")
def test_too_many_on_every_attempt(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    wire.on(SUBMIT, answer(status=429))
    with caught(HtcRateLimitError) as info:
        create(rescale, task)
    assert not info.value.outcome_unknown


@row("401, because the token expired early", "submission", "one renewal, then retried")
def test_rejected_token(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    rescale.do_authenticate()
    wire.on("GET /auth/token", answer({"tokenValue": TOKEN_2, "expiresIn": 21600}))
    wire.on(SUBMIT, answer(status=401), books.taken())
    assert ids(create(rescale, task)) == batch_ids(1)
    first, second = wire.requests_to(SUBMIT)
    assert first.headers["authorization"] != second.headers["authorization"]


@row("401 again after the renewal", "submission", "HtcAuthenticationError; nothing was accepted")
def test_rejected_token_on_every_attempt(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    wire.on(SUBMIT, answer(status=401))
    with caught(HtcAuthenticationError) as info:
        create(rescale, task)
    assert not info.value.outcome_unknown
    assert books.submissions == 2


@row("400, 403, 404", "submission", "the exception immediately; nothing was accepted")
@pytest.mark.parametrize("status", [400, 403, 404])
def test_rejected_submission(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, status: int
) -> None:
    body = {"errorType": "VALIDATION", "errorDescription": "no"}
    wire.on(SUBMIT, answer(body, status=status))
    with caught(HtcStatusError) as info:
        create(rescale, task)
    assert not info.value.outcome_unknown
    assert books.submissions == 1


@row("the image does not exist, or stays PENDING", "submission", "the exception; nothing was sent")
def test_no_image(wire: Wire, task: HtcTask, books: Books) -> None:
    with session(wire.url, image_wait_seconds=0.0) as rescale:
        wire.on(IMAGE, answer({"status": "PENDING"}))
        with caught(HtcImagePendingError):
            create(rescale, task)
        wire.on(IMAGE, answer(status=404))
        with caught(HtcNotFoundError):
            create(rescale, task)
    assert books.submissions == 0


# ---- a lost response


every_group = pytest.mark.parametrize("group", [None, "g"])


@row(
    "lost or unreadable response, 408, any 5xx; accepted",
    "submission",
    "not retried; the batch is found by its mark and returned",
)
@every_group
@every_loss
def test_lost_and_landed(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, lost: Step, group: str | None
) -> None:
    wire.on(SUBMIT, books.taken(lost))
    batch = create(rescale, task, group)
    assert ids(batch) == batch_ids(1)
    assert batch.json["batchSize"] == 3
    assert [batch.json["group"]] == wire.requests_to(SUBMIT)[0].query["group"]
    assert books.submissions == 1


@row(
    "lost or unreadable response, 408, any 5xx; not accepted",
    "submission",
    "not retried; SubmissionUncertainError with 0 of 3 jobs seen",
)
@every_group
@every_loss
def test_lost_and_not_landed(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, lost: Step, group: str | None
) -> None:
    wire.on(SUBMIT, lost)
    with caught(SubmissionUncertainError) as info:
        create(rescale, task, group)
    error = info.value
    assert (error.sent, error.seen, error.job_ids) == (3, 0, [])
    assert (error.project_id, error.task_id, error.cause.outcome_unknown) == ("p", "t", True)
    assert f"3 jobs to group {error.group!r} of task t of project p" in str(error)
    with caught(SubmissionUncertainError):
        htcjobs.recheck(rescale, error)
    assert books.submissions == 1


@row(
    "lost or unreadable response, 408, any 5xx",
    "submission without marks",
    "not retried; SubmissionUncertainError",
)
@every_loss
def test_lost_without_marks(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, lost: Step
) -> None:
    rescale.mark_submissions = False
    wire.on(SUBMIT, books.taken(lost))
    with caught(SubmissionUncertainError, "without marks") as info:
        create(rescale, task)
    error = info.value
    assert (error.sent, error.seen, error.job_ids, error.group) == (3, None, [], None)
    with caught(SubmissionUncertainError):
        htcjobs.recheck(rescale, error)
    assert books.submissions == 1


@row("the response takes longer than timeout_seconds", "submission", "like a lost response")
def test_late_answer(wire: Wire, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, books.taken(drip(b"HTTP/1.1 200 OK\r\n", b"X-Filler: y\r\n")))
    with session(wire.url, timeout_seconds=SHORT_SECONDS) as rescale:
        assert ids(create(rescale, task, group="g")) == batch_ids(1)
        wire.on(JOBS, answer({"items": []}))
        with caught(SubmissionUncertainError) as info:
            create(rescale, task)
    assert info.value.phase == "no response"
    assert isinstance(info.value.cause, HtcTimeoutError)
    assert books.submissions == 2


@row(
    "the cause of an uncertain submission",
    "submission",
    "phase: no response, unreadable response or server error",
)
@pytest.mark.parametrize(
    ("lost", "phase"),
    [(reset, "no response"), (HTML, "unreadable response"), (answer(status=502), "server error")],
)
def test_the_phase(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, lost: Step, phase: str
) -> None:
    wire.on(SUBMIT, lost)
    with caught(SubmissionUncertainError, phase) as info:
        create(rescale, task, group="g")
    assert info.value.phase == phase


@row("partly accepted", "submission", "SubmissionUncertainError with the ids seen")
def test_landed_in_part(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, books.taken(reset, jobs_of_each=2))
    with caught(SubmissionUncertainError) as info:
        create(rescale, task)
    assert (info.value.seen, info.value.job_ids) == (2, batch_ids(1, 2))
    assert "2 of 3 jobs were found" in str(info.value)


@row("accepted late, during the search", "submission", "the batch is returned")
def test_lands_while_looked_for(wire: Wire, task: HtcTask, books: Books) -> None:
    submitted: list[ReceivedRequest] = []
    looks = 0

    def lose(connection: Any, request: ReceivedRequest) -> None:
        submitted.append(request)
        reset(connection)

    def look(connection: Any, request: ReceivedRequest) -> object:
        nonlocal looks
        looks += bool(submitted)
        if looks == 3:
            books.take(submitted[0])
        return answer({"items": books.groups_jobs("g")})(connection, request)

    wire.on(SUBMIT, lose)
    wire.on(JOBS, look)
    with session(wire.url, settle_seconds=5.0) as rescale:
        # The interval between two searches is a sixth of it.
        assert ids(create(rescale, task, group="g")) == batch_ids(1)
    assert looks == 3


@row("accepted after the search", "submission", "recheck returns the batch")
def test_recheck(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, reset)
    with caught(SubmissionUncertainError) as info:
        create(rescale, task, group="g")
    with caught(SubmissionUncertainError):
        htcjobs.recheck(rescale, info.value)
    books.take(wire.requests_to(SUBMIT)[0])
    assert ids(htcjobs.recheck(rescale, info.value)) == batch_ids(1)
    assert books.submissions == 1


@row("the exception was pickled", "submission", "recheck works in another process")
def test_pickled_recheck(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, reset)
    with caught(SubmissionUncertainError) as info:
        create(rescale, task, group="g")
    books.take(wire.requests_to(SUBMIT)[0])
    again: SubmissionUncertainError = pickle.loads(pickle.dumps(info.value))
    assert str(again) == str(info.value)
    assert (again.phase, again.sent, again.group) == ("no response", 3, "g")
    assert ids(htcjobs.recheck(rescale, again)) == batch_ids(1)


@row("the group contains an identical older batch", "submission with a group", "not returned")
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


@row(
    "another session submits the same jobs to the group at the same time",
    "submission with a group",
    "each gets its own batch",
)
@pytest.mark.parametrize("landed", [True, False])
def test_another_session_submits_the_same(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, landed: bool
) -> None:
    others: list[list[str]] = []

    def meanwhile(connection: Any, request: ReceivedRequest) -> None:
        wire.on(SUBMIT, books.taken())
        with session(wire.url) as other:
            others.append(ids(create(other, task, group="g")))
        if landed:
            books.take(request)
        reset(connection)

    wire.on(SUBMIT, meanwhile)
    if landed:
        assert ids(create(rescale, task, group="g")) == batch_ids(2)
    else:
        with caught(SubmissionUncertainError) as info:
            create(rescale, task, group="g")
        assert info.value.seen == 0
    assert others == [batch_ids(1)]


def alike(**definition: Any) -> dict[str, Any]:
    return {**REQUEST, "htcJobDefinition": {**REQUEST["htcJobDefinition"], **definition}}


@row(
    "600 requests that differ only in tags, only in claims, or not at all; every response is lost",
    "submit",
    "each request gets its own jobs",
)
@pytest.mark.parametrize("differ_in", ["tags", "claims", "nothing"])
def test_requests_that_are_alike(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, differ_in: str
) -> None:
    payload = {
        "tags": [alike(tags={"case": str(i)}) for i in range(600)],
        "claims": [alike(claims=[{"name": "case", "value": str(i)}]) for i in range(600)],
        "nothing": [alike()] * 600,
    }[differ_in]
    created: dict[str, Any] = {}

    def lost(connection: Any, received: ReceivedRequest) -> None:
        for batch in books.take(received):
            created[batch["parentJobId"]] = batch["htcJobDefinition"]
        reset(connection)

    wire.on(SUBMIT, lost)
    batch = htcjobs.submit(rescale, task, payload, group="g")
    parents = [part.json["parentJobId"] for part in batch.batches]
    assert {*parents} == {*created}
    assert len(parents) == 600
    for part, request in zip(batch.batches, payload, strict=True):
        definition = created[part.json["parentJobId"]]
        assert definition == part.json["htcJobDefinition"]
        assert definition["claims"] == request["htcJobDefinition"]["claims"]
        assert definition["tags"].items() >= request["htcJobDefinition"].get("tags", {}).items()


@row(
    "the service does not return marks",
    "submission of one request without a group",
    "found in its unique group",
)
def test_marks_are_not_repeated(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    books.repeats_tags = False
    wire.on(SUBMIT, books.taken(reset))
    assert ids(create(rescale, task)) == batch_ids(1)


@row("the service does not return marks", "any other submission", "SubmissionUncertainError")
@pytest.mark.parametrize(("count", "group"), [(1, "g"), (2, None)])
def test_marks_are_not_repeated_and_more_than_one_reading_is_possible(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, count: int, group: str | None
) -> None:
    books.repeats_tags = False
    wire.on(SUBMIT, books.taken(reset))
    with caught(SubmissionUncertainError, "does not return the tags") as info:
        htcjobs.create_job_batch_raw(rescale, task, [REQUEST] * count, group=group)
    assert (info.value.seen, info.value.sent) == (0, 3 * count)


@row("the response is in another order", "create_job_batch_raw", "each request gets its own jobs")
def test_reordered_answers(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    def reordered(connection: Any, request: ReceivedRequest) -> object:
        return answer(books.take(request)[::-1])(connection, request)

    wire.on(SUBMIT, reordered)
    batch = htcjobs.create_job_batch_raw(rescale, task, [REQUEST] * 3)
    assert ids(batch) == [item for number in (1, 2, 3) for item in batch_ids(number)]


@row("the response belongs to another submission", "submission", "rejected")
def test_stale_answer(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    stale: list[Any] = []

    def first(connection: Any, request: ReceivedRequest) -> object:
        stale.extend(books.take(request))
        return answer(stale)(connection, request)

    def second(connection: Any, request: ReceivedRequest) -> object:
        books.take(request)
        return answer(stale)(connection, request)

    wire.on(SUBMIT, first, second)
    assert ids(create(rescale, task)) == batch_ids(1)
    assert ids(create(rescale, task)) == batch_ids(2)


@row("a batch's `json` or its failed jobs are submitted again", "submission", "with new marks")
def test_submitted_again(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    first = create(rescale, task)
    wire.on(SUBMIT, books.taken(reset))
    again = htcjobs.submit(rescale, task, [first.json], group=first.json["group"])
    books.jobs[1]["status"] = "FAILED"
    third = first.resubmit_failed(rescale).submit(rescale)
    assert [ids(again), ids(third)] == [batch_ids(2), batch_ids(3, 1)]
    assert len({*marks_sent(wire)}) == 3


@row("the search of the group fails", "submission", "SubmissionUncertainError")
def test_lookup_fails(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, books.taken(reset))
    wire.on(JOBS, answer(status=403))
    with caught(SubmissionUncertainError, "could not be searched") as info:
        create(rescale, task, group="g")
    assert info.value.seen is None
    wire.on(JOBS, answer({"items": books.groups_jobs("g")}))
    assert ids(htcjobs.recheck(rescale, info.value)) == batch_ids(1)


@row("a response to the search is truncated", "submission", "retried")
def test_lookup_truncated(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    def listed(connection: Any, request: ReceivedRequest) -> object:
        items = {"items": books.groups_jobs("g")}
        looks.append(request)
        return (truncated(items) if len(looks) == 1 else answer(items))(connection, request)

    looks: list[ReceivedRequest] = []
    wire.on(SUBMIT, books.taken(reset))
    wire.on(JOBS, listed)
    assert ids(create(rescale, task, group="g")) == batch_ids(1)


@row(
    "several requests, partly accepted",
    "create_job_batch_raw",
    "SubmissionUncertainError with the ids of all jobs seen",
)
def test_raw_landed_in_part(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    def first_only(connection: Any, request: ReceivedRequest) -> None:
        books.take(request)
        books.jobs = [job for job in books.jobs if job["jobUUID"].startswith("batch-1:")]
        reset(connection)

    wire.on(SUBMIT, first_only)
    with caught(SubmissionUncertainError) as info:
        htcjobs.create_job_batch_raw(rescale, task, [REQUEST, REQUEST], group="g")
    assert (info.value.sent, info.value.job_ids) == (6, batch_ids(1))


@row(
    "the job's record can't be fetched",
    "create_single_job",
    "the job is returned without the record",
)
def test_single_job_without_a_record(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    arguments = {name: value for name, value in BATCH.items() if name != "batch_size"}
    job = htcjobs.create_single_job(rescale, task, **arguments, group="g")
    assert job.json["jobUUID"] == "batch-1:0"
    wire.on(SUBMIT, books.taken(reset))
    job = htcjobs.create_single_job(rescale, task, **arguments, group="g")
    assert job.json["jobUUID"] == "batch-2:0"


@row("lost response", "create_single_job", "like a batch of one job")
def test_single_job_lost(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    arguments = {name: value for name, value in BATCH.items() if name != "batch_size"}
    wire.on(SUBMIT, reset)
    with caught(SubmissionUncertainError, "the submission of 1 job") as info:
        htcjobs.create_single_job(rescale, task, **arguments)
    assert info.value.sent == 1


@row(
    "invalid arguments",
    "submission",
    "HtcValidationError that lists all problems; nothing was sent",
)
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
    assert wire.requests == []


# ---- in several calls


def requests(count: int) -> list[dict[str, Any]]:
    return [{**REQUEST, "batchSize": 1}] * count


@row("every response is lost; all calls accepted", "submit", "the batch is returned")
@every_group
def test_all_parts_found(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, group: str | None
) -> None:
    wire.on(SUBMIT, books.taken(reset))
    batch = htcjobs.submit(rescale, task, requests(150), group=group)
    assert sorted(ids(batch)) == sorted(job["jobUUID"] for job in books.jobs)
    assert len(ids(batch)) == 150
    assert books.submissions == 2


@row("one response is lost; the call was accepted", "submit", "the other calls are sent")
@pytest.mark.parametrize("parallel", [1, 10])
def test_one_part_lost(
    wire: Wire,
    rescale: HtcSession,
    task: HtcTask,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    parallel: int,
) -> None:
    monkeypatch.setattr(submission, "PARALLEL_CALLS", parallel)
    wire.on(SUBMIT, books.taken(answer(status=502)), books.taken())
    found = ids(htcjobs.submit(rescale, task, requests(350)))
    assert sorted(found) == sorted(job["jobUUID"] for job in books.jobs)
    assert len(found) == 350
    assert books.submissions == 4


@row(
    "one call is lost, and not accepted",
    "submit",
    "SubmissionIncompleteError: each request is submitted, uncertain or unsent",
)
def test_one_part_not_taken(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, books.taken(), reset, books.taken())
    with caught(SubmissionIncompleteError) as info:
        htcjobs.submit(rescale, task, requests(1200))
    error = info.value
    uncertain = [request.position for item in error.uncertain for request in item.requests]
    unsent = [request.position for request in error.unsent]
    assert len(uncertain) == 100
    assert len(error.submitted) + len(uncertain) + len(unsent) == 1200
    found = ids(htcjobs.HtcJobBatch(error.submitted, task))
    assert sorted(found) == sorted(job["jobUUID"] for job in books.jobs)
    assert books.submissions == len(found) // 100 + 1


@row("one call is rejected", "submit", "SubmissionIncompleteError; you can submit the rest again")
def test_one_part_rejected(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    payload = requests(1250)
    wire.on(SUBMIT, books.taken(), answer(status=400), books.taken())
    with caught(SubmissionIncompleteError) as info:
        htcjobs.submit(rescale, task, payload, group="g")
    error = info.value
    assert error.uncertain == []
    assert len(error.submitted) + len(error.unsent) == 1250
    assert error.status_code == 400
    rest = [{**payload[item.position], "batchSize": item.batch_size} for item in error.unsent]
    again = htcjobs.submit(rescale, task, rest, group="g")
    found = ids(htcjobs.HtcJobBatch(error.submitted, task)) + ids(again)
    assert sorted(found) == sorted(job["jobUUID"] for job in books.jobs)
    assert len({*found}) == 1250


@row("the first call is rejected", "submit", "the exception; nothing was accepted")
def test_all_parts_rejected(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    wire.on(SUBMIT, answer(status=400))
    with caught(HtcBadRequestError):
        htcjobs.submit(rescale, task, requests(150))
    assert books.jobs == []


# ---- interrupts


@row("Ctrl-C before the response arrives", "submission", "a note says so; the session still works")
def test_interrupted(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    gate = threading.Event()
    wire.on(SUBMIT, interrupting(held(gate, books.taken())), books.taken())
    with caught(KeyboardInterrupt) as info:
        create(rescale, task, group="g")
    gate.set()
    (note,) = info.value.__notes__
    (mark,) = marks_sent(wire)
    assert "a submission to group 'g' was interrupted" in note
    assert f"may have been submitted: 3 jobs, with the tag {MARK_TAG} of {mark}" in note
    assert len(ids(create(rescale, task, group="h"))) == 3


@row("Ctrl-C during the search", "submission", "a note says so; the session still works")
def test_interrupted_lookup(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    gate = threading.Event()
    listed = answer({"items": []})
    wire.on(SUBMIT, reset, books.taken())
    wire.on(JOBS, interrupting(held(gate, listed)), listed)
    with caught(KeyboardInterrupt) as info:
        create(rescale, task, group="g")
    gate.set()
    assert "may have been submitted: 3 jobs" in "".join(info.value.__notes__)
    assert len(ids(create(rescale, task, group="h"))) == 3


@row(
    "Ctrl-C",
    "submit in several calls",
    "a note lists the submitted batches; the session still works",
)
def test_interrupted_parts(
    wire: Wire,
    rescale: HtcSession,
    task: HtcTask,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
) -> None:
    monkeypatch.setattr(submission, "PARALLEL_CALLS", 1)
    gate = threading.Event()
    wire.on(SUBMIT, books.taken(), interrupting(held(gate, books.taken())), books.taken())
    with caught(KeyboardInterrupt) as info:
        htcjobs.submit(rescale, task, requests(300), group="g")
    gate.set()
    until(lambda: len(books.jobs) == 200)
    (note,) = info.value.__notes__
    assert "submitted: batch-1, batch-2, " in note
    assert "may have been submitted: 100 jobs, with the tag" in note
    assert all(mark in note for mark in marks_sent(wire)[100:])
    assert "not submitted: 100 jobs" in note
    incomplete = info.value.__cause__
    assert isinstance(incomplete, SubmissionIncompleteError)
    assert incomplete.positions == [*range(100)]
    assert ids(htcjobs.recheck(rescale, incomplete.uncertain[0]))
    assert [item.position for item in incomplete.unsent] == [*range(200, 300)]
    assert len(ids(create(rescale, task, group="h"))) == 3


class LimitError(TimeoutError):
    """The exception of a program's own timeout."""


@row(
    "a signal handler raises a TimeoutError",
    "submission",
    "raised immediately; a note lists the jobs that may exist",
)
@pytest.mark.parametrize("place", [IMAGE, SUBMIT, JOBS])
def test_signal_handler(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books, place: str
) -> None:
    limit = LimitError("my own limit")

    def handle(*_: object) -> None:
        raise limit

    gate = threading.Event()
    usual = {IMAGE: answer({"status": "READY"}), SUBMIT: books.taken(), JOBS: reset}
    wire.on(SUBMIT, books.taken(reset))
    wire.on(place, interrupting(held(gate, usual[place]), signal.SIGALRM), usual[place])
    before = signal.signal(signal.SIGALRM, handle)
    try:
        with caught(LimitError) as info:
            create(rescale, task)
    finally:
        signal.signal(signal.SIGALRM, before)
        gate.set()
    assert info.value is limit
    assert len(wire.requests_to(place)) == 1
    incomplete = limit.__cause__
    if place == IMAGE:
        assert incomplete is None
        assert not hasattr(limit, "__notes__")
    else:
        assert isinstance(incomplete, SubmissionIncompleteError)
        (request,) = incomplete.uncertain[0].requests
        assert f"3 jobs, with the tag {MARK_TAG} of {request.mark}" in limit.__notes__[0]
    wire.on(SUBMIT, books.taken())
    assert len(ids(create(rescale, task))) == 3


class Impatient(KeyboardInterrupt):
    """An interrupt followed by another one while its note is added."""

    def add_note(self, note: str) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)
        super().add_note(note)


@row("a second Ctrl-C", "submission", "has the same note")
def test_interrupted_twice(wire: Wire, rescale: HtcSession, task: HtcTask, books: Books) -> None:
    def handle(*_: object) -> None:
        raise Impatient

    gate = threading.Event()
    wire.on(SUBMIT, interrupting(held(gate, books.taken())), books.taken())
    signal.signal(signal.SIGINT, handle)
    with caught(KeyboardInterrupt) as info:
        create(rescale, task)
    gate.set()
    assert type(info.value) is KeyboardInterrupt
    (mark,) = marks_sent(wire)
    assert mark in info.value.__notes__[0]
    assert isinstance(info.value.__cause__, SubmissionIncompleteError)
    assert len(ids(create(rescale, task))) == 3


@row("Ctrl-C during the request for the job's record", "create_single_job", "a note names the job")
def test_interrupted_after_the_submission(
    wire: Wire, rescale: HtcSession, task: HtcTask, books: Books
) -> None:
    gate = threading.Event()
    place = "GET /htc/projects/p/tasks/t/jobs/batch-1:0"
    wire.on(place, interrupting(held(gate, answer(status=404))))
    arguments = {name: value for name, value in BATCH.items() if name != "batch_size"}
    with caught(KeyboardInterrupt) as info:
        htcjobs.create_single_job(rescale, task, **arguments)
    gate.set()
    assert "submitted: batch-1" in info.value.__notes__[0]


# ---- without threads

PROGRAM = """
import atexit, sys, threading
from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks

project = htcprojects.HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
task = htctasks.HtcTask({"projectId": "p", "taskId": "t"}, project)
requests = [{"batchSize": 1, "htcJobDefinition": {"imageName": "image"}}] * 250

def submit():
    with HtcSession(api_key="k", base_url=sys.argv[1]) as rescale:
        batch = htcjobs.submit(rescale, task, requests)
        print(len(batch.to_jobs()), flush=True)

def submit_when_the_main_thread_has_ended():
    threading.main_thread().join()
    submit()

threading.Thread(target=submit_when_the_main_thread_has_ended).start()
threading.stack_size(1 << 47)  # no thread can be started
if sys.argv[2] == "main":
    submit()
    threading.stack_size(0)
atexit.register(submit)
"""


@row(
    "no thread can be started",
    "submit in the main thread, in a thread that outlives it, at exit",
    "everything is submitted",
)
@pytest.mark.parametrize("where", ["main", "later"])
def test_no_threads(wire: Wire, books: Books, where: str) -> None:
    """In the second case, only the thread and the exit handler can't start threads."""
    program = [sys.executable, "-c", PROGRAM, wire.url, where]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    times = 3 if where == "main" else 2
    assert (done.stdout.split(), done.stderr) == (["250"] * times, "")
    assert len(books.jobs) == 250 * times


def marks_sent(wire: Wire) -> list[str]:
    return [
        request["htcJobDefinition"]["tags"][MARK_TAG]
        for received in wire.requests_to(SUBMIT)
        for request in received.json
    ]


def interrupting(step: Step, number: signal.Signals = signal.SIGINT) -> Step:
    """Send a signal to this process, SIGINT by default, while it waits for the response."""

    def interrupt(connection: Any, request: ReceivedRequest) -> object:
        interrupt_main_thread(number)
        return step(connection, request)

    return interrupt
