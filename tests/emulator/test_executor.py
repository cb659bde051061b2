import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Barrier

import pytest

from rescalehtc import models
from rescalehtc.emulator import Emulator, executor
from rescalehtc.emulator.folders import Folders
from rescalehtc.emulator.job_log import MAX_LINE_BYTES

from ..clock import Clock
from ..limits import HANG_SECONDS
from .conftest import alive, running, wait_for_end

PATH_OF_A_JOB = [
    *("SUBMITTED_TO_RESCALE", "SUBMITTED_TO_PROVIDER", "RUNNABLE", "STARTING", "RUNNING")
]


@pytest.fixture
def time_out(user, until, monkeypatch):
    """Run a job, and trigger its timeout when it has written some lines.

    By default, it does not kill the job after SIGTERM.
    """
    clock = Clock()
    monkeypatch.setattr(executor, "time", clock)

    def run(commands, lines, *, user=user, clock_rate=1, grace=HANG_SECONDS, **arguments):
        monkeypatch.setattr(executor, "GRACE_SECONDS", grace)
        seconds = 2 * HANG_SECONDS
        task = user.new_task()
        limit = seconds * clock_rate
        (job_id,) = user.submit(task, commands, execTimeoutSeconds=limit, **arguments)
        path = f"{task}/jobs/{job_id}"
        until(lambda: len(user.log(path)) == lines, "the job has written its lines")
        clock.ahead["monotonic"] += seconds
        return user.wait(task, job_id), path

    return run


# ---- statuses, events, records


def test_a_job_walks_the_documented_path_with_an_event_for_each_status(user):
    job, path = user.run(["true"])
    events = user.items(f"{path}/events", pageSize=1)
    assert [event["status"] for event in events] == [*PATH_OF_A_JOB, "SUCCEEDED"]
    times = [event["dateTime"] for event in events]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)
    assert job["createdAt"] == times[0]
    assert job["startedAt"] == times[4]
    assert job["updatedAt"] == job["completedAt"] == times[5]
    assert len({event["eventId"] for event in events}) == 6
    assert {event["jobId"] for event in events} == {job["jobUUID"]}
    for event in events:
        models.RescaleJobStatusEvent.model_validate(event)
    record = models.HTCJob.model_validate(job)
    assert record.container is not None
    assert (record.container.exit_code, record.failure_code) == (0, None)


def test_a_running_job_has_no_end_and_no_container(user, until):
    task = user.new_task()
    (job_id,) = user.submit(task, ["sleep", "600"])
    running = until(
        lambda: (job := user.job(task, job_id))["status"] == "RUNNING" and job, "the job ran"
    )
    assert running["startedAt"] >= running["createdAt"]
    for name in ("completedAt", "container", "failureCode", "statusReason"):
        assert running[name] is None
    user.http.post(f"{task}/jobs/cancel")
    user.wait(task, job_id)


def test_many_jobs_end_without_a_lost_status_log_or_event(user):
    task = user.new_task()
    jobs = user.submit(task, ["echo", "line"], size=60)
    assert user.wait_for_all(task)["SUCCEEDED"] == 60
    assert [job["jobUUID"] for job in user.items(f"{task}/jobs", pageSize=25)] == jobs
    for job_id in jobs:
        assert user.log(f"{task}/jobs/{job_id}") == ["line"]
        events = user.get(f"{task}/jobs/{job_id}/events")["items"]
        assert [event["status"] for event in events] == [*PATH_OF_A_JOB, "SUCCEEDED"]


def test_no_more_jobs_run_at_once_than_there_are_slots(user):
    """The first jobs wait until both slots have started one."""
    task = user.new_task()
    code = (
        'date +%s%N; cd "$TASK_SHARED_FOLDER"; touch "$AWS_BATCH_JOB_ARRAY_INDEX"; '
        "until [ $(ls | wc -l) -ge 2 ]; do sleep 0.02; done; sleep 0.1; date +%s%N"
    )
    jobs = user.submit(task, ["sh", "-c", code], size=8)
    user.wait_for_all(task)
    spans = [tuple(map(int, user.log(f"{task}/jobs/{job_id}"))) for job_id in jobs]
    assert all(sum(a <= begin < b for a, b in spans) <= 2 for begin, _ in spans)
    instances = Counter(job["instanceId"] for job in user.items(f"{task}/jobs"))
    assert set(instances) == {"emulator-0", "emulator-1"}


