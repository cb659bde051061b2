"""Test a program that uses the service, without an account.

`pip install "rescalehtc[emulator]>=2"` brings the fixtures; `pytest test_sweep.py` runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rescalehtc import htcjobs

if TYPE_CHECKING:
    from rescalehtc import HtcSession
    from rescalehtc.emulator import Fault
    from rescalehtc.htctasks import HtcTask


def square(rescale: HtcSession, task: HtcTask, numbers: int) -> list[int]:
    """The function of the program to test."""
    batch = htcjobs.create_job_batch(
        rescale,
        task,
        batch_size=numbers,
        priority="ON_DEMAND_ECONOMY",
        image_name="solver:1",
        exec_timeout_seconds=300,
        commands=["sh", "-c", "echo $((AWS_BATCH_JOB_ARRAY_INDEX * AWS_BATCH_JOB_ARRAY_INDEX))"],
        group="squares",
    )
    batch.wait(rescale)
    return [int(line) for job in batch.to_jobs() for line in job.get_logs(rescale)]


def test_the_squares_are_right(htc_session: HtcSession, htc_task: HtcTask) -> None:
    assert square(htc_session, htc_task, 3) == [0, 1, 4]


@pytest.mark.htc_fault("submitJobs", "reset_after", times=1)
def test_a_lost_answer_makes_no_job_run_twice(
    htc_session: HtcSession, htc_task: HtcTask, htc_faults: list[Fault]
) -> None:
    assert square(htc_session, htc_task, 3) == [0, 1, 4]
    assert htc_faults[0].count == 1
    assert len(htcjobs.get_jobs(htc_session, htc_task)) == 3


def test_a_job_that_takes_too_long_is_stopped(htc_session: HtcSession, htc_task: HtcTask) -> None:
    job = htcjobs.create_single_job(
        htc_session, htc_task, "ON_DEMAND_ECONOMY", "solver:1", 60, commands=["sleep", "600"]
    )
    job.wait(htc_session, timeout=60)  # a minute of the emulator's clock takes 3 seconds
    assert job.record.failure_code == "ErrorTimeout"
