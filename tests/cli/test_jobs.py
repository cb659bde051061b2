"""Projects, tasks and jobs on the command line, through pipes."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rescalehtc import htcjobs, htcprojects, htctasks
from rescalehtc.cli import _session

from ..limits import HANG_SECONDS, NOBODY
from ..service import Answer
from .conftest import request_for, said

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc import HtcSession
    from rescalehtc.emulator import Emulator

    from ..service import Service
    from .conftest import Command

FAST = ("--interval", "0.1")
ODD = "\x1b[31mred\x1b[0m\ta\rb\x07 \x9b2J \u202eK\u00f6ln [bold]"


@pytest.fixture
def sent(rescale: HtcSession, project: htcprojects.HtcProject, name: str) -> htcjobs.HtcJob:
    """An ended job, with a log of unusual characters, in the task with the name."""
    task = htctasks.create_task_with_name(rescale, project, name)
    request = request_for("printf", "%s", f"{ODD}\nend\n")
    job = htcjobs.create_job_batch_raw(rescale, task, [request]).to_jobs()[0]
    job.wait(rescale)
    return job


def test_from_a_file_to_the_log_of_a_job(
    htc: Command, write: Callable[..., str], name: str
) -> None:
    """The first steps of a user."""
    file = write("sh", "-c", "echo this is $AWS_BATCH_JOB_ARRAY_INDEX", batchSize=3)
    done = htc.apart("submit", file, "--new-task", name)
    assert done.status == 0
    assert done.output.splitlines()[0].split() == ["BATCH", "JOBS", "NAME"]
    ((batch, size, *_),) = done.rows
    assert size == "3"
    assert f"task {name} has the id " in done.errors
    task_id = done.errors.split()[-1]

    assert [task_id, "ACTIVE"] in [row[:2] for row in htc("tasks").rows]
    watched = htc.apart("watch", "--task", name, *FAST)
    assert (watched.status, watched.output) == (0, "SUCCEEDED  3\n")
    assert watched.errors.splitlines()[-1] == "3 of 3 jobs ended: 3 SUCCEEDED"

    for task in (name, task_id):
        rows = htc("jobs", "-t", task).rows
        assert [row[:3] for row in rows] == [[f"{batch}:{i}", "SUCCEEDED", "0"] for i in range(3)]
    assert htc("logs", f"{batch}:2", "-t", name).output == "this is 2\n"
    events = htc("events", f"{batch}:2", "-t", name)
    assert [row[2] for row in events.rows][-2:] == ["RUNNING", "SUCCEEDED"]


def test_a_payload_on_the_standard_input_is_submitted_and_watched(
    htc: Command, task: htctasks.HtcTask
) -> None:
    payload = json.dumps([request_for("true"), request_for("false", jobName="b")])
    task_id = task.json["taskId"]
    done = htc("submit", "-", "--task", task_id, "--watch", *FAST, "-o", "jsonl", stdin=payload)
    assert done.status == 1, "a job failed"
    answers = [json.loads(line) for line in done.output.splitlines()]
    assert [answer["jobName"] for answer in answers] == ["a job", "b"]
    assert done.errors.splitlines()[-1] == "2 of 2 jobs ended: 1 FAILED, 1 SUCCEEDED"
    assert htc("watch", "-t", task_id, "-o", "json").json == {"SUCCEEDED": 1, "FAILED": 1}

    (job,) = htc("jobs", "-t", task_id, "--status", "FAILED", "-o", "json").json
    assert job["container"]["exitCode"] == 1
    followed = htc("logs", "-f", job["jobUUID"], "-t", task_id, *FAST)
    assert (followed.status, followed.output) == (1, "")
    assert followed.errors == f"job {job['jobUUID']} is FAILED\n"


def test_watching_a_batch_is_not_about_the_other_jobs_of_its_task(
    htc: Command, task: htctasks.HtcTask
) -> None:
    arguments = ("submit", "-", "-t", task.json["taskId"], "-w", *FAST)
    assert htc(*arguments, stdin=json.dumps(request_for("false"))).status == 1
    assert htc(*arguments, stdin=json.dumps(request_for("true"))).status == 0


def test_lines_of_a_log_are_followed_as_they_come(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    gate = htc.folder / "gate"
    os.mkfifo(gate)
    request = request_for("sh", "-c", f"echo first; read line < {gate}; echo $line")
    job = htcjobs.create_job_batch_raw(rescale, task, [request]).to_jobs()[0]
    arguments = ["logs", "-f", job.json["jobUUID"], "-t", task.json["taskId"], *FAST]
    with htc.start(*arguments) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        gate.write_text("second\n")
        assert process.stdout.read() == "second\n"
        assert process.wait(HANG_SECONDS) == 0


def test_what_was_waited_for_and_did_not_come_is_status_4(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    htcjobs.create_job_batch_raw(rescale, task, [request_for("sleep", "600")])
    task_id = task.json["taskId"]
    done = htc("watch", "-t", task_id, "--timeout", "0.2", *FAST)
    assert (done.status, done.output) == (4, "")
    assert "rescalehtc: error: the wait timed out after 0.2 s; 0 of 1 jobs ended" in done.errors

    assert "--yes" in htc.refused("cancel", "-t", task_id, status=2)
    assert htc("cancel", "-t", task_id, "--yes").status == 0
    assert htc("watch", "-t", task_id, *FAST).status == 1


def test_only_one_group_is_cancelled(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    batches = [
        htcjobs.create_job_batch_raw(rescale, task, [request_for("sleep", "600")]) for _ in range(2)
    ]
    task_id = task.json["taskId"]
    assert htc("cancel", "-t", task_id, "--group", batches[0].json["group"]).status == 0
    assert batches[0].wait(rescale).failed == 1
    assert task.get_task_summary(rescale)["still_running"]
    task.cancel_jobs_in_task(rescale)


def test_ctrl_c_is_status_130(htc: Command, rescale: HtcSession, task: htctasks.HtcTask) -> None:
    htcjobs.create_job_batch_raw(rescale, task, [request_for("sleep", "600")])
    with htc.start("watch", "-t", task.json["taskId"]) as process:
        assert process.stderr is not None
        assert any("0 of 1 jobs ended" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=HANG_SECONDS)
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert output == ""
    task.cancel_jobs_in_task(rescale)


def test_projects_and_json(htc: Command, project: htcprojects.HtcProject) -> None:
    assert htc("projects", "-o", "json").json == [project.json]
    (row,) = htc("projects").rows
    assert row == [project.json["projectId"], "emulator", "AWS_US_EAST_1"]
    for value in ("emulator", project.json["projectId"]):
        assert htc("tasks", "-p", value).status == 0


def test_archived_tasks_are_listed_when_requested(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    task.archive(rescale)
    task_id = task.json["taskId"]
    assert task_id not in htc("tasks").output
    assert [task_id, "ARCHIVED"] in [row[:2] for row in htc("tasks", "--all").rows]


def test_images_and_limits(
    htc: Command, rescale: HtcSession, project: htcprojects.HtcProject
) -> None:
    assert htc("images", "show", "python:3", "-o", "json").json["status"] == "READY"
    limit = project.set_vcpu_limit(rescale, "PROJECT_ADMIN", 999)
    (row,) = [row for row in htc("limits").rows if row[1] == str(limit["id"])]
    assert row == ["project", str(limit["id"]), "999", "PROJECT_ADMIN"]
    project.delete_limit(rescale, limit["id"])


# ---- exact output of the service's data


def test_a_log_reaches_a_pipe_as_it_is(htc: Command, sent: htcjobs.HtcJob, name: str) -> None:
    job_id = sent.json["jobUUID"]
    assert htc("logs", job_id, "-t", name).output == f"{ODD}\nend\n"
    assert htc("logs", job_id, "-t", name, "--tail", "1").output == "end\n"


def test_names_reach_a_pipe_as_they_are(
    htc: Command, rescale: HtcSession, project: htcprojects.HtcProject
) -> None:
    """In a table, line ends become spaces. In JSON, everything is exact."""
    odd = f"{ODD}\nnext \u2028 line \U0001f600"
    task_id = htctasks.create_task_with_name(rescale, project, odd).json["taskId"]
    (listed,) = [t for t in htc("tasks", "-o", "json").json if t["taskId"] == task_id]
    assert listed["taskName"] == odd
    (line,) = [t for t in htc("tasks", "-o", "jsonl").output.split("\n") if task_id in t]
    assert json.loads(line)["taskName"] == odd
    (line,) = [t for t in htc("tasks").output.split("\n") if task_id in t]
    assert line.endswith(re.sub("[\t\r\n\u2028]", " ", odd))


# ---- errors


def test_what_is_wrong_with_a_file_is_reported_with_its_place_and_nothing_is_sent(
    service: Service, command: Command, write: Callable[..., str]
) -> None:
    command.variables = {"RESCALE_API_KEY": "key", "RESCALE_API_BASE_URL": service.url}
    file = write(batchSize=0)
    error = command.refused("submit", file, "--new-task", "t", status=2)
    assert "1 problem; nothing was sent" in error
    assert "jobs.json:3:3: batchSize: must be an integer from 1 to 1000, got 0" in error
    (command.folder / "bad.json").write_text("{")
    assert "bad.json:1:2: syntax" in command.refused(
        "submit", "bad.json", "--new-task", "t", status=2
    )
    assert not service.requests


def test_a_region_that_the_project_does_not_have_is_reported_with_its_place(
    htc: Command, write: Callable[..., str], name: str
) -> None:
    file = write(regions=["AWS_EU_WEST_1"])
    assert htc("validate", file).status == 0
    error = htc.refused("submit", file, "--new-task", name, status=2)
    assert "jobs.json:5:5: regions[0]: must be one of the project's regions" in error
    assert name not in htc("tasks").output


def test_what_is_not_there_is_status_2(htc: Command, task: htctasks.HtcTask) -> None:
    task_id = task.json["taskId"]
    assert "no project" in htc.refused("tasks", "-p", "nope", status=2)
    assert "no task" in htc.refused("jobs", "-t", "nope", status=2)
    assert "no task" in htc.refused("jobs", "-t", task_id[::-1], status=2)
    assert "no job 'nope'" in htc.refused("logs", "nope", "-t", task_id, status=2)


def test_of_several_with_a_name_one_is_named_by_its_id(
    htc: Command, rescale: HtcSession, project: htcprojects.HtcProject, name: str
) -> None:
    tasks = [htctasks.create_task_with_name(rescale, project, name) for _ in range(2)]
    error = htc.refused("jobs", "-t", name, status=2)
    assert all(task.json["taskId"] in error for task in tasks)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["jobs"],
        ["jobs", "-t"],
        ["jobs", "-t", "x", "--output", "xml"],
        ["watch", "-t", "x", "--interval", "0"],
        ["submit", "-"],
        ["submit", "-", "-t", "a", "--new-task", "b"],
        ["validate"],
        ["config", "set", "x"],
        ["jobs", "-t", "x", "--status", "DONE"],
        ["jobs", "-t", "x", "--since", "yesterday"],
        ["jobs", "-t", "x", "--sort", "size"],
        ["jobs", "-t", "x", "--json", "jobUUID,state"],
        ["logs", "-f", "--since", "one", "j", "-t", "x"],
        ["submit", "-t", "x"],
        ["submit", "-", "--image", "x", "-t", "x"],
        ["submit", "--image", "x", "--command", "'", "-t", "x"],
        ["submit", "--image", "x", "--env", "A", "-t", "x"],
        ["tasks", "create"],
        ["watch", "-t", "x", "--interval", "1e300"],
    ],
)
def test_wrong_arguments_are_status_2(command: Command, arguments: list[str]) -> None:
    assert "Error: " in command.refused(*arguments, status=2)


def test_a_service_that_rejects_is_status_3(htc: Command, service: Service) -> None:
    htc.refused("projects", status=3, RESCALE_API_KEY="wrong")
    for status in (403, 429, 500, 503):
        at_once = {"Retry-After": "0"}
        service.on("GET /htc/projects", Answer(status=status, headers=at_once))
        htc.refused("projects", status=3, RESCALE_API_BASE_URL=service.url)
    service.on("GET /htc/projects", Answer(status=400))
    htc.refused("projects", status=2, RESCALE_API_BASE_URL=service.url)


def test_a_service_that_is_not_there_or_is_none_is_status_3(
    run: Callable[..., tuple[int, str]], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on("GET /htc/projects", Answer(b"<html>"))
    monkeypatch.setattr(_session, "BACKOFF_SECONDS", 0.0)
    monkeypatch.setenv("RESCALE_API_KEY", "key")
    for address in (NOBODY, service.url):
        monkeypatch.setenv("RESCALE_API_BASE_URL", address)
        status, errors = run("projects")
        assert status == 3
        assert errors.splitlines()[-1].startswith("rescalehtc: error: ")


def test_no_credentials_are_status_3(command: Command) -> None:
    assert "RESCALE_API_KEY" in command.refused("projects", status=3)


def test_a_reader_that_has_enough_ends_it_quietly(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    request = request_for("sh", "-c", "yes a line | head -n 50000")
    job = htcjobs.create_job_batch_raw(rescale, task, [request]).to_jobs()[0]
    job.wait(rescale)
    with htc.start("logs", job.json["jobUUID"], "-t", task.json["taskId"]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "a line\n"
        process.stdout.close()
        assert said(process.stderr.read())[1] == ""
        assert process.wait(HANG_SECONDS) == 141


def test_output_that_cannot_be_written_is_reported(htc: Command) -> None:
    with Path("/dev/full").open("wb") as full:
        process = htc.start("projects", stdout=full)
    errors = process.communicate()[1]
    assert process.returncode == 2
    assert said(errors)[1] == (
        "rescalehtc: error: the output can't be written: No space left on device\n"
    )


@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
def test_an_address_that_is_not_the_usual_one_is_said_once_and_apart_from_the_results(
    htc: Command, emulator: Emulator, form: str
) -> None:
    done = htc("projects", "-o", form)
    assert (done.status, done.address, done.errors) == (0, emulator.url, "")
    assert emulator.url not in done.output


def test_the_usual_address_is_not_said(htc: Command) -> None:
    """No request is sent, because the base URL is known before."""
    proxy = {"HTTPS_PROXY": "http://:1", "RESCALE_API_BASE_URL": " "}
    errors = htc.refused("projects", status=3, **proxy)
    assert errors.startswith("rescalehtc: error: ")
    assert "HTTPS_PROXY must be" in errors


# ---- the emulator


def test_the_emulator_gets_its_options_and_returns_the_status_of_its_command(
    command: Command,
) -> None:
    seen = 'test -z "$RESCALEHTC_PROFILE" && echo "$RESCALE_API_BASE_URL"; exit 7'
    done = command.apart("emulator", "--slots", "1", "--", "sh", "-c", seen, RESCALEHTC_PROFILE="x")
    assert done.status == 7
    assert done.output.startswith("http://127.0.0.1:")
    shown = command.apart("emulator", "--help")
    assert (shown.status, "--slots" in shown.output) == (0, True)


# ---- the page


def test_the_page_and_help_list_the_same_exit_statuses(command: Command) -> None:
    page = Path(__file__).parents[2].joinpath("docs/command-line.md").read_text(encoding="utf-8")
    errors = re.findall(r"^ +(\d+) +(.+)$", command("--help").output, re.MULTILINE)
    assert [f"| {status} | {meaning} |" in page for status, meaning in errors] == [True] * 8
