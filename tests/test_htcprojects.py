"""Projects."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import (
    HtcSession,
    api,
    container_registry,
    htcjobs,
    htcprojects,
    htctasks,
    models,
)
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import (
    HtcException,
    HtcFileError,
    HtcForbiddenError,
    HtcNotFoundError,
    HtcResponseError,
    HtcServerError,
    HtcValidationError,
)

from .service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROJECTS = "GET /htc/projects"


def test_the_emulator_starts_with_a_project_of_one_region(rescale: HtcSession) -> None:
    project = htcprojects.get_projects(rescale)[0]
    assert project.record.regions == ["AWS_US_EAST_1"]
    assert project.record.project_id == project.json["projectId"]
    assert project.record.created_at is not None
    assert project.json["projectId"] in repr(project)


def test_a_project_is_found_by_name_and_by_id(rescale: HtcSession) -> None:
    created = api.post_htc_projects(
        rescale,
        {
            "projectName": "found by name",
            "projectDescription": "",
            "regions": ["GCP_US_EAST_1", "AWS_EU_WEST_1"],
        },
    )
    named = htcprojects.get_project_with_name(rescale, "found by name")
    assert named is not None
    assert named.json["projectId"] == created["projectId"]
    by_id = htcprojects.get_project_with_id(rescale, created["projectId"])
    assert by_id is not None
    assert by_id.record.regions == ["GCP_US_EAST_1", "AWS_EU_WEST_1"]


def test_what_is_not_found_is_none(rescale: HtcSession) -> None:
    assert htcprojects.get_project_with_name(rescale, "the project does not exist") is None
    assert htcprojects.get_project_with_id(rescale, "nor-such-an-id") is None
    with pytest.raises(HtcNotFoundError):
        api.get_htc_projects(rescale, "nor-such-an-id")
    with pytest.raises(HtcValidationError, match="project_id"):
        htcprojects.get_project_with_id(rescale, None)  # type: ignore[arg-type]


def test_a_name_that_several_projects_have_is_an_error(
    service: Service, scripted: HtcSession
) -> None:
    service.on(PROJECTS, Answer({"items": [{"projectName": "a", "projectId": n} for n in "12"]}))
    with pytest.raises(HtcException, match="2 projects are named 'a': 1, 2"):
        htcprojects.get_project_with_name(scripted, "a")


def test_no_projects_are_an_empty_list(service: Service, scripted: HtcSession) -> None:
    """1.1.0 returns None."""
    service.on(PROJECTS, Answer({"items": []}))
    assert htcprojects.get_projects(scripted) == []


def test_an_error_is_not_mistaken_for_nothing_found(service: Service, scripted: HtcSession) -> None:
    service.on("GET /htc/projects/p", Answer(status=500))
    with pytest.raises(HtcServerError):
        htcprojects.get_project_with_id(scripted, "p")


def test_a_record_that_breaks_its_description_is_an_htc_exception(
    service: Service, scripted: HtcSession
) -> None:
    service.on(PROJECTS, Answer({"items": [{"projectId": "p", "regions": 5}]}))
    for project in htcprojects.get_projects(scripted):
        with pytest.raises(HtcResponseError, match="an invalid HTCProject"):
            _ = project.record


# ---- limits, environments, policies, storage


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator for this module only, because the shared one must keep its only project."""
    with Emulator(slots=2) as emulator:
        yield emulator


@pytest.fixture
def own_project(rescale: HtcSession) -> htcprojects.HtcProject:
    """A project for this test only."""
    return htcprojects.create_project(rescale, "own", regions=["AWS_EU_WEST_1"])


def test_a_project_is_created_and_checked_before(
    rescale: HtcSession, own_project: htcprojects.HtcProject, scripted: HtcSession
) -> None:
    assert own_project.record.project_name == "own"
    assert own_project.record.regions == ["AWS_EU_WEST_1"]
    assert htcprojects.create_project(rescale, "any regions").record.regions
    with pytest.raises(HtcValidationError, match=r"project_name: must be a string(.|\n)*regions"):
        htcprojects.create_project(scripted, None, "", ["A", 5])  # type: ignore[arg-type]


