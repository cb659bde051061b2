"""Workspaces and cloud providers."""

from __future__ import annotations

import json

import pytest

from rescalehtc import HtcSession, api, htcworkspaces, models
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcResponseError, HtcValidationError

from .service import Answer, Service


@pytest.fixture
def workspace(rescale: HtcSession) -> htcworkspaces.HtcWorkspace:
    return htcworkspaces.get_workspace(rescale)


def test_the_workspace_is_the_session_s(
    rescale: HtcSession, workspace: htcworkspaces.HtcWorkspace
) -> None:
    claims = rescale.get_bearer_token().payload
    assert workspace.record.workspace_id == claims["workspaceId"]
    assert workspace.record.workspace_name == claims["workspaceName"]
    assert claims["workspaceId"] in repr(workspace)


def test_claims_in_a_string_are_taken(scripted: HtcSession, service: Service) -> None:
    """In old descriptions, the response is a string, which 1.1.0 returned unchanged."""
    text = json.dumps({"workspaceId": "w", "workspaceName": "wing"})
    service.on("GET /auth/token/whoami", Answer(text))
    assert api.get_auth_token_whoami(scripted) == text
    assert htcworkspaces.get_workspace(scripted).record.workspace_name == "wing"


@pytest.mark.parametrize("answer", ["no JSON", "[1]", '"text"', [], None, 1, "[" * 10**5])
def test_an_answer_without_claims_is_an_error(
    scripted: HtcSession, service: Service, answer: object
) -> None:
    service.on("GET /auth/token/whoami", Answer(b"null" if answer is None else answer))
    with pytest.raises(HtcResponseError, match="getTokenPayload"):
        htcworkspaces.get_workspace(scripted)


def test_its_limit_and_policy_are_none_until_there_are_any() -> None:
    """On an emulator for this test only, because they apply to all projects."""
    with Emulator() as emulator, emulator.session() as rescale:
        workspace = htcworkspaces.get_workspace(rescale)
        assert workspace.get_limit(rescale) is None
        emulator.set_workspace_limit(5000)
        limit = workspace.get_limit(rescale)
        assert limit is not None
        assert limit.vcpus == 5000
        emulator.set_workspace_limit(None)
        assert workspace.get_limit(rescale) is None
        assert workspace.get_retention_policy(rescale) is None


def test_its_retention_policy_can_be_set(
    rescale: HtcSession, workspace: htcworkspaces.HtcWorkspace
) -> None:
    policy = workspace.set_retention_policy(rescale, archive_after_hours=0, delete_after_hours=0)
    assert (policy.archive_after, policy.delete_after) == (0, 0)
    found = workspace.get_retention_policy(rescale)
    assert found is not None
    assert found.created_at is not None
    assert found.archive_after == 0


def test_a_retention_policy_is_checked_before_it_is_sent(
    scripted: HtcSession, service: Service
) -> None:
    workspace = htcworkspaces.HtcWorkspace({"workspaceId": "w"})
    with pytest.raises(HtcValidationError) as info:
        workspace.set_retention_policy(scripted, -1, "24")  # type: ignore[arg-type]
    assert dict(info.value.problems) == {
        "archive_after_hours": "must be an integer of at least 0, got int",
        "delete_after_hours": "must be an integer of at least 0, got str",
    }
    assert not service.requests


def test_a_policy_that_is_not_set_is_none(scripted: HtcSession) -> None:
    workspace = htcworkspaces.HtcWorkspace({"workspaceId": "w"})
    assert workspace.get_retention_policy(scripted) is None


def test_what_the_clouds_offer(rescale: HtcSession, workspace: htcworkspaces.HtcWorkspace) -> None:
    regions = workspace.get_regions(rescale)
    assert models.RescaleRegion.AWS_US_EAST_1 in [region.region for region in regions]
    clouds = {region.cloud_provider for region in workspace.get_regions(rescale, "GCP")}
    assert clouds == {"GCP"}
    assert all(region.enabled for region in workspace.get_regions(rescale, enabled=True))
    first_region = workspace.get_region(rescale, "AWS_US_EAST_1")
    assert first_region is not None
    assert first_region.cloud_provider == "AWS"
    assert workspace.get_region(rescale, "AWS_MARS_1") is None
    assert all(storage.storage_name for storage in workspace.get_storages(rescale))
    storage = workspace.get_storage(rescale, "AWS_US_EAST_1")
    assert storage is not None
    assert storage.region == "AWS_US_EAST_1"
    assert workspace.get_storage(rescale, "AWS_MARS_1") is None
    assert workspace.get_dimensions(rescale)
    assert workspace.get_gcp_clusters(rescale).clusters is not None


def test_metrics_are_text(rescale: HtcSession, workspace: htcworkspaces.HtcWorkspace) -> None:
    assert workspace.get_metrics(rescale).endswith("# EOF\n")


@pytest.mark.parametrize("answer", [{"name": "a resource"}, 5])
def test_another_answer_than_regions_is_an_htc_exception(
    service: Service, scripted: HtcSession, answer: object
) -> None:
    """The published description has one, and the raw function returns it."""
    service.on("GET /htc/regions", Answer(answer))
    with pytest.raises(HtcResponseError, match="listRegions"):
        htcworkspaces.HtcWorkspace({"workspaceId": "w"}).get_regions(scripted)


def test_a_token_that_names_no_workspace_is_an_htc_exception(scripted: HtcSession) -> None:
    with pytest.raises(HtcResponseError, match="no workspace id"):
        htcworkspaces.HtcWorkspace({}).get_limit(scripted)
