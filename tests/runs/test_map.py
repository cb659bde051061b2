"""`htcjobs.map`: a program or a function over many inputs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from rescalehtc import HtcSession, htcjobs, htctasks
from rescalehtc._jobs import submission
from rescalehtc.aio import htcjobs as aio_jobs
from rescalehtc.exceptions import (
    HtcException,
    HtcFileError,
    HtcValidationError,
    HtcWaitTimeoutError,
    RunStoppedError,
)
from rescalehtc.htcjobs import RetryPolicy, _call_function, _sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rescalehtc.emulator import Emulator, Fault
    from rescalehtc.hooks import ResponseInfo

    from ..service import Service

SOLVE = """
import json, os, sys

with open(sys.argv[1]) as file:
    point = json.load(file)
ledger = os.path.join(os.environ["TASK_SHARED_FOLDER"], "ledger")
with open(ledger, "a") as file:
    file.write(f"{point['x']}\\n")
if "exit" in point:
    sys.exit(point["exit"])
with open(sys.argv[2], "w") as file:
    file.write(point.get("writes") or json.dumps(point["x"] ** 2))
"""


@pytest.fixture(autouse=True)
def this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs use the interpreter of the tests."""
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def solve(tmp_path: Path) -> Path:
    program = tmp_path / "solve.py"
    program.write_text(SOLVE)
    return program


def points(*values: int) -> list[dict[str, int]]:
    return [{"x": value} for value in values]


def ledger(rescale: HtcSession, task: htctasks.HtcTask) -> Counter[str]:
    """How often each input was run."""
    return Counter(task.files(rescale).read("ledger").decode().split())


def values(results: Iterator[htcjobs.MapResult]) -> dict[int, Any]:
    return {result.index: result.value for result in results}


def hooked(emulator: Emulator, **hooks: Any) -> HtcSession:
    """A session that calls hooks."""
    settings = {"status_refresh_seconds": 0.05, "settle_seconds": 0.0}
    return HtcSession(api_key=emulator.api_key, base_url=emulator.url, **settings, **hooks)


@pytest.fixture
def small_batches() -> Iterator[None]:
    """Batches of two jobs, and one batch per call of submitJobs."""
    with (
        mock.patch.object(_sweep, "MAX_BATCH_SIZE", 2),
        mock.patch.object(htcjobs._map, "MAX_BATCH_SIZE", 2),
        mock.patch.object(submission, "MAX_REQUESTS", 1),
        mock.patch.object(submission, "PARALLEL_CALLS", 1),
    ):
        yield


