"""Jobs and batches on the emulator, with real processes."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks, models
from rescalehtc.exceptions import (
    HtcBadRequestError,
    HtcImagePendingError,
    HtcNotFoundError,
    HtcResponseError,
    HtcServerError,
    HtcValidationError,
    NotFetchedError,
    SubmissionUncertainError,
)

from .clock import inject_clock
from .conftest import submit
from .service import Answer, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rescalehtc.emulator import Emulator

    Until = Callable[[Callable[[], bool]], None]

JOB = "GET /htc/projects/p/tasks/t/jobs/j"
JOBS = "GET /htc/projects/p/tasks/t/jobs"
IMAGE = "GET /htc/projects/p/container-registry/images/image"
SUBMIT = "POST /htc/projects/p/tasks/t/jobs/batch"


@pytest.fixture
def job(scripted_task: htctasks.HtcTask) -> htcjobs.HtcJob:
    return htcjobs.HtcJob({"projectId": "p", "taskId": "t", "jobUUID": "j"}, scripted_task)


# ---- on the emulator


def test_a_batch_runs_and_every_job_tells_its_part(
    rescale: HtcSession, task: htctasks.HtcTask, until: Until
) -> None:
    batch = submit(rescale, task, "sh", "-c", "echo part $AWS_BATCH_JOB_ARRAY_INDEX", batch_size=5)
    assert batch.record.batch_size == 5
    until(lambda: not batch.is_still_running(rescale))
    assert batch.get_task_summary(rescale)["jobStatuses"]["SUCCEEDED"] == 5
    parts = [list(job.get_logs(rescale)) for job in batch.to_jobs()]
    assert parts == [[f"part {index}"] for index in range(5)]


def test_a_job_of_to_jobs_has_four_fields_and_the_rest_after_an_update(
    rescale: HtcSession, task: htctasks.HtcTask, until: Until
) -> None:
    job = submit(rescale, task, "true").to_jobs()[0]
    assert set(job.json) == {"group", "projectId", "taskId", "jobUUID"}
    assert job.record.job_uuid == job.json["jobUUID"]
    with pytest.raises(NotFetchedError, match="status"):
        _ = job.record.status
    until(lambda: not job.is_still_running(rescale))
    assert job.record.status is models.RescaleJobStatus.SUCCEEDED
    assert job.record.container is not None
    assert job.record.container.exit_code == 0
    assert job.record.failure_code is None
    assert job.json["status"] == "SUCCEEDED"


def test_a_single_job_has_its_whole_record(
    rescale: HtcSession, task: htctasks.HtcTask, until: Until
) -> None:
    job = htcjobs.create_single_job(
        rescale,
        task,
        "ON_DEMAND_PRIORITY",
        "tools/image:1.0",
        3600,
        commands=["sh", "-c", 'echo "$GREETING"; exit 3'],
        envs=[{"name": "GREETING", "value": "hellö"}],
        max_vcpus=2,
        max_memory_mib=512,
        architecture="X86",
    )
    record = job.record
    assert (record.max_vcpus, record.max_memory, record.architecture) == (2, 512, "X86")
    assert (record.image_name, record.exec_timeout_seconds) == ("tools/image:1.0", 3600)
    until(lambda: not job.is_still_running(rescale))
    assert job.record.status == "FAILED"
    assert job.record.failure_code == "ErrorNonZeroContainerExitCode"
    assert job.record.container is not None
    assert job.record.container.exit_code == 3
    assert list(job.get_logs(rescale)) == ["hellö"]


def test_jobs_are_filtered_by_status(
    rescale: HtcSession, task: htctasks.HtcTask, until: Until
) -> None:
    submit(rescale, task, "true", batch_size=2)
    submit(rescale, task, "false")
    until(lambda: not task.is_still_running(rescale))
    assert len(htcjobs.get_jobs(rescale, task)) == 3
    for any_status in ("any", "all", None):
        assert len(list(htcjobs.iter_jobs(rescale, task, any_status))) == 3
    failed = htcjobs.get_jobs(rescale, task, "FAILED")
    assert [job.record.status for job in failed] == ["FAILED"]
    assert htcjobs.get_jobs(rescale, task, models.RescaleJobStatus.RUNNING) == []


def test_a_status_that_the_service_rejects_is_an_error(
    rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    with pytest.raises(HtcBadRequestError):
        htcjobs.get_jobs(rescale, task, "DONE")


def test_a_job_is_found_by_id_or_is_none(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    created = htcjobs.create_single_job(rescale, task, "ON_DEMAND_ECONOMY", "image", 60)
    found = htcjobs.get_job_with_id(rescale, task, created.record.job_uuid)
    assert found is not None
    assert found.json["jobUUID"] == created.json["jobUUID"]
    assert found.task is task
    assert htcjobs.get_job_with_id(rescale, task, "no-such:0") is None
    with pytest.raises(HtcValidationError, match="job_id: must be of type str, got NoneType"):
        htcjobs.get_job_with_id(rescale, task, None)  # type: ignore[arg-type]


def test_jobs_are_cancelled(rescale: HtcSession, task: htctasks.HtcTask, until: Until) -> None:
    batch = submit(rescale, task, "sleep", "600", batch_size=6)
    until(lambda: task.get_task_summary(rescale)["jobStatuses"]["RUNNING"] > 0)
    task.cancel_jobs_in_task(rescale)
    until(lambda: not batch.is_still_running(rescale))
    assert task.get_task_summary(rescale)["jobStatuses"]["FAILED"] == 6


def test_claims_are_in_the_job_s_own_token(
    rescale: HtcSession, task: htctasks.HtcTask, until: Until
) -> None:
    """In a job, this package finds the refresh token, the service and the claims."""
    program = (
        "from rescalehtc import HtcSession\n"
        "with HtcSession() as rescale: print(rescale.get_bearer_token().get_user_claims())"
    )
    import sys

    import rescalehtc

    root = rescalehtc.__file__.rsplit("/", 2)[0]
    batch = submit(
        rescale,
        task,
        sys.executable,
        "-c",
        program,
        claims=[{"name": "case", "value": "7"}],
        envs=[{"name": "PYTHONPATH", "value": root}],
    )
    until(lambda: not batch.is_still_running(rescale))
    assert list(batch.to_jobs()[0].get_logs(rescale)) == ["{'case': '7'}"]


def test_an_image_that_is_not_there_is_an_error_before_the_submission(
    rescale: HtcSession, task: htctasks.HtcTask, emulator: Emulator
) -> None:
    emulator.set_image_status("absent", "UNKNOWN")
    with pytest.raises(HtcNotFoundError, match="getImageStatus"):
        htcjobs.create_job_batch(rescale, task, 1, "ON_DEMAND_ECONOMY", "absent", 60)
    assert htcjobs.get_jobs(rescale, task) == []


def test_every_page_of_a_listing_is_fetched(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    batch = submit(rescale, task, "true", batch_size=1000)
    more = submit(rescale, task, "true", batch_size=7)
    listed = [job.json["jobUUID"] for job in htcjobs.get_jobs(rescale, task)]
    assert listed == [job.json["jobUUID"] for b in (batch, more) for job in b.to_jobs()]
    small = api.get_htc_projects_tasks_jobs(
        rescale, task.json["projectId"], task.json["taskId"], page_size=300
    )
    assert [job["jobUUID"] for job in small] == listed
    task.cancel_jobs_in_task(rescale)


# ---- requests and responses


def test_a_listing_asks_the_service_to_filter_and_for_large_pages(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    """1.1.0 fetches everything, 100 jobs per page, and filters afterwards."""
    service.on(JOBS, Answer({"items": []}))
    htcjobs.get_jobs(scripted, scripted_task, "SUCCEEDED")
    htcjobs.get_jobs(scripted, scripted_task)
    queries = [a.query for a in service.requests_to(JOBS)]
    assert queries == [{"pageSize": ["1000"], "status": ["SUCCEEDED"]}, {"pageSize": ["1000"]}]


def test_a_listing_may_be_of_one_group(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    service.on(JOBS, Answer({"items": []}))
    assert htcjobs.get_jobs(scripted, scripted_task, "FAILED", group="g h") == []
    assert list(htcjobs.iter_jobs(scripted, scripted_task, group="g h")) == []
    queries = [a.query for a in service.requests_to(JOBS)]
    assert [item["group"] for item in queries] == [["g h"], ["g h"]]
    for wrong in ("", 5):
        with pytest.raises(HtcValidationError, match="group: must be None or a non-empty string"):
            htcjobs.get_jobs(scripted, scripted_task, group=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("single", [False, True])
def test_retries_and_the_directory_are_where_the_service_reads_them(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, single: bool
) -> None:
    answer = {"projectId": "p", "taskId": "t", "parentJobId": "j", "batchSize": 1}
    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, Answer([answer]))

    def sent(**more: Any) -> dict[str, Any]:
        if single:
            htcjobs.create_single_job(
                scripted, scripted_task, "ON_DEMAND_ECONOMY", "image", 60, **more
            )
        else:
            submit(scripted, scripted_task, "true", **more)
        request: dict[str, Any] = service.requests_to(SUBMIT)[-1].json[0]
        return request

    request = sent(max_retries=0, working_dir="work/here")
    assert request["retryStrategy"] == {"maxRetries": 0}
    assert request["htcJobDefinition"]["workingDir"] == "work/here"
    assert sent(max_retries=10)["retryStrategy"] == {"maxRetries": 10}
    request = sent()
    assert "retryStrategy" not in request
    assert "workingDir" not in request["htcJobDefinition"]


def test_the_service_runs_a_failed_job_again_in_its_directory(
    rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    script = 'pwd; f="$TASK_SHARED_FOLDER/tried"; [ -e "$f" ] || { touch "$f"; exit 1; }'
    more: dict[str, Any] = {"max_retries": 1, "working_dir": "here", "group": "g"}
    batch = submit(rescale, task, "sh", "-c", script, **more)
    assert batch.wait(rescale).succeeded == 1
    [job] = htcjobs.get_jobs(rescale, task, group="g")
    assert htcjobs.get_jobs(rescale, task, group="other") == []
    assert all(line.endswith("/here") for line in job.get_logs(rescale))


def test_an_error_is_not_mistaken_for_nothing_found(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    """1.1.0 returns None for every error."""
    service.on(JOB, Answer(status=500))
    with pytest.raises(HtcServerError):
        htcjobs.get_job_with_id(scripted, scripted_task, "j")


def test_an_update_within_the_interval_sends_nothing(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob
) -> None:
    scripted.status_refresh_seconds = 1000
    service.on(JOB, Answer({**job.json, "status": "RUNNING"}))
    first = job.get_update(scripted)
    assert job.get_update(scripted) is first
    assert job.is_still_running(scripted)
    assert job.json is first
    assert len(service.requests_to(JOB)) == 1
    scripted.status_refresh_seconds = 0
    job.get_update(scripted)
    assert len(service.requests_to(JOB)) == 2


@pytest.mark.parametrize("answer", [{}, {"status": "RUNNING"}, {"jobUUID": "another"}])
def test_an_answer_about_no_or_another_job_leaves_the_job_as_it_was(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, answer: dict[str, str]
) -> None:
    service.on(JOB, Answer(answer))
    before = dict(job.json)
    with pytest.raises(HtcResponseError, match="not about job j"):
        job.get_update(scripted)
    assert job.json == before


def test_the_interval_is_the_documented_one() -> None:
    assert HtcSession(api_key="k").status_refresh_seconds == 30.0


@pytest.mark.parametrize(
    ("record", "running"),
    [
        *(({"status": s.value}, True) for s in list(models.RescaleJobStatus)[:5]),
        *(({"status": s.value}, False) for s in list(models.RescaleJobStatus)[5:]),
        ({"status": "HIBERNATING"}, True),
        ({"status": "HIBERNATING", "completedAt": None}, True),
        ({"status": "EVAPORATED", "completedAt": "2026-01-01T00:00:00Z"}, False),
    ],
)
def test_running_or_not_by_status_also_a_new_one(
    service: Service,
    scripted: HtcSession,
    job: htcjobs.HtcJob,
    record: dict[str, Any],
    running: bool,
) -> None:
    """1.1.0 raises an exception for an unknown status."""
    service.on(JOB, Answer({**job.json, **record}))
    assert job.is_still_running(scripted) is running


def test_a_record_without_a_status_is_an_htc_exception(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob
) -> None:
    """1.1.0 raises KeyError."""
    service.on(JOB, Answer(job.json))
    with pytest.raises(HtcResponseError, match="no status"):
        job.is_still_running(scripted)


@pytest.mark.parametrize(("elapsed", "count"), [(10.0, 1), (30.0, 2)])
def test_thirty_seconds_after_the_last_time_the_service_is_asked_again(
    service: Service,
    job: htcjobs.HtcJob,
    elapsed: float,
    count: int,
) -> None:
    service.on(JOB, Answer({**job.json, "status": "RUNNING"}))
    service.on(f"{JOB}/logs", Answer({"items": []}))
    with HtcSession(api_key="k", base_url=service.url) as rescale:
        clock = inject_clock(rescale)
        for seconds in (0.0, elapsed):
            clock.ahead += seconds
            job.get_update(rescale)
            job.get_logs(rescale)
    assert len(service.requests_to(JOB)) == count
    assert len(service.requests_to(f"{JOB}/logs")) == count


def test_the_record_follows_the_dictionary(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob
) -> None:
    before = job.record
    assert job.record is before
    service.on(JOB, Answer({**job.json, "status": "RUNNING"}))
    job.get_update(scripted)
    assert job.record.status == "RUNNING"
    assert not hasattr(before, "status")


def test_a_job_survives_pickle(job: htcjobs.HtcJob) -> None:
    again = pickle.loads(pickle.dumps(job))
    assert again.json == job.json
    assert again.record == job.record
    assert again.task.json == job.task.json


def test_pickles_of_1_1_0_can_be_read(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    class Old:
        def __init__(self, kind: type, **state: object) -> None:
            self.reduced = object.__new__, (kind,), state

        def __reduce__(self) -> tuple[Any, ...]:
            return self.reduced

    submitted = submit(rescale, task, "true")
    fetched = submitted.to_jobs()[0].get_update(rescale)
    project = Old(htcprojects.HtcProject, json=task.project.json)
    owner = Old(htctasks.HtcTask, json=task.json, project=project, task_summary=None)
    objects = (
        Old(htcjobs.HtcJob, json=fetched, task=owner, log_lines_raw_inverted=None),
        Old(htcjobs.HtcJobBatch, json=submitted.json, task=owner),
    )
    job, batch = pickle.loads(pickle.dumps(objects))
    assert (job.json, job.record.job_uuid) == (fetched, fetched["jobUUID"])
    assert batch.wait(rescale).succeeded == 1
    assert job.task.get_task_summary(rescale).still_running is False
    again = pickle.loads(pickle.dumps(batch))
    assert again.to_jobs()[0].json["status"] == "SUCCEEDED"


@pytest.mark.parametrize("no_task", [None, mock.Mock()])
def test_tests_of_programs_may_omit_the_task(
    service: Service, scripted: HtcSession, no_task: Any
) -> None:
    """1.1.0 accepts any task."""
    ids = {"projectId": "p", "taskId": "t"}
    job = htcjobs.HtcJob({**ids, "jobUUID": "j"}, no_task)
    service.on(JOB, Answer({**ids, "jobUUID": "j", "status": "FAILED"}))
    assert not job.is_still_running(scripted)
    batch = htcjobs.HtcJobBatch({**ids, "parentJobId": "a", "batchSize": 1}, no_task)
    assert batch.to_jobs()[0].json == {**ids, "jobUUID": "a:0"}
    with pytest.raises(HtcValidationError, match="projectId"):
        batch.failed(scripted)


def test_a_job_from_a_pickle_fetches_its_record(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, scripted_task: htctasks.HtcTask
) -> None:
    """Another machine may have another clock, and the cached data may be old."""
    scripted.status_refresh_seconds = 1000
    summary = "GET /htc/projects/p/tasks/t/summary-statistics"
    service.on(JOB, Answer({**job.json, "status": "RUNNING"}))
    service.on(f"{JOB}/logs", Answer({"items": []}))
    service.on(summary, Answer({"jobStatuses": {}}))
    for item in (job, pickle.loads(pickle.dumps(job))):
        item.get_update(scripted)
        item.get_logs(scripted)
        item.task.get_task_summary(scripted)
        job = item
    again = pickle.loads(pickle.dumps(job))
    again.get_update(scripted)
    again.get_logs(scripted)
    again.task.get_task_summary(scripted)
    for operation in (JOB, f"{JOB}/logs", summary):
        assert len(service.requests_to(operation)) == 3


def test_reprs_are_short_and_hold_no_secret(scripted_task: htctasks.HtcTask) -> None:
    job = htcjobs.HtcJob(
        {"jobUUID": "j", "status": "RUNNING", "envs": [{"name": "A", "value": "s3cret"}]},
        scripted_task,
    )
    assert repr(job) == "HtcJob(jobUUID='j', status='RUNNING')"
    batch = htcjobs.HtcJobBatch([{"parentJobId": "a", "batchSize": 2}, {}], scripted_task)
    assert repr(batch) == (
        "HtcJobBatch(parentJobId='a', batchSize=2; parentJobId=None, batchSize=None)"
    )


def test_a_batch_without_a_group_has_jobs_without_one(scripted_task: htctasks.HtcTask) -> None:
    """1.1.0 has none."""
    ids = {"projectId": "p", "taskId": "t"}
    batch = htcjobs.HtcJobBatch({**ids, "parentJobId": "j", "batchSize": 2}, scripted_task)
    assert [job.json for job in batch.to_jobs()] == [
        {**ids, "jobUUID": "j:0"},
        {**ids, "jobUUID": "j:1"},
    ]


@pytest.mark.parametrize("lacking", ["projectId", "taskId", "parentJobId", "batchSize"])
def test_an_answer_that_does_not_name_its_jobs_is_an_htc_exception(
    scripted_task: htctasks.HtcTask, lacking: str
) -> None:
    answer = {"projectId": "p", "taskId": "t", "parentJobId": "j", "batchSize": 2}
    del answer[lacking]
    with pytest.raises(HtcResponseError, match="the ids of the jobs are unknown"):
        htcjobs.HtcJobBatch(answer, scripted_task).to_jobs()


@pytest.mark.parametrize("answer", [[], [None], ["x"], [{}, {}]])
def test_a_submission_answered_otherwise_is_an_htc_exception(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, answer: object
) -> None:
    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, Answer(answer))
    with pytest.raises(
        SubmissionUncertainError, match=r"1 job to group 'rescalehtc-\w+' of task t"
    ) as info:
        submit(scripted, scripted_task, "true")
    assert isinstance(info.value.cause, HtcResponseError)
    assert len(service.requests_to(SUBMIT)) == 1


@pytest.mark.parametrize(
    "record", [Answer(status=500), Answer({"jobUUID": None}), Answer({"jobUUID": "another:0"})]
)
def test_a_job_whose_record_can_not_be_fetched_is_not_lost(
    service: Service,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    caplog: pytest.LogCaptureFixture,
    record: Answer,
) -> None:
    answer = {"projectId": "p", "taskId": "t", "group": "g", "parentJobId": "j", "batchSize": 1}
    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, Answer([answer]))
    service.on("GET /htc/projects/p/tasks/t/jobs/j:0", record)
    job = htcjobs.create_single_job(scripted, scripted_task, "ON_DEMAND_ECONOMY", "image", 60)
    assert job.json["jobUUID"] == "j:0"
    assert "job j:0 was submitted" in caplog.text


def test_a_pending_image_is_waited_for(
    service: Service,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
) -> None:
    inject_clock(scripted)
    answer = {"projectId": "p", "taskId": "t", "parentJobId": "j", "batchSize": 1}
    service.on(IMAGE, *[Answer({"status": "PENDING"})] * 3, Answer({"status": "READY"}))
    service.on(SUBMIT, Answer([answer]))
    submit(scripted, scripted_task, "true")
    assert len(service.requests_to(IMAGE)) == 4


@pytest.mark.parametrize(
    ("status", "error"), [("PENDING", HtcImagePendingError), ("ROTTEN", HtcResponseError)]
)
def test_an_image_that_does_not_become_ready_is_not_submitted(
    service: Service,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    status: str,
    error: type[Exception],
) -> None:
    scripted.image_wait_seconds = 0.05
    service.on(IMAGE, Answer({"status": status}))
    with pytest.raises(error, match="image"):
        submit(scripted, scripted_task, "true")
    assert not service.requests_to(SUBMIT)


def test_events_tell_the_way_of_a_job(
    rescale: HtcSession, task: htctasks.HtcTask, until: Until
) -> None:
    job = submit(rescale, task, "false").to_jobs()[0]
    until(lambda: not job.is_still_running(rescale))
    events = job.events(rescale)
    assert [event.status for event in events] == [
        *("SUBMITTED_TO_RESCALE", "SUBMITTED_TO_PROVIDER", "RUNNABLE", "STARTING", "RUNNING"),
        "FAILED",
    ]
    assert all(event.job_id == job.json["jobUUID"] for event in events)
    assert events[-1].container is not None
    assert events[-1].container.exit_code == 1


def test_multi_byte_text_at_the_borders_of_buffers_is_kept(
    rescale: HtcSession, task: htctasks.HtcTask, until: Until, tmp_path: Path
) -> None:
    """1.1.0 fails when it reads the log back to reverse it."""
    batch = submit(rescale, task, "sh", "-c", "for i in $(seq 400); do echo 漢字$i漢字$i; done")
    job = batch.to_jobs()[0]
    until(lambda: not job.is_still_running(rescale))
    expected = [f"漢字{n}漢字{n}" for n in range(1, 401)]
    assert list(job.get_logs(rescale)) == expected
    for last in (None, 399):
        job.get_logs_to_file(rescale, tmp_path / "log", last)
        lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
        assert lines == expected[-(last or 400) :]


def test_a_later_submission_is_not_mistaken_for_one_whose_answer_was_lost(
    emulator: Emulator, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    rescale.settle_seconds = 0.0
    with (
        emulator.fault("submitJobs", "reset_before", times=1),
        pytest.raises(SubmissionUncertainError) as info,
    ):
        submit(rescale, task, "true", batch_size=2, group="g")
    assert (info.value.sent, info.value.seen) == (2, 0)
    submit(rescale, task, "true", batch_size=2, group="g")
    with pytest.raises(SubmissionUncertainError):
        htcjobs.recheck(rescale, info.value)
    assert info.value.seen == 0


def test_a_lost_answer_is_found_again_in_the_group(
    emulator: Emulator, rescale: HtcSession, task: htctasks.HtcTask
) -> None:
    older = submit(rescale, task, "true", batch_size=2, group="g")
    with emulator.fault("submitJobs", "reset_after", times=1) as fault:
        batch = submit(rescale, task, "true", batch_size=2, group="g")
    assert fault.count == 1
    ids = {job.json["jobUUID"] for job in [*older.to_jobs(), *batch.to_jobs()]}
    assert ids == {job.json["jobUUID"] for job in htcjobs.iter_jobs(rescale, task)}
    assert len(ids) == 4
