"""The emulator works with the vendor's command line, which parses responses strictly.

It fails if a value is null or has an unexpected JSON type, ignores unknown fields, and accepts
missing fields. The requests were recorded from it.
"""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from ..limits import EXEC_SECONDS, HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from rescalehtc.emulator import Emulator

    from .conftest import User

# ---- strict parsing

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Null:
    """May be null."""

    shape: Any


@dataclass(frozen=True)
class Map:
    """An object with arbitrary names."""

    shape: Any


CONTAINER = {"exitCode": int, "reason": str}
LABELS = dict.fromkeys(
    ("csp", "priority", "instanceType", "instanceArchitecture", "accountId", "region"), str
)
PAIRS = [{"name": str, "value": str}]
TAGS = [{"key": str, "value": str}]
JOB = {
    **dict.fromkeys(("jobUUID", "providerJobId", "region", "taskId", "projectId", "status"), str),
    **dict.fromkeys(("createdBy", "workspaceId", "group", "architecture", "imageName"), str),
    **dict.fromkeys(("maxVCpus", "minVCpus", "maxMemory", "maxDiskGiB", "execTimeoutSeconds"), int),
    **dict.fromkeys(("maxGpus", "maxSwap"), Null(int)),
    **dict.fromkeys(("statusReason", "failureCode", "instanceId"), Null(str)),
    **dict.fromkeys(("createdAt", "updatedAt"), TIME),
    **dict.fromkeys(("startedAt", "completedAt"), Null(TIME)),
    "container": Null(CONTAINER),
    "instanceLabels": Null(LABELS),
    "jobExecutionEnvironment": {"instanceId": str, "instanceType": str, "architecture": int},
    "commands": [str],
    "envs": PAIRS,
    "tags": TAGS,
}
EVENT = {
    **dict.fromkeys(("eventId", "jobId", "status"), str),
    **dict.fromkeys(("statusReason", "instanceId"), Null(str)),
    "dateTime": TIME,
    "container": CONTAINER,
    "instanceLabels": LABELS,
    "userCancelledEvent": bool,
}
DEFINITION = {
    **dict.fromkeys(("imageName", "architecture", "priority"), str),
    **dict.fromkeys(("maxVCpus", "maxMemory", "maxDiskGiB", "maxSwap", "execTimeoutSeconds"), int),
    "tags": Map(str),
    "commands": [str],
    "envs": PAIRS,
    "claims": PAIRS,
    "workingDir": Null(str),
}
BATCH = {
    **dict.fromkeys(("jobName", "taskId", "projectId", "parentJobId", "createdBy"), str),
    **dict.fromkeys(("workspaceId", "group", "jobDefinitionName", "cloudProvider"), str),
    "batchSize": int,
    "regions": [str],
    "rescaleTimeReceived": TIME,
    "htcJobDefinition": DEFINITION,
    "tags": TAGS,
    "retryStrategy": {"maxRetries": int},
    "rescaleProjectId": Null(str),
}
PROJECT = {
    **dict.fromkeys(("projectId", "projectName", "projectDescription", "createdBy"), str),
    **dict.fromkeys(("workspaceId", "containerRegistry", "projectFolderPath"), str),
    "organizationCode": Null(str),
    "createdAt": TIME,
    "repositories": [str],
    "regions": [str],
    "regionSettings": [
        {"computeSettings": {"computeRegion": str}, "storageSettings": {"storageRegion": str}}
    ],
}
TASK = {
    **dict.fromkeys(("projectId", "taskId", "taskName", "taskDescription", "createdBy"), str),
    **dict.fromkeys(("workspaceId", "taskFolderPath", "lifecycleStatus"), str),
    **dict.fromkeys(("createdAt", "lastActiveAt"), TIME),
    **dict.fromkeys(("archivedAt", "deletedAt"), Null(TIME)),
}
LIMIT = {
    **dict.fromkeys(("createdBy", "updatedBy", "workspaceId", "projectId", "modifierRole"), str),
    **dict.fromkeys(("vCPUs", "id"), int),
    **dict.fromkeys(("createdAt", "updatedAt"), TIME),
}
DIMENSION = {
    **dict.fromkeys(("machineType", "priority", "region", "computeScalingPolicy"), str),
    "hyperthreading": bool,
    "derived": {"architecture": str, "vCPUs": int, "memory": float, "swap": bool},
}
POLICY = {
    **dict.fromkeys(("projectId", "workspaceId"), str),
    **dict.fromkeys(("archiveAfter", "deleteAfter"), int),
    "createdAt": TIME,
}
CLUSTERS = {
    "gcpProjectId": str,
    "clusters": [
        {
            **dict.fromkeys(("name", "region", "version", "status", "subnetwork"), str),
            "autoscaling": str,
            "nodePools": [
                {
                    **dict.fromkeys(("name", "version", "instanceType", "status"), str),
                    "autoscaling": {"enabled": bool, "minNodeCount": int, "maxNodeCount": int},
                }
            ],
        }
    ],
}
WHOAMI = {
    "user": {
        **dict.fromkeys(("userId", "email", "fullName"), str),
        **dict.fromkeys(("isRescaleAdmin", "isOrganizationAdmin", "isWorkspaceAdmin"), bool),
        "isSuperuser": bool,
        "workspace": {"id": str, "name": str},
        "organization": {"code": str, "canViewOrganizationJobs": bool},
    },
    "userFeatures": Map(None),
}
TOKEN = {"tokenValue": str, "expiresIn": int}
SUMMARY = {"group": Null(str), "jobStatuses": Map(int)}
IMAGES = {"containerRegistry": str, "images": [str]}
REPOSITORY = {
    **dict.fromkeys(("repositoryName", "projectId", "createdBy", "workspaceId"), str),
    "registryURI": str,
    "successfullyCreated": bool,
}
ERROR = {"errorType": str, "errorDescription": str, "message": Null(str)}
LOG_LINE = {"timestamp": TIME, "message": str}


