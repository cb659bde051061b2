"""Limits of projects and of the workspace, and the jobs that wait because of them."""

import time

import pytest

from rescalehtc import models
from rescalehtc.emulator import Emulator

HOLD = ["sh", "-c", 'until [ -e "$TASK_SHARED_FOLDER/go" ]; do sleep 0.02; done']


@pytest.fixture(scope="module")
def emulator():
    with Emulator(slots=6) as running:
        yield running


@pytest.fixture
def project(user):
    return user.new_project()


@pytest.fixture
def make_task(user, project):
    """Create tasks whose jobs are cancelled at the end."""
    tasks = []

    def make(in_project=project):
        tasks.append(user.new_task(in_project.rpartition("/")[2]))
        return tasks[-1]

    yield make
    for task in tasks:
        user.http.post(f"{task}/jobs/cancel")
    for task in tasks:
        user.wait_for_all(task)


def set_limit(user, project, vcpus, role="PROJECT_ADMIN"):
    body = {"vCPUs": vcpus, "modifierRole": role}
    answer = user.http.post(f"{project}/limits", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def running(user, task):
    return len(user.items(f"{task}/jobs", status="RUNNING"))


def stays(condition):
    """Whether a condition holds for a while."""
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        if not condition():
            return False
        time.sleep(0.02)
    return True


# ---- setting limits


def test_a_limit_is_set_by_role_changed_and_deleted(user, project):
    assert user.get(f"{project}/limits") == []
    limit = set_limit(user, project, 10)
    record = models.HTCProjectLimit.model_validate(limit)
    assert (record.vcpus, record.modifier_role) == (10, "PROJECT_ADMIN")
    assert record.project_id == project.rpartition("/")[2]
    assert record.created_at == record.updated_at
    other = set_limit(user, project, 0, "WORKSPACE_ADMIN")
    again = set_limit(user, project, 999999)
    assert (again["id"], again["createdAt"]) == (limit["id"], limit["createdAt"])
    assert user.get(f"{project}/limits") == [again, other]

    path = f"{project}/limits/{other['id']}"
    assert user.get(path) == other
    changed = user.http.patch(path, json={"vCPUs": 7})
    assert (changed.status_code, changed.json()["vCPUs"]) == (200, 7)
    assert user.get(path) == changed.json()
    deleted = user.http.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for answer in (user.http.get(path), user.http.delete(path), user.http.patch(path, json={})):
        assert answer.status_code == 404
    assert user.get(f"{project}/limits") == [again]
    assert user.http.delete(f"{project}/limits").status_code == 204
    assert user.get(f"{project}/limits") == []
    assert user.http.delete(f"{project}/limits").status_code == 204
    assert set_limit(user, project, 1)["id"] not in (limit["id"], other["id"])


@pytest.mark.parametrize(
    "body",
    [
        {"vCPUs": 1_000_000, "modifierRole": "PROJECT_ADMIN"},
        {"vCPUs": -1, "modifierRole": "PROJECT_ADMIN"},
        {"vCPUs": "5", "modifierRole": "PROJECT_ADMIN"},
        {"vCPUs": 5, "modifierRole": "SUPERUSER"},
        {"vCPUs": 5},
        [],
    ],
)
def test_a_limit_out_of_bounds_is_400(user, project, body):
    assert user.http.post(f"{project}/limits", json=body).status_code == 400
    assert user.get(f"{project}/limits") == []
    path = f"{project}/limits/{set_limit(user, project, 5)['id']}"
    if body != {"vCPUs": 5} and "SUPERUSER" not in str(body):
        assert user.http.patch(path, json=body).status_code == 400


@pytest.mark.parametrize("limit_id", ["0", "-1", "x", "1.0", "9" * 30, "9" * 5000, "%D9%A1", "+1"])
def test_an_id_that_no_limit_has_is_404(user, project, limit_id):
    for method in ("GET", "PATCH", "DELETE"):
        answer = user.http.request(method, f"{project}/limits/{limit_id}", json={"vCPUs": 1})
        assert answer.status_code == 404, method


def test_a_limit_is_found_in_its_own_project_only(user, project):
    limit = set_limit(user, project, 5)
    other = user.new_project()
    assert user.http.get(f"{other}/limits/{limit['id']}").status_code == 404
    assert user.http.delete(f"{other}/limits/{limit['id']}").status_code == 404
    assert user.get(f"{project}/limits") == [limit]


def test_the_workspace_has_a_limit_when_it_was_given_one(emulator, user):
    path = f"/htc/workspaces/{user.project()['workspaceId']}/limits"
    assert user.http.get(path).status_code == 404
    emulator.set_workspace_limit(100)
    emulator.set_workspace_limit(50)
    assert models.HTCWorkspaceLimit.model_validate(user.get(path)).vcpus == 50
    emulator.set_workspace_limit(None)
    assert user.http.get(path).status_code == 404
    with pytest.raises(ValueError, match="negative"):
        emulator.set_workspace_limit(-1)


# ---- effects of limits


def test_jobs_wait_for_virtual_cpus_and_start_when_others_end(user, project, make_task, until):
    task = make_task()
    set_limit(user, project, 5)
    first = user.submit(task, HOLD, maxVCpus=2, size=4)
    until(lambda: running(user, task) == 2, "two jobs of 2 vCPUs ran")
    assert stays(lambda: running(user, task) == 2)
    waiting = user.items(f"{task}/jobs", status="SUBMITTED_TO_RESCALE")
    assert [job["jobUUID"] for job in waiting] == first[2:]
    url = user.get(f"{task}/storage/presigned-url", filePath="go")["url"]
    assert user.http.put(url, content=b"").status_code == 200
    assert user.wait_for_all(task)["SUCCEEDED"] == 4


@pytest.mark.parametrize("release", ["raise", "overwrite", "delete", "delete all"])
def test_jobs_start_when_a_limit_goes(user, project, make_task, until, release):
    task = make_task()
    limit = set_limit(user, project, 0)
    path = f"{project}/limits/{limit['id']}"
    user.submit(task, HOLD)
    assert stays(lambda: running(user, task) == 0)
    match release:
        case "raise":
            user.http.patch(path, json={"vCPUs": 1})
        case "overwrite":
            set_limit(user, project, 1)
        case "delete":
            user.http.delete(path)
        case "delete all":
            user.http.delete(f"{project}/limits")
    until(lambda: running(user, task) == 1, "the job ran")


def test_the_lowest_limit_counts(user, project, make_task, until):
    task = make_task()
    set_limit(user, project, 3)
    set_limit(user, project, 1, "WORKSPACE_ADMIN")
    user.submit(task, HOLD, size=3)
    until(lambda: running(user, task) == 1, "a job ran")
    assert stays(lambda: running(user, task) == 1)


def test_a_job_above_the_limit_waits_and_does_not_block_others(user, project, make_task, until):
    task = make_task()
    set_limit(user, project, 4)
    (big,) = user.submit(task, HOLD, maxVCpus=5)
    user.submit(task, HOLD, maxVCpus=4)
    until(lambda: running(user, task) == 1, "the job that can ever run did")
    assert user.job(task, big)["status"] == "SUBMITTED_TO_RESCALE"


def test_within_a_project_nobody_overtakes(user, project, make_task, until):
    task = make_task()
    set_limit(user, project, 4)
    user.submit(task, HOLD, maxVCpus=3)
    (second,) = user.submit(task, HOLD, maxVCpus=2, group="second")
    (third,) = user.submit(task, HOLD)
    until(lambda: running(user, task) == 1, "the first ran")
    assert stays(lambda: running(user, task) == 1)
    user.http.post(f"{task}/jobs/cancel?group=second")
    assert user.wait(task, second)["statusReason"] == "cancelled by user"
    until(lambda: user.job(task, third)["status"] == "RUNNING", "the third ran")


def test_a_project_that_waits_does_not_hold_up_another(user, project, make_task, until):
    task, other = make_task(), make_task(user.new_project())
    set_limit(user, project, 1)
    user.submit(task, HOLD, size=50)
    user.submit(other, HOLD, size=3)
    until(lambda: running(user, other) == 3, "the other project's jobs ran")
    until(lambda: running(user, task) == 1, "one of the limited project's jobs ran")
    assert stays(lambda: running(user, task) == 1)


def test_the_workspaces_limit_is_for_all_projects_together(
    emulator, user, project, make_task, until
):
    task, other = make_task(), make_task(user.new_project())
    emulator.set_workspace_limit(3)
    try:
        user.submit(task, HOLD, size=2)
        user.submit(other, HOLD, size=2)
        until(lambda: running(user, task) + running(user, other) == 3, "three jobs ran")
        assert stays(lambda: running(user, task) + running(user, other) == 3)
    finally:
        emulator.set_workspace_limit(None)
    until(lambda: running(user, task) + running(user, other) == 4, "four jobs ran")


def test_the_metrics_tell_jobs_and_virtual_cpus(emulator, user, project, make_task, until):
    task = make_task()
    set_limit(user, project, 7)
    user.submit(task, HOLD, maxVCpus=3, size=3)
    until(lambda: running(user, task) == 2, "two jobs ran")
    emulator.set_workspace_limit(1000)
    answer = user.http.get("/htc/metrics")
    emulator.set_workspace_limit(None)
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    names = f'project_id="{project.rpartition("/")[2]}",project="test"'
    for line in (
        f'htc_jobs{{{names},status="RUNNING"}} 2',
        f'htc_jobs{{{names},status="SUBMITTED_TO_RESCALE"}} 1',
        f"htc_project_vcpus_used{{{names}}} 6",
        f"htc_project_vcpus_limit{{{names}}} 7",
        f'htc_workspace_vcpus_limit{{workspace_id="{user.project()["workspaceId"]}"}} 1000',
    ):
        assert lines.count(line) == 1, line
    samples = [line for line in lines if not line.startswith("#")]
    assert len(set(samples)) == len(samples)
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(set(families)) == len(families) == 5
    assert {sample.partition("{")[0] for sample in samples} <= set(families)
    assert lines[-1] == "# EOF"
    assert answer.text.endswith("\n")


def test_limits_outlive_the_emulator(tmp_path, make_user, until):
    with Emulator(data=tmp_path, slots=2) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        project = user.new_project()
        limit = set_limit(user, project, 0)
        emulator.set_workspace_limit(5)
        task = user.new_task(project.rpartition("/")[2])
        (job_id,) = user.submit(task, ["true"])
    with Emulator(data=tmp_path, slots=2) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        assert user.get(f"{project}/limits") == [limit]
        path = f"/htc/workspaces/{user.project()['workspaceId']}/limits"
        assert user.get(path)["vCPUs"] == 5
        assert stays(lambda: user.job(task, job_id)["status"] == "SUBMITTED_TO_RESCALE")
        user.http.delete(f"{project}/limits")
        assert user.wait(task, job_id)["status"] == "SUCCEEDED"
