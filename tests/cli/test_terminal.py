"""Output on a terminal: colors, widths, the progress bar, and control characters."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from rescalehtc import htcjobs, htctasks

from .conftest import Done, request_for

if TYPE_CHECKING:
    from rescalehtc import HtcSession, htcprojects

    from .conftest import Command

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
FAST = ("--interval", "0.1")
HARM = "\x1b]0;title\x07\x1b[31mred\x1b[0m\x1b[2J\x9b2J\r\u202e[bold]x[/bold] K\u00f6ln"
HARMLESS = r"\x1b]0;title\x07red\x1b[2J\x9b2J\r\u202e[bold]x[/bold] Köln"


def plain(done: Done) -> str:
    return ESCAPES.sub("", done.output)


@pytest.fixture
def failed(rescale: HtcSession, project: htcprojects.HtcProject) -> htcjobs.HtcJob:
    """A failed job with a long name and control characters in its log, in its own task."""
    task = htctasks.create_task_with_name(rescale, project, f"{HARM} {'long ' * 30}")
    request = request_for("sh", "-c", f"printf '%s\\n' '{HARM}'; exit 3")
    job = htcjobs.create_job_batch_raw(rescale, task, [request]).to_jobs()[0]
    job.wait(rescale)
    return job


def test_a_table_fits_into_80_columns_and_ids_are_whole(
    htc: Command, failed: htcjobs.HtcJob
) -> None:
    task_id, job_id = failed.json["taskId"], failed.json["jobUUID"]
    for arguments, whole in [
        (("jobs", "-t", task_id), job_id),
        (("tasks",), task_id),
        (("projects",), failed.json["projectId"]),
    ]:
        lines = plain(htc.under_terminal(*arguments)).splitlines()
        (line,) = [line for line in lines if whole in line]
        assert len(line) <= 80
        narrow = plain(htc.under_terminal(*arguments, columns=40))
        assert whole in narrow, "cut although it has to be copied"
    (line,) = [line for line in plain(htc.under_terminal("tasks")).splitlines() if task_id in line]
    assert line.endswith("…")


def listings(failed: htcjobs.HtcJob) -> list[tuple[str, ...]]:
    """The arguments of each command that prints a table."""
    task_id, job_id = failed.json["taskId"], failed.json["jobUUID"]
    task, group = ("-t", task_id), ("-g", failed.json["group"])
    return [
        ("whoami",),
        ("config", "list"),
        ("config", "show"),
        ("projects",),
        ("limits",),
        ("tasks", "--all"),
        ("images",),
        ("images", "show", "python:3"),
        ("jobs", *task),
        ("events", job_id, *task),
        ("why", *task),
        ("report", *task, *group),
        ("files", "ls", f"task:{task_id}/"),
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_of_each_command_fits_a_terminal(
    htc: Command, failed: htcjobs.HtcJob, columns: int
) -> None:
    for arguments in listings(failed):
        shown = htc.under_terminal(*arguments, columns=columns)
        assert shown.status == 0, (arguments, shown)
        too_long = [line for line in plain(shown).splitlines() if len(line) > columns]
        assert not too_long or arguments[0] in ("whoami", "config", "why"), too_long


def test_each_command_prints_no_colors_to_a_pipe_and_json_on_request(
    htc: Command, failed: htcjobs.HtcJob
) -> None:
    for arguments in listings(failed):
        piped = htc(*arguments)
        assert piped.status == 0
        assert "\x1b[1m" not in piped.output + piped.errors
        assert htc(*arguments, "-o", "json").json is not None


def test_columns_says_how_wide_a_terminal_is(htc: Command, failed: htcjobs.HtcJob) -> None:
    arguments = ("jobs", "-t", failed.json["taskId"])
    assert "ErrorNonZer…" in plain(htc.under_terminal(*arguments))
    wide = plain(htc.under_terminal(*arguments, COLUMNS="120"))
    assert "ErrorNonZeroContainerExitCode" in wide
    assert "ErrorNonZeroContainerExitCode" in htc(*arguments, COLUMNS="40").output


def test_statuses_have_colours_unless_they_are_not_wanted(
    htc: Command, failed: htcjobs.HtcJob
) -> None:
    arguments = ("jobs", "-t", failed.json["taskId"])
    assert "\x1b[31mFAILED\x1b[0m" in htc.under_terminal(*arguments).output
    assert "\x1b" not in htc.under_terminal(*arguments, NO_COLOR="1").output
    assert "\x1b" not in htc.under_terminal(*arguments, TERM="dumb").output
    assert "\x1b" not in htc(*arguments, TERM="xterm-256color").output
    assert "\x1b" in htc.under_terminal(*arguments, NO_COLOR="").output


def test_texts_of_the_service_can_do_nothing_to_a_terminal(
    htc: Command, failed: htcjobs.HtcJob
) -> None:
    task_id, job_id = failed.json["taskId"], failed.json["jobUUID"]
    log = htc.under_terminal("logs", job_id, "-t", task_id)
    assert log.output == f"{HARMLESS}\n"
    listed = htc.under_terminal("tasks", NO_COLOR="1", COLUMNS="300")
    assert HARMLESS.replace("\\r", " ") in listed.output.replace(r"\r", " ")
    for form in ("json", "jsonl"):
        shown = htc.under_terminal("tasks", "-o", form, COLUMNS="300").output
        assert all(c.isprintable() or c == "\n" for c in shown)
        tasks = json.loads(shown) if form == "json" else map(json.loads, shown.splitlines())
        assert any(task["taskName"].startswith(HARM) for task in tasks), "not exact"
    error = htc.under_terminal("jobs", "-t", HARM)
    assert error.status == 2
    assert not set(error.output) & set("\x1b\x07\x9b\r\u202e")


def test_a_bar_grows_on_a_terminal_and_its_cursor_comes_back(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    request = request_for("sh", "-c", "test $AWS_BATCH_JOB_ARRAY_INDEX != 1", batchSize=4)
    payload = htc.folder / "jobs.json"
    payload.write_text(json.dumps(request))
    done = htc.under_terminal("submit", "jobs.json", "-t", task.json["taskId"], "-w", *FAST)
    assert done.status == 1
    assert "━" in done.output
    assert "4/4 ended 1 FAILED, 3 SUCCEEDED" in plain(done)
    assert done.output.count("\x1b[?25l") == done.output.count("\x1b[?25h")


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_go_back_gets_lines(
    htc: Command, failed: htcjobs.HtcJob, term: str
) -> None:
    done = htc.under_terminal("watch", "-t", failed.json["taskId"], TERM=term)
    assert done.output == "1 of 1 jobs ended: 1 FAILED\nFAILED  1\n"
    assert done.status == 1


def test_the_bar_has_no_colours_if_they_are_not_wanted(
    htc: Command, failed: htcjobs.HtcJob
) -> None:
    done = htc.under_terminal("watch", "-t", failed.json["taskId"], NO_COLOR="1")
    assert "1/1 ended" in done.output
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", done.output)


def test_ctrl_c_ends_the_bar_with_status_130(
    htc: Command, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    htcjobs.create_job_batch_raw(rescale, task, [request_for("sleep", "600")])
    done = htc.under_terminal(
        "watch", "-t", task.json["taskId"], typed={"0/1 ": "\x03"}, NO_COLOR="1"
    )
    assert done.status == 130
    assert done.output.count("\x1b[?25l") == done.output.count("\x1b[?25h")
    task.cancel_jobs_in_task(rescale)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_tells_the_exit_statuses_and_fits(command: Command, columns: int) -> None:
    done = command.under_terminal("--help", columns=columns)
    assert done.status == 0
    assert "\x1b" not in done.output
    assert "  1    jobs failed\n" in done.output
    assert re.search(r"\n +130 +interrupted", done.output)
    if columns >= 80:
        assert all(len(line) <= columns for line in done.output.splitlines())
        assert "..." not in done.output.replace("[ARGS]...", ""), "a command's help is cut"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("rescalehtc wat", {"watch"}),
        ("rescalehtc jobs --status F", {"FAILED"}),
        ("rescalehtc jobs --output ", {"table", "json", "jsonl", "yaml", "csv", "name"}),
        ("rescalehtc jobs --profile w", {"work"}),
        ("rescalehtc config s", {"set", "show"}),
    ],
)
def test_a_shell_completes_commands_options_and_profiles(
    command: Command, words: str, expected: set[str]
) -> None:
    assert command("config", "set", "work", "--workspace", "acme").status == 0
    parts = words.split(" ")
    done = command(
        _RESCALEHTC_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(parts) - 1),
    )
    assert set(done.output.split()) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_is_shown(command: Command, shell: str) -> None:
    done = command.apart(
        "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert done.status == 0
    assert "_RESCALEHTC_COMPLETE" in done.output
