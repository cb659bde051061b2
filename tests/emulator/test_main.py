"""`python -m rescalehtc.emulator`, in its own process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .. import programs
from ..limits import HANG_SECONDS
from .conftest import COMMAND, alive, running, wait_for_end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_with_its_jobs(make_user, until, number):
    with running("--slots", 1, make_user=make_user) as (process, user, shown):
        assert "Ctrl-C" in shown
        task = user.new_task()
        (job_id,) = user.submit(task, ["sh", "-c", "sleep 3600 & echo $!; echo $$; pwd; wait"])
        *pids, folder = until(
            lambda: len(log := user.log(f"{task}/jobs/{job_id}")) == 3 and log, "the job ran"
        )
        process.send_signal(number)
        assert process.communicate(timeout=HANG_SECONDS) == ("", "")
        assert process.returncode == 0
        wait_for_end(*pids)
        assert not Path(folder).parent.parent.exists()


def test_what_it_prints_can_be_copied_into_a_shell(make_user):
    with running(make_user=make_user) as (_, user, shown):
        env = subprocess.run(
            ["sh", "-c", f'{shown}\necho "$RESCALE_API_BASE_URL $RESCALE_API_KEY"'],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.environ["PATH"]},
        )
        assert env.stdout == f"{user.url} {user.api_key}\n"
        assert user.url.startswith("http://127.0.0.1:")


def test_a_killed_emulator_loses_nothing_acknowledged_and_repeats_nothing(
    tmp_path, make_user, until
):
    with running("--data", tmp_path, "--slots", 1, make_user=make_user) as (process, user, _):
        task = user.new_task()
        mark = ["sh", "-c", 'echo "$AWS_BATCH_JOB_ARRAY_INDEX" >> "$TASK_SHARED_FOLDER/ran"']
        first = user.submit(task, mark, size=3)
        user.wait_for_all(task)
        (active,) = user.submit(task, ["sh", "-c", "echo $$; sleep 3600"])
        (pid,) = until(lambda: user.log(f"{task}/jobs/{active}"), "the job ran")
        waiting = user.submit(task, mark, size=4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert alive(pid)

    with running("--data", tmp_path, "--slots", 1, make_user=make_user) as (process, again, _):
        assert again.api_key == user.api_key
        wait_for_end(pid)
        failed = again.job(task, active)
        assert (failed["status"], failed["failureCode"]) == ("FAILED", "ErrorInfrastructureFault")
        assert failed["statusReason"]
        assert [e["status"] for e in again.items(f"{task}/jobs/{active}/events")][-2:] == [
            "RUNNING",
            "FAILED",
        ]
        assert again.wait_for_all(task)["SUCCEEDED"] == 7
        listed = [job["jobUUID"] for job in again.items(f"{task}/jobs")]
        assert listed == [*first, active, *waiting]
        (read,) = again.submit(task, ["sh", "-c", 'cat "$TASK_SHARED_FOLDER/ran"'])
        again.wait(task, read)
        assert again.log(f"{task}/jobs/{read}") == ["0", "1", "2", "0", "1", "2", "3"]


def failure(*arguments):
    done = programs.run([*COMMAND, *map(str, arguments)], timeout=HANG_SECONDS)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_port_that_is_taken_is_reported_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, message = failure("--port", taken.getsockname()[1])
    assert code == 1
    assert message.count("\n") == 1
    assert "can't listen on 127.0.0.1" in message


def test_a_folder_in_use_or_unusable_is_reported_in_one_line(tmp_path, make_user):
    with running("--data", tmp_path / "data", make_user=make_user):
        code, message = failure("--data", tmp_path / "data")
        assert code == 1
        assert message.count("\n") == 1
        assert "another emulator uses" in message
    (tmp_path / "file").touch()
    code, message = failure("--data", tmp_path / "file" / "below")
    assert code == 1
    assert message.count("\n") == 1
    assert "can't store data in" in message


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--host", "", "the host is empty"),
        ("--host", "a..b", "can't listen on a..b, port 0: "),
        ("--host", "256.0.0.1", "can't listen on 256.0.0.1, port 0: "),
        ("--data", "", "the path of the data folder is empty"),
        ("--data", "loop", "can't store data in "),
    ],
)
def test_an_address_or_a_folder_that_can_not_be_is_reported_in_one_line(
    tmp_path, monkeypatch, option, value, problem
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    code, message = failure(option, value, "--", "true")
    assert (code, message.count("\n")) == (1, 1), message
    assert problem in message
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.parametrize("stream", ["closed", "full", "pipe"])
def test_variables_that_can_not_be_printed_end_it_with_one_line(stream):
    with programs.unwritable(stream) as output:
        done = programs.run(COMMAND, timeout=HANG_SECONDS, stdout=output)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "the output can't be written: " in done.stderr


def test_a_command_runs_with_the_address_and_the_key_and_its_status_is_returned(monkeypatch):
    monkeypatch.setenv("RESCALE_HTC_REFRESH_TOKEN", "another service's")
    code = (
        "import os, sys, urllib.request as http; env = os.environ;"
        "assert 'RESCALE_HTC_REFRESH_TOKEN' not in env;"
        "key = {'Authorization': 'Token ' + env['RESCALE_API_KEY']};"
        "url = env['RESCALE_API_BASE_URL'] + '/auth/whoami';"
        "sys.exit(7 if http.urlopen(http.Request(url, headers=key)).status == 200 else 1)"
    )
    assert failure("--slots", 1, "--", sys.executable, "-c", code) == (7, "")
    assert failure("--", "sh", "-c", "kill -TERM $$") == (128 + 15, "")
    code, message = failure("--", "no-such-program")
    assert code == 1
    assert message.count("\n") == 1
    assert "no-such-program" in message


def test_a_signal_ends_the_command_too():
    command = [*COMMAND, "--", "sh", "-c", "echo $$; exec sleep 600"]
    with programs.Process(command) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.terminate()
        assert process.wait(HANG_SECONDS) == 128 + 15
        assert not alive(pid)


@pytest.mark.parametrize("arguments", [["--slots", "0"], ["--port", "x"], ["--port", "65536"]])
def test_an_argument_that_is_invalid_is_rejected(arguments):
    code, message = failure(*arguments)
    assert code == 2
    assert arguments[0] in message


def test_a_folder_with_something_else_in_it_is_rejected_and_not_changed(tmp_path):
    case = tmp_path / "project" / "jobs" / "case.txt"
    case.parent.mkdir(parents=True)
    case.write_text("mine")
    code, message = failure("--data", tmp_path / "project", "--", "true")
    assert code == 1
    assert "contains other files" in message
    assert case.read_text() == "mine"
    assert not (tmp_path / "project" / "lock").exists()


@pytest.mark.parametrize("others", [(), ("other",)])
def test_a_file_that_happens_to_be_called_lock_is_not_changed(tmp_path, others):
    for name in ("lock", *others):
        (tmp_path / name).write_text("mine")
    assert failure("--data", tmp_path, "--", "true")[0] == 1
    assert (tmp_path / "lock").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "message"),
    [("--port=x", "0 to 65535"), ("--slots=0", "at least 1"), ("--max-log-bytes=0", "at least 1")],
)
def test_a_wrong_option_is_reported_in_words(option, message):
    code, errors = failure(option)
    assert code == 2
    assert message in errors


def test_closing_the_terminal_ends_it_with_its_jobs(make_user, until):
    with running("--slots", 1, make_user=make_user) as (process, user, _):
        task = user.new_task()
        (job_id,) = user.submit(task, ["sh", "-c", "echo $$; pwd; exec sleep 3600"])
        pid, folder = until(
            lambda: len(log := user.log(f"{task}/jobs/{job_id}")) == 2 and log, "the job ran"
        )
        process.send_signal(signal.SIGHUP)
        assert process.wait(HANG_SECONDS) == 0
        wait_for_end(pid)
        assert not Path(folder).parent.parent.exists()
