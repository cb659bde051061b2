import json
import os
from contextlib import closing
from pathlib import Path

import httpx
import jwt
import pytest

from rescalehtc import api, models
from rescalehtc._wire.operation import Operation
from rescalehtc.emulator.app import HANDLERS, MAX_BODY_BYTES

from ..spec import SPEC
from .conftest import User, plain_client

OPERATIONS = [value for value in vars(api).values() if isinstance(value, Operation)]
BEARER = [operation for operation in OPERATIONS if operation.authorization == "bearer"]
UNAUTHORIZED = {"errorType", "error", "errorDescription"}
REQUEST = {"htcJobDefinition": {"imageName": "image", "commands": ["true"]}}


def concrete(operation):
    return operation.path.replace("{imageName:path}", "a/b").replace("{", "").replace("}", "")


# ---- operations and authentication


def test_every_operation_has_a_handler_and_no_other_has():
    assert set(HANDLERS) == set(OPERATIONS)
    assert len(OPERATIONS) == 57


@pytest.fixture(scope="module")
def refresh(emulator):
    """The refresh token of a job."""
    user = User(emulator.url, emulator.api_key)
    with closing(user.http):
        return user.output('printf %s "$RESCALE_HTC_REFRESH_TOKEN"')[0]


@pytest.mark.parametrize("operation", BEARER, ids=lambda operation: operation.id)
def test_without_a_valid_bearer_token_the_answer_is_401(emulator, user, refresh, operation):
    """It is empty, like most error bodies of the service, except for `/auth/*`."""
    with plain_client(base_url=emulator.url) as http:
        for header in (
            None,
            "",
            "Bearer",
            "Bearer x.y.z",
            f"Bearer {user.token}x",
            f"Token {emulator.api_key}",
            f"Basic {user.token}",
            f"Bearer {refresh}",
        ):
            headers = {} if header is None else {"Authorization": header}
            answer = http.request(operation.method, concrete(operation), headers=headers)
            assert answer.status_code == 401, header
            if operation is api.GET_TOKEN_PAYLOAD:
                assert set(answer.json()) == UNAUTHORIZED
            else:
                assert answer.content == b""


def test_the_api_key_is_exchanged_for_a_token(emulator, user):
    answer = user.http.get("/auth/token", headers={"Authorization": f"Token {emulator.api_key}"})
    assert answer.json()["expiresIn"] == 21600
    claims = jwt.decode(answer.json()["tokenValue"], options={"verify_signature": False})
    assert jwt.get_unverified_header(answer.json()["tokenValue"])["alg"] == "RS256"
    assert claims["exp"] - claims["iat"] == 21600


@pytest.mark.parametrize(
    "header", ["Token wrong", "Token", "Token \xe9", "Bearer x", "Refresh x", "", "Refresh"]
)
@pytest.mark.parametrize("path", ["/auth/token", "/auth/whoami"])
def test_a_wrong_key_gets_a_401_with_the_body_of_an_error(user, path, header):
    answer = user.http.get(path, headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json()) == UNAUTHORIZED
    assert models.HTCError.model_validate(answer.json()).error_description


def test_the_user_and_the_claims_agree(emulator, user):
    key = {"Authorization": f"Token {emulator.api_key}"}
    who = models.WhoAmI.model_validate(user.http.get("/auth/whoami", headers=key).json()).user
    claims = models.HTCTokenPayload.model_validate(user.get("/auth/token/whoami"))
    assert who.email == claims.user_email
    assert who.full_name == claims.user_full_name
    assert who.workspace is not None
    assert who.workspace.id == claims.workspace_id == user.project()["workspaceId"]


def test_a_jobs_tokens_carry_its_claims_and_the_refresh_token_renews_them(user):
    bearer, refresh = user.output(
        'printf "%s\\n%s\\n" "$RESCALE_HTC_BEARER_TOKEN" "$RESCALE_HTC_REFRESH_TOKEN"',
        claims=[{"name": "case", "value": "mesh-07"}],
    )
    renewed = user.http.get("/auth/token", headers={"Authorization": f"Refresh {refresh}"}).json()
    for token in (bearer, renewed["tokenValue"]):
        headers = {"Authorization": f"Bearer {token}"}
        claims = user.http.get("/auth/token/whoami", headers=headers).json()
        assert claims["userDefined_case"] == "mesh-07"
        assert claims["jobId"].endswith(":0")
        assert claims["projectId"] == user.project()["projectId"]
        assert claims["taskId"]
    whoami = user.http.get("/auth/whoami", headers={"Authorization": f"Refresh {refresh}"})
    assert whoami.status_code == 401


