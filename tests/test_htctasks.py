"""Tasks."""

from __future__ import annotations

import pytest

from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks
from rescalehtc.exceptions import (
    HtcBadRequestError,
    HtcResponseError,
    HtcServerError,
    HtcValidationError,
    NotFetchedError,
)

from .service import Answer, Service

TASK = "GET /htc/projects/p/tasks/t"
SUMMARY = "GET /htc/projects/p/tasks/t/summary-statistics"


def test_a_task_is_created_found_and_deleted(
    rescale: HtcSession, project: htcprojects.HtcProject
) -> None:
    task = htctasks.create_task_with_name(rescale, project, "made", "for a test")
    assert (task.record.task_name, task.record.task_description) == ("made", "for a test")
    assert task.record.lifecycle_status == "ACTIVE"
    assert task.project is project
    found = htctasks.get_task_with_id(rescale, project, task.record.task_id)
    assert found is not None
    assert found.json["taskId"] == task.json["taskId"]
    assert found.record.archived_at is None

    deleted = htctasks.delete_task_with_id(rescale, project, task.record.task_id)
    assert deleted is not None
    assert deleted["taskId"] == task.json["taskId"]
    assert task.json["taskId"] not in ids(htctasks.get_tasks(rescale, project))
    assert task.json["taskId"] in ids(htctasks.get_tasks(rescale, project, "any"))


def ids(tasks: list[htctasks.HtcTask]) -> list[str]:
    return [task.json["taskId"] for task in tasks]


def test_names_need_not_be_unique_and_all_of_a_name_are_deleted(
    rescale: HtcSession, project: htcprojects.HtcProject
) -> None:
    name = "two of this name"
    tasks = [htctasks.create_task_with_name(rescale, project, name) for _ in range(2)]
    assert ids(htctasks.get_tasks_with_name(rescale, project, name)) == ids(tasks)
    deleted = htctasks.delete_tasks_with_name(rescale, project, name)
    assert [task["taskId"] for task in deleted] == ids(tasks)
    assert htctasks.get_tasks_with_name(rescale, project, name) == []
    assert htctasks.delete_tasks_with_name(rescale, project, name) == []
    for any_status in ("any", "all", None, "DELETED"):
        found = htctasks.get_tasks_with_name(rescale, project, name, any_status)
        assert ids(found) == ids(tasks)


