"""Start failures, forks, ignored signals, kills, and exhausted resources."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import httpx
import pytest
import uvicorn

from rescalehtc.emulator import Emulator, folders
from rescalehtc.emulator.store import Store
from rescalehtc.exceptions import HtcException, HtcFileError

from .. import programs
from ..limits import HANG_SECONDS
from .conftest import COMMAND, alive, running, wait_for_end

ROOT = Path(__file__).parents[2]
# A loopback address of this process. On 127.0.0.1, other processes may take a port that is free.
OWN_HOST = f"127.1.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary folders of all emulators."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


# ---- the start


async def fail(*_, **__):
    sys.exit(3)


def missing(*value, **_):
    for coroutine in filter(asyncio.iscoroutine, value):
        coroutine.close()
    raise ImportError("No module named 'missing'")


async def give_up(server, *_, **__):
    server.should_exit = True


@pytest.mark.parametrize(
    ("where", "what", "message"),
    [
        (uvicorn.Config, {"load": missing}, "ImportError: No module named 'missing'"),
        (uvicorn.Server, {"startup": fail}, "SystemExit: 3"),
        (uvicorn.Server, {"startup": give_up}, "ended immediately"),
        (asyncio.Runner, {"run": missing}, "missing"),
    ],
)
def test_a_server_that_does_not_start_is_an_error_and_leaves_nothing(
    temporary, monkeypatch, where, what, message
):
    for name, replacement in what.items():
        monkeypatch.setattr(where, name, replacement)
    emulator = Emulator(host=OWN_HOST, slots=1)
    before = {*threading.enumerate()}  # other tests may share an emulator
    with pytest.raises(HtcException, match=f"server did not start: .*{message}"), emulator:
        pass
    assert not list(temporary.iterdir())
    left = {*threading.enumerate()} - before
    assert not [thread for thread in left if thread.name.startswith("job slot")]
    with socket.socket() as client:
        address = httpx.URL(emulator.url)
        assert client.connect_ex((address.host, address.port)) != 0


def test_more_slots_than_the_system_has_threads_are_an_error(temporary, monkeypatch):
    start = threading.Thread.start

    def start_some(thread):
        if thread.name == "job slot 2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    before = {*threading.enumerate()}
    with (
        pytest.raises(HtcException, match="can't run 3 threads; reduce `slots`"),
        Emulator(slots=4),
    ):
        pass
    assert not list(temporary.iterdir())
    left = {*threading.enumerate()} - before
    assert not [thread for thread in left if thread.name.startswith("job slot")]


def test_an_emulator_can_be_made_and_left_in_a_running_event_loop():
    async def use():
        with Emulator(slots=1) as emulator:
            async with httpx.AsyncClient() as http:
                key = {"Authorization": f"Token {emulator.api_key}"}
                return await http.get(f"{emulator.url}/auth/whoami", headers=key)

    assert asyncio.run(use()).status_code == 200


# ---- forks


@contextlib.contextmanager
def forked_after_an_answer(client):
    """A child process that runs until the end of the block."""
    client.settimeout(HANG_SECONDS)
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.recv(1000).startswith(b"HTTP/1.1 404")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
        child = os.fork()
    if child == 0:
        os.close(writing)
        client.close()
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def test_a_forked_child_holds_neither_folder_nor_port_nor_connections(tmp_path):
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(Emulator(host=OWN_HOST, data=tmp_path, slots=1))
        address = httpx.URL(emulator.url)
        client = socket.create_connection((address.host, address.port))
        with client, forked_after_an_answer(client):
            stack.close()
            while client.recv(1000):
                pass  # the rest of the response, until the emulator has closed
            with socket.socket() as again:
                assert again.connect_ex((address.host, address.port)) != 0
            with Emulator(host=OWN_HOST, data=tmp_path, port=address.port or 0, slots=1):
                pass


LEAVES = """
import multiprocessing, os, sys, warnings
from rescalehtc import htcjobs, htcprojects, htctasks
from rescalehtc.emulator import Emulator

warnings.simplefilter("ignore")

def emulator_of_its_own():
    with Emulator(slots=1) as own, own.session() as rescale:
        assert htcprojects.get_projects(rescale)

with Emulator(slots=1) as emulator, emulator.session() as rescale:
    project = htcprojects.get_projects(rescale)[0]
    task = htctasks.create_task_with_name(rescale, project, "t")
    code = 'echo on; until test -e "$TASK_SHARED_FOLDER/go"; do sleep 0.05; done'
    job = htcjobs.create_single_job(
        rescale, task, "ON_DEMAND_ECONOMY", "image", 600, commands=["sh", "-c", code]
    )
    next(job.follow_logs(rescale))
    child = os.fork()
    if child == 0:
        sys.exit(0)  # exits the `with` block, and runs the exit handlers
    assert os.waitpid(child, 0)[1] == 0
    process = multiprocessing.get_context("fork").Process(target=emulator_of_its_own)
    process.start()
    process.join()
    assert process.exitcode == 0
    folder = emulator._folders.task(task.json["taskId"])
    (folder / "go").touch()
    job.wait(rescale)
    assert job.record.status == "SUCCEEDED", job.json
    root = emulator._folders.root
    assert root.exists()
