"""Inputs that go up with a submission, and what each job left."""

import asyncio
from typing import Any

import pytest

from rescalehtc import htcjobs
from rescalehtc.aio import htcjobs as aio_jobs
from rescalehtc.exceptions import HtcFileError, HtcValidationError

from ..limits import EXEC_SECONDS
from .conftest import tree

LEAVE = """
out="$TASK_SHARED_FOLDER/$RESCALEHTC_RESULTS/$AWS_BATCH_JOB_ARRAY_INDEX"
[ "$AWS_BATCH_JOB_ARRAY_INDEX" = 1 ] && exit 1
mkdir -p "$out/sub"
cat "$TASK_SHARED_FOLDER/$RESCALEHTC_INPUTS/sub/n" > "$out/n"
echo "$AWS_BATCH_JOB_ARRAY_INDEX" > "$out/sub/i"
"""


def request_for(size=3, code=LEAVE, **definition):
    return {
        "batchSize": size,
        "htcJobDefinition": {
            "imageName": "image",
            "commands": ["sh", "-c", code],
            "priority": "ON_DEMAND_ECONOMY",
            "execTimeoutSeconds": EXEC_SECONDS,
            "maxVCpus": 1,
            "maxMemory": 100,
            **definition,
        },
    }


@pytest.fixture
def inputs(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "n").write_text("42")
    return tmp_path / "in"


def test_jobs_find_their_inputs_and_each_ones_results_come_down(rescale, task, inputs, tmp_path):
    batch = htcjobs.submit(rescale, task, [request_for()], inputs=inputs)
    results = batch.download_results(rescale, tmp_path / "out")
    left = {"0/n": b"42", "0/sub/i": b"0\n", "2/n": b"42", "2/sub/i": b"2\n"}
    assert tree(tmp_path / "out") == left
    jobs = [job.json["jobUUID"] for job in batch.to_jobs()]
    assert results.without_files == [jobs[1]]
    assert {path.relative_to(tmp_path / "out").as_posix() for path in results.files[jobs[2]]} == {
        *("2/n", "2/sub/i")
    }
    before = (tmp_path / "out" / "0" / "n").stat()
    again = batch.download_results(rescale, tmp_path / "out")
    assert again.files == results.files
    assert (tmp_path / "out" / "0" / "n").stat().st_ino == before.st_ino  # not downloaded again
    batch.download_results(rescale, tmp_path / "some", "{index}/sub/*")
    assert {*tree(tmp_path / "some")} == {"0/sub/i", "2/sub/i"}


def test_an_outage_only_delays_the_results(emulator, rescale, task, inputs, tmp_path, caplog):
    batch = htcjobs.submit(rescale, task, [request_for(1)], inputs=inputs)
    batch.wait(rescale)
    with (
        rescale.with_options(max_retries=0) as impatient,
        emulator.fault("getTaskStorageTokenForRegion", "status_before", times=1),
        emulator.fault("storage", "status_before", times=4) as fault,
    ):
        impatient.status_refresh_seconds = 0.05
        batch.download_results(impatient, tmp_path / "out")
    assert fault.count == 4
    assert {*tree(tmp_path / "out")} == {"0/n", "0/sub/i"}
    assert sum(line.endswith("polling continues") for line in caplog.messages) == 1


def test_batches_of_one_submission_do_not_share_results(rescale, task, inputs, tmp_path):
    batch = htcjobs.submit(rescale, task, [request_for(1), request_for(1)], inputs=inputs)
    batch.download_results(rescale, tmp_path / "out", "{index}/n")
    assert {*tree(tmp_path / "out")} == {"0/0/n", "1/0/n"}


def test_jobs_that_are_run_again_leave_their_results_elsewhere(rescale, task, inputs, tmp_path):
    batch = htcjobs.submit(rescale, task, [request_for()], inputs=inputs)
    batch.wait(rescale)
    again = batch.resubmit_failed(rescale).submit(rescale)
    results = again.download_results(rescale, tmp_path / "out")
    assert {*tree(tmp_path / "out")} == {"0/n", "0/sub/i"}
    assert not results.without_files


def test_a_name_of_your_own_is_kept(rescale, task, tmp_path):
    code = 'o="$TASK_SHARED_FOLDER/$RESCALEHTC_RESULTS/0"; mkdir -p "$o"; echo x > "$o/x"'
    envs = [{"name": "RESCALEHTC_RESULTS", "value": "mine"}]
    batch = htcjobs.submit(rescale, task, [request_for(1, code, envs=envs)])
    batch.download_results(rescale, tmp_path / "out")
    assert tree(tmp_path / "out") == {"0/x": b"x\n"}
    assert [item.path for item in task.files(rescale).list()] == ["mine/0/x"]


def test_a_submission_without_inputs_is_as_before(rescale, task, tmp_path):
    batch = htcjobs.submit(rescale, task, [request_for(1, "true")])
    assert "envs" not in batch.json["htcJobDefinition"]
    with pytest.raises(HtcValidationError, match="has no variable RESCALEHTC_RESULTS"):
        batch.download_results(rescale, tmp_path / "out")


def test_wrong_arguments_are_refused_before_anything_is_submitted(rescale, task, inputs, tmp_path):
    folders: list[Any] = [tmp_path / "none", 0, b"folder"]
    for wrong in folders:
        with pytest.raises(HtcFileError, match="inputs must be a folder"):
            htcjobs.submit(rescale, task, [request_for()], inputs=wrong)
    assert htcjobs.get_jobs(rescale, task) == []
    batch = htcjobs.submit(rescale, task, [request_for()], inputs=inputs)
    patterns: list[Any] = ["*", None, 5]
    for pattern in patterns:
        with pytest.raises(HtcValidationError, match=r"must have \{index\}"):
            batch.download_results(rescale, tmp_path, pattern)


def test_an_event_loop_has_the_same(emulator, task, inputs, tmp_path):
    async def main():
        async with emulator.async_session() as rescale:
            batch = await aio_jobs.submit(rescale, task, [request_for()], inputs=inputs)
            results = await batch.download_results(rescale, tmp_path / "out")
            assert len(results.files) == 3
            assert len(results.without_files) == 1

    asyncio.run(main())
    assert {*tree(tmp_path / "out")} == {"0/n", "0/sub/i", "2/n", "2/sub/i"}


def test_the_convention_is_in_the_jobs_records(rescale, task, inputs):
    batch = htcjobs.submit(rescale, task, [request_for(1, "true")], inputs=inputs)
    envs = {pair["name"]: pair["value"] for pair in batch.json["htcJobDefinition"]["envs"]}
    assert envs["RESCALEHTC_INPUTS"] == f"{envs['RESCALEHTC_RESULTS']}/inputs"