def test_regions_are_changed(rescale: HtcSession, own_project: htcprojects.HtcProject) -> None:
    own_project.set_regions(rescale, ["AWS_EU_WEST_1", "GCP_US_EAST_1"])
    assert own_project.record.regions == ["AWS_EU_WEST_1", "GCP_US_EAST_1"]
    again = htcprojects.get_project_with_id(rescale, own_project.json["projectId"])
    assert again is not None
    assert again.json["regions"] == own_project.json["regions"]
    with pytest.raises(HtcValidationError, match="regions: must be a list without duplicates"):
        own_project.set_regions(rescale, ["AWS_EU_WEST_1"] * 2)


def test_limits_are_set_by_role_and_deleted_one_by_one_or_all(
    rescale: HtcSession, own_project: htcprojects.HtcProject
) -> None:
    assert own_project.get_limits(rescale) == []
    first = own_project.set_vcpu_limit(rescale, "PROJECT_ADMIN", 10)
    assert (first["vCPUs"], first["modifierRole"]) == (10, "PROJECT_ADMIN")
    own_project.set_vcpu_limit(rescale, "PROJECT_ADMIN", 20)
    second = own_project.set_vcpu_limit(rescale, models.ModifierRole.WORKSPACE_ADMIN, 30)
    limits = own_project.get_limits(rescale)
    assert sorted(limit["vCPUs"] for limit in limits) == [20, 30]

    assert own_project.update_limit(rescale, second["id"], 40).vcpus == 40
    found = own_project.get_limit(rescale, second["id"])
    assert found is not None
    assert (found.vcpus, found.modifier_role) == (40, "WORKSPACE_ADMIN")
    assert own_project.get_limit(rescale, 10**6) is None
    with pytest.raises(HtcValidationError, match="vcpu_limit: must be an integer from 0"):
        own_project.update_limit(rescale, second["id"], -1)
    own_project.delete_limit(rescale, second["id"])
    assert [limit["vCPUs"] for limit in own_project.get_limits(rescale)] == [20]
    own_project.delete_all_limits(rescale)
    assert own_project.get_limits(rescale) == []


@pytest.mark.parametrize(
    ("role", "limit", "problems"),
    [
        ("ADMIN", 1, ["modifier_role"]),
        ("PROJECT_ADMIN", 0, ["vcpu_limit"]),
        (None, "5", ["vcpu_limit", "modifier_role"]),
        ("PROJECT_ADMIN", 1_000_000, ["vcpu_limit"]),
    ],
)
def test_a_limit_is_checked_before_it_is_sent(
    service: Service, scripted: HtcSession, role: Any, limit: Any, problems: list[str]
) -> None:
    with pytest.raises(HtcValidationError) as info:
        htcprojects.HtcProject({"projectId": "p"}).set_vcpu_limit(scripted, role, limit)
    assert [problem.where for problem in info.value.problems] == problems
    assert not service.requests


@pytest.mark.parametrize("limit_id", [None, "", "x", "1/2", "1.0", "²", True, 1.0])
def test_all_limits_can_not_be_deleted_by_passing_something_else(
    service: Service, scripted: HtcSession, limit_id: Any
) -> None:
    """In 1.1.0, None deletes all of them."""
    with pytest.raises(HtcValidationError, match="id: must be an integer"):
        api.delete_htc_projects_limits(scripted, "p", limit_id)
    with pytest.raises(HtcValidationError, match="id: must be an integer"):
        htcprojects.HtcProject({"projectId": "p"}).delete_limit(scripted, limit_id)
    assert not service.requests


def test_a_limit_s_id_may_be_a_string_or_any_integer(
    service: Service, scripted: HtcSession
) -> None:
    """1.1.0 inserts any value into the path."""

    class Integer:  # like numpy's integers
        def __index__(self) -> int:
            return 7

    path = "/htc/projects/p/limits/7"
    service.on(f"GET {path}", Answer({"id": 7, "vCPUs": 1}))
    service.on(f"PATCH {path}", Answer({"id": 7, "vCPUs": 2}))
    service.on(f"DELETE {path}", Answer())
    project = htcprojects.HtcProject({"projectId": "p"})
    ids: list[Any] = [7, "7", Integer()]
    for limit_id in ids:
        assert api.get_htc_projects_limits(scripted, "p", limit_id)["id"] == 7
        assert api.patch_htc_projects_limits(scripted, "p", limit_id, {"vCPUs": 2})["vCPUs"] == 2
        api.delete_htc_projects_limits(scripted, "p", limit_id)
        found = project.get_limit(scripted, limit_id)
        assert found is not None
        assert project.update_limit(scripted, limit_id, 2).vcpus == 2
        project.delete_limit(scripted, limit_id)


