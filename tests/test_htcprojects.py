"""Projects."""

from __future__ import annotations

import pytest

from rescalehtc import HtcSession, api, htcprojects
from rescalehtc.exceptions import HtcException, HtcNotFoundError, HtcResponseError, HtcServerError

from .service import Answer, Service

PROJECTS = "GET /htc/projects"


def test_the_emulator_starts_with_a_project_of_one_region(rescale: HtcSession) -> None:
    project = htcprojects.get_projects(rescale)[0]
    assert project.record.regions == ["AWS_US_EAST_1"]
    assert project.record.project_id == project.json["projectId"]
    assert project.record.created_at is not None
    assert project.json["projectId"] in repr(project)


def test_a_project_is_found_by_name_and_by_id(rescale: HtcSession) -> None:
    made = api.post_htc_projects(
        rescale,
        {
            "projectName": "found by name",
            "projectDescription": "",
            "regions": ["GCP_US_EAST_1", "AWS_EU_WEST_1"],
        },
    )
    named = htcprojects.get_project_with_name(rescale, "found by name")
    assert named is not None
    assert named.json["projectId"] == made["projectId"]
    by_id = htcprojects.get_project_with_id(rescale, made["projectId"])
    assert by_id is not None
    assert by_id.record.regions == ["GCP_US_EAST_1", "AWS_EU_WEST_1"]


def test_what_is_not_found_is_none(rescale: HtcSession) -> None:
    assert htcprojects.get_project_with_name(rescale, "there is no such project") is None
    assert htcprojects.get_project_with_id(rescale, "nor-such-an-id") is None
    with pytest.raises(HtcNotFoundError):
        api.get_htc_projects(rescale, "nor-such-an-id")


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


def test_an_error_is_not_taken_for_nothing_found(service: Service, scripted: HtcSession) -> None:
    service.on("GET /htc/projects/p", Answer(status=500))
    with pytest.raises(HtcServerError):
        htcprojects.get_project_with_id(scripted, "p")


def test_a_record_that_breaks_its_description_is_an_htc_exception(
    service: Service, scripted: HtcSession
) -> None:
    service.on(PROJECTS, Answer({"items": [{"projectId": 5}, {"projectName": "no id"}, "text"]}))
    for project in htcprojects.get_projects(scripted):
        with pytest.raises(HtcResponseError, match="no valid HTCProject"):
            _ = project.record
