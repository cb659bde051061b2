"""why, plan, rerun and submit --dry-run, through pipes and under terminals."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks

from .conftest import request_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Command

FAST = ("--interval", "0.1")
RATES = "[default]\nvcpu_hour = 1.0\ngib_hour = 0.5\n"
PLAN = ["3 jobs in 1 batch, 1 call", "at most 0.28 vCPU-hours, 0.03 GiB-hours"]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A task's name that no other test has."""
    return f"cli {os.getpid()} {request.node.name}"


@pytest.fixture
def failed(rescale: HtcSession, project: htcprojects.HtcProject, name: str) -> htcjobs.HtcJobBatch:
    """A batch in group `monday`, in the task with the name; job 1 of it fails each time."""
    task = htctasks.create_task_with_name(rescale, project, name)
    script = 'echo "part ${RESCALEHTC_INDEX:-$AWS_BATCH_JOB_ARRAY_INDEX}"; [ -z "$RESCALEHTC_INDEX" ] && exit $AWS_BATCH_JOB_ARRAY_INDEX; true'
    requests = [request_for("sh", "-c", script, batchSize=2)]
    batch = htcjobs.submit(rescale, task, requests, group="monday")
    batch.wait(rescale)
    return batch


def test_why_explains_a_job_and_a_task(
    htc: Command, failed: htcjobs.HtcJobBatch, name: str
) -> None:
    one = htc("why", failed.to_jobs()[1].json["jobUUID"], "--task", name)
    assert one.status == 0
    lines = one.output.splitlines()
    assert lines[0] == "the program ended with exit code 1"
    assert lines[-2:] == ["  log: part 1", "  -> read the log for the reason"]
    assert htc("why", "--task", name).output == one.output
    (cause,) = htc("why", "--task", name, "--output", "json").json
    assert (cause["name"], cause["jobs"], cause["is_guess"]) == ("exit-code", 1, False)


@pytest.mark.parametrize("columns", [80, 120])
def test_why_under_a_terminal(
    htc: Command, failed: htcjobs.HtcJobBatch, name: str, columns: int
) -> None:
    done = htc.under_terminal("why", "--task", name, columns=columns)
    assert done.status == 0
    assert "  -> read the log for the reason" in done.output.splitlines()


def test_why_says_so_where_there_is_nothing_to_explain(
    htc: Command, rescale: HtcSession, project: htcprojects.HtcProject, name: str
) -> None:
    htctasks.create_task_with_name(rescale, project, name)
    done = htc("why", "--task", name)
    assert (done.status, done.output) == (0, "")
    assert done.errors == "no job waits, runs or has failed\n"


def test_plan_adds_up_and_a_budget_refuses(
    htc: Command, write: Callable[..., str], tmp_path: Path
) -> None:
    file = write(batchSize=3)
    (tmp_path / "rates.toml").write_text(RATES)
    assert htc("plan", file).output.splitlines() == PLAN
    priced = ("plan", file, "--rates", "rates.toml")
    assert htc(*priced).output.splitlines() == [*PLAN, "costs at most 0.29"]
    assert htc(*priced, "--budget", "0.30").status == 0
    refused = htc.refused(*priced, "--budget", "0.28", status=2)
    assert "budget: must be at least 0.29" in refused
    assert htc(*priced, "-o", "json").json["most"]["vcpu_hours"] == pytest.approx(0.275)
    assert "none.toml" in htc.refused("plan", file, "--rates", "none.toml", status=2)


def test_plan_refuses_a_file_with_problems(htc: Command, write: Callable[..., str]) -> None:
    file = write(batchSize=3000000000)
    assert "batchSize" in htc.refused("plan", file, status=2)
    file = write(regions=["AWS_EU_WEST_1"])
    assert "regions" in htc.refused("plan", file, status=2)


@pytest.mark.parametrize("columns", [80, 120])
def test_plan_under_a_terminal(htc: Command, write: Callable[..., str], columns: int) -> None:
    done = htc.under_terminal("plan", write(batchSize=3), columns=columns)
    assert done.output.splitlines() == PLAN


def test_a_dry_run_submits_nothing(
    htc: Command, write: Callable[..., str], failed: htcjobs.HtcJobBatch, name: str
) -> None:
    file = write(batchSize=3)
    done = htc("submit", file, "--task", name, "--dry-run")
    assert (done.status, done.output.splitlines()) == (0, PLAN)
    assert htc("submit", file, "--new-task", f"{name} new", "--dry-run").output == done.output
    assert f"{name} new" not in htc("tasks").output
    assert len(htc("jobs", "--task", name).rows) == 2


def test_rerun_submits_what_failed_with_its_old_index(
    htc: Command, failed: htcjobs.HtcJobBatch, name: str
) -> None:
    done = htc("rerun", "--task", name, "--group", "monday", "--watch", *FAST)
    assert done.status == 0, done.errors
    ((parent, size, *_),) = done.rows
    assert size == "1"
    assert done.errors.endswith("1 of 1 jobs ended: 1 SUCCEEDED\n")
    assert htc("logs", f"{parent}:0", "--task", name).output == "part 1\n"


def test_rerun_of_a_group_without_failures_or_jobs(
    htc: Command, rescale: HtcSession, failed: htcjobs.HtcJobBatch, name: str
) -> None:
    htcjobs.submit(rescale, failed.task, [request_for("true")], group="fine").wait(rescale)
    done = htc("rerun", "--task", name, "--group", "fine")
    assert (done.status, done.output) == (0, "")
    assert done.errors == "no job of the group has failed\n"
    assert "no group 'none'" in htc.refused("rerun", "-t", name, "-g", "none", status=2)