# ---- exit codes


@pytest.mark.parametrize("code", [1, 2, 127, 255])
def test_a_nonzero_exit_code_fails_the_job(user, code):
    job, path = user.run(["sh", "-c", f"exit {code}"])
    assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorNonZeroContainerExitCode")
    assert job["container"]["exitCode"] == code
    assert str(code) in job["statusReason"]
    assert user.items(f"{path}/events")[-1]["container"] == job["container"]


def test_a_signal_is_an_exit_code_above_128(user):
    job, _ = user.run(["sh", "-c", "kill -SEGV $$"])
    assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorNonZeroContainerExitCode")
    assert job["container"]["exitCode"] == 128 + 11
    assert "SIGSEGV" in job["statusReason"]


@pytest.mark.parametrize(
    ("commands", "definition", "reason"),
    [
        (["no-such-program"], {}, "no-such-program"),
        ([""], {}, "''"),
        (["/"], {}, "Permission denied"),
        (["true"], {"workingDir": "x" * 300}, "too long"),
        ([], {}, "no commands"),
        (None, {}, "no commands"),
    ],
)
def test_a_command_that_cannot_be_started_fails_with_a_reason(user, commands, definition, reason):
    job, path = user.run(commands, **definition)
    assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorStartingContainer")
    assert reason in job["statusReason"]
    assert job["startedAt"] is None
    assert [event["status"] for event in user.items(f"{path}/events")] == [
        *PATH_OF_A_JOB[:4],
        "FAILED",
    ]


def test_no_shell_reads_the_commands(user):
    job, path = user.run(["printf", "%s\n", "$HOME; echo `id` > x", "*"])
    assert job["status"] == "SUCCEEDED"
    assert user.log(path) == ["$HOME; echo `id` > x", "*"]


# ---- retries


def test_a_failed_job_is_run_again_until_it_succeeds(user):
    code = (
        'echo try >> "$TASK_SHARED_FOLDER/n"; cat "$TASK_SHARED_FOLDER/n" | wc -l; ls; touch here;'
    )
    job, path = user.run(
        ["sh", "-c", code + ' test "$(wc -l < "$TASK_SHARED_FOLDER/n")" -ge 3'], retries=5
    )
    assert job["status"] == "SUCCEEDED"
    assert (job["statusReason"], job["container"]["exitCode"]) == (None, 0)
    # Each attempt starts in an empty folder. All attempts share the log.
    assert [line.strip() for line in user.log(path)] == ["1", "2", "3"]
    again = ["RUNNABLE", "STARTING", "RUNNING"]
    events = user.items(f"{path}/events")
    assert [e["status"] for e in events] == [*PATH_OF_A_JOB, *again, *again, "SUCCEEDED"]
    assert events[5]["container"]["exitCode"] == 1
    assert events[5]["statusReason"]


def test_a_job_is_run_again_so_often_and_no_more(user):
    job, path = user.run(["false"], retries=2)
    assert job["status"] == "FAILED"
    statuses = [event["status"] for event in user.items(f"{path}/events")]
    assert statuses.count("RUNNING") == 3
    assert statuses.count("FAILED") == 1


# ---- timeouts and cancelling


def test_a_job_that_runs_too_long_is_ended(make_user, time_out):
    with Emulator(slots=1, clock_rate=4) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        code = "echo on; exec sleep 100000"
        job, path = time_out(["sh", "-c", code], 1, user=user, clock_rate=4, retries=3)
        assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorTimeout")
        assert f"{8 * HANG_SECONDS} s" in job["statusReason"]
        assert job["container"]["exitCode"] == 128 + 15
        assert len(user.items(f"{path}/events")) == 6