def test_environments_that_the_service_answered_can_be_sent_back(
    service: Service, scripted: HtcSession
) -> None:
    """The environments have fields that only the service sets, and maybe unknown fields."""
    answered = {
        "machineType": "m",
        "region": "AWS_EU_WEST_1",
        "derived": {"vCPUs": 4},
        "addedLater": {"a": 1},
    }
    dimensions = "/htc/projects/p/dimensions"
    service.on(f"GET {dimensions}", Answer([answered]))
    service.on(f"PUT {dimensions}", Answer([answered]))
    project = htcprojects.HtcProject({"projectId": "p"})
    project.set_dimensions(scripted, api.get_htc_projects_dimensions(scripted, "p"))
    [request] = service.requests_to(f"PUT {dimensions}")
    assert request.json == [{"machineType": "m", "region": "AWS_EU_WEST_1"}]


def test_environments_are_replaced(
    rescale: HtcSession, own_project: htcprojects.HtcProject
) -> None:
    environment = models.HTCComputeEnvironmentUpdate(
        machine_type="t2d-standard-16", priority=models.JobPriority.ON_DEMAND_ECONOMY
    )
    own_project.set_dimensions(rescale, [environment, {"machineType": "c7g.medium"}])
    found = own_project.get_dimensions(rescale)
    assert [item.machine_type for item in found] == ["t2d-standard-16", "c7g.medium"]
    assert own_project.set_dimensions(rescale, []) == []
    with pytest.raises(HtcValidationError, match=r"dimensions\[1\]\.machinetype: is not a field"):
        own_project.set_dimensions(rescale, [environment, {"machinetype": "x"}])


def test_a_retention_policy_is_set_and_deleted(
    rescale: HtcSession, own_project: htcprojects.HtcProject
) -> None:
    assert own_project.get_retention_policy(rescale) is None
    policy = own_project.set_retention_policy(rescale, 168, 24)
    assert (policy.archive_after, policy.delete_after) == (168, 24)
    found = own_project.get_retention_policy(rescale)
    assert found is not None
    assert found.archive_after == 168
    own_project.delete_retention_policy(rescale)
    assert own_project.get_retention_policy(rescale) is None


def test_storage_tokens_say_when_they_expire(
    rescale: HtcSession, own_project: htcprojects.HtcProject
) -> None:
    token = own_project.get_storage_token(rescale)
    assert token.expiration is not None
    assert token.expiration > datetime.now(UTC)
    assert token.credentials
    assert str(token.credentials) not in repr(token)
    assert own_project.get_storage_token(rescale, "AWS_EU_WEST_1").region == "AWS_EU_WEST_1"
    stores = own_project.get_storage_tokens(rescale).region_stores
    assert stores
    assert [store.region for store in stores] == ["AWS_EU_WEST_1"]
    with pytest.raises(HtcNotFoundError):
        own_project.get_storage_token(rescale, "GCP_US_EAST_1")


@pytest.mark.parametrize("content", [b"", b"x" * 300_000], ids=["empty", "large"])
def test_a_file_is_uploaded_to_where_jobs_see_it(
    rescale: HtcSession,
    own_project: htcprojects.HtcProject,
    tmp_path: Path,
    until: Callable[[Callable[[], bool]], None],
    content: bytes,
) -> None:
    (tmp_path / "mesh").write_bytes(content)
    own_project.upload_file(rescale, tmp_path / "mesh", "input/mesh 1.dat")
    task = htctasks.create_task_with_name(rescale, own_project, "reads it")
    task.upload_file(rescale, str(tmp_path / "mesh"), "mesh")
    job = htcjobs.create_single_job(
        rescale,
        task,
        "ON_DEMAND_ECONOMY",
        "image",
        60,
        commands=[
            "sh",
            "-c",
            'wc -c < "$PROJECT_SHARED_FOLDER/input/mesh 1.dat"; wc -c < $TASK_SHARED_FOLDER/mesh',
        ],
    )
    until(lambda: not job.is_still_running(rescale))
    assert [int(line) for line in job.get_logs(rescale)] == [len(content)] * 2


