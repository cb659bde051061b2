"""Batches that were submitted earlier, and submitting once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from rescalehtc import HtcSession, htcjobs, htctasks
from rescalehtc._jobs import submission
from rescalehtc.exceptions import (
    HtcForbiddenError,
    HtcValidationError,
    SubmissionIncompleteError,
)

from ..limits import EXEC_SECONDS
from ..service import Answer, ReceivedRequest, Service
from .conftest import request

if TYPE_CHECKING:
    from rescalehtc.emulator import Emulator

LIST = "GET /htc/projects/p/tasks/t/jobs"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"


def ids(batch: htcjobs.HtcJobBatch | None) -> list[str]:
    assert batch is not None
    return [job.json["jobUUID"] for job in batch.to_jobs()]


# ---- get_batch


def test_a_batch_is_rebuilt_from_its_group(fast: HtcSession, task: htctasks.HtcTask) -> None:
    requests = [request(3, "exit $CASE", envs=[{"name": "CASE", "value": "0"}]), request(2)]
    requests[1]["htcJobDefinition"]["tags"] = {"study": "wing"}
    batch = htcjobs.submit(fast, task, requests, group="g")
    found = htcjobs.get_batch(fast, task, group="g")
    assert ids(found) == ids(batch)
    assert found
    first, second = (part.json["htcJobDefinition"] for part in found.batches)
    assert first == {
        "imageName": "image",
        "commands": ["sh", "-c", "exit $CASE"],
        "envs": [{"name": "CASE", "value": "0"}],
        "execTimeoutSeconds": EXEC_SECONDS,
    }
    assert second["tags"] == {"study": "wing"}, "the tags of this package are not the user's"
    assert found.wait(fast).succeeded == 5


def test_a_rebuilt_batch_can_be_resubmitted(fast: HtcSession, task: htctasks.HtcTask) -> None:
    batch = htcjobs.submit(fast, task, [request(2, "exit $AWS_BATCH_JOB_ARRAY_INDEX")], group="g")
    batch.wait(fast)
    found = htcjobs.get_batch(fast, task, group="g")
    assert found
    again = found.resubmit_failed(fast, index_variable="PART")
    assert again.old_indices == [1]
    assert again.submit(fast).wait(fast).total == 1


def test_a_batch_is_found_by_its_parent_alone(fast: HtcSession, task: htctasks.HtcTask) -> None:
    batch = htcjobs.submit(fast, task, [request(3), request(205)], group="g")
    for part in batch.batches:
        found = htcjobs.get_batch(fast, task, parent_job_id=part.json["parentJobId"])
        assert ids(found) == ids(part.batches[0])[: part.json["batchSize"]]
    task.cancel_jobs_in_task(fast)


def test_what_is_not_there_is_none(fast: HtcSession, task: htctasks.HtcTask) -> None:
    assert htcjobs.get_batch(fast, task, group="none") is None
    assert htcjobs.get_batch(fast, task, parent_job_id="none") is None
    assert htcjobs.get_batches(fast, task) == []


def test_jobs_before_the_first_listed_one_may_have_been_deleted(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    def answer(received: ReceivedRequest) -> Answer:
        indices = [int(job_id.rpartition(":")[2]) for job_id in received.query["jobId"]]
        return Answer({"items": [job(f"a:{i}") for i in indices if 150 <= i < 320]})

    service.on(LIST, answer)
    found = htcjobs.get_batch(scripted, scripted_task, parent_job_id="a")
    assert found
    assert found.json["batchSize"] == 320


@pytest.mark.parametrize("value", [{}, {"group": "g", "parent_job_id": "a"}, {"group": ""}])
def test_exactly_one_name_is_needed(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, value: Any
) -> None:
    with pytest.raises(HtcValidationError, match="group"):
        htcjobs.get_batch(scripted, scripted_task, **value)
    assert not service.requests


def job(job_id: str, **more: Any) -> dict[str, Any]:
    created = {"projectId": "p", "taskId": "t", "jobUUID": job_id, "status": "SUCCEEDED"}
    return {**created, "createdAt": "2026-11-29T10:00:00Z", "imageName": "image", **more}


def test_batches_are_those_of_each_group_in_the_order_of_submission(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    first = htcjobs.submit(fast, task, [request(2), request(1)], group="b")
    second = htcjobs.submit(fast, task, [request(1)], group="a")
    third = htcjobs.submit(fast, task, [request(1)], group="b")
    found = htcjobs.get_batches(fast, task)
    assert [ids(item) for item in found] == [ids(first) + ids(third), ids(second)]


def test_parts_that_were_created_in_another_order_are_in_that_of_the_requests(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    """Calls are sent in parallel. Jobs without tags or groups are batches too."""

    def marked(parent: str, mark: str, second: int) -> dict[str, Any]:
        tags = [{"key": "rescalehtc-submission", "value": mark}]
        return job(f"{parent}:0", tags=tags, group="g", createdAt=f"2026-11-29T10:00:0{second}Z")

    items = [marked("x", "t1-1", 1), marked("y", "t1-0", 3), marked("z", "t0-0", 2), job("w:0")]
    service.on(LIST, Answer({"items": [*items, job("odd")]}))
    found = htcjobs.get_batches(scripted, scripted_task)
    parents = [[part.json["parentJobId"] for part in item.batches] for item in found]
    assert parents == [["w"], ["y", "x", "z"]]
    assert "group" not in found[0].json


# ---- get_or_submit


def test_whoever_asks_again_gets_the_same_batch(fast: HtcSession, task: htctasks.HtcTask) -> None:
    requests = [request(2), request(1)]
    batch = htcjobs.get_or_submit(fast, task, requests, group="nightly")
    again = htcjobs.get_or_submit(fast, task, requests, group="nightly")
    assert ids(again) == ids(batch)
    assert ids(htcjobs.get_batch(fast, task, group="nightly")) == ids(batch)
    assert len(htcjobs.get_jobs(fast, task)) == 3
    assert again.json["htcJobDefinition"]["execTimeoutSeconds"] == EXEC_SECONDS
    assert batch.wait(fast) == again.wait(fast)


def test_what_a_crash_left_out_is_submitted_and_nothing_else(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    requests = [request(1, f"echo {n}") for n in range(5)]
    htcjobs.get_or_submit(fast, task, requests[:2], group="g")
    with (
        emulator.fault("submitJobs", "status_before", status=403, times=1),
        pytest.raises(HtcForbiddenError),
    ):
        htcjobs.get_or_submit(fast, task, requests, group="g")
    batch = htcjobs.get_or_submit(fast, task, requests, group="g")
    assert len(htcjobs.get_jobs(fast, task)) == 5
    batch.wait(fast)
    assert [[*job.get_logs(fast)] for job in batch.to_jobs()] == [[str(n)] for n in range(5)]


def test_a_lost_answer_is_found_by_the_next_call(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    unmarked = fast.with_options(mark_submissions=False)
    with (
        emulator.fault("submitJobs", "reset_after", times=1),
        pytest.raises(SubmissionIncompleteError),
    ):
        htcjobs.get_or_submit(unmarked, task, [request(3)], group="g")
    assert len(htcjobs.get_or_submit(fast, task, [request(3)], group="g").to_jobs()) == 3
    assert len(htcjobs.get_jobs(fast, task)) == 3


def test_a_submission_that_stops_half_way_is_completed_by_the_next_call(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    jobs: list[dict[str, Any]] = []
    refused: list[bool] = []

    def take(received: ReceivedRequest) -> Answer:
        if jobs and not refused:
            refused.append(True)
            return Answer({"errorType": "no"}, 403)
        answers = []
        for item in received.json:
            parent = f"parent-{len(jobs)}"
            tags = [{"key": k, "value": v} for k, v in item["htcJobDefinition"]["tags"].items()]
            jobs.append(job(f"{parent}:0", tags=tags, group="g"))
            answers.append({**item, "projectId": "p", "taskId": "t", "parentJobId": parent})
        return Answer(answers)

    service.on(SUBMIT, take)
    service.on(LIST, lambda _: Answer({"items": jobs}))
    service.on("GET /htc/projects/p/container-registry/images/image", Answer({"status": "READY"}))
    requests = [request() for _ in range(4)]
    with (
        mock.patch.object(submission, "MAX_REQUESTS", 2),
        mock.patch.object(submission, "PARALLEL_CALLS", 1),
    ):
        with pytest.raises(SubmissionIncompleteError):
            htcjobs.get_or_submit(scripted, scripted_task, requests, group="g")
        batch = htcjobs.get_or_submit(scripted, scripted_task, requests, group="g")
    assert ids(batch) == [f"parent-{n}:0" for n in range(4)]
    assert len(jobs) == 4


def test_the_oldest_of_two_submissions_wins_for_everybody(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    """Two processes saw an empty group, and both submitted."""

    def part(parent: str, second: int, index: int = 0) -> dict[str, Any]:
        tags = [{"key": "rescalehtc-part", "value": "0"}]
        created = f"2026-11-29T10:00:0{second}Z"
        return job(f"{parent}:{index}", tags=tags, group="g", createdAt=created)

    service.on(LIST, Answer({"items": [part("late", 5), part("early", 3), part("early", 3, 1)]}))
    batch = htcjobs.get_or_submit(scripted, scripted_task, [request(2)], group="g")
    assert ids(batch) == ["early:0", "early:1"]
    assert ids(htcjobs.get_batch(scripted, scripted_task, group="g")) == ["early:0", "early:1"]
    assert not service.requests_to(SUBMIT)


def test_after_several_callers_at_the_same_moment_the_batch_is_that_of_one_of_them(
    emulator: Emulator, task: htctasks.HtcTask
) -> None:
    def ask(_: int) -> list[str]:
        with emulator.session() as rescale:
            return ids(htcjobs.get_or_submit(rescale, task, [request(2)] * 2, group="g"))

    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(ask, range(4))]
    with emulator.session() as rescale:
        last = ids(htcjobs.get_or_submit(rescale, task, [request(2)] * 2, group="g"))
    assert all(len(item) == 4 for item in found)
    assert last in found


@pytest.mark.parametrize(
    ("requests", "where"),
    [([request(3)], "requests"), ([request(1)], "requests"), ([], "")],
)
def test_other_requests_for_the_same_group_are_refused(
    fast: HtcSession, task: htctasks.HtcTask, requests: Any, where: str
) -> None:
    htcjobs.get_or_submit(fast, task, [request(2), request(4)], group="g")
    with pytest.raises(HtcValidationError) as caught:
        htcjobs.get_or_submit(fast, task, requests, group="g")
    assert where in caught.value.problems[0].where
    assert len(htcjobs.get_jobs(fast, task)) == 6


def test_a_group_that_has_other_jobs_is_refused(fast: HtcSession, task: htctasks.HtcTask) -> None:
    htcjobs.submit(fast, task, [request(1)], group="g")
    with pytest.raises(HtcValidationError, match="submitted in another way"):
        htcjobs.get_or_submit(fast, task, [request(1)], group="g")
    with pytest.raises(HtcValidationError, match="group"):
        htcjobs.get_or_submit(fast, task, [request(1)], group="")