def test_a_job_may_tidy_up_at_term_and_is_still_timed_out(user, time_out):
    code = "trap 'echo tidy; exit 0' TERM; echo on; while :; do sleep 0.05; done"
    job, path = time_out(["sh", "-c", code], 1)
    assert (job["failureCode"], job["container"]["exitCode"]) == ("ErrorTimeout", 0)
    assert user.log(path)[-1] == "tidy"


def test_a_job_that_ignores_term_is_killed_with_its_group(user, time_out):
    code = "trap '' TERM; sleep 3600 & echo $!; echo $$; wait; sleep 3600"
    grace = executor.GRACE_SECONDS
    started = time.monotonic()
    job, path = time_out(["sh", "-c", code], 2, grace=grace)
    assert time.monotonic() - started >= grace
    assert (job["failureCode"], job["container"]["exitCode"]) == ("ErrorTimeout", 128 + 9)
    wait_for_end(*user.log(path))


def test_cancelling_ends_waiting_and_running_jobs(user, until):
    task = user.new_task()
    running = user.submit(task, ["sh", "-c", "echo on; sleep 600"], size=2, retries=3)
    waiting = user.submit(task, ["true"], size=3)
    for job_id in running:
        assert until(lambda job_id=job_id: user.log(f"{task}/jobs/{job_id}"), "it ran") == ["on"]
    answer = user.http.post(f"{task}/jobs/cancel")
    assert (answer.status_code, answer.content) == (200, b"")
    for job_id in running + waiting:
        job = user.wait(task, job_id)
        assert (job["status"], job["statusReason"]) == ("FAILED", "cancelled by user")
        assert job["completedAt"] is not None
        *earlier, last = user.items(f"{task}/jobs/{job_id}/events")
        assert last["userCancelledEvent"] is True
        assert not any(event["userCancelledEvent"] for event in earlier)
        expected = PATH_OF_A_JOB if job_id in running else PATH_OF_A_JOB[:1]
        assert [event["status"] for event in earlier] == expected
    assert user.job(task, waiting[0])["startedAt"] is None


def test_cancelling_a_group_leaves_the_others(user):
    task = user.new_task()
    ended = user.submit(task, ["true"], group="ended")
    user.wait_for_all(task)
    user.submit(task, ["sleep", "600"], group="a", size=3)
    others = user.submit(task, ["true"], group="b", size=2)
    user.http.post(f"{task}/jobs/cancel", params={"group": "a"})
    user.wait_for_all(task)
    reasons = Counter((job["group"], job["statusReason"]) for job in user.items(f"{task}/jobs"))
    assert reasons == {("a", "cancelled by user"): 3, ("b", None): 2, ("ended", None): 1}
    assert user.job(task, others[0])["status"] == user.job(task, ended[0])["status"] == "SUCCEEDED"


# ---- process groups


def test_what_a_job_leaves_in_its_group_is_killed(user):
    job, path = user.run(["sh", "-c", "trap '' TERM; sleep 3600 & echo $!"])
    assert job["status"] == "SUCCEEDED"
    wait_for_end(*user.log(path))


DAEMON = (
    "import os, time; os.setsid(); print(os.getpid(), flush=True); {}"
    'open("ready", "w").close(); time.sleep(3600)'
)