def test_each_result_has_its_input_job_and_value(
    fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    found = [*htcjobs.map(fast, task, solve, iter(points(3, 4)), image="image", group="g")]
    by_index = {result.index: result for result in found}
    assert {index: result.value for index, result in by_index.items()} == {0: 9, 1: 16}
    second = by_index[1]
    assert second.input == {"x": 4}
    assert second.error is None
    assert second.job.record.status == "SUCCEEDED"
    assert second.job.json["jobUUID"].endswith(":1")
    assert second.folder == "map-g/results/0/1"
    assert task.files(fast).read(f"{second.folder}/result.json") == b"16"


def test_a_failed_job_is_a_result_whose_value_raises(
    fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    inputs = [{"x": 1}, {"x": 2, "exit": 3}, {"x": 3, "writes": "{"}]
    found = {item.index: item for item in htcjobs.map(fast, task, solve, inputs, image="image")}
    assert found[0].value == 1
    assert "input 1 failed: ErrorNonZeroContainerExitCode, exit code 3" in str(found[1].error)
    assert found[1].job.record.failure_code == "ErrorNonZeroContainerExitCode"
    with pytest.raises(HtcException, match="input 1 failed"):
        _ = found[1].value
    assert isinstance(found[2].error, HtcFileError)
    assert "is not JSON" in str(found[2].error)


def test_a_job_that_writes_no_result_is_an_error_even_if_an_earlier_attempt_wrote_one(
    fast: HtcSession, task: htctasks.HtcTask, tmp_path: Path
) -> None:
    program = tmp_path / "flaky.py"
    program.write_text(
        "import os, sys\n"
        "mark = os.path.join(os.environ['TASK_SHARED_FOLDER'], 'mark')\n"
        "if not os.path.exists(mark):\n"
        "    open(mark, 'w').close()\n"
        "    open(sys.argv[2], 'w').write('1')\n"
        "    sys.exit(75)\n"
    )
    policy = RetryPolicy(exit_codes=[75], backoff_seconds=0.0)
    (result,) = htcjobs.map(fast, task, program, [None], image="image", policy=policy)
    assert "wrote no result" in str(result.error)
    assert result.job.record.status == "SUCCEEDED"


def test_a_policy_retries_failed_inputs(
    fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    policy = RetryPolicy(max_attempts=2, exit_codes=[75], backoff_seconds=0.0)
    inputs = [{"x": 1, "exit": 75}, {"x": 2}]
    found = {
        item.index: item
        for item in htcjobs.map(fast, task, solve, inputs, image="image", policy=policy)
    }
    assert "input 0 failed after 2 attempts" in str(found[0].error)
    assert found[1].value == 4
    assert ledger(fast, task) == {"1": 2, "2": 1}


def test_too_many_failures_stop_it_after_the_results_that_are_there(
    fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    policy = RetryPolicy(stop_if_failed=0.5)
    results = htcjobs.map(fast, task, solve, [{"x": 1, "exit": 3}], image="image", policy=policy)
    assert next(results).error is not None
    with pytest.raises(RunStoppedError, match="exit code 3"):
        next(results)


@pytest.mark.usefixtures("small_batches")
def test_more_inputs_than_a_batch_can_have_become_several_batches(
    fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    policy = RetryPolicy(max_attempts=2, exit_codes=[75], backoff_seconds=0.0)
    inputs = [*points(1, 2, 3, 4), {"x": 5, "exit": 75}]
    results = htcjobs.map(fast, task, solve, inputs, image="image", group="g", policy=policy)
    found = {result.index: result for result in results}
    assert [found[index].value for index in range(4)] == [1, 4, 9, 16]
    assert found[4].input == inputs[4]
    assert found[4].error is not None
    assert found[4].folder == "map-g/results/2/0"
    batch = htcjobs.get_batch(fast, task, group="g")
    assert batch is not None
    assert [part.json["batchSize"] for part in batch.batches] == [2, 2, 1]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("moment", ["on_request", "on_response"])
def test_a_program_that_is_interrupted_at_any_request_continues_with_the_next_call(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, solve: Path, moment: str
) -> None:
    """Each input is run once. The first interrupt is at the first request, and so on."""
    inputs = points(*range(3))
    found: dict[int, Any] = {}
    interrupted_at = 0
    while not found:
        interrupted_at += 1
        numbers = itertools.count(1)

        def interrupt(_: object, at: int = interrupted_at, numbers: Any = numbers) -> None:
            if next(numbers) == at:
                raise KeyboardInterrupt

        rescale = hooked(emulator, **{moment: interrupt})
        with rescale, contextlib.suppress(KeyboardInterrupt):
            found = values(htcjobs.map(rescale, task, solve, inputs, image="image", group="g"))
    assert interrupted_at > 5, "the first calls end before or at the submission"
    assert found == {index: index**2 for index in range(3)}
    assert ledger(fast, task) == {str(index): 1 for index in range(3)}
    assert len(htcjobs.get_jobs(fast, task)) == 3


def test_an_upload_that_fails_is_repeated_by_the_next_call(
    fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    """The digest of the inputs is uploaded last."""
    files = task.files(fast)
    files.write("map-g/inputs/0/0.json", "an old one")
    assert values(htcjobs.map(fast, task, solve, points(3), image="image", group="g")) == {0: 9}
    assert json.loads(files.read("map-g/inputs/0/0.json")) == {"x": 3}


def test_an_outage_of_the_storage_only_delays_the_results(
    emulator: Emulator, task: htctasks.HtcTask, solve: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(response: ResponseInfo) -> None:
        if response.operation == "submitJobs":
            emulator.fault("storage", "status_before", times=3)

    with hooked(emulator, on_response=fail, max_retries=0) as rescale:
        results = htcjobs.map(rescale, task, solve, points(3), image="image", group="g")
        assert values(results) == {0: 9}
    warnings = [line for line in caplog.messages if line.endswith("polling continues")]
    assert len(warnings) == 1
    assert warnings[0].startswith("map: read of map-g/results/0/0/result.json failed: ")


def test_the_timeout_also_ends_the_wait_for_the_storage(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    assert values(htcjobs.map(fast, task, solve, points(3), image="image", group="g")) == {0: 9}
    faults: list[Fault] = []

    def fail(response: ResponseInfo) -> None:
        if response.operation == "listJobs" and not faults:
            faults.append(emulator.fault("storage", "status_before"))

    with hooked(emulator, on_response=fail, max_retries=0) as rescale:
        again = htcjobs.map(rescale, task, solve, points(3), image="image", group="g", timeout=0)
        with pytest.raises(HtcWaitTimeoutError, match="the last poll failed: read of"):
            next(again)
    with faults[0]:  # removes it
        pass


def test_leaving_the_loop_leaves_the_jobs_to_the_next_call(
    fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    def results() -> Iterator[htcjobs.MapResult]:
        return htcjobs.map(fast, task, solve, points(1, 2), image="image", group="g")

    for result in results():
        assert result.value == result.input["x"] ** 2
        break
    assert values(results()) == {0: 1, 1: 4}
    assert ledger(fast, task) == {"1": 1, "2": 1}


def test_an_interrupt_says_how_to_get_the_results(
    emulator: Emulator, task: htctasks.HtcTask, solve: Path
) -> None:
    operations: list[str] = []

    def interrupt(response: ResponseInfo) -> None:
        operations.append(response.operation)
        if operations[-3:] == ["submitJobs", "listJobs", "listJobs"]:
            raise KeyboardInterrupt

    with (
        hooked(emulator, on_response=interrupt) as rescale,
        pytest.raises(KeyboardInterrupt) as caught,
    ):
        next(htcjobs.map(rescale, task, solve, points(1), image="image", group="g"))
    assert any("call map again with group='g'" in note for note in caught.value.__notes__)


def test_a_group_keeps_its_program_and_its_inputs(
    fast: HtcSession, task: htctasks.HtcTask, solve: Path
) -> None:
    def run(inputs: Any) -> dict[int, Any]:
        return values(htcjobs.map(fast, task, solve, inputs, image="image", group="g"))

    assert run(points(1)) == {0: 1}
    for inputs in (points(2), points(1, 2), [{"x": 1, "y": 0}]):
        with pytest.raises(HtcValidationError, match="inputs: must be the same as in the first"):
            run(inputs)
    solve.write_text(SOLVE + "# changed")
    with pytest.raises(HtcValidationError, match="choose another group"):
        run(points(1))
    assert len(htcjobs.get_jobs(fast, task)) == 1


def test_without_inputs_it_sends_nothing(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, solve: Path
) -> None:
    assert [*htcjobs.map(scripted, scripted_task, solve, [], image="image")] == []
    assert not service.requests


def test_wrong_arguments_are_found_before_anything_is_sent(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, solve: Path
) -> None:
    def problems(program: Any = solve, inputs: Any = (), **arguments: Any) -> list[str]:
        with pytest.raises(HtcValidationError) as caught:
            htcjobs.map(scripted, scripted_task, program, inputs, **{"image": "image", **arguments})
        return [problem.where for problem in caught.value.problems]

    assert problems(inputs=[1, {1, 2}, object()]) == ["inputs[1]", "inputs[2]"]
    assert problems(inputs="abc") == problems(inputs={"x": 1}) == problems(inputs=7) == ["inputs"]
    assert problems(program=7) == ["program"]
    assert problems(image="No Image", max_vcpus=0, envs={"AWS_BATCH_JOB_ID": "1"}) == [
        *("image", "max_vcpus", "envs.AWS_BATCH_JOB_ID")
    ]
    assert problems(group="") == problems(group="a/../b") == ["group"]
    assert problems(timeout=-1) == ["timeout"]
    with pytest.raises(HtcValidationError, match="policy"):
        htcjobs.map(scripted, scripted_task, solve, [1], image="i", policy=3)  # type: ignore[arg-type]
    with pytest.raises(HtcFileError, match=r"missing\.py"):
        htcjobs.map(scripted, scripted_task, "missing.py", [1], image="image")
    assert not service.requests


def test_without_a_temporary_folder_nothing_is_submitted(
    fast: HtcSession, task: htctasks.HtcTask, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text("")
    with (
        mock.patch.object(tempfile, "tempdir", str(tmp_path / "missing")),
        pytest.raises(HtcFileError, match="inputs can't be written to a temporary folder: No such"),
    ):
        next(htcjobs.map(fast, task, program, [0], image="image"))
    assert htcjobs.get_jobs(fast, task) == []


def test_the_timeout_ends_the_wait_and_the_jobs_continue(
    fast: HtcSession, task: htctasks.HtcTask, tmp_path: Path
) -> None:
    program = tmp_path / "sleep.py"
    program.write_text("import time; time.sleep(600)")
    with pytest.raises(HtcWaitTimeoutError, match="0 of 1 jobs ended") as caught:
        next(htcjobs.map(fast, task, program, [0], image="image", timeout=0))
    (job,) = htcjobs.get_jobs(fast, task)
    assert f"call map again with group={job.json['group']!r}" in caught.value.__notes__[0]
    task.cancel_jobs_in_task(fast)


def test_jobs_get_the_arguments(fast: HtcSession, task: htctasks.HtcTask, tmp_path: Path) -> None:
    program = tmp_path / "environment.py"
    program.write_text(
        "import json, os, sys; json.dump(os.environ['CASE'], open(sys.argv[2], 'w'))"
    )
    (result,) = htcjobs.map(
        fast,
        task,
        str(program),
        [0],
        image="image",
        envs={"CASE": "7"},
        job_tags={"study": "wing"},
        max_memory_mib=100,
        exec_timeout_seconds=60,
    )
    assert result.value == "7"
    record = result.job.record
    assert (record.max_memory, record.exec_timeout_seconds) == (100, 60)
    assert {"key": "study", "value": "wing"} in result.job.json["tags"]


def test_on_an_event_loop(emulator: Emulator, task: htctasks.HtcTask, solve: Path) -> None:
    async def collect() -> dict[int, Any]:
        async with emulator.async_session() as rescale:
            results = aio_jobs.map(rescale, task, solve, points(1, 2), image="image")
            return {result.index: result.value async for result in results}

    assert asyncio.run(collect()) == {0: 1, 1: 4}


# ---- functions


def test_a_function_is_called_with_each_input(fast: HtcSession, task: htctasks.HtcTask) -> None:
    factor = 3

    def scale(value: int) -> dict[str, int]:
        if value == 2:
            raise RuntimeError("two is too much")
        return {"scaled": factor * value}

    for _ in range(2):  # its pickle may differ in another process
        results = htcjobs.map(fast, task, scale, [1, 2], image="image", group="g")
        first, second = sorted(results, key=lambda result: result.index)
        assert first.value == {"scaled": 3}
        assert second.error is not None
        assert [*second.job.get_logs(fast)][-1] == "RuntimeError: two is too much"


def test_a_function_needs_the_python_version_that_pickled_it(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    with mock.patch.object(_call_function, "version", return_value="3.10"):
        results = htcjobs.map(fast, task, lambda value: value, [1], image="image")
        (result,) = results
    assert result.error is not None
    assert "pickled by Python 3.10" in "\n".join(result.job.get_logs(fast))


def test_a_function_that_can_t_be_pickled_is_refused(
    scripted: HtcSession, scripted_task: htctasks.HtcTask, tmp_path: Path
) -> None:
    with (
        (tmp_path / "file").open("w") as file,
        pytest.raises(HtcValidationError, match="program: can't be pickled"),
    ):
        htcjobs.map(scripted, scripted_task, lambda _: file.name, [1], image="image")


def test_functions_need_the_extra(
    scripted: HtcSession, scripted_task: htctasks.HtcTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(HtcException, match=r'pip install "rescalehtc\[map\]>=2"'):
        htcjobs.map(scripted, scripted_task, json.dumps, [1], image="image")
