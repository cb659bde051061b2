"""The emulator keeps its acknowledged data after kills, rejections and a full disk."""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from rescalehtc.emulator import Emulator

from .. import programs
from .conftest import COMMAND, plain_client, put, running, wait_for_end

ROOM = 1 << 20
REQUEST = {"htcJobDefinition": {"imageName": "image", "commands": ["true"]}}
# Records its run in a persistent folder. The job's folder has its name.
MARK = 'echo "${HOME##*/}" >> "$TASK_SHARED_FOLDER/ran"; '


def little_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


class Submitter(threading.Thread):
    """Submits batches while the emulator responds, and records the accepted ones."""

    def __init__(self, user, task, seed):
        super().__init__()
        self.user, self.task = user, task
        self.random = random.Random(seed)
        self.acknowledged = {}
        self.unanswered = 0

    def run(self):
        headers = dict(self.user.http.headers)
        with plain_client(base_url=self.user.url, headers=headers) as http:
            while not self.unanswered:
                size = self.random.randint(1, 9)
                definition = {"imageName": "image", "commands": ["sh", "-c", MARK]}
                requests = [{"batchSize": size, "htcJobDefinition": definition}]
                try:
                    answer = http.post(f"{self.task}/jobs/batch", json=requests)
                    self.acknowledged[answer.json()[0]["parentJobId"]] = size
                except httpx.TransportError:
                    self.unanswered += 1


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_during_submissions_lose_nothing_acknowledged_and_repeat_nothing(
    tmp_path, make_user, until, seed
):
    chosen = random.Random(seed)
    acknowledged, unanswered, task, slots, rounds = {}, 0, "", 3, 2
    daemon = MARK + "setsid sh -c 'echo $$; exec sleep 3600' & echo $$; sleep 3600"
    left_running = {}
    for _ in range(rounds):
        with running("--data", tmp_path, "--slots", slots, make_user=make_user) as (
            process,
            user,
            _,
        ):
            task = task or user.new_task()
            wait_for_end(*chain(*left_running.values()))
            waiting = user.http.post(f"{task}/jobs/cancel")  # what the last round left is too much
            assert waiting.status_code == 200
            (stays,) = user.submit(task, ["sh", "-c", daemon])
            acknowledged[stays.partition(":")[0]] = 1
            left_running[stays] = until(
                lambda job=f"{task}/jobs/{stays}": len(log := user.log(job)) == 2 and log, "it ran"
            )
            threads = [Submitter(user, task, chosen.random()) for _ in range(2)]
            for thread in threads:
                thread.start()
            enough = chosen.randint(1, 30)
            until(lambda: sum(len(t.acknowledged) for t in threads) >= enough, "some were taken")  # noqa: B023
            kill(process)
            for thread in threads:
                thread.join()
                acknowledged |= thread.acknowledged
                unanswered += thread.unanswered

    with running("--data", tmp_path, "--slots", slots, make_user=make_user) as (_, user, _):
        wait_for_end(*chain(*left_running.values()))
        user.wait_for_all(task)
        jobs = user.items(f"{task}/jobs")
    listed = [job["jobUUID"] for job in jobs]
    assert len(listed) == len(set(listed))
    sizes = Counter(job_id.partition(":")[0] for job_id in listed)
    assert {batch: sizes[batch] for batch in acknowledged} == acknowledged
    assert len(sizes) - len(acknowledged) <= unanswered
    ran = Counter((tmp_path / "tasks" / task.rpartition("/")[2] / "ran").read_text().split())
    assert set(ran.values()) == {1}
    for job in jobs:
        name = job["jobUUID"].replace(":", "-")
        if job["status"] == "SUCCEEDED":
            assert ran[name] == 1
        else:
            assert job["status"] == "FAILED"
            assert job["statusReason"]
    interrupted = [job for job in jobs if job["failureCode"] == "ErrorInfrastructureFault"]
    assert {job["jobUUID"] for job in interrupted} >= set(left_running)
    assert len(interrupted) <= slots * rounds


