"""A wait with a policy runs failed jobs again, by their old index, and continues where another wait stopped."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import (
    HtcValidationError,
    HtcWaitTimeoutError,
    RunStoppedError,
    SubmissionIncompleteError,
)
from rescalehtc.htcjobs import RetryPolicy

from ..clock import inject_clock
from ..limits import HANG_SECONDS
from ..service import Answer, ReceivedRequest, Service
from .conftest import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rescalehtc.emulator import Fault
    from rescalehtc.hooks import ResponseInfo

# Each job writes its index when it succeeds.
LEDGER = 'echo "${RESCALEHTC_INDEX:-$AWS_BATCH_JOB_ARRAY_INDEX}" >> $TASK_SHARED_FOLDER/done; '
INDEX = "i=${RESCALEHTC_INDEX:-$AWS_BATCH_JOB_ARRAY_INDEX}; "
AT_ONCE: dict[str, Any] = {"backoff_seconds": 0}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator for this module only, because faults affect any job."""
    with Emulator(slots=4) as emulator:
        yield emulator


class Gate:
    """Jobs wait until enough faults have affected them.

    Attributes:
        script: The start of the jobs' scripts.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "open"
        self.script = f"until [ -e {self._file} ]; do sleep 0.02; done; "

    def opening(self, fault: Fault, times: int) -> Callable[[object], None]:
        """A function for `progress` that lets the jobs continue after this number of faults."""
        return lambda _: self._file.touch() if fault.count >= times else None


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def lines(rescale: HtcSession, task: htctasks.HtcTask, file: str = "done") -> Counter[str]:
    """The lines that jobs wrote to a file of the task."""
    script = f"cat $TASK_SHARED_FOLDER/{file} || true"
    job = htcjobs.submit(rescale, task, [request(1, script)]).to_jobs()[0]
    job.wait(rescale)
    return Counter(job.get_logs(rescale))


def test_exit_codes_are_run_again_with_the_old_index(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    script = INDEX + "mkdir $TASK_SHARED_FOLDER/$CASE-$i 2>/dev/null && [ $i != 0 ] && exit 75; "
    requests = [
        request(3, script + LEDGER, envs=[{"name": "CASE", "value": case}]) for case in ("a", "b")
    ]
    batch = htcjobs.submit(fast, task, requests)
    policy = RetryPolicy(exit_codes=[75], **AT_ONCE)
    counts = batch.wait(fast, policy=policy)
    assert (counts.succeeded, counts.failed, counts.total) == (6, 0, 6)
    assert lines(fast, task) == {"0": 2, "1": 2, "2": 2}
    statuses = [job.json.get("status") for job in batch.to_jobs()]
    assert statuses == ["SUCCEEDED", "FAILED", "FAILED"] * 2, "the batch's own jobs"


def test_a_preempted_job_is_run_again(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, gate: Gate
) -> None:
    with emulator.fault("*", "preempt", seconds=0, times=3) as fault:
        batch = htcjobs.submit(fast, task, [request(3, gate.script + LEDGER)])
        policy = RetryPolicy(max_attempts=4, **AT_ONCE)
        counts = batch.wait(fast, progress=gate.opening(fault, 3), policy=policy)
    assert counts.succeeded == 3
    assert lines(fast, task) == {"0": 1, "1": 1, "2": 1}


def test_a_job_out_of_memory_gets_more_until_it_is_enough(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, gate: Gate
) -> None:
    with (
        emulator.fault("*", "out_of_memory", seconds=0, memory_mib=3000) as fault,
        htcjobs.run(
            fast,
            task,
            [request(1, gate.script, maxMemory=1000)],
            policy=RetryPolicy(max_attempts=5, **AT_ONCE),
        ) as run,
    ):
        assert run.wait(progress=gate.opening(fault, 2)).succeeded == 1
    report = run.report()
    assert [item.number for item in report.attempts] == [1, 2, 3]
    failures = [item.failure for item in report.attempts if item.failure]
    assert [item.memory_mib for item in failures] == [1000, 2000]
    assert {item.failure_code for item in failures} == {"ErrorNotEnoughMemory"}
    last = htcjobs.get_job_with_id(fast, task, report.attempts[-1].job_id)
    assert last
    assert last.record.max_memory == 4000
    fetched = run.batch.report(fast)
    assert fetched.counts.succeeded == 1
    assert [(item.job_id, item.number, item.status) for item in fetched.attempts] == [
        (item.job_id, item.number, item.status) for item in report.attempts
    ]
    assert [item.decision.again for item in fetched.attempts if item.decision] == [True, True]


def test_memory_that_was_raised_stays_raised(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, gate: Gate
) -> None:
    policy = RetryPolicy(max_attempts=3, **AT_ONCE)
    with (
        emulator.fault("*", "out_of_memory", seconds=0, memory_mib=2000, times=1),
        emulator.fault("*", "preempt", seconds=0, times=1) as last,
    ):
        batch = htcjobs.submit(fast, task, [request(1, gate.script, maxMemory=1000)])
        opening = gate.opening(last, 1)
        assert batch.wait(fast, progress=opening, policy=policy).succeeded == 1
    memory = sorted(job.record.max_memory or 0 for job in htcjobs.get_jobs(fast, task))
    assert memory == [1000, 2000, 2000]


def test_a_timeout_becomes_longer() -> None:
    with Emulator(slots=2, clock_rate=200) as emulator, emulator.session() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        own = htctasks.create_task_with_name(rescale, project, "timeouts")
        rescale.status_refresh_seconds = 0.05
        script = "[ ${RESCALEHTC_INDEX:-none} = none ] && sleep 600; true"
        batch = htcjobs.submit(rescale, own, [request(1, script, execTimeoutSeconds=60)])
        policy = RetryPolicy(timeout_factor=20_000, **AT_ONCE)
        assert batch.wait(rescale, policy=policy).succeeded == 1
        timeouts = [job.record.exec_timeout_seconds for job in htcjobs.get_jobs(rescale, own)]
    assert timeouts == [60, 1_200_000]


def test_what_is_not_run_again_is_reported_with_its_reason(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    script = INDEX + "case $i in 0) exit 0;; 1) exit 3;; *) exit 75;; esac"
    policy = RetryPolicy(max_attempts=2, exit_codes=[75], **AT_ONCE)
    with htcjobs.run(fast, task, [request(4, script)], policy=policy) as run:
        counts = run.wait()
    assert (counts.succeeded, counts.failed) == (1, 3)
    report = run.report()
    assert report.counts == counts
    assert [item.index for item in report.reruns] == [2, 3]
    assert [(item.index, item.number) for item in report.failed] == [(1, 1), (2, 2), (3, 2)]
    code = "ErrorNonZeroContainerExitCode, exit code"
    assert report.causes == {f"{code} 75": 2, f"{code} 3": 1}
    assert str(report).splitlines() == [
        "4 of 4 jobs ended: 3 FAILED, 1 SUCCEEDED",
        f"retried: 2 with {code} 75: exit code 75 is one of exit_codes (index 2, 3)",
        f"failed: 2 with {code} 75: exit code 75 is one of exit_codes, but this was attempt 2 of "
        "2 (index 2, 3)",
        f"failed: 1 with {code} 3: exit code 3 is not one of exit_codes (index 1)",
    ]


def test_too_many_failures_cancel_the_group_and_raise_with_the_causes(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    script = INDEX + "[ $i -lt 3 ] && exit 9; [ $i -lt 10 ] || sleep 600"
    batch = htcjobs.submit(fast, task, [request(14, script)])
    with pytest.raises(RunStoppedError, match="3 with ErrorNonZeroContainerExitCode") as caught:
        batch.wait(fast, policy=RetryPolicy(stop_if_failed=0.2))
    assert caught.value.causes == {"ErrorNonZeroContainerExitCode, exit code 9": 3}
    assert caught.value.counts.failed == 3
    assert batch.wait(fast).failed == 7, "the others were cancelled"


def test_few_failures_are_judged_when_all_have_ended(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    script = INDEX + "[ $i != 0 ]"
    batch = htcjobs.submit(fast, task, [request(3, script)])
    with pytest.raises(RunStoppedError) as caught:
        batch.wait(fast, policy=RetryPolicy(stop_if_failed=0.2))
    assert "cancelled" not in str(caught.value)
    batch = htcjobs.submit(fast, task, [request(5, script)])
    assert batch.wait(fast, policy=RetryPolicy(stop_if_failed=0.2)).failed == 1


def test_another_wait_goes_on_where_one_stopped(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    script = INDEX + "[ -e $TASK_SHARED_FOLDER/mended ] || exit 75; " + LEDGER
    batch = htcjobs.submit(fast, task, [request(2, script)], group="g")
    patient = RetryPolicy(exit_codes=[75], max_attempts=2, backoff_seconds=0)
    assert batch.wait(fast, policy=patient).failed == 2
    htcjobs.submit(fast, task, [request(1, "touch $TASK_SHARED_FOLDER/mended")]).wait(fast)

    found = htcjobs.get_batch(fast, task, group="g")
    assert found
    assert len(found.to_jobs()) == 2, "jobs that run others again are not of the batch"
    more = RetryPolicy(exit_codes=[75], max_attempts=4, backoff_seconds=0)
    counts = found.wait(fast, policy=more)
    assert counts.succeeded == 2
    assert lines(fast, task) == {"0": 1, "1": 1}
    assert len(htcjobs.get_jobs(fast, task, group="g")) == 6
    assert found.wait(fast, policy=more) == counts, "nothing is left to do"
    assert len(htcjobs.get_jobs(fast, task, group="g")) == 6


def test_a_run_with_a_name_is_resumed(fast: HtcSession, task: htctasks.HtcTask) -> None:
    script = INDEX + "mkdir $TASK_SHARED_FOLDER/$i 2>/dev/null && exit 75; " + LEDGER
    policy = RetryPolicy(exit_codes=[75], **AT_ONCE)
    for _ in range(2):
        with htcjobs.run(fast, task, [request(3, script)], group="n", policy=policy) as run:
            assert run.wait().succeeded == 3
        assert len(run.report().reruns) == 3
    assert lines(fast, task) == {"0": 1, "1": 1, "2": 1}


def test_jobs_that_wait_for_their_next_attempt_count_as_not_seen(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    batch = htcjobs.submit(fast, task, [request(1, "exit 75")])
    batch.wait(fast)
    policy = RetryPolicy(exit_codes=[75], backoff_seconds=3600)
    with pytest.raises(HtcWaitTimeoutError, match="0 of 1 jobs ended: 1 not seen"):
        batch.wait(fast, timeout=0.2, policy=policy)


def test_backoff_and_settling_take_the_time_of_the_session_s_clock(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    batch = htcjobs.submit(fast, task, [request(1, "exit 75")])
    batch.wait(fast)
    clock = inject_clock(fast)
    fast.settle_seconds = 60.0
    batch.may_have_reruns = True
    policy = RetryPolicy(exit_codes=[75], backoff_seconds=30, max_attempts=2)
    assert batch.wait(fast, policy=policy).failed == 1
    assert clock.ahead >= 60


def test_an_outage_does_not_end_it(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    quick = fast.with_options(max_retries=0)
    script = INDEX + "mkdir $TASK_SHARED_FOLDER/x$i 2>/dev/null && exit 75; true"
    batch = htcjobs.submit(fast, task, [request(2, script)])
    batch.wait(fast)
    with (
        emulator.fault("listJobs", "status_before", status=503, times=2),
        emulator.fault("submitJobs", "status_before", status=429, times=1) as refused,
    ):
        policy = RetryPolicy(exit_codes=[75], **AT_ONCE)
        assert batch.wait(quick, policy=policy).succeeded == 2
        assert refused.count == 1


def test_retries_that_were_listed_before_an_outage_are_still_found(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    ids = {"projectId": "p", "taskId": "t", "group": "g"}
    first = {**ids, "jobUUID": "a:0", "status": "FAILED", "failureCode": "ErrorTimeout"}
    again = {
        **ids,
        "jobUUID": "b:0",
        "status": "SUCCEEDED",
        "tags": {"rescalehtc-attempt": "a:0:2"},
    }
    outages = [503]

    def answer(received: ReceivedRequest) -> Answer:
        if named := received.query.get("jobId"):
            return Answer({"items": [job for job in (first, again) if job["jobUUID"] in named]})
        if "pageIndex" not in received.query:
            return Answer({"items": [again], "next": "jobs?pageIndex=1"})
        return Answer(status=outages.pop()) if outages else Answer({"items": [first]})

    service.on("GET /htc/projects/p/tasks/t/jobs", answer)
    batch = htcjobs.HtcJobBatch({**ids, "parentJobId": "a", "batchSize": 1}, scripted_task)
    batch.may_have_reruns = True
    quick = scripted.with_options(max_retries=0)
    assert batch.wait(quick, HANG_SECONDS, policy=RetryPolicy()).succeeded == 1
    assert not outages


def test_a_lost_answer_is_found_or_left_to_the_next_wait(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    script = INDEX + "mkdir $TASK_SHARED_FOLDER/y$i 2>/dev/null && exit 75; " + LEDGER
    policy = RetryPolicy(exit_codes=[75], **AT_ONCE)
    batch = htcjobs.submit(fast, task, [request(2, script)])
    batch.wait(fast)
    with (
        emulator.fault("submitJobs", "reset_before", times=1),
        pytest.raises(SubmissionIncompleteError),
    ):
        batch.wait(fast, policy=policy)
    with emulator.fault("submitJobs", "reset_after", times=1) as lost:
        assert batch.wait(fast, policy=policy).succeeded == 2
        assert lost.count == 1
    assert lines(fast, task) == {"0": 1, "1": 1}


def test_a_batch_that_can_t_have_a_policy_is_refused(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    policy = RetryPolicy()
    envs = [{"name": "RESCALEHTC_INDEX", "value": "1"}]
    batch = htcjobs.submit(fast, task, [request(2, envs=envs)])
    with pytest.raises(HtcValidationError, match="RESCALEHTC_INDEX"):
        batch.wait(fast, policy=policy)
    ids = {"projectId": "p", "taskId": "t", "parentJobId": "a", "batchSize": 1}
    with pytest.raises(HtcValidationError, match="not in one group"):
        htcjobs.HtcJobBatch(ids, task).wait(fast, policy=policy)
    with pytest.raises(HtcValidationError, match="policy"):
        batch.wait(fast, policy="always")  # type: ignore[arg-type]


@pytest.mark.parametrize("outage", [3, None])
def test_an_answer_that_is_lost_in_an_outage_is_found_afterwards(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, outage: int | None
) -> None:
    """If the wait ends during the outage, the submission is uncertain."""
    script = INDEX + f"mkdir $TASK_SHARED_FOLDER/{outage}$i 2>/dev/null && exit 75; " + LEDGER
    batch = htcjobs.submit(fast, task, [request(1, script)])
    batch.wait(fast)
    faults: list[Fault] = []
    ongoing = contextlib.ExitStack()

    def begin(response: ResponseInfo) -> None:
        if response.operation == "submitJobs" and not faults:
            fault = emulator.fault("listJobs", "reset_before", times=outage or 1000)
            faults.append(ongoing.enter_context(fault))

    settings = {"max_retries": 0, "status_refresh_seconds": 1.0, "settle_seconds": 0.0}
    policy = RetryPolicy(exit_codes=[75], **AT_ONCE)
    with (
        emulator.fault("submitJobs", "reset_after", times=1),
        HtcSession(
            api_key=emulator.api_key, base_url=emulator.url, on_response=begin, **settings
        ) as rescale,
    ):
        inject_clock(rescale)
        if outage:
            assert batch.wait(rescale, policy=policy).succeeded == 1
        else:
            with pytest.raises(SubmissionIncompleteError) as caught:
                batch.wait(rescale, timeout=60, policy=policy)
            ongoing.close()
            (lost,) = caught.value.uncertain
            assert "could not be searched" in lost.reason
            assert htcjobs.recheck(rescale, lost).wait(rescale).total == 1
    assert lines(fast, task) == {"0": 1}