def page(item: Any) -> Any:
    return {"items": [item], "next": str}


def unreadable(shape: Any, value: Any, place: str = "") -> list[str]:
    """The values that a strict parser rejects."""
    match shape:
        case None:
            return []
        case Null():
            return [] if value is None else unreadable(shape.shape, value, place)
        case re.Pattern():
            right = isinstance(value, str) and shape.fullmatch(value)
        case type():
            right = type(value) is shape or (shape is float and type(value) is int)
        case [item]:
            if isinstance(value, list):
                return [p for entry in value for p in unreadable(item, entry, f"{place}[]")]
            right = False
        case _:
            if isinstance(value, dict):
                known = dict.fromkeys(value, shape.shape) if isinstance(shape, Map) else shape
                return [
                    problem
                    for name, field in value.items()
                    for problem in unreadable(known.get(name), field, f"{place}.{name}")
                ]
            right = False
    return [] if right else [f"{place}: {value!r}"]


@pytest.mark.parametrize(
    ("shape", "value"),
    [(int, 3.0), (int, True), (int, None), (str, 1), ([str], [None]), (TIME, "2024"), (BATCH, [])],
)
def test_the_reader_is_strict(shape: Any, value: Any) -> None:
    assert unreadable(shape, value)


# ---- recorded requests

JOBS = [
    {
        "jobName": "vendor",
        "batchSize": 2,
        "htcJobDefinition": {
            "imageName": "tools/echo:1",
            "commands": ["sh", "-c", "echo one; echo two; exit $AWS_BATCH_JOB_ARRAY_INDEX"],
            "envs": [],
            "maxVCpus": 1,
            "maxMemory": 4,
            "execTimeoutSeconds": EXEC_SECONDS,
            "priority": "ON_DEMAND_ECONOMY",
        },
    }
]
NEW_PROJECT = {"projectName": "p", "projectDescription": "d", "regions": ["AWS_US_EAST_1"]}
NEW_DIMENSIONS = [
    {
        "hyperthreading": True,
        "machineType": "c7i.2xlarge",
        "priority": "ON_DEMAND_ECONOMY",
        "region": "AWS_US_EAST_1",
    },
    {"hyperthreading": False, "machineType": "abacus", "region": "AWS_US_EAST_1"},
]
RETENTION = {"archiveAfter": 0, "deleteAfter": 0}
TASKS = "/htc/projects/{p}/tasks"
PATH = TASKS + "/{t}"
REGISTRY = "/htc/projects/{p}/container-registry"