def test_a_foreign_host_name_is_rejected(user):
    for host in ("127.0.0.1:1", "localhost", "[::1]:80"):
        assert user.http.get("/htc/projects", headers={"Host": host}).status_code == 200
    for host in ("example.com", "127.0.0.1.example.com", ""):
        assert user.http.get("/htc/projects", headers={"Host": host}).status_code == 400


# ---- errors


def test_an_unknown_path_is_404_and_a_wrong_method_405(user):
    assert user.http.get("/htc/nothing").status_code == 404
    assert user.http.get("/htc/projects/").status_code == 404
    wrong = user.http.delete("/htc/projects")
    assert wrong.status_code == 405
    assert {*wrong.headers["Allow"].split(", ")} == {"GET", "HEAD", "POST"}
    assert user.http.get("/htc/nothing").json()["errorType"]


@pytest.mark.parametrize(
    "path",
    [
        "/htc/projects/none",
        "/htc/projects/none/tasks",
        "/htc/projects/none/container-registry/images/a",
        "{project}/tasks/none",
        "{task}/jobs/none",
        "{task}/jobs/none/events",
        "{task}/jobs/none/logs",
    ],
)
def test_what_is_not_there_is_404_with_a_documented_body(user, path):
    project = f"/htc/projects/{user.project()['projectId']}"
    answer = user.http.get(path.format(project=project, task=user.new_task()))
    assert answer.status_code == 404
    assert set(answer.json()) == {"errorType", "errorDescription"}


@pytest.mark.parametrize(
    "operation",
    [operation for operation in BEARER if "{projectId}" in operation.path],
    ids=lambda operation: operation.id,
)
def test_whatever_is_asked_of_a_project_or_task_that_is_not_there_is_404(user, operation):
    path = concrete(operation)
    paths = [path]
    if "{taskId}" in operation.path:
        paths.append(path.replace("projectId", user.project()["projectId"]))
    for item in paths:
        answer = user.http.request(operation.method, item, content=b"{")
        assert answer.status_code == 404
        assert {*answer.json()} - {"error"} == {"errorType", "errorDescription"}
        assert ("error" in answer.json()) == (operation is api.GET_REGISTRY_TOKEN)


def test_a_job_is_found_in_its_own_task_and_project_only(user):
    task, other = user.new_task(), user.new_task()
    (job_id,) = user.submit(task)
    assert user.http.get(f"{other}/jobs/{job_id}").status_code == 404
    project = user.http.post(
        "/htc/projects", json={"projectName": "p", "projectDescription": ""}
    ).json()
    moved = task.replace(user.project()["projectId"], project["projectId"])
    assert user.http.get(moved).status_code == 404
    assert user.get(f"/htc/projects/{project['projectId']}/tasks") == {"items": []}


