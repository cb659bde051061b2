"""Faults of the emulator, with a plain HTTP client."""

import gzip
import json
import logging
import socket
import sys
import threading
from urllib.parse import urlsplit

import httpx
import pytest

from rescalehtc import htcprojects, models
from rescalehtc.emulator import Emulator, faults
from rescalehtc.emulator.__main__ import main
from rescalehtc.emulator.faults.effects import FOREIGN_HOST, UNKNOWN_FIELD, UNKNOWN_VALUE
from rescalehtc.exceptions import HtcException

from .. import programs
from ..limits import HANG_SECONDS
from .conftest import COMMAND, plain_client, put

REQUEST = {"htcJobDefinition": {"imageName": "image", "commands": ["true"]}}


@pytest.fixture
def task(user):
    """A new task. Its jobs end with the test, because a fault affects any job."""
    task = user.new_task()
    yield task
    user.http.post(f"{task}/jobs/cancel")
    user.wait_for_all(task)


def connected(user):
    address = urlsplit(user.url)
    return socket.create_connection((address.hostname, address.port), timeout=HANG_SECONDS)


def request_head(user, method, path):
    address = urlsplit(user.url)
    return (
        f"{method} {address.path}{path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {user.token}\r\nConnection: close\r\n"
    )


def raw(user, path):
    """All bytes of the response to a GET, and whether the connection was reset."""
    head = request_head(user, "GET", path)
    received = b""
    with connected(user) as connection:
        connection.sendall(f"{head}\r\n".encode())
        while True:
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:
                return received, True
            if not chunk:
                return received, False
            received += chunk


def jobs(user, task):
    return user.items(f"{task}/jobs")


# ---- the kinds


@pytest.mark.parametrize(
    ("kind", "carried_out"),
    [("reset_before", 0), ("reset_after", 1), ("status_before", 0), ("status_after", 1)],
)
def test_a_request_is_or_is_not_carried_out_as_the_kind_says(
    emulator, user, task, kind, carried_out
):
    with emulator.fault("submitJobs", kind, times=1) as fault:
        if kind.startswith("reset"):
            with pytest.raises(httpx.NetworkError):
                user.send_batch(task, REQUEST)
        else:
            answer = user.send_batch(task, REQUEST)
            assert (answer.status_code, answer.json()["errorType"]) == (503, "Fault")
        assert fault.count == 1
        assert len(jobs(user, task)) == carried_out
        assert user.send_batch(task, REQUEST).status_code == 200
        assert fault.count == 1


@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
def test_a_reset_sends_no_byte_and_resets_the_connection(emulator, user, kind):
    with emulator.fault("listProjects", kind):
        assert raw(user, "/htc/projects") == (b"", True)


def test_a_reset_connection_does_not_disturb_others(emulator, user):
    with plain_client(base_url=user.url, headers=user.http.headers) as other:
        assert other.get("/htc/projects").status_code == 200
        with emulator.fault("listProjects", "reset_after", times=1):
            with pytest.raises(httpx.NetworkError):
                user.http.get("/htc/projects")
            assert other.get("/htc/projects").status_code == 200
            assert user.http.get("/htc/projects").status_code == 200


@pytest.mark.parametrize("retry_after", [7, "Wed, 21 Oct 2015 07:28:00 GMT", None])
def test_a_status_comes_with_the_retry_after_that_was_requested(emulator, user, retry_after):
    options = {} if retry_after is None else {"retry_after": retry_after}
    header = None if retry_after is None else str(retry_after)
    with emulator.fault("listProjects", "status_before", status=429, **options):
        answer = user.http.get("/htc/projects")
        assert answer.status_code == 429
        assert answer.headers.get("Retry-After") == header


def test_a_truncated_answer_ends_before_its_length_with_its_connection(emulator, user):
    whole = user.http.get("/htc/projects").content
    with emulator.fault("listProjects", "truncate", times=2) as fault:
        received, reset = raw(user, "/htc/projects")
        head, _, body = received.partition(b"\r\n\r\n")
        assert f"content-length: {len(whole)}".encode() in head.lower()
        assert not reset
        assert 0 < len(body) < len(whole)
        assert whole.startswith(body)
        with pytest.raises(httpx.RemoteProtocolError):
            user.http.get("/htc/projects")
        assert fault.count == 2


