"""Waiting for jobs, batches and tasks, with at most one request per interval and exact counts."""

from __future__ import annotations

import io
import os
import pickle
import pty
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs, htctasks
from rescalehtc._jobs.watching import MAX_NAMED
from rescalehtc.exceptions import (
    HtcNotFoundError,
    HtcResponseError,
    HtcValidationError,
    HtcWaitTimeoutError,
    NotFetchedError,
)

from .clock import TestIo, inject_clock
from .conftest import submit
from .service import Answer, ReceivedRequest, Service

if TYPE_CHECKING:
    from collections.abc import Callable

TASK = "/htc/projects/p/tasks/t"


class World:
    """A service whose jobs take a step with each polling interval."""

    def __init__(self, service: Service, ticks: TestIo) -> None:
        self.service = service
        self.ticks = ticks
        self.jobs: dict[str, dict[str, dict[str, Any]]] = {}
        self.ends: dict[str, tuple[int, str]] = {}
        self.listed_from: dict[str, int] = {}
        self.requests: Counter[int] = Counter()

    def batch(
        self,
        size: int,
        *,
        ends: Callable[[int], tuple[int, str]] = lambda _: (0, "SUCCEEDED"),
        group: str | None = "g",
        parent: str = "a",
        task: htctasks.HtcTask,
        listed_from: int = 0,
    ) -> htcjobs.HtcJobBatch:
        task_id = task.json["taskId"]
        jobs = self.jobs.setdefault(task_id, {})
        shared: dict[str, Any] = {"projectId": "p", "taskId": task_id}
        if group is not None:
            shared["group"] = group
        for index in range(size):
            job_id = f"{parent}:{index}"
            jobs[job_id] = {**shared, "jobUUID": job_id, "name": "job"}
            self.ends[job_id] = ends(index)
            self.listed_from[job_id] = listed_from
        base = f"GET /htc/projects/p/tasks/{task_id}"
        self.service.on(f"{base}/jobs", self._list)
        self.service.on(f"{base}/group-summary-statistics", self._group_summaries)
        self.service.on(f"{base}/summary-statistics", self._summary)
        return htcjobs.HtcJobBatch({**shared, "parentJobId": parent, "batchSize": size}, task)

    def _now(self, request: ReceivedRequest) -> list[dict[str, Any]]:
        tick = len(self.ticks.slept)
        self.requests[tick] += 1
        task_id = request.path.split("/")[5]
        found: list[dict[str, Any]] = []
        for job_id, job in self.jobs[task_id].items():
            at, status = self.ends[job_id]
            if tick >= self.listed_from[job_id]:
                found.append({**job, "status": status if tick >= at else "RUNNING"})
        return found

    def _list(self, request: ReceivedRequest) -> Answer:
        jobs = self._now(request)
        if "jobId" in request.query:
            jobs = [job for job in jobs if job["jobUUID"] in request.query["jobId"]]
        if "group" in request.query:
            jobs = [job for job in jobs if job.get("group") in request.query["group"]]
        start, size = (
            int(request.query.get("pageIndex", ["0"])[0]),
            int(request.query["pageSize"][0]),
        )
        answer: dict[str, Any] = {"items": jobs[start : start + size]}
        if start + size < len(jobs):
            query = "".join(
                f"&{k}={v}" for k in ("group", "jobId") for v in request.query.get(k, [])
            )
            answer["next"] = f"?pageIndex={start + size}&pageSize={size}{query}"
        return Answer(answer)

    def _summary(self, request: ReceivedRequest) -> Answer:
        return Answer({"jobStatuses": Counter(job["status"] for job in self._now(request))})

    def _group_summaries(self, request: ReceivedRequest) -> Answer:
        jobs = self._now(request)
        return Answer(
            {
                "items": [
                    {
                        "group": group,
                        "jobStatuses": Counter(
                            job["status"] for job in jobs if job.get("group") == group
                        ),
                    }
                    for group in request.query["group"]
                ]
            }
        )


@pytest.fixture
def scripted(scripted: HtcSession) -> HtcSession:
    scripted.status_refresh_seconds = 30.0
    return scripted


@pytest.fixture
def ticks(scripted: HtcSession) -> TestIo:
    return inject_clock(scripted)