@pytest.mark.parametrize(
    "query",
    [
        "pageSize=0",
        "pageSize=-1",
        "pageSize=x",
        "pageSize=1.5",
        "pageSize=99999999999999999999",
        "pageIndex=x",
        "pageIndex=%00",
        "status=DONE",
        "status=running",
        "viewType=SHORT",
    ],
)
def test_a_query_out_of_bounds_is_400(user, query):
    answer = user.http.get(f"{user.new_task()}/jobs?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["errorDescription"]


@pytest.mark.parametrize(
    ("operation", "parameter"),
    [
        (operation, parameter["name"])
        for operation in SPEC.operations
        for parameter in operation.parameters
        if parameter["in"] == "query" and operation.method == "GET"
    ],
    ids=lambda value: value if isinstance(value, str) else value.operation_id,
)
def test_a_query_parameter_that_is_empty_counts_as_absent(user, operation, parameter):
    job, path = user.run(["true"], group="g")
    task = path.rpartition("/jobs/")[0]
    ids = {"projectId": job["projectId"], "taskId": job["taskId"], "jobId": job["jobUUID"]}
    path = operation.path.format(**ids)
    absent, *empty = [
        user.http.get(f"{path}{query}") for query in ("", f"?{parameter}=", f"?{parameter}=&x=")
    ]
    for answer in empty:
        assert (answer.status_code, answer.json()) == (absent.status_code, absent.json())
    assert absent.status_code == (400 if parameter == "filePath" else 200)
    if parameter in ("group", "jobId") and operation.operation_id != "listGroups":
        arguments = user.get(f"{path}?{parameter}=&{parameter}=none")  # among others it is none
        assert arguments == {"items": []}
    assert user.get(task)["lifecycleStatus"] == "ACTIVE"


def test_an_empty_group_of_a_submission_or_cancellation_is_none(user, until):
    task = user.new_task()
    answer = user.http.post(f"{task}/jobs/batch?group=", json=[REQUEST])
    assert answer.json()[0]["group"]
    (job_id,) = user.submit(task, ["sleep", "600"], group="g")
    until(lambda: user.job(task, job_id)["status"] == "RUNNING", "it runs")
    assert user.http.post(f"{task}/jobs/cancel?group=").status_code == 200
    assert user.wait(task, job_id)["statusReason"] == "cancelled by user"


def test_an_empty_page_index_is_not_passed_on(user):
    task = user.new_task()
    user.submit(task, size=2)
    following = user.get(f"{task}/jobs?pageIndex=&status=&group=&pageSize=1")["next"]
    assert {*httpx.URL(following).params} == {"pageIndex", "pageSize"}


@pytest.mark.parametrize("query", ["pageSize=10001", "pageSize=0", "sort=up", "pageIndex=-1"])
def test_a_query_for_logs_out_of_bounds_is_400(user, query):
    _, job = user.run(["true"])
    assert user.http.get(f"{job}/logs?{query}").status_code == 400
    assert user.http.get(f"{job}/logs?pageSize=10000").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"[]", b"[{}]", b'"\xff"', b"[" * 100_000, b"1e999", b"{}"),
        b'[{"htcJobDefinition": {"imageName": "image", "commands": ["true", "\\u0000"]}}]',
    ],
)
def test_a_body_that_is_no_submission_is_400(user, body):
    answer = user.http.post(f"{user.new_task()}/jobs/batch", content=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"errorType", "errorDescription"}


def test_a_body_that_is_too_large_is_413(user):
    path = f"{user.new_task()}/jobs/batch"
    assert user.http.post(path, content=b" " * (MAX_BODY_BYTES + 1)).status_code == 413


def test_all_problems_of_a_submission_are_reported_and_no_environment_value(user):
    wrong = {
        "batchSize": 1001,
        "htcJobDefinition": {
            "imageName": "No Image",
            "maxVCpus": 0,
            "envs": [{"name": "RESCALE_HTC_REGION", "value": "s3cret"}, {"value": 48151623}],
        },
    }
    task = user.new_task()
    answer = user.send_batch(task, REQUEST, wrong)
    assert answer.status_code == 400
    description = answer.json()["errorDescription"]
    for place in (
        "[1].batchSize",
        "[1].htcJobDefinition.imageName",
        "[1].htcJobDefinition.maxVCpus",
        "[1].htcJobDefinition.envs[0].name",
        "[1].htcJobDefinition.envs[1].name",
        "[1].htcJobDefinition.envs[1].value",
    ):
        assert place in description
    assert "s3cret" not in description
    assert "48151623" not in description
    assert user.get(f"{task}/jobs") == {"items": []}


def test_fields_that_the_service_does_not_have_are_ignored(user):
    """1.1.0 sends `region`, and Python names differ from the service's."""
    definition = {**REQUEST["htcJobDefinition"], "max_vcpus": 2}
    request = {"region": "AWS_MOON_1", "htcJobDefinition": definition}
    task = user.new_task()
    (batch,) = user.send_batch(task, request).json()
    assert "region" not in batch
    assert "maxVCpus" not in user.job(task, f"{batch['parentJobId']}:0")


def test_more_than_a_hundred_requests_are_rejected(user):
    task = user.new_task()
    assert user.send_batch(task, *[REQUEST] * 101).status_code == 400
    assert user.send_batch(task).status_code == 400
    assert user.get(f"{task}/jobs") == {"items": []}


# ---- projects, tasks and images


def test_the_first_call_finds_a_project_of_one_region(user):
    project = models.HTCProject.model_validate(user.project())
    assert project.regions == ["AWS_US_EAST_1"]
    assert user.get(f"/htc/projects/{project.project_id}") == user.project()
    assert user.get("/htc/projects", onlyMyProjects="true")["items"]
    assert user.http.get("/htc/projects?onlyMyProjects=maybe").status_code == 400


