"""The live view of tasks: as lines in a pipe, as a table on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rescalehtc import htcjobs
from rescalehtc.emulator import Emulator
from rescalehtc.htctasks import create_task_with_name, delete_task_with_id

from .conftest import request_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rescalehtc import HtcSession, htctasks

    from .conftest import Command


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator without the tasks of other tests."""
    with Emulator(slots=4) as emulator:
        yield emulator


@pytest.fixture
def failing(rescale: HtcSession, task: htctasks.HtcTask) -> str:
    """The id of a task with three jobs that have ended, of which two failed with exit code 7."""
    script = "exit $((AWS_BATCH_JOB_ARRAY_INDEX > 0 ? 7 : 0))"
    request = request_for("sh", "-c", script, batchSize=3)
    htcjobs.create_job_batch_raw(rescale, task, [request]).wait(rescale)
    return str(task.json["taskId"])


def test_a_pipe_gets_one_table_with_the_causes_of_failures(htc: Command, failing: str) -> None:
    done = htc("top", "--task", failing)
    assert done.status == 0
    counts, cause = done.output.splitlines()
    assert counts == "a test's own: 3 of 3 jobs ended: 2 FAILED, 1 SUCCEEDED"
    assert cause.startswith("  2 failed: ErrorNonZeroContainerExitCode, exit code 7, such as ")


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_a_table_until_ctrl_c(htc: Command, failing: str, columns: int) -> None:
    done = htc.under_terminal(
        "top",
        "--task",
        failing,
        "--interval",
        "0.1",
        columns=columns,
        typed={"exit code 7": "\x03"},
    )
    assert done.status == 130
    assert "2 FAILED" in done.output
    assert "\x1b[?25h" in done.output.rpartition("exit code 7")[2], "the cursor is visible again"


def test_the_jobs_that_have_been_running_for_longest_are_shown(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    batch = htcjobs.create_job_batch_raw(rescale, task, [request_for("sleep", "600")])
    arguments = ("top", "-t", task.json["taskId"], "--interval", "0.1")
    job_id = f"{batch.json['parentJobId']}:0"
    done = htc.under_terminal(*arguments, typed={job_id: "\x03"}, NO_COLOR="1")
    assert done.status == 130
    assert "RUNNING FOR" in done.output
    task.cancel_jobs_in_task(rescale)


def test_all_active_tasks_are_shown_and_one_that_is_deleted_meanwhile_is_not(
    htc: Command, rescale: HtcSession, failing: str, task: htctasks.HtcTask
) -> None:
    assert "a test's own: 3 of 3 jobs ended" in htc("top").output
    delete_task_with_id(rescale, task.project, failing)
    assert htc("top", "--once").status == 0


def test_a_project_with_more_tasks_than_are_shown_says_so(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    tasks = [create_task_with_name(rescale, task.project, "one of many") for _ in range(50)]
    done = htc("top")
    for item in tasks:
        delete_task_with_id(rescale, task.project, item.json["taskId"])
    assert len(done.output.splitlines()) >= 50
    assert "more than 50 active tasks" in done.errors