@pytest.fixture
def world(service: Service, ticks: TestIo) -> World:
    return World(service, ticks)


@pytest.fixture
def fast(rescale: HtcSession) -> HtcSession:
    """A session connected to the emulator, with a short polling interval."""
    rescale.status_refresh_seconds = 0.05
    return rescale


# ---- on the emulator


def test_a_batch_is_waited_for_and_counted(fast: HtcSession, task: htctasks.HtcTask) -> None:
    batch = submit(fast, task, "sh", "-c", "exit $AWS_BATCH_JOB_ARRAY_INDEX", batch_size=3)
    counts = batch.wait(fast)
    assert (counts.total, counts.running, counts.unseen) == (3, 0, 0)
    assert (counts.succeeded, counts.failed, counts.ended) == (1, 2, 3)
    assert counts.by_status == {"SUCCEEDED": 1, "FAILED": 2}


def test_a_batch_does_not_wait_for_other_jobs_of_its_task(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    longer = submit(fast, task, "sleep", "1000")
    counts = submit(fast, task, "true", batch_size=2).wait(fast)
    assert counts.by_status == {"SUCCEEDED": 2}
    with pytest.raises(HtcWaitTimeoutError) as info:
        task.wait(fast, timeout=0.2)
    assert info.value.counts.succeeded == 2
    assert info.value.counts.running == 1
    task.cancel_jobs_in_task(fast)
    assert longer.wait(fast).by_status == {"FAILED": 1}
    assert task.wait(fast).total == 3


def test_a_large_batch_is_counted_by_its_group(fast: HtcSession, task: htctasks.HtcTask) -> None:
    counts = submit(fast, task, "true", batch_size=MAX_NAMED + 1).wait(fast)
    assert counts.by_status == dict.fromkeys(counts.by_status, 0) | {"SUCCEEDED": MAX_NAMED + 1}
    assert counts.running == 0


def test_a_job_is_waited_for_and_its_record_is_fresh(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    job = submit(fast, task, "sh", "-c", "exit 3").to_jobs()[0]
    counts = job.wait(fast)
    assert (counts.total, counts.failed, counts.running) == (1, 1, 0)
    assert job.record.container is not None
    assert job.record.container.exit_code == 3


def test_a_task_looks_again_even_within_the_interval(
    rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    """Otherwise, a summary from before the submission would end the wait."""
    rescale.status_refresh_seconds = 0.5
    assert not task.is_still_running(rescale)
    submit(rescale, task, "true")
    assert task.wait(rescale).succeeded == 1


def test_a_task_without_jobs_has_nothing_to_wait_for(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    assert task.wait(fast).total == 0


def test_jobs_come_as_they_end_each_once(fast: HtcSession, task: htctasks.HtcTask) -> None:
    """The first job ends only when the test has seen the end of the last job."""
    wait_for_last = "until [ -e $TASK_SHARED_FOLDER/last-seen ]; do sleep 0.02; done"
    script = f"[ $AWS_BATCH_JOB_ARRAY_INDEX = 2 ] || {{ {wait_for_last}; }}"
    jobs = submit(fast, task, "sh", "-c", script, batch_size=3).to_jobs()
    other = submit(fast, task, "false").to_jobs()
    came: list[htcjobs.HtcJob] = []
    for job in htcjobs.as_completed(fast, [*jobs, *other, jobs[0]]):
        if job is jobs[2]:
            assert jobs[0] not in came
            submit(fast, task, "sh", "-c", "touch $TASK_SHARED_FOLDER/last-seen")
        came.append(job)
    assert len(came) == 4
    assert {id(job) for job in came} == {id(job) for job in [*jobs, *other]}
    assert all(job.record.status == "SUCCEEDED" for job in jobs)
    assert other[0].record.failure_code == "ErrorNonZeroContainerExitCode"


# ---- requests and intervals


def third(index: int) -> tuple[int, str]:
    """Jobs end at the ticks 0, 1 and 2. Every tenth job fails."""
    return index % 3, "FAILED" if index % 10 == 0 else "SUCCEEDED"


@pytest.mark.parametrize("size", [1, 100, 101, 10_000])
def test_waiting_for_any_number_of_jobs_sends_one_request_an_interval(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask, size: int
) -> None:
    batch = world.batch(size, ends=third, task=scripted_task)
    counts = batch.wait(scripted)
    assert (counts.total, counts.running) == (size, 0)
    assert counts.failed == len(range(0, size, 10))
    assert world.ticks.slept == [30.0] * min(2, size - 1)
    assert set(world.requests.values()) == {1}


def test_waiting_for_a_task_sends_one_request_an_interval(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    world.batch(10_000, ends=third, task=scripted_task)
    counts = scripted_task.wait(scripted)
    assert (counts.total, counts.failed, counts.running) == (10_000, 1000, 0)
    assert world.requests == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("group", ["g", None])
def test_others_with_the_same_group_or_none_are_not_counted(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask, group: str | None
) -> None:
    """Even if the other jobs run longer than the batch, and if pages are listed."""
    before = world.batch(700, ends=lambda _: (1000, "FAILED"), group=group, task=scripted_task)
    batch = world.batch(600, ends=third, group=group, parent="b", task=scripted_task)
    assert before.task is batch.task
    counts = batch.wait(scripted)
    assert counts.by_status == {"SUCCEEDED": 540, "FAILED": 60}
    assert counts.running == 0
    assert set(world.requests.values()) == {1}


@pytest.mark.parametrize("size", [3, 300])
def test_jobs_that_are_not_listed_yet_have_not_ended(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask, size: int
) -> None:
    batch = world.batch(size, listed_from=4, task=scripted_task)
    with pytest.raises(HtcWaitTimeoutError) as info:
        batch.wait(scripted, timeout=65)
    assert (info.value.counts.running, info.value.counts.unseen) == (size, size)
    assert batch.wait(scripted).succeeded == size


@pytest.mark.parametrize("size", [3, 300])
def test_jobs_that_stay_away_are_not_waited_for_forever(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask, size: int
) -> None:
    batch = world.batch(size, task=scripted_task)
    world.listed_from["a:1"] = 1_000_000
    with pytest.raises(HtcResponseError, match=f"1 of the {size} jobs"):
        batch.wait(scripted)
    assert 10 <= len(world.ticks.slept) <= 11  # 300 s
    with pytest.raises(HtcResponseError, match=f"1 of the {size} jobs"):
        list(htcjobs.as_completed(scripted, batch.to_jobs()))


@pytest.mark.parametrize("size", [3, 300])
def test_jobs_that_are_deleted_while_others_run_do_not_stop_the_wait(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask, size: int
) -> None:
    batch = world.batch(size, ends=lambda i: (i % 2 * 30, "SUCCEEDED"), task=scripted_task)
    world.listed_from["a:0"] = 35
    counts = batch.wait(scripted)
    assert counts.succeeded == size
    assert len(world.ticks.slept) == 35


def test_a_status_that_is_not_known_is_an_end_if_the_job_was_completed(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, ticks: TestIo
) -> None:
    ids = {"projectId": "p", "taskId": "t", "jobUUID": "a:0"}
    running = Answer({"items": [{**ids, "status": "HIBERNATING"}]})
    completed = {**ids, "status": "MELTED", "completedAt": "2026-01-01T00:00:00Z"}
    service.on(f"GET {TASK}/jobs", running, running, Answer({"items": [completed]}))
    batch = htcjobs.HtcJobBatch(
        {"projectId": "p", "taskId": "t", "parentJobId": "a", "batchSize": 1}, scripted_task
    )
    counts = batch.wait(scripted)
    assert (counts.total, counts.ended, counts.succeeded, counts.failed) == (1, 1, 0, 0)
    assert len(ticks.slept) == 2


def test_jobs_as_they_complete_take_one_listing_an_interval(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    jobs = world.batch(1200, ends=third, task=scripted_task).to_jobs()
    came = [(len(world.ticks.slept), job) for job in htcjobs.as_completed(scripted, jobs)]
    assert [job.json["status"] for _, job in came].count("FAILED") == 120
    assert {id(job) for _, job in came} == {id(job) for job in jobs}
    assert all(tick == int(job.json["jobUUID"][2:]) % 3 for tick, job in came)
    assert world.ticks.slept == [30.0, 30.0]
    assert world.requests == {0: 2, 1: 2, 2: 2}  # two pages per listing
    assert len(came) == 1200


def test_jobs_of_several_tasks_take_turns(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    other_task = htctasks.HtcTask({"projectId": "p", "taskId": "u"}, scripted_task.project)
    jobs = world.batch(2, ends=third, task=scripted_task).to_jobs()
    jobs += world.batch(2, ends=lambda _: (4, "FAILED"), parent="b", task=other_task).to_jobs()
    came = [job.json["jobUUID"] for job in htcjobs.as_completed(scripted, jobs)]
    assert sorted(came) == ["a:0", "a:1", "b:0", "b:1"]
    assert set(world.requests.values()) == {1}


def test_no_jobs_are_completed_at_once(service: Service, scripted: HtcSession) -> None:
    assert list(htcjobs.as_completed(scripted, [])) == []
    assert not service.requests


def test_completed_jobs_time_out_with_counts(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    batch = world.batch(2, ends=lambda i: (i * 1000, "SUCCEEDED"), task=scripted_task)
    came = htcjobs.as_completed(scripted, batch.to_jobs(), timeout=100)
    assert next(came).json["jobUUID"] == "a:0"
    with pytest.raises(HtcWaitTimeoutError) as info:
        next(came)
    assert info.value.counts.by_status == {"SUCCEEDED": 1, "RUNNING": 1}
    assert sum(world.ticks.slept) == pytest.approx(100, abs=1)


def test_a_job_that_is_not_there_is_an_error(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    ids = {"projectId": "p", "taskId": "t", "jobUUID": "j"}
    with pytest.raises(HtcNotFoundError):
        htcjobs.HtcJob(ids, scripted_task).wait(scripted)


def test_a_job_is_requested_once_per_interval(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, ticks: TestIo
) -> None:
    ids = {"projectId": "p", "taskId": "t", "jobUUID": "j"}
    running, ended = Answer({**ids, "status": "RUNNING"}), Answer({**ids, "status": "FAILED"})
    service.on(f"GET {TASK}/jobs/j", running, running, ended)
    job = htcjobs.HtcJob(ids, scripted_task)
    assert job.wait(scripted).failed == 1
    assert ticks.slept == [30.0, 30.0]
    assert len(service.requests_to(f"GET {TASK}/jobs/j")) == 3


# ---- timeouts


def test_the_timeout_is_an_error_of_this_package_and_of_python_and_can_be_pickled(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    batch = world.batch(3, ends=lambda i: (i * 1000, "FAILED"), task=scripted_task)
    with pytest.raises(TimeoutError) as info:
        batch.wait(scripted, timeout=100)
    assert isinstance(info.value, HtcWaitTimeoutError)
    assert (
        str(info.value) == "the wait timed out after 100 s; 1 of 3 jobs ended: 1 FAILED, 2 RUNNING"
    )
    again = pickle.loads(pickle.dumps(info.value))
    assert (str(again), again.counts) == (str(info.value), info.value.counts)
    assert sum(world.ticks.slept) == pytest.approx(100, abs=1)


def test_no_time_is_one_look(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    assert world.batch(2, task=scripted_task).wait(scripted, timeout=0).succeeded == 2
    longer = world.batch(2, ends=lambda _: (9, "FAILED"), parent="b", task=scripted_task)
    with pytest.raises(HtcWaitTimeoutError):
        longer.wait(scripted, timeout=0)
    assert sum(world.ticks.slept) == 0


@pytest.mark.parametrize("timeout", [-1, "1", True, float("nan")])
def test_an_invalid_time_is_rejected(
    scripted: HtcSession, service: Service, scripted_task: htctasks.HtcTask, timeout: Any
) -> None:
    ids = {"projectId": "p", "taskId": "t"}
    job = htcjobs.HtcJob({**ids, "jobUUID": "a:0"}, scripted_task)
    batch = htcjobs.HtcJobBatch({**ids, "parentJobId": "a", "batchSize": 1}, scripted_task)
    for item in (job, batch, scripted_task):
        with pytest.raises(HtcValidationError, match="timeout"):
            item.wait(scripted, timeout)
    with pytest.raises(HtcValidationError, match="timeout"):
        htcjobs.as_completed(scripted, [job], timeout)
    with pytest.raises(HtcValidationError, match="jobs: must be of type HtcJob"):
        htcjobs.as_completed(scripted, [batch])  # type: ignore[list-item]
    assert not service.requests


# ---- progress


def test_progress_is_off_by_default(
    world: World,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    capfd: pytest.CaptureFixture[str],
) -> None:
    world.batch(3, ends=third, task=scripted_task).wait(scripted)
    assert capfd.readouterr() == ("", "")


def test_progress_is_a_line_for_each_change_where_there_is_no_terminal(
    world: World,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ends = [(0, "FAILED"), (3, "SUCCEEDED")]
    world.batch(2, ends=lambda i: ends[i], task=scripted_task).wait(scripted, progress=True)
    assert capsys.readouterr() == (
        "",
        "1 of 2 jobs ended: 1 FAILED, 1 RUNNING\n2 of 2 jobs ended: 1 FAILED, 1 SUCCEEDED\n",
    )


def test_progress_on_a_terminal_is_one_line(
    world: World,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    reader, writer = pty.openpty()
    with io.TextIOWrapper(os.fdopen(writer, "wb", buffering=0), write_through=True) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        world.batch(2, ends=third, task=scripted_task).wait(scripted, progress=True)
        shown = b""
        while not shown.endswith(b"\n"):
            shown += os.read(reader, 10_000)
        monkeypatch.undo()
    os.close(reader)
    first, second = "1 of 2 jobs ended: 1 FAILED, 1", "2 of 2 jobs ended: 1 FAILED, 1"
    assert shown.decode() == f"\r{first[:29]}\x1b[K\r{second[:29]}\x1b[K\r\n"


# ---- the statuses of jobs after a wait


@pytest.mark.parametrize("size", [3, 100])
def test_after_a_wait_jobs_have_the_status_that_was_seen(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask, size: int
) -> None:
    """Whether they were created before or after the wait, and read before it or not."""
    batch = world.batch(size, ends=third, task=scripted_task)
    early, read = batch.to_jobs(), batch.to_jobs()
    assert not any("status" in job.json for job in read)
    with pytest.raises(NotFetchedError):
        _ = read[0].record.status
    batch.wait(scripted)
    expected = [third(index)[1] for index in range(size)]
    for jobs in (early, read, batch.to_jobs()):
        assert [job.json["status"] for job in jobs] == expected
        assert [job.record.status for job in jobs] == expected
        again = pickle.loads(pickle.dumps(jobs[0]))
        assert again.json == jobs[0].json
    with pytest.raises(NotFetchedError):
        _ = early[0].record.completed_at


def test_a_status_that_was_fetched_before_is_replaced_and_fetched_again(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    batch = world.batch(3, ends=lambda _: (1, "FAILED"), task=scripted_task)
    job, other, own = batch.to_jobs()
    htcjobs.refresh(scripted, [job])
    own.json = {**own.json, "status": "MINE"}
    assert (job.json["status"], job.json["name"]) == ("RUNNING", "job")  # type: ignore[typeddict-item]
    batch.wait(scripted)
    assert job.json["status"] == other.json["status"] == job.record.status == "FAILED"
    assert own.json["status"] == "MINE"
    record = job.json
    assert job.json is record


def test_summaries_tell_the_status_of_jobs_if_all_have_the_same(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    same = world.batch(101, parent="a", group="g1", task=scripted_task)
    mixed = world.batch(101, parent="b", group="g2", ends=third, task=scripted_task)
    jobs = same.to_jobs()
    same.wait(scripted)
    mixed.wait(scripted)
    assert {job.json["status"] for job in (*jobs, *same.to_jobs())} == {"SUCCEEDED"}
    assert not any("status" in job.json for job in mixed.to_jobs())


def test_parts_of_a_submission_have_the_statuses_too(
    world: World, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    parts = [world.batch(2, parent=name, task=scripted_task).json for name in "ab"]
    batch = htcjobs.HtcJobBatch(parts, scripted_task)
    jobs = batch.batches[1].to_jobs()
    batch.wait(scripted)
    assert [job.json["status"] for job in (*jobs, *batch.to_jobs())] == ["SUCCEEDED"] * 6