@pytest.mark.parametrize(
    ("requested", "regions"),
    [
        ({}, ["AWS_US_EAST_1"]),
        ({"regions": []}, ["AWS_US_EAST_1"]),
        ({"regions": ["GCP_US_EAST_1", "RC_ICELAND_1"]}, ["GCP_US_EAST_1", "RC_ICELAND_1"]),
        (
            {
                "regionSettings": [
                    {
                        "computeSettings": {"computeRegion": "AZURE_EU_NORTH"},
                        "storageSettings": {"storageRegion": "AWS_EU_NORTH_1"},
                    }
                ]
            },
            ["AZURE_EU_NORTH"],
        ),
    ],
)
def test_a_project_has_the_regions_it_was_made_with(user, requested, regions):
    body = {"projectName": "p", "projectDescription": "d", **requested}
    project = user.http.post("/htc/projects", json=body).json()
    assert project["regions"] == regions
    compute = [s["computeSettings"]["computeRegion"] for s in project["regionSettings"]]
    assert compute == regions
    assert user.get(f"/htc/projects/{project['projectId']}") == project
    assert project in user.items("/htc/projects", pageSize=1)


def test_a_project_of_an_unknown_region_is_rejected(user):
    body = {"projectName": "p", "projectDescription": "d", "regions": ["AWS_MOON_1"]}
    answer = user.http.post("/htc/projects", json=body)
    assert answer.status_code == 400
    assert "AWS_MOON_1" in answer.json()["errorDescription"]


def test_a_deleted_task_can_be_read_and_takes_no_jobs(user):
    task = user.new_task()
    user.submit(task)
    user.wait_for_all(task)
    deleted = user.http.delete(task).json()
    assert deleted["lifecycleStatus"] == "DELETED"
    assert models.HTCTask.model_validate(deleted).deleted_at is not None
    assert user.get(task) == deleted
    assert deleted in user.items(task.rpartition("/")[0])
    assert user.http.delete(task).json() == deleted
    assert user.send_batch(task, REQUEST).status_code == 400


def test_deleting_a_task_cancels_its_jobs_and_removes_its_folder(user, until):
    task = user.new_task()
    jobs = user.submit(task, ["sh", "-c", 'echo "$TASK_SHARED_FOLDER"; sleep 600'], size=4)
    (folder,) = until(lambda: user.log(f"{task}/jobs/{jobs[0]}"), "the job wrote")
    assert Path(folder).is_dir()
    user.http.delete(task)
    for job_id in jobs:
        assert user.wait(task, job_id)["statusReason"] == "cancelled by user"
    tasks, name = os.path.split(folder)
    until(lambda: not [*Path(tasks).glob(f"{name}*")], "the folder was removed")