def test_kills_while_it_starts_leave_data_that_it_starts_on(tmp_path, make_user):
    chosen = random.Random(3)
    for _ in range(4):
        with subprocess.Popen(
            [*COMMAND, "--data", str(tmp_path / "data")],
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        ) as process:
            time.sleep(chosen.uniform(0.2, 1.2))
            process.kill()
    with running("--data", tmp_path / "data", make_user=make_user) as (_, user, _):
        assert user.run(["true"])[0]["status"] == "SUCCEEDED"


def test_a_kill_leaves_an_upload_whole_or_not_there(tmp_path, make_user):
    with running("--data", tmp_path, make_user=make_user) as (process, user, _):
        task = user.new_task()
        whole, half = (
            user.get(f"{task}/storage/presigned-url", filePath=name)["url"]
            for name in ("whole", "half")
        )
        assert put(whole, b"x" * 100_000).status_code == 200
        address = urlsplit(half)
        with socket.create_connection((address.hostname, address.port)) as connection:
            head = f"PUT {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            connection.sendall(head.encode() + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)
            kill(process)
    with running("--data", tmp_path, make_user=make_user) as (_, user, _):
        folder = tmp_path / "tasks" / task.rpartition("/")[2]
        assert [path.name for path in folder.iterdir()] == ["whole"]
        assert (folder / "whole").read_bytes() == b"x" * 100_000
        assert not list(tmp_path.glob("uploads/*"))


# ---- a full disk


def test_a_full_disk_takes_no_submission_and_keeps_what_was_taken(tmp_path, make_user):
    taken = {}
    tags = {f"tag{i}": "x" * 200 for i in range(20)}
    request = {
        "batchSize": 50,
        "htcJobDefinition": {**REQUEST["htcJobDefinition"], "tags": tags, "maxVCpus": 4},
    }
    with running("--data", tmp_path, make_user=make_user, in_process=little_room) as (
        process,
        user,
        _,
    ):
        task = user.new_task()
        limit = {
            "vCPUs": 1,
            "modifierRole": "PROJECT_ADMIN",
        }  # no job runs, so all accepted jobs are here
        assert user.http.post(f"{task.rpartition('/tasks/')[0]}/limits", json=limit).is_success
        while (answer := user.send_batch(task, request)).status_code == 200:
            taken[answer.json()[0]["parentJobId"]] = 50
        assert answer.status_code == 507
        assert answer.json()["errorType"] == "InsufficientStorage"
        assert taken
        full = Counter(job["jobUUID"].partition(":")[0] for job in user.items(f"{task}/jobs"))
        assert full == taken
        url = user.get(f"{task}/storage/presigned-url", filePath="file")["url"]
        assert put(url, b"x" * 2 * ROOM).status_code == 507
        assert not (tmp_path / "tasks" / task.rpartition("/")[2] / "file").exists()
        kill(process)
    with running("--data", tmp_path, make_user=make_user) as (_, user, _):
        assert full == Counter(j["jobUUID"].partition(":")[0] for j in user.items(f"{task}/jobs"))