assert not root.exists()
print("right")
"""


def test_a_forked_child_that_exits_ends_nothing_of_its_parents_emulator():
    done = programs.run([sys.executable, "-c", LEAVES], timeout=HANG_SECONDS)
    assert (done.stdout, done.stderr) == ("right\n", "")


# ---- signals


@pytest.mark.parametrize("through", [COMMAND, [sys.executable, "-m", "rescalehtc.cli", "emulator"]])
def test_signals_that_were_ignored_stay_ignored_for_it_and_for_its_command(through):
    def as_nohup_does():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    seen = "grep -h ^SigIgn: /proc/$PPID/status /proc/$$/status"
    done = subprocess.run(
        [*through, "--slots", "1", "--", "sh", "-c", seen],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=as_nohup_does,
    )
    assert done.returncode == 0, done.stderr
    ignored = [int(line.split()[1], 16) for line in done.stdout.splitlines()]
    assert len(ignored) == 2
    for number in (signal.SIGHUP, signal.SIGINT):
        assert all(mask >> (number - 1) & 1 for mask in ignored)


# ---- emulators that were killed


def test_what_a_killed_emulator_left_is_ended_and_removed_by_the_next_one(
    temporary, make_user, until
):
    with running("--slots", 1, make_user=make_user) as (process, user, _):
        task = user.new_task()
        code = "mkdir locked; touch locked/file; chmod 500 locked; echo $$; pwd; exec sleep 3600"
        (job_id,) = user.submit(task, ["sh", "-c", code])
        pid, folder = until(
            lambda: len(log := user.log(f"{task}/jobs/{job_id}")) == 2 and log, "the job ran"
        )
        assert Path(folder).is_relative_to(temporary)
        process.kill()
        process.wait()
    assert alive(pid)
    with Emulator(slots=1) as emulator:
        wait_for_end(pid)
        assert list(temporary.iterdir()) == [emulator._folders.root]


def test_only_folders_that_a_killed_emulator_of_the_same_user_left_are_removed(
    temporary, monkeypatch
):
    with Emulator(slots=1) as first:
        no_lock, others, link = (
            temporary / f"rescalehtc-emulator-{name}" for name in ("notes", "mine", "link")
        )
        for folder in (no_lock, others):
            folder.mkdir()
            (folder / "file").write_text("mine")
        (others / "lock").touch()
        link.symlink_to(others)
        with Emulator(slots=1):
            pass
        left = {first._folders.root, no_lock, others, link}
        assert set(temporary.iterdir()) == left
        abandoned = temporary / "rescalehtc-emulator-abandoned"
        abandoned.mkdir()
        (abandoned / "lock").touch()
        (abandoned / "state.sqlite3").touch()
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: abandoned.stat().st_uid + 1)
            with Emulator(slots=1):
                assert abandoned.exists()
        with Emulator(slots=1):
            assert not abandoned.exists()
        with first.session() as rescale:
            assert rescale.get_bearer_token()


@pytest.mark.parametrize("removed", range(5))
def test_a_removal_that_was_interrupted_is_continued_by_the_next_emulator(
    temporary, monkeypatch, removed
):
    folder, lock = folders.open_temporary()
    with lock:
        (folder / folders.STATE_FILE).touch()
        for name in ("jobs", "tasks"):
            (folder / name).mkdir()
        remaining = iter([folders.remove] * removed)
        with monkeypatch.context() as patch:
            patch.setattr(folders, "remove", lambda path: next(remaining)(path))
            with pytest.raises(StopIteration):
                folders.remove_temporary(folder)
    folders.remove_abandoned()
    assert not folder.exists() or not [*folder.iterdir()]


# ---- logs and deleted tasks


@pytest.mark.parametrize("line", ["echo", "echo 0123456789", "printf '\\303\\266\\001'"])
def test_a_log_ends_where_it_is_as_large_as_it_may_be_and_the_job_continues(make_user, line):
    most = 5_000
    with Emulator(slots=1, max_log_bytes=most) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        code = f"for i in $(seq 5000); do {line}; done; exit 7"
        job, path = user.run(["sh", "-c", code], retries=1)
        assert job["container"]["exitCode"] == 7
        *lines, last = user.log(path)
        assert f"The log ends here: it has reached {most} bytes" in last
        assert not any("The log ends here" in line for line in lines)
        (size,) = emulator._store._one(
            "SELECT coalesce(sum(length(CAST(record AS BLOB))), 0) FROM lines"
        )
        assert size <= most + 200
        job, path = user.run(["sh", "-c", "echo short"])
        assert user.log(path) == ["short"]


def test_max_log_bytes_that_is_invalid_is_rejected():
    with pytest.raises(ValueError, match="max_log_bytes must be at least 1"):
        Emulator(max_log_bytes=0)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.glob("state.sqlite3*"))


def test_a_deleted_task_gives_its_space_back(tmp_path, make_user, until):
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        remaining, deleted = user.new_task(), user.new_task()
        (job_id,) = user.submit(remaining, ["echo", "kept"])
        user.wait(remaining, job_id)
        # It ends late, and files that it creates until then are removed too.
        code = (
            "trap 'mkdir -p \"$TASK_SHARED_FOLDER\"; seq 100; exit' TERM; "
            "yes 0123456789012345678901234567890123456789 | head -n 60000; echo done; "
            "while true; do sleep 0.1; done"
        )
        (large,) = user.submit(deleted, ["sh", "-c", code])
        newest = f"{deleted}/jobs/{large}/logs"
        until(lambda: "done" in str(user.get(newest, pageSize=1, sort="desc")), "the job wrote")
        assert size_of(tmp_path) > 5 << 20
        assert user.http.delete(deleted).status_code == 200
        until(lambda: size_of(tmp_path) < 1 << 20, "the space was free")
        assert user.wait(deleted, large)["status"] == "FAILED"
        assert user.log(f"{deleted}/jobs/{large}") == []
        names = f"tasks/{deleted.rpartition('/')[2]}*"
        until(lambda: not [*tmp_path.glob(names)], "the folder was removed")
        assert user.log(f"{remaining}/jobs/{job_id}") == ["kept"]


def test_what_could_not_be_freed_before_a_kill_is_freed_after_it(tmp_path, make_user, until):
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        _, path = user.run(["seq", "3000"])
        task = path.partition("/jobs/")[0]
        emulator._store.delete_task(user.get(task))
    with Emulator(data=tmp_path, slots=1) as emulator:
        until(lambda: not emulator._store._one("SELECT count(*) FROM lines")[0], "it was freed")


# ---- the folder


@pytest.mark.parametrize("name", ["lock", "state.sqlite3"])
def test_a_folder_with_a_pipe_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with (
        pytest.raises(HtcFileError, match=f"{name} is not a regular file"),
        Emulator(data=tmp_path),
    ):
        pass


def test_an_invalid_signing_key_is_refused(tmp_path):
    with Store(tmp_path / "state.sqlite3") as store:
        store._execute("UPDATE settings SET value = 'x' WHERE name = 'signing_key'")
    with pytest.raises(HtcFileError, match="signing key is invalid"), Emulator(data=tmp_path):
        pass


def test_pipes_in_place_of_its_folders_are_replaced(tmp_path, make_user):
    with Store(tmp_path / "state.sqlite3"):
        os.mkfifo(tmp_path / "jobs")
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()
        for script in ('rmdir "$TASK_SHARED_FOLDER"; mkfifo "$TASK_SHARED_FOLDER"', "true"):
            (job,) = user.submit(task, ["sh", "-c", script])
            assert user.wait(task, job)["status"] == "SUCCEEDED"


# ---- file descriptors


def test_without_file_descriptors_it_closes_idle_connections_says_so_once_and_continues(make_user):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with running("--slots", 2, make_user=make_user, in_process=few) as (process, user, _):
        # The emulator may close an idle connection while the next request is on its way.
        user.http.headers["Connection"] = "close"
        address = (user.http.base_url.host, user.http.base_url.port)
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                for _ in range(120):
                    stack.enter_context(socket.create_connection(address))
                job, path = user.run(["echo", "served"])
                assert (job["status"], user.log(path)) == ("SUCCEEDED", ["served"])
        assert user.run(["true"])[0]["status"] == "SUCCEEDED"
        process.terminate()
        message = process.communicate()[1]
    assert message.count("\n") == 1, message
    assert "few file descriptors are free: idle connections are closed" in message
    assert "The limit is 64" in message


def test_without_file_descriptors_jobs_wait_and_do_not_fail(tmp_path, make_user, until, caplog):
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()
        code = 'echo $$; until test -e "$TASK_SHARED_FOLDER/go"; do sleep 0.05; done'
        first, second = user.submit(task, ["sh", "-c", code], size=2)
        (pid,) = until(lambda: user.log(f"{task}/jobs/{first}"), "the first job ran")
        user.http.close()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            os.mkdir(tmp_path / "tasks" / task.rpartition("/")[2] / "go")  # noqa: PTH102 - takes none
            with contextlib.suppress(ProcessLookupError):
                while True:
                    os.kill(int(pid), 0)
                    time.sleep(0.02)
            until(lambda: "few file descriptors are free" in caplog.text, "it was noticed")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        user = make_user(emulator.url, emulator.api_key)
        for job_id in (first, second):
            assert user.wait(task, job_id)["status"] == "SUCCEEDED"
    # Once per emulator of this process, because other tests may share one.
    assert caplog.text.count("few file descriptors are free") <= 2
