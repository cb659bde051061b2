"""A field without a value is omitted, unless the service sends null."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codegen.nulls import is_nullable
from rescalehtc.emulator import Emulator, lifecycle
from rescalehtc.emulator.store import Store

from ..spec import SPEC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rescalehtc.emulator.lifecycle import Ending

    from .conftest import User

SCHEMAS: dict[str, Any] = SPEC.raw["components"]["schemas"]
OPERATIONS = {operation.operation_id: operation for operation in SPEC.operations}

# Exactly the fields in which clients have received null.
NULLABLE = {
    "HTCJob": {
        *("completedAt", "startedAt", "statusReason", "failureCode", "container", "instanceId"),
        *("instanceLabels", "maxGpus", "maxSwap"),
    },
    "RescaleJobStatusEvent": {"statusReason", "instanceId"},
    "HTCProject": {"organizationCode"},
    "HTCTask": {"archivedAt", "deletedAt"},
    "JobStatusSummary": {"group"},
    "HTCJobBatch": {"rescaleProjectId"},
    "HTCJobBatchDefinition": {"workingDir"},
    "HTCError": {"message"},
}

PYTHON_TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}

LITTLE = {"htcJobDefinition": {"imageName": "image"}}
ALL = {
    "jobName": "all",
    "batchSize": 1,
    "regions": ["AWS_EU_WEST_1"],
    "tags": [{"key": "a", "value": "b"}],
    "retryStrategy": {"maxRetries": 1},
    "experimental": {"kubernetesSwap": False},
    "rescaleProjectId": "p",
    "cloudProvider": "AWS",
    "htcJobDefinition": {
        "imageName": "image",
        "maxVCpus": 1,
        "maxMemory": 4,
        "maxDiskGiB": 1,
        "maxSwap": 0,
        "tags": {"a": "b"},
        "commands": ["true"],
        "envs": [{"name": "A", "value": "null"}],
        "claims": [{"name": "a", "value": "b"}],
        "execTimeoutSeconds": 60,
        "architecture": "X86",
        "priority": "ON_DEMAND_ECONOMY",
        "workingDir": "work",
    },
}
EMPTY_BUT_FOR_NAMES = {"projectName": "p", "projectDescription": ""}
POLICY = {"archiveAfter": 0, "deleteAfter": 0}

# The bodies for operations that take one.
BODIES: dict[str, list[Any]] = {
    "createProject": [
        EMPTY_BUT_FOR_NAMES,
        {
            **EMPTY_BUT_FOR_NAMES,
            "regionSettings": [{"computeSettings": {}, "storageSettings": {}}],
        },
    ],
    "updateProject": [{}, {"regions": ["AWS_EU_WEST_1"]}],
    "setProjectDimensions": [[], [{}, {"machineType": "abacus"}, {"machineType": "c7g.medium"}]],
    "createProjectLimit": [{"vCPUs": 5, "modifierRole": "PROJECT_ADMIN"}],
    "updateProjectLimit": [{"vCPUs": 6}],
    "setProjectRetentionPolicy": [POLICY],
    "setWorkspaceRetentionPolicy": [POLICY],
    "createTask": [{"taskName": "t", "taskDescription": ""}],
    "updateTask": [{"lifecycleStatus": "ARCHIVED"}, {"lifecycleStatus": "ACTIVE"}],
    "submitJobs": [[LITTLE], [LITTLE, ALL]],
}
LAST = (
    "deleteProjectLimit",
    "deleteAllProjectLimits",
    "deleteProjectRetentionPolicy",
    "deleteTask",
)


def problems(schema: dict[str, Any], value: Any, place: str) -> list[str]:
    """The location of a value that violates the description, checked strictly."""
    schema = SPEC.resolve(schema)
    if value is None:
        return [] if is_nullable(schema) else [f"{place} is null"]
    if "anyOf" in schema:
        return min((problems(entry, value, place) for entry in schema["anyOf"]), key=len)
    arguments = schema.get("type", [])
    types = [
        PYTHON_TYPES[name] for name in ([arguments] if isinstance(arguments, str) else arguments)
    ]
    if types and type(value) not in types and (float not in types or type(value) is not int):
        return [f"{place} is {value!r}, not {arguments}"]
    if isinstance(value, list):
        return [p for item in value for p in problems(schema.get("items", {}), item, f"{place}[]")]
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        found = [f"{place}.{n} is missing" for n in schema.get("required", ()) if n not in value]
        for name, field in value.items():
            found += problems(fields.get(name, {}), field, f"{place}.{name}")
        return found
    return []


class Caller:
    """Calls operations by their ids, and checks every response."""

    def __init__(self, user: User, **path: object) -> None:
        self.user = user
        self.path = path
        self.called: set[str] = set()
        self.found: list[str] = []

    def call(self, operation_id: str, body: object = None, **query: str) -> Any:
        operation = OPERATIONS[operation_id]
        headers = None
        if {"token": []} in operation.definition.get("security", ()):
            headers = {"Authorization": f"Token {self.user.api_key}"}
        answer = self.user.http.request(
            operation.method,
            operation.path.format(**self.path),
            params=query or None,
            json=body,
            headers=headers,
        )
        assert answer.is_success, (operation_id, answer.text)
        self.called.add(operation_id)
        described = SPEC.success_schema(operation)
        if described is None or described[0] != "application/json":
            return None
        self.found += problems(described[1], answer.json(), operation_id)
        return answer.json()


@pytest.fixture
def limited() -> Iterator[Emulator]:
    with Emulator(slots=1) as emulator:
        emulator.set_workspace_limit(1000)
        yield emulator


def test_every_operation_answers_null_only_where_the_service_does(
    limited: Emulator, make_user: Callable[[str, str], User]
) -> None:
    user = make_user(limited.url, limited.api_key)
    caller = Caller(user, workspaceId="04-0000001", region="AWS_EU_WEST_1", imageName="image")
    project = caller.call("createProject", {**EMPTY_BUT_FOR_NAMES, "regions": ["AWS_EU_WEST_1"]})
    caller.path |= {"projectId": project["projectId"], "repoName": "image"}
    caller.path |= {"taskId": caller.call("createTask", *BODIES["createTask"])["taskId"]}
    caller.path |= {"id": caller.call("createProjectLimit", *BODIES["createProjectLimit"])["id"]}
    for operation_id in ("setProjectRetentionPolicy", "setWorkspaceRetentionPolicy"):
        caller.call(operation_id, POLICY)
    batch = caller.call("submitJobs", [ALL])[0]
    caller.path |= {"jobId": f"{batch['parentJobId']}:0"}
    user.wait_for_all(f"/htc/projects/{project['projectId']}/tasks/{caller.path['taskId']}")

    for operation_id in [*(item for item in OPERATIONS if item not in LAST), *LAST]:
        query = {"filePath": "a"} if operation_id.endswith("PresignedUrl") else {}
        for body in BODIES.get(operation_id, [None]):
            caller.call(operation_id, body, **query)
    assert caller.called == {*OPERATIONS}
    assert caller.found == []


ENDINGS: dict[str, Ending | None] = {
    "submitted": None,
    "starting": None,
    "running": None,
    "succeeded": lifecycle.exited(0),
    "failed": lifecycle.exited(3),
    "ended by a signal": lifecycle.exited(-9),
    "cancelled while it waited": lifecycle.cancelled(),
    "cancelled while it ran": lifecycle.cancelled(-15),
    "timed out": lifecycle.timed_out(60, -15),
    "preempted": lifecycle.preempted(-15),
    "not started": lifecycle.not_started("there is no such program"),
    "interrupted": lifecycle.interrupted("the emulator stopped"),
    "retried": lifecycle.exited(1),
}


def advance(store: Store, task_id: str, state: str) -> None:
    """Bring the only waiting job, which belongs to this task, into a state."""
    ending = ENDINGS[state]
    if state == "submitted":
        return
    if state == "cancelled while it waited":
        store.cancel_waiting(task_id, None)
        return
    job = store.take_job("emulator-1", {})
    assert job is not None
    assert job.task_id == task_id
    if state not in ("starting", "not started"):
        store.job_runs(job.number)
    if state == "retried":
        assert ending is not None
        store.retry_job(job.number, ending)
    elif ending is not None:
        store.end_job(job.number, ending)


def test_in_every_state_of_a_job_null_is_only_where_the_service_sends_it(
    tmp_path: Path, make_user: Callable[[str, str], User], until: Callable[..., Any]
) -> None:
    """The emulator's only slot is in use, and the test sets the states in its store."""
    with Emulator(slots=1, data=tmp_path) as emulator, Store(tmp_path / "state.sqlite3") as store:
        user = make_user(emulator.url, emulator.api_key)
        task = user.new_task()
        (blocker,) = user.submit(task, ["sleep", "600"])
        until(lambda: user.job(task, blocker)["status"] == "RUNNING", "the slot is taken")

        caller = Caller(user, projectId=user.project()["projectId"])
        seen: set[str] = set()
        for state in [*ENDINGS][::-1]:  # the job that keeps waiting comes last
            for request in (LITTLE, {**ALL, "regions": ["AWS_US_EAST_1"]}):
                caller.path |= {
                    "taskId": caller.call("createTask", *BODIES["createTask"])["taskId"]
                }
                batch = caller.call("submitJobs", [request])[0]
                advance(store, batch["taskId"], state)
                caller.path |= {"jobId": f"{batch['parentJobId']}:0"}
                job = caller.call("getJob")
                seen.add(job["status"])
                for view in ("FULL", "SIMPLE"):
                    (listed,) = caller.call("listJobs", viewType=view)["items"]
                    assert listed.items() <= job.items()
                for operation_id in (
                    *("listJobEvents", "listJobLogs", "getTask", "getTaskSummary", "listTasks"),
                    *("listGroupSummaries", "listGroups"),
                ):
                    caller.call(operation_id)
        assert seen == {"SUBMITTED_TO_RESCALE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"}
        assert caller.found == []


