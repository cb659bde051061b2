"""why, plan, rerun and submit --dry-run, through pipes and under terminals."""

from __future__ import annotations

import csv
import io
import json
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
    explanation = htc("why", failed.to_jobs()[1].json["jobUUID"], "--task", name)
    assert explanation.status == 0
    lines = explanation.output.splitlines()
    assert lines[0] == "the program ended with exit code 1"
    assert lines[-2:] == ["  log: part 1", "  -> read the log for the reason"]
    assert htc("why", "--task", name).output == explanation.output
    assert htc("why", "-t", name, "--json", "name,jobs").json == [{"name": "exit-code", "jobs": 1}]
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
    assert done.errors == "no job is waiting or running, and none has failed\n"


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
    (tmp_path / "rates.toml").write_text("a = " + "[" * 10_000)
    assert "rates: must be a mapping" in htc.refused(*priced, status=2)
    (tmp_path / "rates.toml").write_text(RATES.replace("1.0", "9" * 400))
    assert "vcpu_hour: must be a number" in htc.refused(*priced, status=2)


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
    dry_run = ("submit", file, "--task", name, "--dry-run")
    assert htc(*dry_run, "--json", "jobs,batches").json == {"jobs": 3, "batches": 1}
    assert "not a field" in htc.refused(*dry_run, "--json", "parentJobId", status=2)
    (row,) = csv.DictReader(io.StringIO(htc(*dry_run, "-o", "csv").output))
    assert json.loads(row["most"])["vcpu_hours"] == pytest.approx(0.275)


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


@pytest.fixture
def rerun_group(rescale: HtcSession, failed: htcjobs.HtcJobBatch) -> htcjobs.HtcJobBatch:
    """The failed batch, after a run that reran its job 1 successfully."""
    policy = htcjobs.RetryPolicy(exit_codes=[1], backoff_seconds=0.0)
    failed.wait(rescale, policy=policy)
    return failed


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command not wait for jobs that another process may have submitted a moment ago."""
    defaults = HtcSession.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "settle_seconds", 0.0)


@pytest.mark.usefixtures("unsettled")
def test_a_policy_reruns_until_jobs_succeed(
    htc: Command, failed: htcjobs.HtcJobBatch, name: str, tmp_path: Path
) -> None:
    rerun = ("rerun", "-t", name, "-g", "monday", *FAST, "--policy")
    (tmp_path / "policy.toml").write_text("exit_codes = [1]\nbackoff_seconds = 0")
    done = htc(*rerun, "default")
    assert done.status == 1, "an exit code is not retried by default"
    assert "failed: 1 with ErrorNonZeroContainerExitCode, exit code 1" in done.output
    done = htc(*rerun, "policy.toml", "-o", "jsonl")
    assert done.status == 0, done.errors
    attempts = [json.loads(line) for line in done.output.splitlines()]
    assert [(item["index"], item["attempt"], item["status"]) for item in attempts] == [
        (0, 1, "SUCCEEDED"),
        (1, 1, "FAILED"),
        (1, 2, "SUCCEEDED"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_attempt = 2", "did you mean 'max_attempts'?"),
        ("max_attempts = 0", "max_attempts: must be an integer of at least 1"),
        ("[", "must be a TOML or JSON file"),
        ('{"stop_if_failed": 2}', "stop_if_failed: must be None or a number from 0 to 1"),
        (
            '{"a":' + "[" * 100_000,
            "policy.toml: must be a TOML or JSON file: it is nested too deeply",
        ),
        ("\ufeffmax_attempts = 0", "max_attempts: must be an integer of at least 1"),
        (f'{{"memory_factor": 1{"0" * 400}}}', "memory_factor: must be a number of at least 1"),
        (None, "policy.toml: must be a TOML or JSON file: No such file"),
    ],
)
def test_an_invalid_policy_is_rejected(
    command: Command, tmp_path: Path, text: str | None, problem: str
) -> None:
    if text is not None:
        (tmp_path / "policy.toml").write_text(text)
    error = command.refused("rerun", "-t", "x", "-g", "g", "--policy", "policy.toml", status=2)
    assert problem in error


def test_too_many_failures_stop_a_rerun_with_status_1(
    htc: Command, failed: htcjobs.HtcJobBatch, name: str, tmp_path: Path
) -> None:
    (tmp_path / "policy.toml").write_text("stop_if_failed = 0.1")
    done = htc("rerun", "-t", name, "-g", "monday", "--policy", "policy.toml")
    assert (done.status, done.output) == (1, "")
    assert "rescalehtc: error: too many jobs failed" in done.errors


def test_report_lists_each_attempt_and_why_jobs_were_rerun(
    htc: Command, rerun_group: htcjobs.HtcJobBatch, name: str
) -> None:
    for where in (("-g", "monday"), (rerun_group.json["parentJobId"],)):
        done = htc("report", "-t", name, *where)
        assert done.output.splitlines()[0] == "2 of 2 jobs ended: 2 SUCCEEDED"
        assert "1 with ErrorNonZeroContainerExitCode, exit code 1" in done.output.splitlines()[1]
    first, again = [
        item
        for item in htc("report", "-t", name, "-g", "monday", "-o", "json").json
        if item["index"] == 1
    ]
    assert (first["status"], first["isRerun"], first["attempt"]) == ("FAILED", True, 1)
    assert (again["status"], again["firstJobUUID"]) == ("SUCCEEDED", first["jobUUID"])
    report = ("report", "-t", name, "-g", "monday")
    assert len(htc(*report, "-o", "csv").output.splitlines()) == 4
    assert htc(*report, "--json", "index,attempt").json[0] == {"index": 0, "attempt": 1}


@pytest.mark.parametrize("columns", [80, 120])
def test_report_under_a_terminal(
    htc: Command, failed: htcjobs.HtcJobBatch, name: str, columns: int
) -> None:
    done = htc.under_terminal("report", "-t", name, "-g", "monday", columns=columns)
    assert done.output.splitlines()[0] == "2 of 2 jobs ended: 1 FAILED, 1 SUCCEEDED"


@pytest.mark.parametrize("command_name", ["rerun", "report"])
def test_a_batch_or_a_group_is_needed_and_must_exist(
    htc: Command, failed: htcjobs.HtcJobBatch, name: str, command_name: str
) -> None:
    assert "BATCH or --group" in htc.refused(command_name, "-t", name, status=2)
    assert "no batch 'none'" in htc.refused(command_name, "none", "-t", name, status=2)
    error = htc.refused(command_name, "-t", name, "-g", "mondy", status=2)
    assert "no group 'mondy'; did you mean 'monday'?" in error
