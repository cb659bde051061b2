"""Jobs in real containers: what they find, how they end, and that nothing of them is left."""

import contextlib
import json
import signal
from functools import partial
from pathlib import Path

import pytest

from rescalehtc.emulator import Emulator

from ..emulator.conftest import running, until
from .conftest import IMAGE, push, run


@pytest.fixture
def task(user):
    return user.new_task()


@pytest.fixture
def finish(user, task):
    """Run a job and return its record and log."""

    def finish(commands, **definition):
        (job_id,) = user.submit(task, commands, imageName=IMAGE, **definition)
        return user.wait(task, job_id), user.log(f"{task}/jobs/{job_id}")

    return finish


def containers(engine, *options):
    """The ids of the containers of emulators."""
    return run(engine, "ps", *options, "--quiet", "--filter=label=rescalehtc.emulator").split()


# ---- what a job finds


def test_the_command_environment_folder_and_user_of_the_image_are_used(finish):
    job, log = finish([])
    assert log == ["1000", "/home", "yes yes"]
    assert (job["status"], job["container"]) == ("SUCCEEDED", {"exitCode": 0})


def test_commands_replace_the_command_of_the_image_and_not_its_entrypoint(finish):
    _, log = finish(["sh", "-c", "echo $ENTERED; echo and the error stream >&2"])
    assert log == ["yes", "and the error stream"]


def test_a_job_starts_in_its_own_folder_even_if_the_image_has_none_of_this_name(finish):
    assert finish(["pwd"], workingDir="/tmp")[1] == ["/tmp"]
    for folder in ("/of/the/job", '/a "b", readonly', "/etc:/host"):
        assert finish(["sh", "-c", "pwd; ls"], workingDir=folder)[1] == [folder]


def test_variables_arrive_as_they_are_and_none_changes_the_engine(finish, monkeypatch):
    monkeypatch.setenv("OF_THE_EMULATOR", "its own")
    values = {
        "FROM_IMAGE": "no",
        "LINES": "two\nlines ",
        "QUOTED": "\"'$HOME`=\\",
        "EMPTY": "",
        "OF_THE_EMULATOR": "the job's",
        "CONTAINERS_CONF": "/nowhere",
        "DOCKER_HOST": "tcp://nowhere:1",
        "HOME": "/tmp/x",
        "TMPDIR": "/nowhere",
        "XDG_RUNTIME_DIR": "/nowhere",
    }
    code = "; ".join(f'printf "%s|" "${name}"' for name in values)
    envs = [{"name": name, "value": value} for name, value in values.items()]
    job, log = finish(["sh", "-c", f"{code}; env | grep -c PYTEST"], envs=envs)
    assert "\n".join(log) == "".join(f"{value}|" for value in values.values()) + "0"
    assert job["container"]["exitCode"] == 1  # of grep, which found nothing


def test_a_job_has_the_variables_of_the_service_and_reaches_the_emulator(finish, user):
    code = (
        "echo $AWS_BATCH_JOB_ARRAY_INDEX $AWS_BATCH_JOB_ATTEMPT $RESCALE_HTC_REGION;"
        'wget -qO- --header "Authorization: Bearer $RESCALE_HTC_BEARER_TOKEN"'
        " $RESCALE_API_BASE_URL/htc/projects/$RESCALE_HTC_PROJECT_ID"
    )
    _, log = finish(["sh", "-c", code])
    assert log[0] == "0 1 AWS_US_EAST_1"
    assert json.loads(log[1]) == user.project()


def test_jobs_share_folders_whoever_they_run_as(finish, emulator, task):
    write = "echo of the task > $TASK_SHARED_FOLDER/a; echo of all > $PROJECT_SHARED_FOLDER/b"
    finish(["sh", "-c", write])
    _, log = finish(["sh", "-c", "cat $TASK_SHARED_FOLDER/a $PROJECT_SHARED_FOLDER/b"])
    assert log == ["of the task", "of all"]
    found = emulator._folders.task(task.rpartition("/")[2]) / "a"
    assert found.read_text() == "of the task\n"


