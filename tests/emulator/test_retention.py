"""Archived tasks, and policies that archive and delete tasks automatically."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from rescalehtc import models
from rescalehtc.emulator import Emulator

from .conftest import put

REQUEST = {"htcJobDefinition": {"imageName": "image", "commands": ["true"]}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def emulator(data):
    with Emulator(data=data, slots=2) as running:
        yield running


@pytest.fixture
def project(user):
    return user.new_project()


@pytest.fixture
def task(user, project):
    return user.new_task(project.rpartition("/")[2])


def set_policy(user, owner, archive_after, delete_after):
    body = {"archiveAfter": archive_after, "deleteAfter": delete_after}
    answer = user.http.put(f"{owner}/task-retention-policy", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def workspace(user):
    return f"/htc/workspaces/{user.project()['workspaceId']}"


def set_status(user, task, status):
    return user.http.patch(task, json={"lifecycleStatus": status})


def change(data, table, key, name, alter):
    """Change a record directly in the store."""
    connection = sqlite3.connect(data / "state.sqlite3")
    with connection:
        found = connection.execute(f"SELECT record FROM {table} WHERE {key} = ?", (name,))
        record = json.loads(found.fetchone()[0])
        alter(record)
        update = f"UPDATE {table} SET record = ? WHERE {key} = ?"
        connection.execute(update, (json.dumps(record), name))
    connection.close()


def ago(**past):
    return (datetime.now(UTC) - timedelta(**past)).isoformat(timespec="milliseconds")[:23] + "Z"


def used(data, task, **past):
    """Set the time since a task's last use."""
    name = task.rpartition("/")[2]
    change(data, "tasks", "id", name, lambda record: record.update(lastActiveAt=ago(**past)))


# ---- manually


def test_a_task_is_archived_and_made_active_again(user, task):
    archived = set_status(user, task, "ARCHIVED")
    assert archived.status_code == 200
    record = models.HTCTask.model_validate(archived.json())
    assert record.lifecycle_status == "ARCHIVED"
    assert record.archived_at is not None
    assert user.get(task) == archived.json()
    assert user.send_batch(task, REQUEST).status_code == 400
    assert set_status(user, task, "ARCHIVED").status_code == 400
    active = set_status(user, task, "ACTIVE").json()
    assert (active["lifecycleStatus"], active["archivedAt"]) == ("ACTIVE", None)
    assert set_status(user, task, "ACTIVE").status_code == 400
    assert user.send_batch(task, REQUEST).status_code == 200
    user.wait_for_all(task)


def test_a_task_with_jobs_that_have_not_ended_is_not_archived(user, task, until):
    (running,) = user.submit(task, ["sleep", "600"])
    until(lambda: user.job(task, running)["status"] == "RUNNING", "the job ran")
    assert set_status(user, task, "ARCHIVED").status_code == 400
    user.http.post(f"{task}/jobs/cancel")
    user.wait_for_all(task)
    assert set_status(user, task, "ARCHIVED").status_code == 200


@pytest.mark.parametrize("status", ["ACTIVE", "ARCHIVED", "DELETED", "FROZEN", None, 1])
def test_deleted_is_final_and_not_set_by_hand(user, task, status):
    if status not in ("ACTIVE", "ARCHIVED"):
        assert set_status(user, task, status).status_code == 400
        assert user.get(task)["lifecycleStatus"] == "ACTIVE"
    deleted = user.http.delete(task).json()
    assert set_status(user, task, status).status_code == 400
    assert user.get(task) == deleted


def test_an_archived_task_can_be_deleted(user, task):
    archived_at = set_status(user, task, "ARCHIVED").json()["archivedAt"]
    deleted = user.http.delete(task).json()
    assert (deleted["lifecycleStatus"], deleted["archivedAt"]) == ("DELETED", archived_at)


# ---- policies


def test_a_project_has_a_policy_when_it_was_given_one(user, project):
    path = f"{project}/task-retention-policy"
    assert user.http.get(path).status_code == 404
    policy = set_policy(user, project, 168, 24)
    record = models.TaskRetentionPolicy.model_validate(policy)
    assert (record.archive_after, record.delete_after) == (168, 24)
    assert record.project_id == project.rpartition("/")[2]
    assert record.created_at is not None
    assert user.get(path) == policy
    assert set_policy(user, project, 0, 10**40)["deleteAfter"] == 10**40
    assert user.get(f"{project}/tasks") == {"items": []}
    for _ in range(2):
        answer = user.http.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert user.http.get(path).status_code == 404


@pytest.mark.parametrize(
    "body", [{"archiveAfter": 1}, {"archiveAfter": -1, "deleteAfter": 0}, {"a": 1}, None]
)
def test_a_policy_out_of_bounds_is_400(user, project, body):
    for owner in (project, workspace(user)):
        answer = user.http.put(f"{owner}/task-retention-policy", json=body)
        assert answer.status_code == 400
    assert user.http.get(f"{project}/task-retention-policy").status_code == 404


