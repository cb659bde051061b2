"""A block that is interrupted cancels its jobs, and names those that still run."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from rescalehtc import HtcSession, htcjobs, htctasks
from rescalehtc import aio as twins
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcException, HtcValidationError, HtcWaitTimeoutError

from .. import programs
from ..clock import inject_clock
from ..limits import HANG_SECONDS
from ..service import Answer, Service
from .conftest import request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from rescalehtc.hooks import ResponseInfo

JOBS = "GET /htc/projects/p/tasks/t/jobs"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"
CANCEL = "POST /htc/projects/p/tasks/t/jobs/cancel"
SUMMARIES = "GET /htc/projects/p/tasks/t/group-summary-statistics"
IMAGE = "GET /htc/projects/p/container-registry/images/image"

PROGRAM = """
import sys
from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks

def stop(*_):
    print("the program's own handler", flush=True)
    raise SystemExit(7)

if "handler" in sys.argv:
    import signal
    signal.signal(signal.SIGTERM, stop)
with HtcSession(status_refresh_seconds=0.05) as rescale:
    (project,) = htcprojects.get_projects(rescale)
    task = htctasks.get_task_with_id(rescale, project, sys.argv[1])
    definition = {"imageName": "image", "commands": ["sleep", "600"], "execTimeoutSeconds": 1200}
    requests = [{"batchSize": 3, "htcJobDefinition": definition}]
    with htcjobs.run(rescale, task, requests, group="g", on_exit=sys.argv[2],
                     cancel_seconds=600) as run:
        print("submitted", flush=True)
        run.wait()
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator for this module only, because the jobs use all slots."""
    with Emulator(slots=4) as emulator:
        yield emulator


def statuses(rescale: HtcSession, task: htctasks.HtcTask) -> list[str | None]:
    return [job.json.get("status") for job in htcjobs.get_jobs(rescale, task)]


def test_an_exception_in_the_block_cancels_the_jobs(
    fast: HtcSession, task: htctasks.HtcTask, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        pytest.raises(ZeroDivisionError) as caught,
        htcjobs.run(fast, task, [request(3, "sleep 600")]) as run,
    ):
        _ = 1 / 0
    assert statuses(fast, task) == ["FAILED"] * 3
    place = f"group '{run.group}' of task {task.json['taskId']}"
    (note,) = caught.value.__notes__
    assert note.startswith(f"rescalehtc: all jobs of {place}")
    assert f"all jobs of {place}" in caplog.text


def test_the_end_of_the_time_to_wait_cancels_the_jobs(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    with (
        pytest.raises(HtcWaitTimeoutError),
        htcjobs.run(fast, task, [request(2, "sleep 600")]) as run,
    ):
        run.wait(timeout=0.1)
    assert statuses(fast, task) == ["FAILED"] * 2


def test_a_block_that_ends_normally_leaves_its_jobs(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with htcjobs.run(fast, task, [request(2, "sleep 0.2")]) as run:
        assert signal.getsignal(signal.SIGTERM) != before[1]
        with pytest.raises(HtcException, match="wait"):
            run.report()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert run.batch.wait(fast).succeeded == 2


def test_left_jobs_are_said_to_go_on(
    fast: HtcSession, task: htctasks.HtcTask, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        htcjobs.run(fast, task, [request(1, "sleep 0.2")], group="g", on_exit="leave"),
    ):
        _ = 1 / 0
    assert "continue; htcjobs.get_batch(rescale, task, group='g') finds them" in caplog.text
    batch = htcjobs.get_batch(fast, task, group="g")
    assert batch
    assert batch.wait(fast).succeeded == 1


@pytest.mark.parametrize("wrong", [{"on_exit": "kill"}, {"cancel_seconds": -1}, {"group": ""}])
def test_wrong_arguments_are_refused_by_name(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, wrong: Any
) -> None:
    with pytest.raises(HtcValidationError, match=next(iter(wrong))):
        htcjobs.run(scripted, scripted_task, [request()], **wrong)
    assert not service.requests


def test_a_submission_that_was_refused_cancels_nothing(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    with (
        pytest.raises(HtcValidationError),
        htcjobs.run(scripted, scripted_task, [request(0)], group="g"),
    ):
        pass
    service.on(JOBS, Answer({"items": []}))
    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, Answer({}, 403))
    with (
        pytest.raises(HtcException, match="403"),
        htcjobs.run(scripted, scripted_task, [request(1)], group="g"),
    ):
        pass
    assert not service.requests_to(CANCEL)


# ---- what still runs


def interrupted(scripted: HtcSession, task: htctasks.HtcTask) -> str:
    """The note of a block that an exception ended, by a clock that only sleeping moves."""
    inject_clock(scripted)
    with (
        pytest.raises(ZeroDivisionError) as caught,
        htcjobs.run(scripted, task, [request(2)], group="g", cancel_seconds=1.0),
    ):
        _ = 1 / 0
    return caught.value.__notes__[0]


@pytest.fixture
def submitted(service: Service) -> Service:
    tags = [{"key": "rescalehtc-part", "value": "0"}]
    jobs = [
        {"projectId": "p", "taskId": "t", "jobUUID": f"a:{i}", "status": status, "tags": tags}
        for i, status in enumerate(["FAILED", "RUNNING"])
    ]
    service.on(JOBS, Answer({"items": jobs}))
    service.on(CANCEL, Answer(None))
    return service


def test_jobs_that_still_run_after_the_time_are_named(
    submitted: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    counts = {"group": "g", "jobStatuses": {"RUNNING": 1, "FAILED": 1}}
    submitted.on(SUMMARIES, Answer({"items": [counts]}))
    note = interrupted(scripted, scripted_task)
    assert note == "rescalehtc: 1 jobs of group 'g' of task t, project p still run: a:1"
    assert len(submitted.requests_to(CANCEL)) > 1, "it is cancelled again while jobs run"
    assert {received.query["group"][0] for received in submitted.requests_to(CANCEL)} == {"g"}


def test_jobs_that_are_not_listed_yet_are_not_said_to_have_ended(
    submitted: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    ended = {"group": "g", "jobStatuses": {"FAILED": 1}}
    both = {"group": "g", "jobStatuses": {"FAILED": 2}}
    answers = [Answer({"items": items}) for items in ([], [ended], [both])]
    submitted.on(SUMMARIES, *answers)
    assert "were cancelled or have ended" in interrupted(scripted, scripted_task)
    assert len(submitted.requests_to(CANCEL)) == 3
    submitted.on(SUMMARIES, Answer({"items": [ended]}))
    tags = [{"key": "rescalehtc-part", "value": "0"}]
    only = {"projectId": "p", "taskId": "t", "jobUUID": "a:0", "status": "FAILED", "tags": tags}
    submitted.on(JOBS, Answer({"items": [only]}))
    assert "does not list all of them yet" in interrupted(scripted, scripted_task)


def test_a_cancellation_that_fails_is_said(
    submitted: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    submitted.on(CANCEL, Answer({"errorType": "No"}, 403))
    note = interrupted(scripted, scripted_task)
    assert note.startswith("rescalehtc: jobs of group 'g' of task t, project p may still run: ")
    assert "403" in note


# ---- signals


def started(emulator: Emulator, task: htctasks.HtcTask, *arguments: str) -> programs.Process:
    command = [sys.executable, "-c", PROGRAM, task.json["taskId"], *arguments]
    process = programs.Process(command, env=emulator.environment())
    assert process.stdout
    assert process.stdout.readline() == "submitted\n"
    return process


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
def test_a_signal_cancels_the_jobs(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, number: int, status: int
) -> None:
    with started(emulator, task, "cancel") as process:
        process.send_signal(number)
        _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == status
    assert "all jobs of group 'g'" in errors
    assert statuses(fast, task) == ["FAILED"] * 3


def test_a_signal_leaves_the_jobs_if_they_are_to_be_left(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    with started(emulator, task, "leave") as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert "group='g') finds them" in errors
    assert "FAILED" not in statuses(fast, task)
    task.cancel_jobs_in_task(fast)


def test_a_handler_of_the_program_s_own_decides(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    with started(emulator, task, "cancel", "handler") as process:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 7
    assert "the program's own handler" in output
    assert statuses(fast, task) == ["FAILED"] * 3


def test_ctrl_c_while_jobs_are_cancelled_ends_the_wait_and_names_them(
    submitted: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    counts = {"group": "g", "jobStatuses": {"RUNNING": 1, "FAILED": 1}}

    def interrupt_again(_: object) -> Answer:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        return Answer({"items": [counts]})

    submitted.on(SUMMARIES, interrupt_again)
    with (
        pytest.raises(SystemExit) as caught,
        htcjobs.run(scripted, scripted_task, [request(2)], group="g", cancel_seconds=HANG_SECONDS),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143
    assert "still run: a:1" in caught.value.__notes__[0]


def test_a_signal_where_the_block_ends_is_not_lost(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    """The signal arrives in `__exit__`, before any of its lines could catch an exception."""

    def strike(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is htcjobs.Run.__exit__.__code__:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as caught, htcjobs.run(fast, task, [request(2, "sleep 600")]):
        sys.setprofile(strike)
    assert "all jobs of group" in caught.value.__notes__[0]
    assert statuses(fast, task) == ["FAILED"] * 2


def test_in_another_thread_signals_are_left_alone(fast: HtcSession, task: htctasks.HtcTask) -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def work() -> None:
        with htcjobs.run(fast, task, [request(1)]) as run:
            inside.append(signal.getsignal(signal.SIGTERM))
            run.wait()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


# ---- on an event loop


def test_a_cancelled_task_cancels_its_jobs(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    async def main() -> None:
        async with (
            emulator.async_session() as rescale,
            twins.htcjobs.run(rescale, cast("Any", task), [request(2, "sleep 600")]) as run,
        ):
            current = asyncio.current_task()
            assert current
            current.cancel()
            await run.wait()

    with pytest.raises(asyncio.CancelledError) as caught:
        asyncio.run(main())
    assert "all jobs of group" in caught.value.__notes__[0]
    assert statuses(fast, task) == ["FAILED"] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_on_a_loop_cancels_the_jobs(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, number: int
) -> None:
    program = PROGRAM.replace("with HtcSession", "async def main():\n  async with AsyncHtcSession")
    program = program.replace(
        "from rescalehtc import HtcSession,",
        "import asyncio\nfrom rescalehtc.aio import AsyncHtcSession,",
    )
    head, _, body = program.partition("async with AsyncHtcSession")
    body = body.replace("\n    ", "\n      ").replace("with htcjobs", "async with htcjobs")
    body = body.replace("= htc", "= await htc").replace("run.wait", "await run.wait")
    program = f"{head}async with AsyncHtcSession{body}asyncio.run(main())\n"
    command = [sys.executable, "-c", program, task.json["taskId"], "cancel"]
    with programs.Process(command, env=emulator.environment()) as process:
        assert process.stdout
        assert process.stdout.readline() == "submitted\n", process.communicate()
        process.send_signal(number)
        _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert "all jobs of group 'g'" in errors
    assert statuses(fast, task) == ["FAILED"] * 3


def test_a_run_on_a_loop_has_a_policy_and_a_report(
    emulator: Emulator, task: htctasks.HtcTask
) -> None:
    script = "i=${RESCALEHTC_INDEX:-0}; mkdir $TASK_SHARED_FOLDER/loop 2>/dev/null && exit 75; true"
    policy = htcjobs.RetryPolicy(exit_codes=[75], backoff_seconds=0)

    async def main() -> str:
        async with (
            emulator.async_session() as rescale,
            twins.htcjobs.run(
                rescale, cast("Any", task), [request(1, script)], policy=policy
            ) as run,
        ):
            counts = await run.wait()
            assert counts.succeeded == 1
            assert len((await run.batch.report(rescale)).attempts) == 2
            return str(run.report())

    assert "retried: 1 with" in asyncio.run(main())


# ---- exceptions while the block starts or exits


def test_an_exception_while_jobs_are_cancelled_names_the_group_and_restores_the_signals(
    submitted: Service, scripted_task: htctasks.HtcTask
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def fail(response: ResponseInfo) -> None:
        if response.operation == "cancelJobs":
            raise LookupError

    with (
        HtcSession(api_key="key-1", base_url=submitted.url, on_response=fail) as rescale,
        pytest.raises(LookupError) as caught,
        htcjobs.run(rescale, scripted_task, [request(2)], group="g"),
    ):
        _ = 1 / 0
    assert caught.value.__notes__ == ["rescalehtc: jobs of group 'g' may still run"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_failure_after_the_submission_cancels_the_jobs(
    submitted: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    ids = {"projectId": "p", "taskId": "t", "parentJobId": "a"}
    submitted.on(JOBS, Answer({"items": []}), Answer({}, 403))
    submitted.on(IMAGE, Answer({"status": "READY"}))
    submitted.on(SUBMIT, Answer([ids]))
    ended = {"group": "g", "jobStatuses": {"FAILED": 2}}
    submitted.on(SUMMARIES, Answer({"items": [ended]}))
    with (
        pytest.raises(HtcException, match="403") as caught,
        htcjobs.run(scripted, scripted_task, [request(2)], group="g"),
    ):
        pass
    assert submitted.requests_to(CANCEL)
    assert "submitted: a" in caught.value.__notes__[0]
    assert "all jobs of group 'g'" in caught.value.__notes__[1]
