"""Dictionaries that 1.1.0 returned are still dictionaries, and also have typed attributes."""

from __future__ import annotations

import copy
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import container_registry, htcprojects, htctasks, models, records
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcResponseError, NotFetchedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rescalehtc import HtcSession
    from rescalehtc._objects.record_dict import RecordDict
    from rescalehtc.htcprojects import HtcProject


@pytest.fixture(scope="module")
def rescale() -> Iterator[HtcSession]:
    """A session with its own emulator, because the tests set limits."""
    with Emulator() as emulator, emulator.session() as rescale:
        yield rescale


@pytest.fixture
def project(rescale: HtcSession) -> HtcProject:
    return htcprojects.get_projects(rescale)[0]


def check_dictionary(answer: RecordDict[Any], key: str, value: object) -> None:
    assert isinstance(answer, dict)
    assert answer[key] == answer.get(key) == value
    assert key in answer
    assert "nonsense" not in answer
    assert json.loads(json.dumps(answer)) == answer == dict(answer)
    assert repr(answer) == repr(dict(answer))
    for again in (copy.copy(answer), copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
        assert type(again) is type(answer)
        assert again == answer


def test_limits(rescale: HtcSession, project: HtcProject) -> None:
    created = project.set_vcpu_limit(rescale, "PROJECT_ADMIN", 10)
    check_dictionary(created, "vCPUs", 10)
    for limit in (
        created,
        *project.get_limits(rescale),
        project.get_limit(rescale, created["id"]),
    ):
        assert limit is not None
        assert (limit.vcpus, limit.id, limit.modifier_role) == (10, created["id"], "PROJECT_ADMIN")
        assert limit.modifier_role is models.ModifierRole.PROJECT_ADMIN
        assert limit.record == created.record
    changed = project.update_limit(rescale, created["id"], 20)
    assert (changed["vCPUs"], changed.vcpus) == (20, 20)


def test_summaries_and_tasks(rescale: HtcSession, project: HtcProject) -> None:
    task = htctasks.create_task_with_name(rescale, project, "records")
    summary = task.get_task_summary(rescale)
    check_dictionary(summary, "still_running", False)
    assert summary.still_running is False
    assert summary.job_statuses == models.JobStatusCounts.model_validate(summary["jobStatuses"])
    deleted = htctasks.delete_task_with_id(rescale, project, task.json["taskId"])
    assert deleted is not None
    check_dictionary(deleted, "taskName", "records")
    assert (deleted.task_name, deleted.lifecycle_status) == ("records", "DELETED")


def test_images_and_repositories(rescale: HtcSession, project: HtcProject) -> None:
    registry = container_registry.get_container_registry(rescale, project)
    created = registry.create_repo(rescale, "records")
    check_dictionary(created, "repositoryName", "records")
    assert created.repository_name == "records"
    assert isinstance(created.successfully_created, bool)


def test_attributes_say_what_was_not_fetched_or_is_wrong() -> None:
    limit = records.HTCProjectLimitRecord({"vCPUs": 1, "modifierRole": "A_NEW_ROLE"})
    assert limit.modifier_role == "A_NEW_ROLE"
    with pytest.raises(NotFetchedError, match=r"HTCProjectLimit\.created_at was not fetched"):
        _ = limit.created_at
    limit["vCPUs"] = "many"
    with pytest.raises(HtcResponseError, match="invalid HTCProjectLimit: vCPUs"):
        _ = limit.vcpus


@pytest.mark.parametrize("name", records.__all__)
def test_every_field_is_an_attribute_with_its_description(name: str) -> None:
    kind = getattr(records, name)
    model = getattr(models, name.removesuffix("Record"))
    for field in model.model_fields:
        assert isinstance(getattr(kind, field), property)
        assert getattr(kind, field).__doc__