def test_when_a_full_disk_has_room_again_jobs_end_and_are_taken_again(make_user, until, caplog):
    with Emulator(slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()
        code = 'echo "$TASK_SHARED_FOLDER"; until test -e "$TASK_SHARED_FOLDER/go"; do sleep 0.05; done; seq 200000'
        (running_job,) = user.submit(task, ["sh", "-c", code + "; sleep 600"])
        [folder] = until(lambda: user.log(f"{task}/jobs/{running_job}"), "the job ran")
        emulator._store._one("PRAGMA max_page_count = 1")  # it can't be less than there are
        while user.send_batch(task, REQUEST).status_code == 200:
            pass
        taken = {job["jobUUID"] for job in user.items(f"{task}/jobs")}
        Path(folder, "go").touch()
        assert user.send_batch(task, REQUEST).status_code == 507
        until(lambda: not alive_jobs(emulator), "the job whose log has no room was ended")
        assert user.send_batch(task, REQUEST).status_code == 507
        emulator._store._one("PRAGMA max_page_count = 1000000")
        job = user.wait(task, running_job)
        assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorInfrastructureFault")
        assert "disk is full" in job["statusReason"]
        counts = user.wait_for_all(task)
        assert counts["SUCCEEDED"] == len(taken) - 1
        assert {job["jobUUID"] for job in user.items(f"{task}/jobs")} == taken
        assert user.run(["true"])[0]["status"] == "SUCCEEDED"
    assert "a job could not be run" in caplog.text
    caplog.clear()


def test_the_end_of_a_job_is_written_as_soon_as_it_can_be(make_user, until, caplog):
    with Emulator(slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()
        code = 'echo "$TASK_SHARED_FOLDER"; until test -e "$TASK_SHARED_FOLDER/go"; do sleep 0.05; done'
        (job_id,) = user.submit(task, ["sh", "-c", code])
        [folder] = until(lambda: user.log(f"{task}/jobs/{job_id}"), "the job ran")
        emulator._store._one("PRAGMA query_only = 1")
        Path(folder, "go").touch()
        until(lambda: caplog.text.count("can't be written") >= 3, "it tried again")
        emulator._store._one("PRAGMA query_only = 0")
        assert user.wait(task, job_id)["status"] == "SUCCEEDED"


def alive_jobs(emulator):
    """The ids of processes in the folders of this emulator's jobs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if folder.readlink().is_relative_to(emulator._executor._folders.jobs):
                found.append(folder)
        except OSError:
            continue
    return found


def test_an_emulator_without_room_to_start_says_so_in_one_line(tmp_path, make_user):
    with running("--data", tmp_path, make_user=make_user) as (process, user, _):
        user.submit(user.new_task(), ["sleep", "600"])
        kill(process)

    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = subprocess.run(
        [*COMMAND, "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=programs.without_coverage(),
        preexec_fn=no_room,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"can't store data in {tmp_path}" in done.stderr
    with Emulator(data=tmp_path, slots=1):
        pass  # it ends the job of the killed emulator


# ---- rejected requests


@pytest.fixture
def task(user):
    return user.new_task()


def foreign_token():
    with Emulator(slots=1) as other, other.session() as rescale:
        return rescale.get_bearer_token()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Origin": "http://evil.example"}),
        (403, {"Origin": "null"}),
        (403, {"Origin": "https://127.0.0.1"}),
        (403, {"Origin": "http://127.0.0.1:1"}),
        (400, {"Host": "evil.example"}),
        (400, {"Host": "evil.example", "Origin": "http://evil.example"}),
        (401, {"Authorization": ""}),
        (401, {"Authorization": "Bearer foreign"}),
    ],
)
def test_a_request_from_elsewhere_is_rejected_and_takes_nothing(user, task, status, headers):
    if headers.get("Authorization") == "Bearer foreign":
        headers = {"Authorization": f"Bearer {foreign_token()}"}
    answer = user.http.post(f"{task}/jobs/batch", json=[REQUEST], headers=headers)
    assert answer.status_code == status
    assert not user.items(f"{task}/jobs")


def test_a_page_of_the_emulators_own_origin_is_served(user, task):
    own = "http://" + urlsplit(user.url).netloc
    answer = user.http.post(f"{task}/jobs/batch", json=[REQUEST], headers={"Origin": own})
    assert answer.status_code == 200


def test_a_page_elsewhere_can_not_upload_nor_ask_whether_it_may(user, task):
    url = user.get(f"{task}/storage/presigned-url", filePath="file")["url"]
    foreign = {"Origin": "http://evil.example"}
    assert put(url, b"x", headers=foreign).status_code == 403
    preflight = {**foreign, "Access-Control-Request-Method": "POST"}
    assert user.http.options(f"{task}/jobs/batch", headers=preflight).status_code == 403


@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversized_submission_is_rejected_and_takes_nothing(user, task, chunked):
    body = json.dumps([REQUEST]).encode() + b" " * (33 << 20)
    content = iter([body]) if chunked else body
    try:
        answer = user.http.post(f"{task}/jobs/batch", content=content)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # the emulator stops reading
    assert not user.items(f"{task}/jobs")


# ---- images


@pytest.mark.parametrize("status", ["FOO", "ready", "", None])
def test_a_status_that_no_image_has_is_rejected_with_those_that_are(emulator, status):
    with pytest.raises(ValueError, match="READY, PENDING, UNKNOWN"):
        emulator.set_image_status("durable", status)
