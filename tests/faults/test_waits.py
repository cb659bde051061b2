"""Waits continue during outages and end in time, for any batch size."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs
from rescalehtc._client import listing
from rescalehtc.exceptions import (
    HtcForbiddenError,
    HtcNotFoundError,
    HtcResponseError,
    HtcWaitTimeoutError,
)
from tests.clock import TestIo, inject_clock

from .conftest import session
from .wire import answer, computed, hang_up, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rescalehtc.htctasks import HtcTask

    from .wire import ReceivedRequest, Step, Wire

    Wait = Callable[[HtcSession, HtcTask, float | None], object]

TASK = "GET /htc/projects/p/tasks/t"
JOBS = f"{TASK}/jobs"
GROUPS = f"{TASK}/group-summary-statistics"
SUMMARY = f"{TASK}/summary-statistics"
LOGS = f"{TASK}/jobs/a:0/logs"
HOURS = 3600.0
INTERVAL = 600.0
COMPLETED = "2026-01-01T00:00:00Z"


@pytest.fixture
def rescale(wire: Wire) -> Iterator[HtcSession]:
    with session(wire.url, status_refresh_seconds=INTERVAL, backoff_seconds=1.0) as rescale:
        yield rescale


@pytest.fixture
def clock(rescale: HtcSession) -> TestIo:
    return inject_clock(rescale)


def batch_of(size: int, task: HtcTask) -> htcjobs.HtcJobBatch:
    ids = {"projectId": "p", "taskId": "t", "group": "g"}
    return htcjobs.HtcJobBatch({**ids, "parentJobId": "a", "batchSize": size}, task)


def records(size: int, status: str, **fields: Any) -> list[dict[str, Any]]:
    ids = {"projectId": "p", "taskId": "t", "group": "g"}
    return [{**ids, "jobUUID": f"a:{i}", "status": status, **fields} for i in range(size)]


def failing_until(clock: TestIo, seconds: float, *steps: Step) -> Step:
    """Fail in several ways until the clock has moved far enough, then run the last step."""
    failures = [answer(status=503), hang_up, reset, answer(b"<html>"), answer(status=429)]
    numbers = iter(range(1_000_000))

    def step(_: ReceivedRequest) -> Step:
        return steps[-1] if clock.ahead >= seconds else failures[next(numbers) % len(failures)]

    return computed(step)


def wait_for_batch(size: int) -> Wait:
    return lambda rescale, task, timeout: batch_of(size, task).wait(rescale, timeout)


def wait_for_job(rescale: HtcSession, task: HtcTask, timeout: float | None) -> object:
    return batch_of(1, task).to_jobs()[0].wait(rescale, timeout)


def wait_for_task(rescale: HtcSession, task: HtcTask, timeout: float | None) -> object:
    return task.wait(rescale, timeout)


def take_completed(rescale: HtcSession, task: HtcTask, timeout: float | None) -> object:
    jobs = batch_of(101, task).to_jobs()
    assert len(list(htcjobs.as_completed(rescale, jobs, timeout))) == 101
    return None


def follow(rescale: HtcSession, task: HtcTask, timeout: float | None) -> object:
    lines = batch_of(1, task).to_jobs()[0].follow_logs(rescale)
    assert list(lines) == ["line"]
    return timeout


WAITS = {
    "job": wait_for_job,
    "3 jobs": wait_for_batch(3),
    "101 jobs": wait_for_batch(101),
    "task": wait_for_task,
    "as_completed": take_completed,
    "follow_logs": follow,
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_an_outage_of_hours_does_not_end_a_wait_and_is_logged_once(
    wire: Wire,
    rescale: HtcSession,
    task: HtcTask,
    clock: TestIo,
    wait: Wait,
    caplog: pytest.LogCaptureFixture,
) -> None:
    counts = {"group": "g", "jobStatuses": {"SUCCEEDED": 101}}
    ended = answer({"items": records(101, "SUCCEEDED")})
    down = {
        JOBS: computed(lambda request: ended_of(request)),
        GROUPS: answer({"items": [counts]}),
        SUMMARY: answer(counts),
        f"{JOBS}/a:0": answer(records(1, "SUCCEEDED")[0]),
        LOGS: answer({"items": [{"message": "line"}]}),
    }

    def ended_of(request: ReceivedRequest) -> Step:
        ids = request.query.get("jobId")
        return (
            answer({"items": [r for r in records(3, "FAILED") if r["jobUUID"] in ids]})
            if ids
            else ended
        )

    for operation, step in down.items():
        wire.on(operation, failing_until(clock, 2 * HOURS, step))
    wait(rescale, task, 72 * HOURS)
    assert 2 * HOURS <= clock.ahead < 4 * HOURS
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len([r for r in warnings if "polling continues" in r.getMessage()]) == 1


@pytest.mark.parametrize("name", [name for name in WAITS if name != "follow_logs"])
def test_a_wait_in_an_outage_ends_by_its_own_timeout(
    wire: Wire, rescale: HtcSession, task: HtcTask, clock: TestIo, name: str
) -> None:
    for operation in (JOBS, GROUPS, SUMMARY, f"{JOBS}/a:0"):
        wire.on(operation, answer(status=503))
    with pytest.raises(HtcWaitTimeoutError, match="the last poll failed"):
        WAITS[name](rescale, task, 2 * INTERVAL)
    assert 2 * INTERVAL <= clock.ahead < 3 * INTERVAL


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
@pytest.mark.parametrize(("status", "kind"), [(403, HtcForbiddenError), (404, HtcNotFoundError)])
def test_what_is_gone_or_forbidden_ends_a_wait(
    wire: Wire,
    rescale: HtcSession,
    task: HtcTask,
    clock: TestIo,
    wait: Wait,
    status: int,
    kind: type[Exception],
) -> None:
    for operation in (JOBS, GROUPS, SUMMARY, f"{JOBS}/a:0", LOGS):
        wire.on(operation, answer(status=status))
    with pytest.raises(kind):
        wait(rescale, task, None)
    assert not clock.slept


@pytest.mark.parametrize("name", WAITS.keys())
def test_a_status_that_this_release_does_not_know_ends_a_wait_once_the_jobs_completed(
    wire: Wire, rescale: HtcSession, task: HtcTask, clock: TestIo, name: str
) -> None:
    """The service's counts do not distinguish such jobs from running ones, so they are listed."""
    size = {"job": 1, "3 jobs": 3}.get(name, 101)

    def found() -> list[dict[str, Any]]:
        fields = {"completedAt": COMPLETED} if clock.ahead > INTERVAL else {}
        return records(size, "HIBERNATED", **fields)

    counts = {"group": "g", "jobStatuses": {"HIBERNATED": size}}
    wire.on(JOBS, computed(lambda _: answer({"items": found()})))
    wire.on(GROUPS, answer({"items": [counts]}))
    wire.on(SUMMARY, answer(counts))
    wire.on(f"{JOBS}/a:0", computed(lambda _: answer(found()[0])))
    wire.on(LOGS, answer({"items": [{"message": "line"}]}))
    WAITS[name](rescale, task, None)
    assert INTERVAL < clock.ahead <= 4 * INTERVAL