def test_a_task_out_of_use_is_archived_and_then_deleted(data, user, project, task):
    folder = data / "tasks" / task.rpartition("/")[2]
    user.get(f"{task}/storage/regional-storage")
    assert folder.is_dir()
    set_policy(user, project, 10, 5)
    used(data, task, hours=9)
    assert user.get(task)["lifecycleStatus"] == "ACTIVE"
    used(data, task, hours=10, seconds=1)
    archived = user.get(task)
    assert archived["lifecycleStatus"] == "ARCHIVED"
    assert archived["archivedAt"] >= user.get(f"{project}/task-retention-policy")["createdAt"]
    assert user.send_batch(task, REQUEST).status_code == 400
    assert folder.is_dir()

    name = task.rpartition("/")[2]
    earlier = {"archivedAt": ago(hours=5, seconds=1)}
    change(data, "tasks", "id", name, lambda record: record.update(earlier))
    (deleted,) = user.items(f"{project}/tasks")
    assert deleted["lifecycleStatus"] == "DELETED"
    assert deleted["deletedAt"]
    assert user.get(task) == deleted
    assert not folder.exists()


def test_both_times_pass_while_nobody_looks(data, user, project, task):
    set_policy(user, project, 10, 5)
    key = project.rpartition("/")[2]
    earlier = {"createdAt": ago(hours=100)}
    change(data, "documents", "owner", key, lambda record: record.update(earlier))
    used(data, task, hours=20)
    assert user.send_batch(task, REQUEST).status_code == 400
    deleted = user.get(task)
    assert deleted["lifecycleStatus"] == "DELETED"
    times = [
        datetime.fromisoformat(deleted[name])
        for name in ("lastActiveAt", "archivedAt", "deletedAt")
    ]
    assert [b - a for a, b in pairwise(times)] == [
        timedelta(hours=10),
        timedelta(hours=5),
    ]


def test_the_projects_policy_comes_before_the_workspaces(data, user, project, task):
    body = user.http.get(f"{workspace(user)}/task-retention-policy")
    assert body.status_code == 404
    policy = set_policy(user, workspace(user), 10, 0)
    try:
        record = models.WorkspaceTaskRetentionPolicy.model_validate(policy)
        assert record.workspace_id == user.project()["workspaceId"]
        assert user.get(f"{workspace(user)}/task-retention-policy") == policy
        set_policy(user, project, 0, 0)
        used(data, task, hours=1000)
        assert user.get(task)["lifecycleStatus"] == "ACTIVE"
        user.http.delete(f"{project}/task-retention-policy")
        assert user.get(task)["lifecycleStatus"] == "ARCHIVED"
    finally:
        set_policy(user, workspace(user), 0, 0)


def test_the_end_of_a_job_is_a_use_and_running_ones_keep_their_task(
    data, user, project, task, until
):
    set_policy(user, project, 1, 1)
    (job_id,) = user.submit(task, ["sleep", "600"])
    until(lambda: user.job(task, job_id)["status"] == "RUNNING", "the job ran")
    used(data, task, hours=5)
    assert user.get(task)["lifecycleStatus"] == "ACTIVE"
    user.http.post(f"{task}/jobs/cancel")
    completed_at = user.wait(task, job_id)["completedAt"]
    ended = user.get(task)
    assert (ended["lifecycleStatus"], ended["lastActiveAt"]) == ("ACTIVE", completed_at)


def test_hours_pass_as_fast_as_the_clock(make_user, until):
    with Emulator(slots=1, clock_rate=7200) as emulator:

        def ask(method, path, **arguments):
            """With a new token each time, because tokens expire after three seconds here."""

            def accepted():
                user = make_user(emulator.url, emulator.api_key)
                answer = user.http.request(method, path, **arguments)
                return answer.status_code != 401 and answer

            return until(accepted, "a token was accepted").json()

        project = f"/htc/projects/{ask('GET', '/htc/projects')['items'][0]['projectId']}"
        policy = {"archiveAfter": 1, "deleteAfter": 1}
        ask("PUT", f"{project}/task-retention-policy", json=policy)
        tasks = f"{project}/tasks"
        created = ask("POST", tasks, json={"taskName": "test", "taskDescription": ""})
        task = f"{tasks}/{created['taskId']}"
        seen = []

        def is_deleted():
            status = ask("GET", task)["lifecycleStatus"]
            if status not in seen:
                seen.append(status)
            return status == "DELETED"

        until(is_deleted, "the task was deleted")
        assert seen[-1] == "DELETED"
        times = [ask("GET", task)[name] for name in ("createdAt", "archivedAt", "deletedAt")]
        assert times == sorted(times)


def test_policies_outlive_the_emulator(tmp_path, make_user):
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        project = user.new_project()
        policy = set_policy(user, project, 5, 6)
        of_all = set_policy(user, workspace(user), 7, 8)
    with Emulator(data=tmp_path, slots=1) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        assert user.get(f"{project}/task-retention-policy") == policy
        assert user.get(f"{workspace(user)}/task-retention-policy") == of_all


def test_a_deleted_task_has_no_storage(user, task):
    url = user.get(f"{task}/storage/presigned-url", filePath="a")["url"]
    path = Path(user.get(f"{task}/storage/token")["projectSharedStoragePath"])
    assert path
    user.http.delete(task)
    for name in ("token", "token/AWS_US_EAST_1", "tokens", "regional-storage", "presigned-url"):
        assert user.http.get(f"{task}/storage/{name}?filePath=a").status_code == 404
    assert put(url, b"x").status_code == 404