def test_a_task_deletes_itself(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    assert task.delete_task(rescale) is None
    assert task.json["taskId"] not in ids(htctasks.get_tasks(rescale, task.project))


def test_what_is_not_found_is_none(rescale: HtcSession, project: htcprojects.HtcProject) -> None:
    assert htctasks.get_task_with_id(rescale, project, "no-such-task") is None
    assert htctasks.delete_task_with_id(rescale, project, "no-such-task") is None
    with pytest.raises(HtcValidationError, match="task_id"):
        htctasks.get_task_with_id(rescale, project, None)  # type: ignore[arg-type]


def test_an_error_is_not_mistaken_for_nothing_found(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    """1.1.0 returns None for every error."""
    service.on(TASK, Answer(status=500))
    with pytest.raises(HtcServerError):
        htctasks.get_task_with_id(scripted, scripted_task.project, "t")


def test_a_summary_counts_by_status(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    summary = task.get_task_summary(rescale)
    statuses = ["SUBMITTED_TO_RESCALE", "SUBMITTED_TO_PROVIDER", "RUNNABLE", "STARTING"]
    statuses += ["RUNNING", "SUCCEEDED", "FAILED"]
    assert summary["jobStatuses"] == dict.fromkeys(statuses, 0)
    assert summary["still_running"] is False
    assert task.is_still_running(rescale) is False


@pytest.mark.parametrize(
    ("counts", "running"),
    [
        ({}, False),
        ({"SUCCEEDED": 5, "FAILED": 1, "POD_SUCCEEDED": 1, "POD_FAILED": 1}, False),
        ({"SUCCEEDED": 5, "RUNNING": 1}, True),
        ({"SUBMITTED_TO_RESCALE": 1}, True),
        ({"RUNNING": 0, "RUNNABLE": None}, False),
        ({"HIBERNATING": 1}, True),
    ],
)
def test_still_running_needs_no_particular_keys(
    service: Service,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    counts: dict[str, int | None],
    running: bool,
) -> None:
    service.on(SUMMARY, Answer({"group": None, "jobStatuses": counts}))
    job = {"jobUUID": "a:0", "taskId": "t", "projectId": "p", "status": "HIBERNATING"}
    service.on("GET /htc/projects/p/tasks/t/jobs", Answer({"items": [job]}))
    assert scripted_task.is_still_running(scripted) is running


@pytest.mark.parametrize("answer", [{}, {"jobStatuses": None}, {"jobStatuses": []}])
def test_a_summary_without_counts_is_no_end(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, answer: object
) -> None:
    service.on(SUMMARY, Answer(answer))
    with pytest.raises(HtcResponseError, match="jobStatuses"):
        scripted_task.is_still_running(scripted)


def test_a_summary_within_the_interval_sends_nothing(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    scripted.status_refresh_seconds = 1000
    service.on(SUMMARY, Answer({"jobStatuses": {"RUNNING": 1}}))
    for _ in range(3):
        assert scripted_task.is_still_running(scripted)
    assert len(service.requests_to(SUMMARY)) == 1
    scripted.status_refresh_seconds = 0
    scripted_task.is_still_running(scripted)
    assert len(service.requests_to(SUMMARY)) == 2


@pytest.mark.parametrize(("name", "description"), [(None, ""), ("a", None), (5, ["x"])])
def test_a_task_is_checked_before_it_is_created(
    service: Service, scripted: HtcSession, name: object, description: object
) -> None:
    project = htcprojects.HtcProject({"projectId": "p"})
    with pytest.raises(HtcValidationError, match=r"task_(name|description): must be a string"):
        htctasks.create_task_with_name(scripted, project, name, description)  # type: ignore[arg-type]
    assert not service.requests


def test_an_invalid_project_is_rejected(scripted: HtcSession) -> None:
    with pytest.raises(HtcValidationError, match="project: must be of type HtcProject"):
        htctasks.get_tasks(scripted, "p")  # type: ignore[arg-type]
    with pytest.raises(HtcValidationError, match="project: must be of type HtcProject"):
        htctasks.HtcTask({}, {})  # type: ignore[arg-type]


def test_a_partial_task_says_what_would_fetch_the_rest() -> None:
    project = htcprojects.HtcProject({"projectId": "p"})
    task = htctasks.HtcTask({"taskId": "t", "projectId": "p"}, project)
    with pytest.raises(NotFetchedError, match="get_task_with_id"):
        _ = task.record.task_name


# ---- lifecycle, groups, storage


def test_a_task_is_archived_and_made_active_again(
    rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    task.archive(rescale)
    assert task.record.lifecycle_status == "ARCHIVED"
    assert task.record.archived_at is not None
    assert task.json["taskId"] not in ids(htctasks.get_tasks(rescale, task.project))
    assert task.json["taskId"] in ids(htctasks.get_tasks(rescale, task.project, "ARCHIVED"))
    with pytest.raises(HtcBadRequestError):
        htcjobs.create_job_batch(rescale, task, 1, "ON_DEMAND_ECONOMY", "image", 60)
    task.unarchive(rescale)
    assert task.record.lifecycle_status == "ACTIVE"
    assert task.record.archived_at is None
    task.delete_task(rescale)
    with pytest.raises(HtcBadRequestError):
        task.unarchive(rescale)


def test_groups_and_their_counts(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    definition = {"imageName": "image", "commands": ["true"]}
    for group, size in (("a", 2), ("b/ä", 3)):
        payload = [{"batchSize": size, "htcJobDefinition": definition}]
        api.post_htc_projects_tasks_jobs_batch(
            rescale, task.json["projectId"], task.json["taskId"], payload, group=group
        )
    assert sorted(task.get_groups(rescale)) == ["a", "b/ä"]
    counts = {}
    for summary in task.get_group_summaries(rescale):
        numbers = summary.job_statuses.model_dump()
        counts[summary.group] = sum(numbers.values())
    assert counts == {"a": 2, "b/ä": 3}
    only = task.get_group_summaries(rescale, ["b/ä"])
    assert [summary.group for summary in only] == ["b/ä"]


def test_groups_may_come_as_a_plain_list(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    service.on("GET /htc/projects/p/tasks/t/groups", Answer(["a", "b"]))
    assert scripted_task.get_groups(scripted) == ["a", "b"]


def test_a_task_has_a_storage_in_each_region(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    assert task.get_storage_token(rescale).credentials
    assert task.get_storage_token(rescale, "AWS_US_EAST_1").region == "AWS_US_EAST_1"
    assert task.get_storage_tokens(rescale).default_region == "AWS_US_EAST_1"
    stores = task.get_regional_storage(rescale).regional_stores
    assert stores
    assert stores[0].task_path
    assert str(stores[0].credentials) not in repr(stores[0])