def test_an_upload_takes_no_credential_along_and_shows_no_address(
    service: Service, scripted: HtcSession, tmp_path: Path
) -> None:
    (tmp_path / "mesh").write_bytes(b"abc")
    url = f"{service.origin}/bucket/mesh?signature=s3cret"
    service.on("GET /htc/projects/p/storage/presigned-url", Answer({"url": url}))
    service.on("PUT /bucket/mesh", Answer(), Answer({"error": "Expired"}, 403))
    project = htcprojects.HtcProject({"projectId": "p"})
    project.upload_file(scripted, tmp_path / "mesh", "mesh")
    sent = service.requests_to("PUT /bucket/mesh")[0]
    assert sent.body == b"abc"
    assert "authorization" not in sent.headers
    with pytest.raises(HtcForbiddenError, match="upload failed with HTTP 403") as info:
        project.upload_file(scripted, tmp_path / "mesh", "mesh")
    assert "s3cret" not in str(info.value)
    assert "s3cret" not in repr(project.get_presigned_url(scripted, "mesh"))


def test_a_file_that_can_not_be_read_is_named(
    service: Service, scripted: HtcSession, tmp_path: Path
) -> None:
    with pytest.raises(HtcFileError, match=r"nowhere.* can't be read"):
        htcprojects.HtcProject({"projectId": "p"}).upload_file(scripted, tmp_path / "nowhere", "x")
    with open(os.devnull, "rb") as other:  # noqa: PTH123
        for name in ("a\0b", None, other.fileno()):
            with pytest.raises(HtcFileError, match="can't be read"):
                htcprojects.HtcProject({"projectId": "p"}).upload_file(scripted, name, "x")  # type: ignore[arg-type]
        os.fstat(other.fileno())  # still open
    assert not service.requests


@pytest.mark.parametrize(
    "call",
    [
        lambda r, p: p.get_limits(r),
        lambda r, p: p.get_storage_token(r),
        lambda r, p: htctasks.get_tasks(r, p),
        lambda r, p: htctasks.create_task_with_name(r, p, "t"),
        lambda r, p: htctasks.HtcTask({"projectId": "p"}, p).get_task_summary(r),
        lambda r, p: htcjobs.get_jobs(r, htctasks.HtcTask({}, p)),
        lambda r, p: container_registry.get_container_registry(r, p).get_repos(r),
    ],
)
def test_an_object_without_its_id_is_an_htc_exception(
    service: Service, scripted: HtcSession, call: Any
) -> None:
    with pytest.raises(HtcException):
        call(scripted, htcprojects.HtcProject({}))
    assert not service.requests


@pytest.mark.parametrize("wrong", [None, 5, "AWS_EU_WEST_1"])
def test_an_invalid_list_is_rejected(service: Service, scripted: HtcSession, wrong: Any) -> None:
    project = htcprojects.HtcProject({"projectId": "p"})
    with pytest.raises(HtcValidationError, match="regions: must be a list"):
        project.set_regions(scripted, wrong)
    with pytest.raises(HtcValidationError, match="dimensions: must be a list"):
        project.set_dimensions(scripted, wrong)
    assert not service.requests


@pytest.mark.parametrize("url", [None, {"protocol": "https"}])
def test_an_answer_without_an_address_is_an_htc_exception(
    service: Service, scripted: HtcSession, tmp_path: Path, url: object
) -> None:
    (tmp_path / "mesh").touch()
    service.on("GET /htc/projects/p/storage/presigned-url", Answer({"url": url}))
    with pytest.raises(HtcResponseError, match="getProjectPresignedUrl"):
        htcprojects.HtcProject({"projectId": "p"}).upload_file(scripted, tmp_path / "mesh", "x")