@pytest.mark.parametrize("closes", ["", "os.close(1); os.close(2); "], ids=["holds", "closes"])
def test_a_process_that_left_the_group_ends_with_its_job(user, closes):
    """Even if it does not hold the job's output, with any variables of the job."""
    code = f"{sys.executable} -c '{DAEMON.format(closes)}' & until [ -e ready ]; do sleep 0.02; done; echo done"
    envs = [{"name": "RESCALE_EMULATOR_JOB", "value": "/"}]
    with subprocess.Popen(["sleep", "600"], env={"RESCALE_EMULATOR_JOB": "/"}) as other:
        try:
            job, path = user.run(["sh", "-c", code], envs=envs)
            assert job["status"] == "SUCCEEDED"
            pid, done = user.log(path)
            assert done == "done"
            wait_for_end(pid)
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("ends", ["cancel", "timeout"])
def test_a_daemon_that_ignores_term_ends_with_its_job_however_that_ends(
    user, until, time_out, ends
):
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(os.getpid(), flush=True); os.fork() and time.sleep(3600); os.setsid();"
        "os.fork() and os._exit(0); print(os.getpid(), flush=True);"
        "os.close(1); os.close(2); time.sleep(3600)"
    )
    command = [sys.executable, "-c", code]
    if ends == "timeout":
        job, path = time_out(command, 2, grace=executor.GRACE_SECONDS)
    else:
        task = user.new_task()
        (job_id,) = user.submit(task, command)
        path = f"{task}/jobs/{job_id}"
        until(lambda: len(user.log(path)) == 2, "it forked")
        user.http.post(f"{task}/jobs/cancel")
        job = user.wait(task, job_id)
    assert job["status"] == "FAILED"
    wait_for_end(*user.log(path))


def test_a_job_that_closes_its_output_continues(user):
    job, path = user.run(["sh", "-c", "echo on; exec >&- 2>&-; sleep 0.3; exit 3"])
    assert job["container"]["exitCode"] == 3
    assert user.log(path) == ["on"]