# Method, path with query, body, status, and the parsed part of the response.
REQUESTS: list[tuple[str, str, object, int, Any]] = [
    ("GET", "/auth/token", None, 200, TOKEN),
    ("GET", "/auth/whoami", None, 200, WHOAMI),
    ("GET", "/htc/projects?onlyMyProjects=false&pageIndex=&pageSize=500", None, 200, page(PROJECT)),
    ("GET", "/htc/projects/{p}", None, 200, PROJECT),
    ("GET", "/htc/projects/none", None, 404, ERROR),
    ("POST", "/htc/projects", NEW_PROJECT, 200, PROJECT),
    ("POST", "/htc/projects", {**NEW_PROJECT, "regions": ["AWS_MOON_1"]}, 400, ERROR),
    ("GET", "/htc/projects/{p}/limits", None, 200, [LIMIT]),
    (
        *("POST", "/htc/projects/{p}/limits"),
        *({"modifierRole": "PROJECT_ADMIN", "vCPUs": 9}, 201, LIMIT),
    ),
    ("GET", "/htc/projects/{p}/limits", None, 200, [LIMIT]),
    ("PUT", "/htc/projects/{p}/dimensions", NEW_DIMENSIONS, 201, [DIMENSION]),
    ("GET", "/htc/projects/{p}/dimensions", None, 200, [DIMENSION]),
    ("GET", "/htc/projects/{p}/task-retention-policy", None, 404, ERROR),
    ("PUT", "/htc/projects/{p}/task-retention-policy", RETENTION, 201, POLICY),
    ("GET", "/htc/projects/{p}/task-retention-policy", None, 200, POLICY),
    ("GET", "/htc/workspaces/{w}/task-retention-policy", None, 404, ERROR),
    ("PUT", "/htc/workspaces/{w}/task-retention-policy", RETENTION, 201, POLICY),
    ("GET", "/htc/workspaces/{w}/task-retention-policy", None, 200, POLICY),
    ("GET", "/htc/workspaces/{w}/dimensions", None, 200, [DIMENSION]),
    ("GET", "/htc/gcp/clusters/{w}", None, 200, CLUSTERS),
    ("GET", "/htc/metrics", None, 200, "text"),
    ("GET", f"{REGISTRY}/images", None, 200, IMAGES),
    ("GET", f"{REGISTRY}/images/tools%2Fecho%3A1", None, 200, {"status": str}),
    ("GET", f"{REGISTRY}/token", None, 200, "text"),
    (
        *("GET", "/htc/projects/none/container-registry/token", None, 404),
        {"error": str, "errorDescription": str},
    ),
    ("POST", f"{REGISTRY}/repo/tools%2Fecho", None, 200, REPOSITORY),
    ("POST", f"{REGISTRY}/repo/tools%2Fecho", None, 200, REPOSITORY),
    ("GET", f"{TASKS}?pageIndex=&pageSize=500", None, 200, page(TASK)),
    ("POST", TASKS, {"taskName": "t", "taskDescription": ""}, 200, TASK),
    ("GET", f"{TASKS}?pageIndex=1&pageSize=500", None, 200, page(TASK)),
    ("GET", f"{PATH}/summary-statistics", None, 200, SUMMARY),
    ("POST", f"{PATH}/jobs/batch", JOBS, 200, [BATCH]),
    ("POST", f"{PATH}/jobs/batch?group=g", JOBS, 200, [BATCH]),
    ("POST", f"{PATH}/jobs/batch", [{}], 400, ERROR),
    ("GET", f"{PATH}/summary-statistics", None, 200, SUMMARY),
    ("GET", f"{PATH}/jobs?pageSize=500&viewType=FULL", None, 200, page(JOB)),
    (
        *("GET", f"{PATH}/jobs?group=g&pageSize=500&status=FAILED&viewType=FULL"),
        *(None, 200, page(JOB)),
    ),
    ("GET", f"{PATH}/jobs/{{j}}", None, 200, JOB),
    ("GET", f"{PATH}/jobs/none", None, 404, ERROR),
    ("GET", f"{PATH}/jobs/{{j}}/events?pageSize=500", None, 200, page(EVENT)),
    ("GET", f"{PATH}/jobs/none/events?pageSize=500", None, 404, ERROR),
    ("GET", f"{PATH}/jobs/{{j}}/logs?pageSize=500&sort=asc", None, 200, page(LOG_LINE)),
    ("GET", f"{PATH}/jobs/{{j}}/logs?pageIndex=1&pageSize=500&sort=asc", None, 200, page(LOG_LINE)),
    ("GET", f"{PATH}/jobs/none/logs?pageSize=500&sort=asc", None, 404, ERROR),
    ("POST", f"{PATH}/jobs/cancel?group=g", None, 200, "nothing"),
    ("POST", f"{PATH}/jobs/cancel", None, 200, "nothing"),
]