def test_what_the_service_sends_as_null_is_null_and_not_left_out(user: User) -> None:
    task = user.new_task()
    user.send_batch(task, {"htcJobDefinition": {"imageName": "image", "commands": ["true"]}})
    user.wait_for_all(task)
    (job,) = user.items(f"{task}/jobs")
    for name in ("failureCode", "statusReason", "maxGpus", "maxSwap"):
        assert job[name] is None
    for name in ("architecture", "maxVCpus", "maxMemory", "maxDiskGiB", "execTimeoutSeconds"):
        assert name not in job
    assert job["container"] == {"exitCode": 0}
    assert {*user.items(f"{task}/jobs/{job['jobUUID']}/events")[0]} >= {"statusReason"}
    assert user.get(f"{task}/summary-statistics")["group"] is None
    assert user.get(task)["archivedAt"] is None
    (batch,) = user.send_batch(task, LITTLE).json()
    assert batch["rescaleProjectId"] is None
    assert batch["htcJobDefinition"]["workingDir"] is None


def test_a_text_that_says_null_is_kept(user: User) -> None:
    assert user.output("echo null; echo '{\"a\":null}'") == ["null", '{"a":null}']


def test_the_description_allows_null_where_clients_have_met_it() -> None:
    found: dict[str, set[str]] = {}
    for component, schema in SCHEMAS.items():
        for name, field in schema.get("properties", {}).items():
            if is_nullable(SPEC.resolve(field)):
                found.setdefault(component, set()).add(name)
                assert field["x-null"] in ("S", "C", "I"), (component, name)
            else:
                assert "x-null" not in field, (component, name)
    pages = {component for component, names in found.items() if names == {"next"}}
    assert {name: found[name] for name in found.keys() - pages} == NULLABLE
    assert all(component.endswith("Page") for component in pages)