def test_an_answer_without_a_body_is_truncated_too(emulator, user, task):
    with (
        emulator.fault("cancelJobs", "truncate", times=1),
        pytest.raises(httpx.RemoteProtocolError),
    ):
        user.http.post(f"{task}/jobs/cancel")


def test_a_truncated_compressed_answer_has_its_length_and_lacks_its_end(emulator, user):
    with emulator.fault("listProjects", "truncate_gzip"):
        received, reset = raw(user, "/htc/projects")
    head, _, body = received.partition(b"\r\n\r\n")
    assert not reset
    assert b"content-encoding: gzip" in head.lower()
    assert f"content-length: {len(body)}".encode() in head.lower()
    with pytest.raises(EOFError):
        gzip.decompress(body)


def test_a_delayed_answer_is_late_and_its_request_was_carried_out(emulator, user, task, until):
    body = json.dumps([REQUEST]).encode()
    with (
        emulator.fault("submitJobs", "delay", seconds=2 * HANG_SECONDS) as fault,
        connected(user) as connection,
    ):
        head = request_head(user, "POST", f"{task}/jobs/batch")
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: fault.count == 1, "the answer was delayed")
        assert len(jobs(user, task)) == 1
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
    with emulator.fault("listProjects", "delay", seconds=0):
        assert user.http.get("/htc/projects").status_code == 200