def test_images_are_ready_by_default(emulator, user):
    images = f"/htc/projects/{user.project()['projectId']}/container-registry/images"
    assert user.get(f"{images}/solvers/cfd:2.4") == {"status": "READY"}
    assert user.http.get(f"{images}/Not%20an%20image").status_code == 400
    task = user.new_task()
    request = {"htcJobDefinition": {"imageName": "team/rehearsed:1", "commands": ["true"]}}

    emulator.set_image_status("team/rehearsed:1", "PENDING")
    assert user.get(f"{images}/team/rehearsed:1") == {"status": "PENDING"}
    assert user.send_batch(task, REQUEST, request).status_code == 400

    emulator.set_image_status("team/rehearsed:1", "UNKNOWN")
    for answer in (
        user.http.get(f"{images}/team/rehearsed:1"),
        user.send_batch(task, REQUEST, request),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"] == "IMAGE_UNAVAILABLE"
        assert set(answer.json()) == {"error", "message"}
    assert user.get(f"{task}/jobs") == {"items": []}

    emulator.set_image_status("team/rehearsed:1", "READY")
    assert user.send_batch(task, request).status_code == 200


# ---- submissions


def test_a_submission_is_answered_with_itself_and_the_read_only_fields(user):
    task = user.new_task()
    request = {
        "jobName": "sweep",
        "batchSize": 3,
        "regions": ["AWS_US_EAST_1"],
        "tags": [{"key": "a", "value": "b"}],
        "htcJobDefinition": {
            "imageName": "solvers/cfd:2.4",
            "commands": ["true"],
            "maxVCpus": 2,
            "envs": [{"name": "A", "value": "ä"}],
            "tags": {"x": "y"},
            "architecture": "X86",
            "execTimeoutSeconds": 60,
        },
    }
    (batch, single) = user.send_batch(task, request, REQUEST, group="g").json()
    definition = {**request["htcJobDefinition"], "workingDir": None}
    assert {name: batch[name] for name in request if name != "regions"} == {
        **{name: request[name] for name in request if name != "regions"},
        "htcJobDefinition": definition,
    }
    assert "regions" not in batch
    assert (batch["group"], batch["cloudProvider"]) == ("g", "AWS")
    assert task.endswith(f"/{batch['projectId']}/tasks/{batch['taskId']}")
    assert batch["rescaleTimeReceived"].endswith("Z")
    assert single["batchSize"] == 1
    assert single["parentJobId"] != batch["parentJobId"]
    models.HTCJobBatch.model_validate(batch)

    expected = [f"{batch['parentJobId']}:{i}" for i in range(3)] + [f"{single['parentJobId']}:0"]
    assert [job["jobUUID"] for job in user.items(f"{task}/jobs")] == expected
    job = user.job(task, expected[0])
    for name in ("imageName", "commands", "maxVCpus", "envs", "architecture"):
        assert job[name] == definition[name]
    assert job["tags"] == [{"key": "x", "value": "y"}]
    left_out = {field.alias or name for name, field in models.HTCJob.model_fields.items()} - {*job}
    assert left_out <= {"maxMemory", "maxDiskGiB", "providerJobId", "jobExecutionEnvironment"}


def test_without_a_group_every_call_gets_one_of_its_own(user):
    task = user.new_task()
    first = user.send_batch(task, REQUEST, REQUEST).json()
    second = user.send_batch(task, REQUEST).json()
    assert first[0]["group"] == first[1]["group"] != second[0]["group"]


def test_regions_are_the_projects_and_jobs_are_spread_over_them(user):
    regions = ["GCP_US_EAST_1", "AWS_EU_NORTH_1"]
    body = {"projectName": "p", "projectDescription": "d", "regions": regions}
    task = user.new_task(user.http.post("/htc/projects", json=body).json()["projectId"])
    spread = user.send_batch(task, {**REQUEST, "batchSize": 4}).json()[0]
    assert spread["cloudProvider"] == "GCP"
    assert [job["region"] for job in user.items(f"{task}/jobs")] == regions * 2
    batch = user.send_batch(task, {**REQUEST, "batchSize": 2, "regions": regions[1:]}, group="one")
    assert batch.json()[0]["cloudProvider"] == "AWS"
    assert {job["region"] for job in user.items(f"{task}/jobs", group="one")} == {regions[1]}
    assert user.wait_for_all(task)["SUCCEEDED"] == 6
    labels = [job["instanceLabels"] for job in user.items(f"{task}/jobs")]
    assert [(label["csp"], label["region"]) for label in labels[:2]] == [
        ("GCP", "GCP_US_EAST_1"),
        ("AWS", "AWS_EU_NORTH_1"),
    ]
    wrong = [["RC_ICELAND_1"], regions, [regions[0], "AWS_MOON_1"]]
    answer = user.send_batch(task, *({**REQUEST, "regions": arguments} for arguments in wrong))
    assert answer.status_code == 400
    for problem in ("[0].regions", "RC_ICELAND_1", "[2].regions", "AWS_MOON_1"):
        assert problem in answer.json()["errorDescription"]
    twice = user.send_batch(task, {**REQUEST, "regions": regions[:1] * 2})
    assert twice.status_code == 400


# ---- listings


def test_jobs_are_filtered_by_group_status_and_id(user):
    task = user.new_task()
    good = user.submit(task, ["true"], group="good", size=3)
    bad = user.submit(task, ["false"], group="bad", size=2)
    user.wait_for_all(task)

    def listed(**query):
        return [job["jobUUID"] for job in user.items(f"{task}/jobs", **query)]

    assert listed() == good + bad
    assert listed(group="good") == good
    assert listed(group="none") == []
    assert listed(status="FAILED") == bad
    assert listed(status="POD_FAILED") == []
    assert listed(status="FAILED", group="good") == []
    assert listed(jobId=[bad[0], good[1], "none:0"]) == [good[1], bad[0]]
    assert listed(jobId=good, status="SUCCEEDED", group="good", pageSize=1) == good


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_pages_hold_everything_once_in_order_and_the_last_has_no_next(user, size):
    task = user.new_task()
    jobs = user.submit(task, size=7)
    pages = list(user.pages(f"{task}/jobs", pageSize=size))
    assert [job["jobUUID"] for page in pages for job in page] == jobs
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert pages[-1]


def test_jobs_that_arrive_and_end_while_a_listing_is_read_do_not_shift_it(user):
    """The position in a listing is a cursor, not an offset."""
    task = user.new_task()
    first = user.submit(task, ["false"], size=2)
    user.wait_for_all(task)
    pages = user.pages(f"{task}/jobs", status="FAILED", pageSize=1)
    assert [job["jobUUID"] for job in next(pages)] == first[:1]
    late = user.submit(task, ["false"], size=1)
    user.wait_for_all(task)
    assert [job["jobUUID"] for page in pages for job in page] == [*first[1:], *late]


def test_the_next_address_carries_every_parameter_once(user):
    task = user.new_task()
    jobs = user.submit(task, size=4, group="a b&c")
    path = f"{task}/jobs?pageSize=9&viewType=SIMPLE&group=a+b%26c&pageSize=2&" + "&".join(
        f"jobId={job_id}" for job_id in jobs
    )
    url = httpx.URL(user.get(path)["next"])
    assert str(url).startswith(f"{user.url}{task}/jobs?")
    assert sorted(url.params.multi_items()) == [
        ("group", "a b&c"),
        *(("jobId", job_id) for job_id in jobs),
        ("pageIndex", url.params["pageIndex"]),
        ("pageSize", "2"),
        ("viewType", "SIMPLE"),
    ]
    assert [job["jobUUID"] for job in user.get(str(url))["items"]] == jobs[2:]


def test_the_next_address_uses_the_name_that_the_caller_used(user):
    task = user.new_task()
    user.submit(task, size=2)
    port = httpx.URL(user.url).port
    answer = user.http.get(f"{task}/jobs?pageSize=1", headers={"Host": f"localhost:{port}"})
    assert answer.json()["next"].startswith(f"http://localhost:{port}/api/v1{task}/jobs?")


def test_a_page_has_100_jobs_by_default_and_1000_at_most(user):
    task = user.new_task()
    user.submit(task, size=1000)
    user.submit(task, size=1)
    assert len(user.get(f"{task}/jobs")["items"]) == 100
    assert len(user.get(f"{task}/jobs", pageSize=5000)["items"]) == 1000
    user.http.post(f"{task}/jobs/cancel")
    user.wait_for_all(task)


def test_a_simple_listing_leaves_out_what_is_long(user):
    task = user.new_task()
    (job_id,) = user.submit(task, envs=[{"name": "A", "value": "b"}])
    user.wait(task, job_id)
    full = user.get(f"{task}/jobs", viewType="FULL")["items"][0]
    simple = user.get(f"{task}/jobs", viewType="SIMPLE")["items"][0]
    assert set(full) - set(simple) == {
        *("commands", "envs", "tags", "instanceLabels", "jobExecutionEnvironment")
    }
    assert simple.items() <= full.items()
    assert full == user.job(task, job_id)


def test_the_summary_counts_seven_statuses(user):
    task = user.new_task()
    user.submit(task, ["true"], size=3)
    user.submit(task, ["false"], size=2)
    counts = user.wait_for_all(task)
    assert counts == {
        "SUBMITTED_TO_RESCALE": 0,
        "SUBMITTED_TO_PROVIDER": 0,
        "RUNNABLE": 0,
        "STARTING": 0,
        "RUNNING": 0,
        "SUCCEEDED": 3,
        "FAILED": 2,
    }


def test_awkward_text_comes_back_as_it_was_sent(user):
    name = 'ä"\\\n\u2028\x00😀'
    path = f"/htc/projects/{user.project()['projectId']}/tasks"
    body = json.dumps({"taskName": name, "taskDescription": name})
    task = user.http.post(path, content=body).json()
    assert user.get(f"{path}/{task['taskId']}")["taskName"] == name
    batch = user.send_batch(f"{path}/{task['taskId']}", REQUEST, group=name).json()[0]
    assert batch["group"] == name
    assert len(user.items(f"{path}/{task['taskId']}/jobs", group=name)) == 1