def test_values_of_variables_are_in_no_list_of_processes(user, task):
    secret = "5ecret-of-the-job"
    code = "echo running; sleep 600"
    envs = [{"name": "SECRET", "value": secret}]
    (job_id,) = user.submit(task, ["sh", "-c", code], imageName=IMAGE, envs=envs)
    until(lambda: user.log(f"{task}/jobs/{job_id}"), "the job runs")
    shown = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            shown += path.read_bytes()
    assert b"sleep" in shown
    assert secret.encode() not in shown
    user.http.post(f"{task}/jobs/cancel")
    user.wait(task, job_id)


# ---- how jobs end


@pytest.mark.parametrize("code", [3, 125, 126, 127, 143])
def test_an_exit_code_is_the_commands(finish, code):
    job, log = finish(["sh", "-c", f"echo before; exit {code}"])
    assert job["failureCode"] == "ErrorNonZeroContainerExitCode"
    assert job["container"]["exitCode"] == code
    assert log == ["before"]


def test_too_little_memory_is_an_end_of_its_own(finish, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # podman leaves a file in its working directory
    code = 'echo before; x=a; while true; do x="$x$x"; done'
    job, log = finish(["sh", "-c", code], maxMemory=32)
    assert (job["status"], job["failureCode"]) == ("FAILED", "ErrorNotEnoughMemory")
    assert "maxMemory 32" in job["statusReason"]
    assert job["container"]["exitCode"] == 137
    assert log == ["before"]
    assert [*tmp_path.iterdir()] == []


def test_processors_are_limited(finish):
    read = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    _, log = finish(["sh", "-c", read], maxVCpus=1)
    assert log == ["100000"]


def test_a_command_that_is_not_there_fails_to_start(finish, engine):
    job, log = finish(["no-such-command"])
    assert job["container"]["exitCode"] == 127  # env of the image's entrypoint does not find it
    job, log = finish([], workingDir="not/absolute")
    assert job["failureCode"] == "ErrorStartingContainer"
    assert "not/absolute" in job["statusReason"]
    assert job["startedAt"] is None
    assert log == []


def test_a_job_is_retried_in_a_new_container(finish):
    code = "ls /tmp; touch /tmp/left; echo $AWS_BATCH_JOB_ATTEMPT; [ $AWS_BATCH_JOB_ATTEMPT = 3 ]"
    job, log = finish(["sh", "-c", code], retries=3)
    assert job["status"] == "SUCCEEDED"
    assert log == ["1", "2", "3"]


@pytest.mark.parametrize("traps", [True, False])
def test_a_cancelled_job_is_asked_to_end_and_then_made_to(user, task, engine, traps):
    trap = "trap 'echo asked; exit 9' TERM;" if traps else "trap '' TERM;"
    code = f"{trap} echo running; while true; do sleep 0.1; done"
    (job_id,) = user.submit(task, ["sh", "-c", code], imageName=IMAGE)
    path = f"{task}/jobs/{job_id}"
    until(lambda: user.log(path) == ["running"], "the job runs")
    (named,) = containers(engine, f"--filter=label=rescalehtc.job={job_id}")
    user.http.post(f"{task}/jobs/cancel")
    job = user.wait(task, job_id)
    assert (job["statusReason"], job["failureCode"]) == ("cancelled by user", None)
    assert job["container"]["exitCode"] == (9 if traps else 137)
    assert user.log(path) == ["running", "asked"] if traps else ["running"]
    assert named not in containers(engine, "--all")


def test_a_job_that_runs_too_long_is_ended(engine, make_user):
    with Emulator(runner="container", clock_rate=600) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        push(emulator, IMAGE)
        task = user.new_task()
        (late,) = user.submit(task, ["sleep", "600"], imageName=IMAGE, execTimeoutSeconds=600)
        assert user.wait(task, late)["failureCode"] == "ErrorTimeout"


def test_a_preempted_job_is_retried(finish, emulator):
    code = "[ $AWS_BATCH_JOB_ATTEMPT = 2 ] || exec sleep 600"
    with emulator.fault("*", "preempt", seconds=0, times=2):
        job, _ = finish(["sh", "-c", code], retries=1)
    assert job["failureCode"] == "ErrorInstanceTermination"
    with emulator.fault("*", "preempt", seconds=0, times=1):
        job, _ = finish(["sh", "-c", code], retries=1)
    assert job["status"] == "SUCCEEDED"


# ---- nothing is left


def test_jobs_that_run_when_the_emulator_ends_end_with_their_containers(engine, make_user):
    with Emulator(runner="container") as emulator:
        user = make_user(emulator.url, emulator.api_key)
        push(emulator, IMAGE)
        _, job_id = start_job(user)
        assert of_job(engine, job_id)
    assert not of_job(engine, job_id)
    images = run(engine, "images", "--format={{.Repository}} {{.Tag}}")
    tags = [line.split()[1] for line in images.splitlines() if emulator.url[7:22] in line]
    assert tags in ([], ["1"])  # the one that was pushed, which is the user's


def of_job(engine, job_id):
    """The containers of a job."""
    return containers(engine, "--all", f"--filter=label=rescalehtc.job={job_id}")


def test_after_a_kill_the_next_emulator_ends_the_containers_and_fails_the_jobs(
    engine, tmp_path, make_user
):
    options = ("--runner", "container", "--data", tmp_path / "data")
    with started(*options, make_user=make_user) as (process, user, _):
        push_by_hand(engine, user)
        task, job_id = start_job(user)
        kill(process)
    assert of_job(engine, job_id)
    with started(*options, make_user=make_user) as (_, user, _):
        assert user.wait(task, job_id)["failureCode"] == "ErrorInfrastructureFault"
        assert not of_job(engine, job_id)
        (again,) = user.submit(task, ["true"], imageName=IMAGE)
        assert user.wait(task, again)["status"] == "SUCCEEDED"
        _, running_job = start_job(user)
        process.terminate()
    assert not of_job(engine, running_job)


def test_after_a_kill_an_emulator_that_runs_processes_ends_the_containers_too(
    engine, make_user, tmp_path, monkeypatch
):
    """The killed one had a temporary folder, which the next emulator removes."""
    # An emulator of another test would remove it first, and may have another engine.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with started("--runner", "container", make_user=make_user) as (process, user, _):
        push_by_hand(engine, user)
        _, job_id = start_job(user)
        kill(process)
    assert of_job(engine, job_id)
    with Emulator():
        assert not of_job(engine, job_id)


# A new interpreter, which has the variables of this moment: they may say how the engine is set up.
started = partial(running, in_process=lambda: None)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def push_by_hand(engine, user):
    """Push the image with only the values that the emulator printed."""
    project = user.project()
    path = f"/htc/projects/{project['projectId']}/container-registry"
    host = project["containerRegistry"].partition("/")[0]
    name = f"{project['containerRegistry']}{IMAGE}"
    options = ["--tls-verify=false"] if engine.endswith("podman") else []
    login = ["login", *options, "--username=AWS", "--password-stdin", host]
    run(engine, *login, stdin=user.http.get(f"{path}/token").content)
    run(engine, "tag", IMAGE, name)
    run(engine, "push", *options, name)
    run(engine, "rmi", name)
    until(lambda: user.get(f"{path}/images/{IMAGE}")["status"] == "READY", "the image is ready")


def start_job(user):
    """Start a job that does not end. Returns its task's path, and its id."""
    task = user.new_task()
    (job_id,) = user.submit(task, ["sh", "-c", "echo; sleep 600"], imageName=IMAGE)
    until(lambda: user.log(f"{task}/jobs/{job_id}"), "the job runs")
    return task, job_id
