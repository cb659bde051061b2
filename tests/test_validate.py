"""All problems of a payload, without submitting it: alone, with a project, with a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks, models
from rescalehtc.exceptions import HtcValidationError

from .service import Answer, Service

if TYPE_CHECKING:
    from rescalehtc.emulator import Emulator

PROJECT = htcprojects.HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
DIMENSIONS = "GET /htc/projects/p/dimensions"
IMAGE = "GET /htc/projects/p/container-registry/images/image"


def request(definition: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"htcJobDefinition": {"imageName": "image", **(definition or {})}, **more}


def test_a_right_payload_has_no_problems() -> None:
    payload = [request(), models.HTCJobSubmitRequest.model_validate(request(batchSize=2))]
    assert htcjobs.validate(payload) == []
    assert htcjobs.validate(payload, PROJECT) == []


def test_all_problems_are_listed_with_their_places() -> None:
    payload = [request({"maxVCpus": 65}, batchSize=0), request(), request({"nonsense": 1})]
    found = htcjobs.validate(payload)
    assert [problem.where for problem in found] == [
        "[0].batchSize",
        "[0].htcJobDefinition.maxVCpus",
        "[2].htcJobDefinition.nonsense",
    ]
    assert "an integer from 1 to 64, got 65" in found[1].message


@pytest.mark.parametrize("payload", [{}, [], None, [None]])
def test_an_invalid_payload_is_a_problem(payload: Any) -> None:
    assert len(htcjobs.validate(payload)) == 1


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        ({1: "a"}, "[0]", "must have strings as its keys"),
        ({"\ud800": "a"}, "[0]", "must not contain text that UTF-8 can't encode"),
        (request({"tags": {1: "a"}}), "[0].htcJobDefinition.tags", "must have strings as its keys"),
        (request({"tags": {"[key]": 1}}), "[0].htcJobDefinition.tags.[key]", "must be a string"),
        (request(batchSize=10**12), "[0].batchSize", "must be an integer from 1 to 1000"),
    ],
)
def test_keys_and_sizes_without_sense_are_problems(value: Any, where: str, message: str) -> None:
    found = htcjobs.validate([value])[-1]
    assert found.where == where
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("definition", "where"),
    [
        ({"commands": ["true", "a\0b"]}, "commands[1]"),
        ({"envs": [{"name": "A", "value": "a\0b"}]}, "envs[0].value"),
        ({"envs": {"A": "a\0b"}}, "envs.A"),
        ({"workingDir": "a\0b"}, "workingDir"),
        ({"imageName": "a\0b"}, "imageName"),
    ],
)
def test_text_for_the_operating_system_has_no_nul(definition: dict[str, Any], where: str) -> None:
    [problem] = htcjobs.validate([request(definition)])
    assert str(problem) == f"[0].htcJobDefinition.{where}: must not contain the character NUL"


@pytest.mark.parametrize(
    "payload",
    [
        [request(jobName=5)] * 1500,
        [request({"commands": [1] * 1500})],
        [request({f"field{index}": 1 for index in range(1500)})],
    ],
)
def test_of_very_many_problems_the_first_are_listed(payload: Any) -> None:
    found = htcjobs.validate(payload)
    assert len(found) == 1001
    assert found[-1] == ("payload", "has more problems than these 1,000")


def test_a_request_with_more_problems_than_can_be_listed_has_one() -> None:
    (found,) = htcjobs.validate([request({"commands": [1] * 30_000})])
    assert found == ("[0]", "has 30,000 problems, too many to list")


def test_regions_are_checked_only_with_a_project() -> None:
    payload = [request(regions=["AWS_US_EAST_1"]), request({"maxVCpus": 0})]
    assert [problem.where for problem in htcjobs.validate(payload)] == [
        "[1].htcJobDefinition.maxVCpus"
    ]
    assert [problem.where for problem in htcjobs.validate(payload, PROJECT)] == [
        "[0].regions[0]",
        "[1].htcJobDefinition.maxVCpus",
    ]


def test_what_is_found_is_what_a_submission_is_rejected_for(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    payload = [request({"maxVCpus": 65}, regions=["AWS_US_EAST_1"])]
    with pytest.raises(HtcValidationError) as info:
        htcjobs.create_job_batch_raw(scripted, scripted_task, payload)
    assert htcjobs.validate(payload, scripted_task.project) == info.value.problems
    assert not service.requests


def test_a_session_needs_a_project(service: Service, scripted: HtcSession) -> None:
    with pytest.raises(HtcValidationError, match="project: must be of type HtcProject"):
        htcjobs.validate([request()], rescale=scripted)
    with pytest.raises(HtcValidationError, match="project: must be of type HtcProject"):
        htcjobs.validate([request()], {"projectId": "p"})  # type: ignore[arg-type]
    assert not service.requests


def test_the_service_is_asked_about_images_and_nothing_is_submitted(
    emulator: Emulator, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    emulator.set_image_status("not-there", "UNKNOWN")
    emulator.set_image_status("copied", "PENDING")
    regions = ["AWS_US_EAST_1"]
    names = ("image", "not-there", "copied", "copied")
    payload = [request({"imageName": name}, regions=regions) for name in names]
    payload.append(request({"imageName": "not-there", "maxVCpus": 65}, regions=regions))
    found = htcjobs.validate(payload, task.project, rescale)
    assert [str(problem) for problem in found[1:]] == [
        "[1].htcJobDefinition.imageName: must be an image of the project; "
        "it does not have an image named not-there",
        "[2].htcJobDefinition.imageName: must be ready: image copied is PENDING",
        "[3].htcJobDefinition.imageName: must be ready: image copied is PENDING",
    ]
    assert found[0].where == "[4].htcJobDefinition.maxVCpus"
    assert htcjobs.get_jobs(rescale, task) == []


ENVIRONMENTS = [
    {
        "region": "AWS_EU_WEST_1",
        "priority": "ON_DEMAND_ECONOMY",
        "machineType": "c7g",
        "derived": {"architecture": "AARCH64", "vCPUs": 16},
    },
    {"region": "AWS_US_EAST_1"},
]


@pytest.mark.parametrize(
    ("definition", "region", "fits"),
    [
        ({}, None, True),
        ({"maxVCpus": 16, "architecture": "AARCH64"}, "AWS_EU_WEST_1", True),
        ({"maxVCpus": 17}, "AWS_EU_WEST_1", False),
        ({"architecture": "X86"}, None, False),
        ({"priority": "ON_DEMAND_PRIORITY"}, None, False),
        ({"priority": "ON_DEMAND_PRIORITY", "maxVCpus": 64}, "AWS_US_EAST_1", True),
        ({}, "AWS_EU_CENTRAL_1", False),
    ],
)
def test_the_projects_computing_environments_must_fit(
    service: Service,
    scripted: HtcSession,
    definition: dict[str, Any],
    region: str | None,
    fits: bool,
) -> None:
    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(DIMENSIONS, Answer(ENVIRONMENTS))
    regions = ["AWS_EU_WEST_1", "AWS_US_EAST_1", "AWS_EU_CENTRAL_1"] if region else None
    project = PROJECT
    if regions:
        project = htcprojects.HtcProject({"projectId": "p", "regions": regions})
    payload = [request(definition, **({"regions": [region]} if region else {}))]
    found = htcjobs.validate(payload, project, scripted)
    assert [problem.where for problem in found] == ([] if fits else ["[0].htcJobDefinition"])
    assert all("computing environment" in problem.message for problem in found)
    service.on(DIMENSIONS, Answer([]))  # no restrictions
    assert htcjobs.validate(payload, project, scripted) == []


def test_an_image_is_requested_once(service: Service, scripted: HtcSession) -> None:
    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(DIMENSIONS, Answer([]))
    assert htcjobs.validate([request()] * 50, PROJECT, scripted) == []
    assert len(service.requests_to(IMAGE)) == 1