@pytest.mark.parametrize("name", ["3 jobs", "101 jobs", "as_completed"])
def test_jobs_that_were_deleted_end_a_wait(
    wire: Wire, rescale: HtcSession, task: HtcTask, clock: TestIo, name: str
) -> None:
    """Even jobs that were seen running before."""
    size = 3 if name == "3 jobs" else 101
    running = {"group": "g", "jobStatuses": {"RUNNING": size}}

    def items(there: list[Any]) -> Step:
        return computed(lambda _: answer({"items": there if clock.ahead < INTERVAL else []}))

    wire.on(JOBS, items(records(size, "RUNNING")))
    wire.on(GROUPS, items([running]))
    with pytest.raises(HtcResponseError, match=f"{size} of the {size} jobs"):
        WAITS[name](rescale, task, None)
    assert INTERVAL < clock.ahead <= 5 * INTERVAL


def test_an_endless_log_does_not_flood_the_service(
    wire: Wire, rescale: HtcSession, task: HtcTask, clock: TestIo
) -> None:
    """Every page is empty and has a next page, while the job is running and afterwards."""
    requests = iter(range(1_000_000))

    def job(_: ReceivedRequest) -> Step:
        return answer(records(1, "RUNNING" if clock.ahead < INTERVAL else "FAILED")[0])

    wire.on(f"{JOBS}/a:0", computed(job))
    wire.on(LOGS, computed(lambda _: answer({"items": [], "next": f"?pageIndex={next(requests)}"})))
    assert list(batch_of(1, task).to_jobs()[0].follow_logs(rescale)) == []
    assert len(wire.requests_to(LOGS)) <= 100 * (len(clock.slept) + 1)


def test_a_circle_of_pages_ends_a_followed_log(
    wire: Wire, rescale: HtcSession, task: HtcTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URLs change, so only the lines reveal the loop."""
    monkeypatch.setattr(listing, "MAX_PAGES_WITHOUT_NEWS", 20)
    requests = iter(range(1_000_000))

    def page(_: ReceivedRequest) -> Step:
        number = next(requests)
        lines = [{"message": f"line {number % 2}", "timestamp": COMPLETED}]
        return answer({"items": lines, "next": f"?pageIndex={number}"})

    wire.on(f"{JOBS}/a:0", answer(records(1, "RUNNING")[0]))
    wire.on(LOGS, computed(page))
    with pytest.raises(HtcResponseError, match="no end"):
        list(batch_of(1, task).to_jobs()[0].follow_logs(rescale))