def test_closing_the_emulator_ends_its_jobs(make_user, until):
    with Emulator(slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()
        (job_id,) = user.submit(task, ["sh", "-c", "sleep 3600 & echo $!; echo $$; pwd; wait"])
        *ids, folder = until(
            lambda: len(log := user.log(f"{task}/jobs/{job_id}")) == 3 and log, "the job ran"
        )
        assert all(alive(pid) for pid in ids)
    wait_for_end(*ids)
    assert not Path(folder).parent.parent.exists()


# ---- the environment of a job


def test_a_job_knows_which_attempt_at_it_this_is(user):
    code = 'echo "$AWS_BATCH_JOB_ATTEMPT"; test "$AWS_BATCH_JOB_ATTEMPT" = 3'
    job, path = user.run(["sh", "-c", code], retries=5)
    assert job["status"] == "SUCCEEDED"
    assert user.log(path) == ["1", "2", "3"]


def test_a_job_can_open_a_socket_in_its_temporary_folder_however_long_the_data_path(
    tmp_path, make_user
):
    code = "import multiprocessing; print(multiprocessing.Manager().list([1]))"
    with Emulator(data=tmp_path / ("d" * 200), slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        job, path = user.run([sys.executable, "-c", code])
        assert (job["status"], user.log(path)) == ("SUCCEEDED", ["[1]"])
        short = Path(user.output('echo "$TMPDIR"')[0]).parent
        assert short.resolve() == (tmp_path / ("d" * 200) / "jobs").resolve()
    assert not short.parent.exists()


def test_the_temporary_folder_of_an_emulator_that_was_killed_is_removed(tmp_path, make_user):
    with running("--data", tmp_path, make_user=make_user) as (process, user, _):
        killed = Path(user.output('echo "$TMPDIR"')[0]).parents[1]
        process.kill()
        process.wait()
    assert killed.is_dir()
    with Emulator(data=tmp_path, slots=1):
        assert not killed.exists()


def test_the_environment_is_the_documented_one_and_the_jobs_own(user, monkeypatch):
    monkeypatch.setenv("CANARY", "host")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    task = user.new_task()
    envs = [
        {"name": "A", "value": "1"},
        {"name": "EMPTY", "value": ""},
        {"name": "A", "value": "2"},
    ]
    jobs = user.submit(
        task, [sys.executable, "-c", "import os; print(dict(os.environ))"], size=2, envs=envs
    )
    user.wait_for_all(task)
    found = eval(user.log(f"{task}/jobs/{jobs[1]}")[0])
    assert found["AWS_BATCH_JOB_ARRAY_INDEX"] == "1"
    assert (
        task
        == f"/htc/projects/{found['RESCALE_HTC_PROJECT_ID']}/tasks/{found['RESCALE_HTC_TASK_ID']}"
    )
    assert found["RESCALE_HTC_REGION"] == "AWS_US_EAST_1"
    assert found["RESCALE_API_BASE_URL"] == user.url
    assert (found["A"], found["EMPTY"]) == ("2", "")
    assert (found["PATH"], found["TZ"]) == (os.environ["PATH"], "Asia/Tokyo")
    assert set(found) - {"LANG", "LC_CTYPE"} == {
        *("PATH", "TZ", "LC_ALL", "HOME", "TMPDIR", "A", "EMPTY", "AWS_BATCH_JOB_ARRAY_INDEX"),
        "AWS_BATCH_JOB_ATTEMPT",
        *("RESCALE_HTC_PROJECT_ID", "RESCALE_HTC_TASK_ID", "RESCALE_HTC_REGION"),
        *("RESCALE_HTC_BEARER_TOKEN", "RESCALE_HTC_REFRESH_TOKEN", "RESCALE_API_BASE_URL"),
        *("PROJECT_SHARED_FOLDER", "TASK_SHARED_FOLDER", "RESCALE_EMULATOR_JOB"),
    }


def test_a_job_starts_in_an_empty_folder_of_its_own_that_is_removed(user):
    code = 'pwd; echo "$HOME"; readlink -f "$TMPDIR"; ls -A | wc -l'
    folder, home, tmp, count = user.output(code)
    assert folder == home == tmp
    assert count.strip() == "0"
    assert not Path(folder).exists()
    assert user.output("pwd")[0] != folder


@pytest.mark.parametrize(
    ("requested", "found"),
    [("a/b", "a/b"), ("/work", "work"), ("../../x", "x"), ("a/../../../y", "y"), ("//z", "z")],
)
def test_the_working_dir_is_below_the_jobs_own_folder(user, requested, found):
    folder, home = user.output('pwd; echo "$HOME"', workingDir=requested)
    assert folder == f"{home}/{found}"


def test_jobs_share_the_folder_of_their_task_and_of_their_project(user):
    first, second = user.new_task(), user.new_task()
    write = 'echo a > "$TASK_SHARED_FOLDER/$1"; echo b > "$PROJECT_SHARED_FOLDER/$1"'
    read = 'ls "$TASK_SHARED_FOLDER"; echo --; ls "$PROJECT_SHARED_FOLDER" | grep mine'
    user.wait(first, user.submit(first, ["sh", "-c", write, "sh", "mine"])[0])
    for task, expected in ((first, ["mine", "--", "mine"]), (second, ["--", "mine"])):
        (job_id,) = user.submit(task, ["sh", "-c", read])
        user.wait(task, job_id)
        assert user.log(f"{task}/jobs/{job_id}") == expected


def test_jobs_that_start_at_once_lose_no_file_of_a_new_shared_folder(tmp_path):
    jobs = 8
    folders = Folders(tmp_path)
    start = Barrier(jobs)

    def write(job, task):
        start.wait()
        file = folders.task(task) / job
        file.touch()
        return file

    with ThreadPoolExecutor(jobs) as threads:
        for task in map(str, range(50)):
            files = list(threads.map(write, map(str, range(jobs)), [task] * jobs))
            assert all(file.exists() for file in files)


def test_a_job_whose_task_is_deleted_while_it_starts_is_cancelled(make_user, monkeypatch):
    with Emulator(slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()

        def delete_task(_):
            assert user.http.delete(task).status_code == 200
            raise FileNotFoundError

        monkeypatch.setattr(emulator._folders, "task", delete_task)
        (job_id,) = user.submit(task, ["true"])
        assert user.wait(task, job_id)["statusReason"] == "cancelled by user"


def test_a_job_reads_nothing(user):
    assert user.output("wc -c")[0].strip() == "0"


# ---- logs


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\n\n\nb\n", ["a", "", "", "b"]),
        (b"no end", ["no end"]),
        (b"a\r\nb\rc\n", ["a\r", "b\rc"]),
        ("grün 漢字 😀\n\u2028\x85\x0b\x0c|\n".encode(), ["grün 漢字 😀", "\u2028\x85\x0b\x0c|"]),
        (b"\xff\xfea\xc3\n\xa9\n", ["\ufffd\ufffda\ufffd", "\ufffd"]),
        (b'\x00\x1b[31m"\\\n', ['\x00\x1b[31m"\\']),
        (b"  indented \t\n", ["  indented \t"]),
    ],
)
def test_a_log_is_what_was_written_line_by_line(user, written, lines):
    code = f"import sys; sys.stdout.buffer.write({written!r})"
    job, path = user.run([sys.executable, "-c", code])
    assert job["status"] == "SUCCEEDED"
    assert user.log(path) == lines


def test_stdout_and_stderr_share_the_log_in_order(user):
    assert user.output("echo 1; echo 2 >&2; echo 3; echo 4 >&2") == ["1", "2", "3", "4"]


def test_a_character_that_comes_in_pieces_is_whole(user):
    code = "printf '\\303'; sleep 0.2; printf '\\251\\nx'; sleep 0.2; printf 'y'"
    assert user.output(code) == ["é", "xy"]


def test_a_line_without_end_is_split(user):
    size = MAX_LINE_BYTES * 2 + 10
    code = f"import sys; sys.stdout.write('x' + 'é' * {size // 2} + '\\nshort\\n')"
    _, path = user.run([sys.executable, "-c", code])
    *pieces, short = user.log(path)
    assert short == "short"
    assert "".join(pieces) == "x" + "é" * (size // 2)
    assert [len(piece.encode()) for piece in pieces] == [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, 12]


def test_lines_can_be_read_while_the_job_runs(user, until):
    task = user.new_task()
    (job_id,) = user.submit(task, ["sh", "-c", "echo first; sleep 600"])
    log = f"{task}/jobs/{job_id}"
    assert until(lambda: user.log(log), "a line came") == ["first"]
    assert user.job(task, job_id)["status"] == "RUNNING"
    user.http.post(f"{task}/jobs/cancel")
    user.wait(task, job_id)


def test_a_slow_emulator_loses_no_output_of_an_ended_job(monkeypatch, user):
    monkeypatch.setattr(executor, "DRAIN_SECONDS", 0.0)
    _, path = user.run(["seq", "10000"])
    assert user.log(path) == [str(number) for number in range(1, 10_001)]


def test_a_log_comes_newest_first_by_default(user):
    _, job = user.run(["seq", "150"])
    page = user.get(f"{job}/logs")
    assert [line["message"] for line in page["items"]] == [str(n) for n in range(150, 50, -1)]
    assert user.log(job, sort="desc", pageSize=100) == [str(n) for n in range(150, 0, -1)]
    for line in page["items"]:
        record = models.HTCLogEvent.model_validate(line)
        assert isinstance(record.timestamp, datetime)


def test_pages_of_a_log_hold_every_line_once(user):
    _, job = user.run(["seq", "10001"])
    numbers = [str(n) for n in range(1, 10002)]
    for size in (997, 10000):
        assert user.log(job, pageSize=size) == numbers
        assert user.log(job, pageSize=size, sort="desc") == numbers[::-1]
    assert [len(p) for p in user.pages(f"{job}/logs", pageSize=5000)] == [5000, 5000, 1]
    assert [len(p) for p in user.pages(f"{job}/logs?pageSize=10000")] == [10000, 1]


def test_lines_that_come_meanwhile_disturb_no_page(user, until):
    task = user.new_task()
    (job_id,) = user.submit(task, ["sh", "-c", "while echo x; do sleep 0.01; done"])
    log = f"{task}/jobs/{job_id}/logs"
    first = until(
        lambda: len((page := user.get(log, pageSize=7))["items"]) == 7 and page, "lines came"
    )
    seen = len(user.items(log, sort="asc", pageSize=1000))
    backwards, page = len(first["items"]), first
    while "next" in page:
        page = user.get(page["next"])
        backwards += len(page["items"])
    assert 7 <= backwards <= seen
    user.http.post(f"{task}/jobs/cancel")
    user.wait(task, job_id)
    assert len(user.items(log)) >= seen