@pytest.fixture
def ids(user: User) -> dict[str, str]:
    """A project, its task, an ended job, and the workspace."""
    task = user.new_task()
    user.send_batch(task, *JOBS)
    user.wait_for_all(task)
    job = user.items(f"{task}/jobs")[1]
    assert job["failureCode"] == "ErrorNonZeroContainerExitCode"
    names = {"p": "projectId", "t": "taskId", "j": "jobUUID", "w": "workspaceId"}
    return {name: job[field].replace(":", "%3A") for name, field in names.items()}


def test_every_request_of_it_is_answered_as_it_reads_it(
    user: User, ids: dict[str, str], emulator: Emulator
) -> None:
    """The recorded bytes, one request after the other on one connection."""
    address = urlsplit(emulator.url)
    with closing(HTTPConnection(address.netloc, timeout=HANG_SECONDS)) as connection:
        for method, target, body, status, shape in REQUESTS:
            where = f"{method} {target}"
            credential = f"Bearer {user.token}"
            if target.startswith("/auth/"):
                credential = f"Token {user.api_key}"
            headers = {"Authorization": credential, "Accept-Encoding": "gzip"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            path = f"{address.path}{target.format(**ids)}"
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            read = answer.read()
            assert answer.status == status, (where, read)
            media_type = answer.headers["Content-Type"]
            if shape == "nothing":
                assert read == b"", where
            elif shape == "text":
                assert media_type == "text/plain; charset=utf-8", where
                assert read, where
            else:
                assert media_type == "application/json", where
                assert unreadable(shape, json.loads(read)) == [], where


@pytest.mark.parametrize("path", ["/auth/token", "/auth/whoami"])
def test_a_wrong_key_is_rejected_with_json(user: User, path: str) -> None:
    answer = user.http.get(path, headers={"Authorization": "Token wrong"})
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/json"
    assert unreadable(ERROR | {"error": str}, answer.json()) == []


def test_its_features_are_an_object(user: User) -> None:
    answer = user.http.get("/auth/whoami", headers={"Authorization": f"Token {user.api_key}"})
    assert answer.json()["userFeatures"] == {}


@pytest.mark.parametrize("listing", ["tasks", "jobs", "logs", "projects"])
def test_next_is_an_address_and_the_source_of_page_index(
    user: User, ids: dict[str, str], listing: str
) -> None:
    """A listing is complete with both ways of paging, with the parameters repeated."""
    for _ in range(2):
        user.new_task()
    paths = {
        "projects": "/htc/projects?onlyMyProjects=false&",
        "tasks": f"{TASKS}?",
        "jobs": f"{PATH}/jobs?viewType=FULL&",
        "logs": f"{PATH}/jobs/{{j}}/logs?sort=asc&",
    }
    if listing == "projects":
        user.new_project()
    path = paths[listing].format(**ids)
    whole = user.get(f"{path}pageSize=500")["items"]
    assert len(whole) > 1
    by_address, by_index, index = [], [], ""
    answer = user.get(f"{path}pageIndex=&pageSize=1")
    while True:
        by_address += answer["items"]
        if "next" not in answer:
            break
        answer = user.get(answer["next"])
    while True:
        answer = user.get(f"{path}pageIndex={index}&pageSize=1")
        by_index += answer["items"]
        if "next" not in answer:
            break
        (index,) = parse_qs(urlsplit(answer["next"]).query)["pageIndex"]
    assert by_address == by_index == whole


# ---- requirements of its tutorial


def test_a_tutorial_finds_the_tasks_folder_and_the_users_groups(user: User) -> None:
    task = user.new_task()
    (job_id,) = user.submit(task, ["sh", "-c", 'echo "$TASK_SHARED_FOLDER"'])
    user.wait(task, job_id)
    (folder,) = user.log(f"{task}/jobs/{job_id}")
    token = user.get(f"{task}/storage/token/AWS_US_EAST_1")
    bucket, _, key = token["storagePath"].removeprefix("s3://").partition("/")
    assert bucket
    assert key.endswith("/")
    assert Path(folder).name in key
    assert user.get(f"{task}/storage/token")["storagePath"] == token["storagePath"]
    (store,) = user.get(f"{task}/storage/tokens")["regionStores"]
    assert store["storagePath"] == token["storagePath"]
    project = task.partition("/tasks/")[0]
    assert "storagePath" not in user.get(f"{project}/storage/token")
    assert {*token["credentials"]} == {
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    }
    claims = jwt.decode(user.token, options={"verify_signature": False})
    assert unreadable([str], claims["groups"]) == []
    assert claims["groups"]


def test_an_address_of_a_registry_and_a_name_are_an_image(user: User) -> None:
    project = user.project()
    form = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/(?:[a-z0-9._-]+/)+")
    path = f"/htc/projects/{project['projectId']}"
    created = user.http.post(f"{path}/container-registry/repo/image").json()
    images = user.get(f"{path}/container-registry/images")
    for address in (
        project["containerRegistry"],
        created["registryURI"],
        images["containerRegistry"],
    ):
        assert form.fullmatch(address)
    assert project["containerRegistry"] == created["registryURI"] == images["containerRegistry"]
    assert project["projectFolderPath"] == f"projects/{project['projectId']}/"
    task = user.get(user.new_task())
    assert task["taskFolderPath"] == f"projects/{project['projectId']}/tasks/{task['taskId']}"


def test_a_tutorial_follows_a_group_to_its_end(
    user: User, until: Callable[[Callable[[], Any], str], Any]
) -> None:
    """The counts of a group have every status, even without jobs."""
    task = user.new_task()
    path = f"{task}/group-summary-statistics?group=sweep"

    def counts() -> dict[str, int]:
        (summary,) = user.get(path)["items"]
        assert summary["group"] == "sweep"
        assert {*summary["jobStatuses"]} == {
            *("SUBMITTED_TO_RESCALE", "SUBMITTED_TO_PROVIDER", "RUNNABLE", "STARTING", "RUNNING"),
            *("SUCCEEDED", "FAILED"),
        }
        return summary["jobStatuses"]

    user.submit(task, ["sh", "-c", 'exit "$AWS_BATCH_JOB_ARRAY_INDEX"'], group="sweep", size=3)
    until(lambda: counts()["SUCCEEDED"] + counts()["FAILED"] == 3, "the group ended")
    assert (counts()["SUCCEEDED"], counts()["FAILED"], counts()["RUNNING"]) == (1, 2, 0)
    jobs = user.get(f"{task}/jobs?group=sweep&viewType=SIMPLE")["items"]
    found = [(job["failureCode"], job["status"], job["container"]["exitCode"]) for job in jobs]
    code = "ErrorNonZeroContainerExitCode"
    assert found == [(None, "SUCCEEDED", 0), (code, "FAILED", 1), (code, "FAILED", 2)]
    assert all(job["jobUUID"] for job in jobs)


def test_a_tutorial_cancels_a_group_and_no_other(
    user: User, until: Callable[[Callable[[], Any], str], Any]
) -> None:
    task = user.new_task()
    user.submit(task, ["sleep", "600"], group="bad", size=3)
    (other_group,) = user.submit(task, ["true"], group="good")
    assert user.http.post(f"{task}/jobs/cancel?group=bad").status_code == 200
    user.wait_for_all(task)
    assert user.job(task, other_group)["status"] == "SUCCEEDED"
    bad = user.items(f"{task}/jobs", group="bad", viewType="SIMPLE")
    assert {(job["status"], job["failureCode"]) for job in bad} == {("FAILED", None)}