def test_an_emulator_stops_without_a_message_during_a_delay(make_user, until, caplog):
    with (
        Emulator(slots=1) as emulator,
        emulator.fault("listProjects", "delay", seconds=2 * HANG_SECONDS) as fault,
    ):
        user = make_user(emulator.url, emulator.api_key)
        connection = connected(user)
        head = request_head(user, "GET", "/htc/projects")
        connection.sendall(f"{head}\r\n".encode())
        until(lambda: fault.count == 1, "the answer was delayed")
    with connection:
        assert not connection.recv(1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_an_expired_token_is_rejected_until_it_is_renewed(emulator, user):
    with emulator.fault("listProjects", "expire_token", times=1) as fault:
        for path in ("/htc/projects", "/htc/projects", "/auth/token/whoami"):
            assert user.http.get(path).status_code == 401
        assert fault.count == 1
        key = {"Authorization": f"Token {emulator.api_key}"}
        token = user.http.get("/auth/token", headers=key).json()["tokenValue"]
        renewed = {"Authorization": f"Bearer {token}"}
        assert user.http.get("/htc/projects", headers=renewed).status_code == 200


def test_a_session_renews_a_token_that_a_fault_expired(emulator):
    with emulator.session() as rescale:
        assert htcprojects.get_projects(rescale)
        with emulator.fault("listProjects", "expire_token", times=1) as fault:
            assert htcprojects.get_projects(rescale)
            assert fault.count == 1


def test_records_have_nulls_everywhere_or_in_one_field(emulator, user, task):
    user.submit(task, size=2)
    whole = user.wait_for_all(task) and jobs(user, task)
    with emulator.fault("listJobs", "nulls"):
        assert jobs(user, task) == [dict.fromkeys(job) for job in whole]
    with emulator.fault("listJobs", "nulls", field="status"):
        assert jobs(user, task) == [{**job, "status": None} for job in whole]
    with emulator.fault("listJobs", "nulls", field="instanceType"):
        environments = [job["jobExecutionEnvironment"] for job in jobs(user, task)]
        assert [item["instanceType"] for item in environments] == [None, None]
        assert [item["instanceId"] for item in environments] != [None, None]
    with emulator.fault("getTask", "nulls"):
        assert set(user.get(task).values()) == {None}


def test_records_have_unknown_fields_and_values_or_one_unknown_value(emulator, user, task):
    user.submit(task)
    user.wait_for_all(task)
    (whole,) = jobs(user, task)
    with emulator.fault("listJobs", "unknown"):
        (job,) = jobs(user, task)
    assert job.pop(UNKNOWN_FIELD)
    assert (job["status"], job["region"]) == (UNKNOWN_VALUE, UNKNOWN_VALUE)
    assert (job["jobUUID"], job["commands"]) == (whole["jobUUID"], whole["commands"])
    assert models.HTCJob.model_validate(job).status == UNKNOWN_VALUE
    with emulator.fault("listJobs", "unknown", field="status"):
        assert jobs(user, task) == [{**whole, "status": UNKNOWN_VALUE}]


def test_errors_keep_their_bodies_where_records_would_change(emulator, user):
    with emulator.fault("getTask", "nulls") as fault:
        answer = user.http.get(f"/htc/projects/{user.project()['projectId']}/tasks/none")
        assert (answer.status_code, answer.json()["errorType"]) == (404, "NotFound")
        assert fault.count == 0


def test_a_page_names_itself_or_another_host_as_the_next(emulator, user, task):
    user.submit(task, size=3)
    first = user.get(f"{task}/jobs", pageSize=1)
    with emulator.fault("listJobs", "repeat_next"):
        second = user.get(first["next"])
        assert second["next"] == first["next"]
        again = user.get(second["next"])
        assert again["items"][0]["jobUUID"] == second["items"][0]["jobUUID"]
    with emulator.fault("listJobs", "foreign_next"):
        following = urlsplit(user.get(first["next"])["next"])
        assert following.netloc == FOREIGN_HOST
        assert following.path == urlsplit(first["next"]).path


# ---- preempted jobs


def test_a_running_job_is_preempted_and_its_processes_with_it(emulator, user, task, until):
    (job_id,) = user.submit(task, ["sh", "-c", "trap 'exit 0' TERM; echo on; sleep 600 & wait"])
    until(lambda: user.log(f"{task}/jobs/{job_id}"), "the job ran")
    with emulator.fault("*", "preempt", seconds=0, times=1) as fault:
        job = user.wait(task, job_id)
        assert fault.count == 1
    assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorInstanceTermination")
    assert "terminated" in job["statusReason"]


def test_a_preempted_job_with_retries_is_run_again(emulator, user, task, until):
    code = 'test -e "$TASK_SHARED_FOLDER/again" && exit; touch "$TASK_SHARED_FOLDER/again"; echo on; sleep 600'
    (job_id,) = user.submit(task, ["sh", "-c", code], retries=1)
    until(lambda: user.log(f"{task}/jobs/{job_id}"), "the job ran")
    with emulator.fault("*", "preempt", times=1, seconds=0) as fault:
        assert user.wait(task, job_id)["status"] == "SUCCEEDED"
        assert fault.count == 1
    statuses = [event["status"] for event in user.items(f"{task}/jobs/{job_id}/events")]
    assert statuses.count("RUNNING") == 2


# ---- jobs out of memory, and jobs that start slowly


def test_a_job_with_less_memory_than_it_needs_is_killed(emulator, user, task, until):
    with emulator.fault("*", "out_of_memory", seconds=0, memory_mib=2000) as fault:
        (small,) = user.submit(task, ["sleep", "600"], maxMemory=1999)
        (enough,) = user.submit(task, ["true"], maxMemory=2000)
        job = user.wait(task, small)
        assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorNotEnoughMemory")
        assert job["container"]["exitCode"] == 137
        assert user.wait(task, enough)["status"] == "SUCCEEDED"
        assert fault.count == 1


def test_a_job_out_of_memory_with_retries_is_run_again(emulator, user, task, until):
    with emulator.fault("*", "out_of_memory", seconds=0, times=1):
        code = 'test "$AWS_BATCH_JOB_ATTEMPT" = 2 || sleep 600'
        (job_id,) = user.submit(task, ["sh", "-c", code], retries=1, maxMemory=4)
        assert user.wait(task, job_id)["status"] == "SUCCEEDED"


def test_a_slow_start_keeps_a_job_starting_until_it_is_cancelled(emulator, user, task, until):
    with emulator.fault("*", "slow_start", seconds=HANG_SECONDS, times=1) as fault:
        (slow,) = user.submit(task, ["true"])
        until(lambda: fault.count == 1, "it was struck")
        assert user.job(task, slow)["status"] == "STARTING"
        (next_one,) = user.submit(task, ["true"])
        assert user.wait(task, next_one)["status"] == "SUCCEEDED"
        user.http.post(f"{task}/jobs/cancel")
        assert user.wait(task, slow)["statusReason"] == "cancelled by user"


# ---- which requests have faults


def test_any_operation_means_every_operation(emulator, user, task):
    with emulator.fault("*", "status_before", status=500) as fault:
        assert user.http.get("/htc/projects").status_code == 500
        assert user.http.get("/auth/token").status_code == 500
        assert user.send_batch(task, REQUEST).status_code == 500
        assert fault.count == 3
    assert user.http.get("/htc/projects").status_code == 200
    assert fault.count == 3


def test_uploads_can_be_struck(emulator, user, task):
    url = user.get(f"{task}/storage/presigned-url", filePath="file")["url"]
    with emulator.fault("upload", "status_before", times=1):
        assert put(url, b"x").status_code == 503
    assert put(url, b"x").status_code == 200


def test_the_fault_that_was_requested_first_comes_first(emulator, user):
    with (
        emulator.fault("listProjects", "status_before", status=500, times=1) as first,
        emulator.fault("*", "status_before", status=502, times=1) as second,
        emulator.fault("listProjects", "status_after", status=504, times=1) as after,
    ):
        statuses = [user.http.get("/htc/projects").status_code for _ in range(4)]
        assert statuses == [500, 502, 504, 200]
        assert [fault.count for fault in (first, second, after)] == [1, 1, 1]


def test_a_probability_with_a_seed_strikes_the_same_requests_again(emulator, user):
    def struck(seed):
        with emulator.fault("listProjects", "status_before", probability=0.5, seed=seed) as fault:
            statuses = [user.http.get("/htc/projects").status_code for _ in range(32)]
            assert statuses.count(503) == fault.count
            return statuses

    first = struck(1)
    assert set(first) == {200, 503}
    assert struck(1) == first
    assert struck(2) != first


def test_threads_that_meet_a_fault_are_struck_exactly_as_often_as_it_says(emulator, user):
    def call():
        with plain_client(base_url=user.url, headers=user.http.headers) as http:
            statuses.extend(http.get("/htc/projects").status_code for _ in range(20))

    statuses = []
    with emulator.fault("listProjects", "status_before", times=50) as fault:
        threads = [threading.Thread(target=call) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert fault.count == statuses.count(503) == 50
    assert statuses.count(200) == 50


def test_a_fault_may_be_requested_before_the_emulator_runs(make_user):
    emulator = Emulator(slots=1)
    fault = emulator.fault("listProjects", "status_before", times=1)
    with emulator:
        user = make_user(emulator.url, emulator.api_key)
        assert user.http.get("/htc/projects").status_code == 503
        assert fault.count == 1


def test_a_session_reports_a_reset_in_the_exception_tree(emulator):
    with (
        emulator.session() as rescale,
        emulator.fault("*", "reset_before"),
        pytest.raises(HtcException),
    ):
        htcprojects.get_projects(rescale)


# ---- invalid arguments


@pytest.mark.parametrize(
    ("operation", "kind", "options", "message"),
    [
        ("submitjobs", "delay", {}, "submitJobs"),
        ("xyz", "delay", {}, "docs/operations.md"),
        ("submitJobs", "dealy", {}, "kinds are delay"),
        ("submitJobs", "delay", {"times": 0}, "times must be at least 1"),
        ("submitJobs", "delay", {"probability": 0}, "probability must be above 0"),
        ("submitJobs", "delay", {"probability": 1.5}, "at most 1"),
        ("submitJobs", "delay", {"probability": float("nan")}, "probability"),
        ("submitJobs", "delay", {"seconds": -1}, "seconds must be a number of at least 0"),
        ("submitJobs", "delay", {"seconds": float("nan")}, "seconds"),
        ("submitJobs", "delay", {"status": 500}, "status is for status_before"),
        ("submitJobs", "status_after", {"status": 200}, "400 to 599"),
        ("submitJobs", "status_after", {"retry_after": "1\r\nX: y"}, "retry_after must be"),
        ("submitJobs", "status_after", {"field": "x"}, "field is for nulls and unknown"),
        ("submitJobs", "preempt", {}, "use the operation '*'"),
        ("submitJobs", "slow_start", {}, "use the operation '*'"),
        ("*", "preempt", {"memory_mib": 5}, "memory_mib is for out_of_memory"),
        ("*", "out_of_memory", {"memory_mib": 0}, "memory_mib must be at least 1"),
        ("submitJobs", "repeat_next", {}, "operations that list, not submitJobs"),
        ("getToken", "expire_token", {}, "take a bearer token, not getToken"),
        ("upload", "expire_token", {}, "take a bearer token, not upload"),
        ("submitJobs", "delay", {"tims": 1}, "unknown option 'tims': options are times"),
    ],
)
def test_a_fault_that_makes_no_sense_is_rejected_with_what_would(
    emulator, operation, kind, options, message
):
    with pytest.raises(ValueError) as refused:
        emulator.fault(operation, kind, **options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "operation", "kind", "options"),
    [
        ("*:delay", "*", "delay", {}),
        ("submitJobs:reset_after:times=2", "submitJobs", "reset_after", {"times": 2}),
        (
            "listJobs:status_before:status=429:retry_after=Wed, 21 Oct 2015 07:28:00 GMT:seed=3",
            *("listJobs", "status_before"),
            {"status": 429, "retry_after": "Wed, 21 Oct 2015 07:28:00 GMT", "seed": 3},
        ),
        (
            "*:preempt:seconds=0.5:probability=0.1",
            *("*", "preempt"),
            {"seconds": 0.5, "probability": 0.1},
        ),
        (
            "*:out_of_memory:seconds=0:memory_mib=2000",
            *("*", "out_of_memory"),
            {"seconds": 0.0, "memory_mib": 2000},
        ),
        ("*:status_after:retry_after=4", "*", "status_after", {"retry_after": 4}),
    ],
)
def test_the_text_form_says_the_same(text, operation, kind, options):
    fault = faults.parse_fault(text)
    assert (fault.operation, fault.kind, fault.options) == (operation, kind, options)


def test_every_kind_has_its_line_in_the_docstring():
    for kind in faults.KINDS:
        assert f"`{kind}`" in (Emulator.fault.__doc__ or "")


@pytest.mark.parametrize(
    "text",
    [
        *("", "submitJobs", "submitJobs:", "submitJobs:delay:often", "submitJobs:delay:times=x"),
        *("submitJobs:delay:times=0", "submitJob:delay", "*:delay:color=red", "*:delay:seconds="),
    ],
)
def test_a_bad_text_is_reported_on_one_screen_with_status_2(text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rescalehtc.emulator", "--fault", text, "--", "true"])
    with pytest.raises(SystemExit) as info:
        main()
    assert info.value.code == 2
    shown = capsys.readouterr().err
    assert "argument --fault: " in shown
    assert len(shown.splitlines()) < 24


def test_faults_are_requested_on_the_command_line():
    code = (
        "import httpx, os, json; key = {'Authorization': 'Token ' + os.environ['RESCALE_API_KEY']};"
        "url = os.environ['RESCALE_API_BASE_URL'] + '/auth/whoami';"
        "print(json.dumps([httpx.get(url, headers=key, verify=False).status_code for _ in range(4)]))"
    )
    faults_asked = ["getUser:status_before:times=1", "getUser:status_after:times=2:status=429"]
    options = [argument for text in faults_asked for argument in ("--fault", text)]
    done = programs.run([*COMMAND, *options, "--", sys.executable, "-c", code])
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [503, 429, 429, 200]
