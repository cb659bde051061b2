"""Habits from other command lines: formats, defaults, confirmation, hints."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from rescalehtc import htcjobs, htctasks

from ..limits import HANG_SECONDS, NOBODY
from ..service import Answer
from .conftest import request_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc import HtcSession, htcprojects

    from ..service import Service
    from .conftest import Command

FAST = ("--interval", "0.1")
JOB = ("--image", "python:3", "--priority", "ON_DEMAND_ECONOMY", "--architecture", "AARCH64")
LIMITS = ("--vcpus", "1", "--memory", "100", "--timeout", "60")


@pytest.fixture
def made(rescale: HtcSession, project: htcprojects.HtcProject, name: str) -> htctasks.HtcTask:
    """A task with three jobs that have ended, the second one FAILED."""
    task = htctasks.create_task_with_name(rescale, project, name)
    script = "echo line $AWS_BATCH_JOB_ARRAY_INDEX; test $AWS_BATCH_JOB_ARRAY_INDEX != 1"
    htcjobs.create_job_batch_raw(
        rescale, task, [request_for("sh", "-c", script, batchSize=3)]
    ).wait(rescale)
    return task


def test_results_in_each_format(htc: Command, made: htctasks.HtcTask) -> None:
    jobs = ("jobs", "-t", made.json["taskId"], "--sort", "jobUUID")
    records = htc(*jobs, "-o", "json").json
    ids = [record["jobUUID"] for record in records]
    assert len(ids) == 3
    assert yaml.safe_load(htc(*jobs, "-o", "yaml").output) == records
    assert htc(*jobs, "-o", "name").output.split() == ids
    rows = list(csv.reader(io.StringIO(htc(*jobs, "-o", "csv").output)))
    assert rows[0] == ["JOB", "STATUS", "EXIT", "RAN", "FAILURE"]
    assert [row[:3] for row in rows[1:]] == [
        [ids[0], "SUCCEEDED", "0"],
        [ids[1], "FAILED", "1"],
        [ids[2], "SUCCEEDED", "0"],
    ]
    assert htc(*jobs, "--json", "jobUUID, status").json == [
        {"jobUUID": record["jobUUID"], "status": record["status"]} for record in records
    ]
    lines = htc(*jobs, "--json", "status", "-o", "jsonl").output.splitlines()
    assert [json.loads(line) for line in lines] == [{"status": r["status"]} for r in records]


def test_jobs_are_chosen_sorted_and_counted(htc: Command, made: htctasks.HtcTask) -> None:
    jobs = ("jobs", "-t", made.json["taskId"], "-o", "name")
    ids = htc(*jobs, "--sort", "jobUUID").output.split()
    assert htc(*jobs, "--sort", "-jobUUID").output.split() == ids[::-1]
    assert htc(*jobs, "--sort", "jobUUID", "--limit", "2").output.split() == ids[:2]
    assert htc(*jobs, "--limit", "0").output == ""
    assert htc(*jobs, "--status", "FAILED").output.split() == [ids[1]]
    assert len(htc(*jobs, "--since", "1d").output.split()) == 3
    assert htc(*jobs, "--since", "2100-01-01").output == ""
    assert len(htc(*jobs, "--since", "999999999d").output.split()) == 3


@pytest.mark.parametrize(
    ("option", "value", "meant"),
    [
        ("--status", "FAILD", "did you mean 'FAILED'"),
        ("--sort", "createdat", "did you mean 'createdAt'"),
        ("--json", "jobUUID,stats", "did you mean 'status'"),
        ("--since", "soon", "90s, 15m, 2h, 1d"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(
    htc: Command, option: str, value: str, meant: str
) -> None:
    errors = " ".join(htc.refused("jobs", "-t", "x", option, value, status=2).split())
    assert meant in errors


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("get jobs", "Use `rescalehtc jobs`."),
        ("auth login", "Use `rescalehtc login`."),
        ("help", "Use `rescalehtc --help`."),
        ("tasks rm x", "Use `rescalehtc tasks delete`."),
        ("images list", "Use `rescalehtc images`."),
        ("config ls", "Did you mean 'list'?"),
        ("watch sweep", "Name a task with --task"),
        ("submit --image x -t t -- python a.py", 'in quotes: --command "python solve.py"'),
        ("submit --image x --command python a.py -t t", "put the words of --command in quotes"),
    ],
)
def test_words_of_other_command_lines_get_a_hint(command: Command, words: str, hint: str) -> None:
    assert hint in command.refused(*words.split(), status=2)


def test_a_misspelt_project_task_or_image_gets_a_suggestion(htc: Command, name: str) -> None:
    htc("tasks", "create", name)
    assert f"did you mean {name!r}?" in htc.refused("jobs", "-t", f"{name}s", status=2)
    assert "did you mean 'emulator'?" in htc.refused("tasks", "-p", "emulater", status=2)


def test_a_group_without_jobs_is_refused_with_a_suggestion(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    htcjobs.submit(rescale, task, [request_for("true")], group="wing")
    for command in ("jobs", "cancel"):
        error = htc.refused(command, "-t", task.json["taskId"], "--group", "wign", status=2)
        assert "no group 'wign'; did you mean 'wing'?" in error


def test_project_and_task_come_from_variables_the_profile_and_the_last_command(
    htc: Command, made: htctasks.HtcTask, name: str
) -> None:
    size = len(htc("jobs", "-t", name, "-o", "name").output.split())
    assert len(htc("jobs", "-o", "name", RESCALEHTC_TASK=name).output.split()) == size
    assert len(htc("jobs", "-t", "-", "-o", "name").output.split()) == size
    assert "no task is named" in htc.refused("jobs", status=2)
    url = htc.variables["RESCALE_API_BASE_URL"]
    set_profile = ("config", "set", "here", "--base-url", url, "--project", "emulator")
    assert htc(*set_profile, "--task", name).status == 0
    assert len(htc("jobs", "--profile", "here", "-o", "name").output.split()) == size
    assert "no project" in htc.refused("jobs", "-t", name, status=2, RESCALEHTC_PROJECT="other")
    shown = htc("config", "show", "--profile", "here", "-o", "json").json
    assert (shown["project"], shown["task"]) == ("emulator", name)


def test_the_last_task_is_that_of_the_same_service(htc: Command, made: htctasks.HtcTask) -> None:
    assert htc("jobs", "-t", made.json["taskId"]).status == 0
    error = htc.refused("jobs", "-t", "-", status=2, RESCALE_API_BASE_URL="http://other.test/api")
    assert "no task was used with the service at http://other.test/api" in error


def test_settings_and_profiles_are_removed(command: Command) -> None:
    assert command("config", "set", "a", "--workspace", "w", "--project", "p").status == 0
    assert command("config", "set", "b", "--task", "t").status == 0
    assert command("config", "unset", "a", "project").status == 0
    assert command("config", "list", "-o", "csv").output.splitlines()[1:] == ["a,w,,,", "b,,,,t"]
    assert command("config", "unset", "b").status == 0
    assert command("config", "list", "-o", "name").output == "a\n"
    assert "did you mean 'project'" in command.refused("config", "unset", "a", "projct", status=2)
    assert "no profile 'b'" in command.refused("config", "unset", "b", status=2)


def test_logout_removes_the_key_and_its_tokens(command: Command) -> None:
    assert "no API key of workspace 'default'" in command.refused("logout", status=2)
    config = Path.home() / ".config/rescalehtc"
    (config / "acme").mkdir(parents=True)
    (config / "default").symlink_to("acme")
    for file in ("rescale_api_token.txt", "token.json", "notes.txt"):
        (config / "acme" / file).write_text("x")
    assert command("logout").status == 0
    names = sorted(path.name for path in (config / "acme").iterdir())
    assert "rescale_api_token.txt" not in names
    assert "notes.txt" in names
    assert "..'" in command.refused("logout", "--workspace", "../..", status=2)


def test_tasks_are_created_archived_and_deleted(htc: Command, name: str) -> None:
    task_id = htc("tasks", "create", name, "-o", "name").output.strip()
    assert htc("tasks", "archive", name).status == 0
    assert [task_id, "ARCHIVED"] in [row[:2] for row in htc("tasks", "--all").rows]
    assert "--yes" in htc.refused("tasks", "delete", task_id, status=2)
    assert htc("tasks", "delete", task_id, "--yes").status == 0
    assert task_id not in htc("tasks").output


@pytest.mark.parametrize(("answer", "is_there"), [("n", True), ("y", False)])
def test_deleting_a_task_asks_on_a_terminal(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask, answer: str, is_there: bool
) -> None:
    task_id = task.json["taskId"]
    done = htc.under_terminal("tasks", "delete", task_id, typed={"[y/N]": f"{answer}\n"})
    assert "with its jobs, logs and files? [y/N]" in done.output
    found = htctasks.get_task_with_id(rescale, task.project, task_id)
    assert (found is not None and found.json["lifecycleStatus"] == "ACTIVE") == is_there


def test_jobs_are_submitted_without_a_file(htc: Command, name: str) -> None:
    command = "sh -c 'echo $A $AWS_BATCH_JOB_ARRAY_INDEX'"
    options = (*JOB, *LIMITS, "--command", command, "--env", "A=x=y", "--jobs", "2", "--name", "n")
    done = htc(
        "submit", *options, "--tag", "study=wing", "--new-task", name, "-w", *FAST, "-o", "json"
    )
    assert done.status == 0, done.errors
    (batch,) = done.json
    assert (batch["jobName"], batch["batchSize"]) == ("n", 2)
    assert {"key": "study", "value": "wing"} in batch["tags"]
    log = htc("logs", f"{batch['parentJobId']}:1", "-t", "-")
    assert log.output == "x=y 1\n"


def test_problems_of_options_are_named_by_the_options(htc: Command, name: str) -> None:
    error = htc.refused(
        "submit", "--image", "x", "--jobs", "0", "--vcpus", "-1", "--new-task", name, status=2
    )
    assert "--jobs: must be an integer from 1 to 1000, got 0" in error
    assert "--vcpus: " in error


def test_a_value_of_a_variable_is_not_repeated(htc: Command) -> None:
    error = htc.refused("submit", "--image", "x", "--env", "s3cret-value", "-t", "x", status=2)
    assert "s3cret" not in error


def test_a_dry_run_checks_against_the_project_and_submits_nothing(
    htc: Command, write: Callable[..., str], name: str
) -> None:
    done = htc("submit", write(batchSize=3), "--new-task", name, "--dry-run")
    assert done.status == 0
    assert "3 jobs" in done.output
    assert name not in htc("tasks").output
    wrong = write(regions=["AWS_EU_WEST_1"])
    assert "regions[0]" in htc.refused("submit", wrong, "--new-task", name, "--dry-run", status=2)


def test_waiting_after_a_submission_ends_in_time_and_says_that_the_jobs_go_on(
    htc: Command, write: Callable[..., str], rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    file, task_id = write("sleep", "600"), task.json["taskId"]
    done = htc("submit", file, "-t", task_id, "-w", "--wait-timeout", "0.2", *FAST)
    assert done.status == 4
    assert "the jobs continue; `rescalehtc cancel` ends them" in done.errors
    task.cancel_jobs_in_task(rescale)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_jobs_are_cancelled_with_the_command_that_submitted_them(
    htc: Command,
    write: Callable[..., str],
    rescale: HtcSession,
    task: htctasks.HtcTask,
    number: signal.Signals,
) -> None:
    arguments = ("submit", write("sleep", "600"), "-t", task.json["taskId"], "-w", *FAST)
    with htc.start(*arguments, "--on-exit", "cancel") as process:
        assert process.stderr is not None
        assert any("0 of 1 jobs ended" in line for line in process.stderr)
        process.send_signal(number)
        errors = process.communicate(timeout=HANG_SECONDS)[1]
    assert process.returncode == 128 + number
    assert "the jobs continue" not in errors
    assert "cancel" in errors
    assert task.wait(rescale).failed == 1


def test_times_of_lines(htc: Command, rescale: HtcSession, made: htctasks.HtcTask) -> None:
    task = made.json["taskId"]
    job = htc("jobs", "-t", task, "--status", "FAILED", "-o", "name").output.strip()
    (line,) = htc("logs", job, "-t", task, "--timestamps").output.splitlines()
    stamp, text = line.split(" ", 1)
    assert text == "line 1"
    assert stamp.endswith("Z")
    assert htc("logs", job, "-t", task, "--since", stamp).output == "line 1\n"
    assert htc("logs", job, "-t", task, "--since", "2100-01-01").output == ""


def test_times_of_lines_that_are_followed(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    job = htcjobs.create_job_batch_raw(rescale, task, [request_for("seq", "3")]).to_jobs()[0]
    job.wait(rescale)
    follow = ("logs", "-f", job.json["jobUUID"], "-t", task.json["taskId"], *FAST)
    done = htc(*follow, "--timestamps", "--tail", "2")
    assert (done.status, done.errors) == (0, f"job {job.json['jobUUID']} is SUCCEEDED\n")
    times, lines = zip(*(line.split(" ", 1) for line in done.output.splitlines()), strict=True)
    assert lines == ("2", "3")
    assert htc(*follow, "--since", times[0], "--tail", "2").output == "2\n3\n"
    assert htc(*follow, "--since", "2100-01-01").output == ""


def test_ages_are_for_terminals_and_times_for_pipes(htc: Command, made: htctasks.HtcTask) -> None:
    task_id = made.json["taskId"]
    shown = htc.under_terminal("tasks", NO_COLOR="1").output
    assert re.search(rf"^{task_id}  ACTIVE +\d+[smh]  ", shown, re.MULTILINE)
    (row,) = [row for row in htc("tasks").rows if row[0] == task_id]
    assert " ".join(row[2:4]) == made.json["createdAt"][:19].replace("T", " ")
    assert "AGE" in htc.under_terminal("jobs", "-t", task_id, NO_COLOR="1").output
    assert "AGE" not in htc("jobs", "-t", task_id).output


def test_listings_are_limited_and_sorted(htc: Command, made: htctasks.HtcTask) -> None:
    assert len(htc("tasks", "--limit", "1").rows) == 1
    names = [task["taskName"] for task in htc("tasks", "--sort", "-taskName", "-o", "json").json]
    assert names == sorted(names, reverse=True)
    job_id = htc("jobs", "-t", made.json["taskId"], "-o", "name").output.split()[0]
    assert len(htc("events", job_id, "-t", made.json["taskId"], "--limit", "2").rows) == 2
    assert htc("projects", "--limit", "0").rows == []


def test_the_end_of_a_log_is_followed(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    request = request_for("sh", "-c", "seq 5")
    job = htcjobs.create_job_batch_raw(rescale, task, [request]).to_jobs()[0]
    job.wait(rescale)
    done = htc("logs", "-f", job.json["jobUUID"], "-t", task.json["taskId"], "--tail", "2", *FAST)
    assert (done.status, done.output) == (0, "4\n5\n")


def test_a_service_that_is_not_there_is_said_at_once_with_where_its_address_is_from(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rescalehtc.cli._session.BACKOFF_SECONDS", 0.0)
    monkeypatch.setenv("RESCALE_API_KEY", "key")
    monkeypatch.setenv("RESCALE_API_BASE_URL", NOBODY)
    status, errors = run("projects")
    assert status == 3
    assert errors.splitlines()[0] == (
        f"rescalehtc: can't reach {NOBODY} (from RESCALE_API_BASE_URL): Connection refused; "
        "retrying for up to 15 minutes"
    )


def test_a_slow_service_is_said_once(
    service: Service,
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rescalehtc.cli._session.SECONDS_BEFORE_NOTICE", 0.0)
    service.on("GET /htc/projects", Answer({"items": []}))
    monkeypatch.setenv("RESCALE_API_KEY", "key")
    monkeypatch.setenv("RESCALE_API_BASE_URL", service.url)
    status, errors = run("projects")
    assert status == 0
    assert errors.count("waiting for") <= 1


def test_names_are_completed(htc: Command, made: htctasks.HtcTask, name: str) -> None:
    def complete(line: str) -> list[str]:
        done = htc(
            _RESCALEHTC_COMPLETE="complete_bash",
            COMP_WORDS=line,
            COMP_CWORD=str(len(line.split(" ")) - 1),
        )
        return [name for name in done.output.splitlines() if name]

    assert complete("rescalehtc tasks --project ") == ["emulator"]
    assert name in complete("rescalehtc jobs --task ")
    assert complete("rescalehtc jobs --status FAI") == ["FAILED"]
    assert len(complete(f"rescalehtc jobs --task {made.json['taskId']} --group ")) == 1
    assert complete("rescalehtc tasks --profile nope --project ") == []
