"""The failed jobs of a batch, and submissions of these jobs."""

from __future__ import annotations

from typing import Any

import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks, models
from rescalehtc.exceptions import HtcValidationError

from .limits import EXEC_SECONDS
from .service import Answer, ReceivedRequest, Service

JOBS = "GET /htc/projects/p/tasks/t/jobs"
IDS = {"projectId": "p", "taskId": "t"}
DEFINITION = {"imageName": "image", "commands": ["true"]}


def submit(
    rescale: HtcSession, task: htctasks.HtcTask, script: str, batch_size: int, **more: Any
) -> htcjobs.HtcJobBatch:
    return htcjobs.create_job_batch(
        *(rescale, task, batch_size, "ON_DEMAND_ECONOMY", "image", EXEC_SECONDS),
        **{"commands": ["sh", "-c", script], **more},
    )


@pytest.fixture
def fast(rescale: HtcSession) -> HtcSession:
    """A session connected to the emulator, with a short polling interval."""
    rescale.status_refresh_seconds = 0.05
    return rescale


# ---- on the emulator


def test_what_failed_is_returned_with_its_reasons_and_last_lines(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    script = "i=$AWS_BATCH_JOB_ARRAY_INDEX; echo a; echo; echo part $i; exit $((i % 3))"
    batch = submit(fast, task, script, 6)
    submit(fast, task, "exit 9", 1).wait(fast)  # another batch
    batch.wait(fast)
    failed = batch.failed(fast)
    assert [(item.index, item.exit_code) for item in failed] == [(1, 1), (2, 2), (4, 1), (5, 2)]
    assert all(item.failure_code == "ErrorNonZeroContainerExitCode" for item in failed)
    assert all(isinstance(item.failure_code, models.HTCJobErrorCodeName) for item in failed)
    assert failed[0].reason == "the command ended with exit code 1"
    assert failed[0].last_lines == []
    assert failed[0].job.record.status == "FAILED"
    lines = [item.last_lines for item in batch.failed(fast, last_n_lines=2)]
    assert lines == [["", f"part {index}"] for index in (1, 2, 4, 5)]


def test_nothing_failed_is_nothing_to_submit(fast: HtcSession, task: htctasks.HtcTask) -> None:
    batch = submit(fast, task, "true", 2)
    batch.wait(fast)
    assert batch.failed(fast) == []
    again = batch.resubmit_failed(fast)
    assert (again.requests, again.old_job_ids, again.old_indices) == ([], [], [])


def test_failed_jobs_are_run_again_and_told_their_old_index(
    fast: HtcSession, project: htcprojects.HtcProject, task: htctasks.HtcTask
) -> None:
    """The jobs fail again and run a third time, still with their original index."""
    part = "part=${PART:-$AWS_BATCH_JOB_ARRAY_INDEX}; echo $CASE $part; "
    fails_once = "[ $((part % 2)) = 0 ] || [ -e $TASK_SHARED_FOLDER/mended ]"
    arguments = {"envs": [{"name": "CASE", "value": "wing"}], "job_name": "sweep"}
    batch = submit(fast, task, part + fails_once, 4, **arguments)
    batch.wait(fast)
    second = batch.resubmit_failed(fast, index_variable="PART")
    assert second.old_indices == [1, 3]
    parent = batch.json["parentJobId"]
    assert second.old_job_ids == [f"{parent}:1", f"{parent}:3"]
    assert [request.job_name for request in second.requests] == ["sweep"] * 2
    again = second.submit(fast)
    assert again.wait(fast).failed == 2

    submit(fast, task, "touch $TASK_SHARED_FOLDER/mended", 1).wait(fast)
    third = again.resubmit_failed(fast, index_variable="PART")
    assert third.old_job_ids == [job.json["jobUUID"] for job in again.to_jobs()]
    jobs = third.submit(fast).to_jobs()
    assert [job.wait(fast).succeeded for job in jobs] == [1, 1]
    assert [list(job.get_logs(fast)) for job in jobs] == [["wing 1"], ["wing 3"]]


def test_without_a_variable_the_jobs_are_as_many_and_the_map_tells_which(
    fast: HtcSession, task: htctasks.HtcTask
) -> None:
    payload = [
        {
            "batchSize": 3,
            "htcJobDefinition": {
                "imageName": "image",
                "commands": ["sh", "-c", f"[ $AWS_BATCH_JOB_ARRAY_INDEX != {bad} ]"],
                "execTimeoutSeconds": EXEC_SECONDS,
            },
            "regions": ["AWS_US_EAST_1"],
        }
        for bad in (1, 9, 2)
    ]
    batch = htcjobs.create_job_batch_raw(fast, task, payload)
    batch.wait(fast)
    again = batch.resubmit_failed(fast)
    assert [request.batch_size for request in again.requests] == [1, 1]
    assert [request.htc_job_definition.commands for request in again.requests] == [
        payload[0]["htcJobDefinition"]["commands"],  # type: ignore[index]
        payload[2]["htcJobDefinition"]["commands"],  # type: ignore[index]
    ]
    # The service does not return regions, so the jobs' regions are used.
    assert all(request.regions == ["AWS_US_EAST_1"] for request in again.requests)
    parents = [part.json["parentJobId"] for part in batch.batches]
    assert again.old_job_ids == [f"{parents[0]}:1", f"{parents[2]}:2"]
    assert again.submit(fast).wait(fast).total == 2


# ---- requests and errors


def scripted_batch(task: htctasks.HtcTask, **more: Any) -> htcjobs.HtcJobBatch:
    answer = {**IDS, "parentJobId": "a", "batchSize": 3, "htcJobDefinition": DEFINITION, **more}
    return htcjobs.HtcJobBatch(answer, task)


def failed_jobs(request: ReceivedRequest) -> Answer:
    """Jobs 2 and 0 are POD_FAILED and FAILED. Other batches failed too."""
    status = request.query["status"][0]
    ids = {"FAILED": ["b:0", "a:0"], "POD_FAILED": ["a:2", "odd"]}[status]
    return Answer({"items": [{**IDS, "jobUUID": item, "status": status} for item in ids]})


def test_both_ways_to_fail_are_requested_and_what_is_not_shown_is_none(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    service.on(JOBS, failed_jobs)
    failed = scripted_batch(scripted_task, group="g").failed(scripted)
    assert [(item.index, item.job.json["status"]) for item in failed] == [
        (0, "FAILED"),
        (2, "POD_FAILED"),
    ]
    assert (failed[0].failure_code, failed[0].exit_code, failed[0].reason) == (None, None, None)
    assert [request.query["group"] for request in service.requests_to(JOBS)] == [["g"], ["g"]]


def test_the_containers_reason_is_taken_where_the_job_has_none(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    ended = {"statusReason": None, "container": {"exitCode": 137, "reason": "OutOfMemory"}}
    job = {**IDS, "jobUUID": "a:0", "status": "FAILED", "failureCode": "ErrorNew", **ended}
    service.on(JOBS, Answer({"items": [job]}))
    failed = scripted_batch(scripted_task).failed(scripted)[0]
    assert (failed.failure_code, failed.exit_code, failed.reason) == (
        "ErrorNew",
        137,
        "OutOfMemory",
    )


@pytest.mark.parametrize("last", [-1, True, "1"])
def test_another_number_of_lines_is_rejected(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, last: Any
) -> None:
    with pytest.raises(HtcValidationError, match="last_n_lines"):
        scripted_batch(scripted_task).failed(scripted, last)
    assert not service.requests


@pytest.mark.parametrize(
    ("answer", "variable", "problem"),
    [
        ({}, "AWS_BATCH_JOB_ARRAY_INDEX", "reserved"),
        ({}, "A=B", "without '='"),
        ({"htcJobDefinition": None}, None, "htcJobDefinition"),
        ({"htcJobDefinition": None}, "PART", "imageName"),
        (
            {"htcJobDefinition": {**DEFINITION, "envs": [{"name": "PART", "value": "7"}]}},
            "PART",
            "PART is already a variable of the batch",
        ),
    ],
)
def test_what_makes_no_valid_request_is_rejected(
    service: Service,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    answer: dict[str, Any],
    variable: str | None,
    problem: str,
) -> None:
    service.on(JOBS, failed_jobs)
    with pytest.raises(HtcValidationError, match=problem):
        scripted_batch(scripted_task, **answer).resubmit_failed(scripted, variable)


def test_what_only_the_service_sets_and_what_is_null_is_left_out_of_the_request(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    service.on(JOBS, failed_jobs)
    again = scripted_batch(scripted_task, rescaleProjectId=None).resubmit_failed(scripted, None)
    assert again.requests == [
        models.HTCJobSubmitRequest(
            batch_size=2, htc_job_definition=models.HTCJobDefinition(**DEFINITION)
        )
    ]
    assert again.old_indices == [0, 2]


LATER: dict[str, Any] = {"addedLater": {"a": [1]}}
ANSWERED_LATER: dict[str, Any] = {
    **LATER,
    "tags": [{"key": "k", "value": "v", **LATER}],
    "retryStrategy": {"maxRetries": 2, **LATER},
    "experimental": {"privilegedMode": False, **LATER},
    "htcJobDefinition": {
        **DEFINITION,
        **LATER,
        "tags": {"addedLater": "is a tag here"},
        "envs": [{"name": "A", "value": "1", **LATER}],
        "claims": [{"name": "B", "value": "2", **LATER}],
    },
}


@pytest.mark.parametrize("variable", [None, "PART"])
def test_fields_that_the_service_adds_later_are_left_out_at_every_depth(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, variable: str | None
) -> None:
    service.on(JOBS, failed_jobs)
    batch = scripted_batch(scripted_task, **ANSWERED_LATER)
    requests = batch.resubmit_failed(scripted, variable).requests
    assert [request.batch_size for request in requests] == ([2] if variable is None else [1, 1])
    for request in requests:
        sent = request.to_json_dict()
        assert sent["tags"] == [{"key": "k", "value": "v"}]
        assert sent["retryStrategy"] == {"maxRetries": 2}
        definition = sent["htcJobDefinition"]
        assert definition["tags"] == {"addedLater": "is a tag here"}
        assert definition["envs"][0] == {"name": "A", "value": "1"}
        assert "addedLater" not in [*sent, *definition]


def test_an_answer_with_fields_that_were_added_later_can_be_submitted_again(
    scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    json = scripted_batch(scripted_task, **ANSWERED_LATER).json
    assert htcjobs.validate([json], scripted_task.project) == []
    written = {name: value for name, value in json.items() if name != "parentJobId"}
    [problem, *_] = htcjobs.validate([written], scripted_task.project)
    assert "is not a field" in problem.message, "in what somebody wrote it is a mistake"
    wrong = {**json, "batchSize": 0}
    [problem] = htcjobs.validate([wrong], scripted_task.project)
    assert problem.where == "[0].batchSize"
