"""Each cause is found from the service's responses, with one scenario per cause.

docs/how-to/failures.md has the table of verdicts; the last test compares.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc import aio as twins
from rescalehtc.emulator import Emulator
from rescalehtc.exceptions import HtcResponseError, HtcServerError

from ..clock import inject_clock
from ..limits import HANG_SECONDS
from ..service import Answer, Service
from .conftest import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rescalehtc.htcjobs import Cause

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "failures.md"
IDS = {"projectId": "p", "taskId": "t"}
LONG_AGO = "2026-01-01T00:00:00Z"

# The scenarios of the table, each with its verdict and whether it is a guess.
DOCUMENTED = {
    scenario: (name, guess == "yes")
    for scenario, name, guess in re.findall(
        r"^\| ([^|`]+) \| `([\w-]+)` \| (yes|) *\|$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
}
# Far longer than a job takes, with the emulator's clock.
LONG = {"execTimeoutSeconds": 120_000}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An emulator for this module only, because limits and images change. Its clock is fast."""
    with Emulator(slots=2, clock_rate=200) as emulator:
        yield emulator


def note(scenario: str, causes: list[Cause], name: str, *evidence: str) -> None:
    """Check that a cause was found with its evidence, and that the documentation has the verdict."""
    found = {cause.name: cause for cause in causes}
    assert name in found, f"{scenario}: {[*map(str, causes)]}"
    cause = found[name]
    text_ = "\n".join(cause.evidence)
    assert all(item in text_ for item in evidence), text_
    assert cause.text
    assert cause.advice
    assert ("probably" in str(cause)) is cause.is_guess
    assert DOCUMENTED[scenario] == (name, cause.is_guess)


# ---- on the emulator: jobs that failed


def ended(
    rescale: HtcSession, task: htctasks.HtcTask, script: str, **more: Any
) -> tuple[htcjobs.HtcJob, list[Cause]]:
    job = htcjobs.submit(rescale, task, [request(1, script, **{**LONG, **more})]).to_jobs()[0]
    job.wait(rescale)
    return job, job.why(rescale)


@pytest.mark.parametrize(
    ("scenario", "script", "name", "evidence"),
    [
        ("exit code 3", "echo out of licenses; exit 3", "exit-code", "log: out of licenses"),
        ("exit code 127", "exec no-such-program", "command-not-found", "exit code: 127"),
        ("exit code 126", "exec ./", "not-executable", "exit code: 126"),
        ("exit code 137", "kill -9 $$", "killed", "exit code: 137"),
        ("exit code 139", "kill -11 $$", "crashed", "exit code: 139"),
        ("success", "true", "succeeded", "status SUCCEEDED"),
    ],
)
def test_how_a_command_ended(
    fast: HtcSession,
    task: htctasks.HtcTask,
    scenario: str,
    script: str,
    name: str,
    evidence: str,
) -> None:
    _, causes = ended(fast, task, script)
    note(scenario, causes, name, evidence)
    assert len(causes) == 1


def test_a_job_that_runs_too_long(fast: HtcSession, task: htctasks.HtcTask) -> None:
    _, causes = ended(fast, task, "sleep 600", execTimeoutSeconds=60)
    note("ErrorTimeout", causes, "timeout", "failureCode: ErrorTimeout")


def test_a_command_that_can_t_be_started(fast: HtcSession, task: htctasks.HtcTask) -> None:
    _, causes = ended(fast, task, "", commands=["/no/such/program"])
    note("ErrorStartingContainer", causes, "not-started", "can't start")


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        ("preempt", "preempted", "ErrorInstanceTermination"),
        ("out_of_memory", "out-of-memory", "ErrorNotEnoughMemory"),
    ],
)
def test_a_job_that_a_fault_ended(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, kind: Any, name: str, code: str
) -> None:
    with emulator.fault("*", kind, seconds=0):
        _, causes = ended(fast, task, "sleep 600")
    note(code, causes, name, code)


def test_a_cancelled_job(fast: HtcSession, task: htctasks.HtcTask) -> None:
    job = htcjobs.submit(fast, task, [request(1, "sleep 600", **LONG)]).to_jobs()[0]
    task.cancel_jobs_in_task(fast)
    job.wait(fast)
    note("cancelled", job.why(fast), "cancelled", "cancelled by user")


# ---- on the emulator: jobs that wait


@pytest.fixture
def limited(
    emulator: Emulator, fast: HtcSession, project: htcprojects.HtcProject
) -> Iterator[Callable[[int], None]]:
    """Limits the project, until the test ends."""
    yield lambda vcpus: set_limit(fast, project, vcpus)
    project.delete_all_limits(fast)
    for task in htctasks.iter_tasks(fast, project):
        task.cancel_jobs_in_task(fast)


def set_limit(rescale: HtcSession, project: htcprojects.HtcProject, vcpus: int) -> None:
    limit = project.set_vcpu_limit(rescale, "PROJECT_ADMIN", max(vcpus, 1))
    project.update_limit(rescale, limit["id"], vcpus)


@pytest.mark.parametrize(
    ("scenario", "vcpus", "name", "evidence"),
    [
        ("a limit of 0", 0, "limit-zero", "limit of the project: 0 vCPUs"),
        ("a limit below the job's vCPUs", 3, "limit-too-low", "the job needs 4"),
    ],
)
def test_a_limit_that_no_job_of_this_size_fits(
    fast: HtcSession,
    task: htctasks.HtcTask,
    limited: Callable[[int], None],
    scenario: str,
    vcpus: int,
    name: str,
    evidence: str,
) -> None:
    limited(vcpus)
    job = htcjobs.submit(fast, task, [request(1, maxVCpus=4)]).to_jobs()[0]
    note(scenario, job.why(fast), name, evidence)


def test_a_limit_that_running_jobs_use_up(
    fast: HtcSession,
    task: htctasks.HtcTask,
    limited: Callable[[int], None],
    until: Callable[..., None],
) -> None:
    limited(2)
    first, second = htcjobs.submit(
        fast, task, [request(1, "sleep 600", maxVCpus=2, **LONG)] * 2
    ).to_jobs()
    until(lambda: first.get_update(fast)["status"] == "RUNNING")
    note(
        "a limit that running jobs use up",
        second.why(fast),
        "limit-reached",
        "running in this task: 2",
    )
    note("running", first.why(fast), "running", "execTimeoutSeconds: 120000")
    ours = {cause.name: cause.jobs for cause in task.why(fast)}
    assert ours == {"limit-reached": 1, "running": 1}


def test_a_limit_of_the_workspace(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask, limited: object
) -> None:
    emulator.set_workspace_limit(0)
    job = htcjobs.submit(fast, task, [request(1)]).to_jobs()[0]
    causes = job.why(fast)
    emulator.set_workspace_limit(None)
    note("a limit of the workspace", causes, "limit-zero", "limit of the workspace: 0 vCPUs")


@pytest.mark.parametrize(
    ("scenario", "status", "name"),
    [
        ("an image that is PENDING", "PENDING", "image-pending"),
        ("an image that is UNKNOWN", "UNKNOWN", "image-missing"),
    ],
)
def test_an_image_that_is_not_ready_any_more(
    emulator: Emulator,
    fast: HtcSession,
    task: htctasks.HtcTask,
    limited: Callable[[int], None],
    scenario: str,
    status: Any,
    name: str,
) -> None:
    limited(1)
    batch = htcjobs.submit(fast, task, [request(1, "sleep 600", **LONG), request(1)])
    emulator.set_image_status("image", status)
    causes = batch.to_jobs()[1].why(fast)
    emulator.set_image_status("image", "READY")
    note(scenario, causes, name, "image")


def test_a_job_that_was_just_submitted(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    inject_clock(fast)  # the clock stands still
    with emulator.fault("*", "slow_start", seconds=HANG_SECONDS):
        job = htcjobs.submit(fast, task, [request(1)]).to_jobs()[0]
        note("submitted a moment ago", job.why(fast), "fresh", "status S")
    task.cancel_jobs_in_task(fast)


def test_failures_of_a_task_are_grouped(fast: HtcSession, task: htctasks.HtcTask) -> None:
    script = "exit $((AWS_BATCH_JOB_ARRAY_INDEX % 3))"
    htcjobs.submit(fast, task, [request(8, script, **LONG)]).wait(fast)
    causes = task.why(fast)
    assert [(cause.name, cause.jobs) for cause in causes] == [("exit-code", 3), ("exit-code", 2)]
    assert str(causes[0]).startswith("3 jobs: the program ended with exit code 1")


# ---- on the scripted service: statuses that the emulator can't produce


def scripted_job(service: Service, status: str, **more: Any) -> None:
    job = {**IDS, "jobUUID": "a:0", "status": status, "updatedAt": LONG_AGO, "imageName": "i"}
    place = {"region": "AWS_EU_WEST_1", "maxVCpus": 4, "architecture": "X86", "workspaceId": "w"}
    service.on("GET /htc/projects/p/tasks/t/jobs/a:0", Answer({**job, **place, **more}))
    for path, answer in {
        "p/tasks/t/jobs/a:0/events": {"items": []},
        "p/tasks/t/jobs/a:0/logs": {"items": []},
        "p/tasks/t/jobs": {"items": []},
        "p/tasks/t": {**IDS, "lifecycleStatus": "ACTIVE"},
        "p": {"projectId": "p", "regions": ["AWS_EU_WEST_1"]},
        "p/dimensions": [],
        "p/limits": [],
        "p/container-registry/images/i": {"status": "READY"},
    }.items():
        service.on(f"GET /htc/projects/{path}", Answer(answer))
    service.on("GET /htc/workspaces/w/limits", Answer({"vCPUs": 1000}))


def why(rescale: HtcSession, task: htctasks.HtcTask) -> list[Cause]:
    return htcjobs.HtcJob({**IDS, "jobUUID": "a:0"}, task).why(rescale)


OTHER = {"region": "AWS_EU_WEST_1", "derived": {"architecture": "AARCH64", "vcpus": 64}}


@pytest.mark.parametrize(
    ("scenario", "status", "changed", "name", "evidence"),
    [
        ("SUBMITTED_TO_RESCALE for long", "SUBMITTED_TO_RESCALE", {}, "queue", "since 2026"),
        ("RUNNABLE for long", "RUNNABLE", {}, "no-capacity", "4 vCPUs"),
        ("SUBMITTED_TO_PROVIDER for long", "SUBMITTED_TO_PROVIDER", {}, "no-capacity", "X86"),
        ("STARTING for long", "STARTING", {}, "starting", "status STARTING"),
        ("an unknown status", "PAUSED", {}, "unknown-status", "PAUSED"),
        (
            "an archived task",
            "RUNNABLE",
            {"p/tasks/t": {**IDS, "lifecycleStatus": "ARCHIVED"}},
            "task-not-active",
            "ARCHIVED",
        ),
        (
            "a region that the project no longer has",
            "RUNNABLE",
            {"p": {"projectId": "p", "regions": ["AWS_US_EAST_1"]}},
            "region-removed",
            "AWS_US_EAST_1",
        ),
        (
            "no computing environment that fits",
            "SUBMITTED_TO_RESCALE",
            {"p/dimensions": [OTHER]},
            "no-environment",
            "X86",
        ),
        (
            "retried by the service",
            "RUNNABLE",
            {
                "p/tasks/t/jobs/a:0/events": {
                    "items": [
                        {"status": "RUNNING"},
                        {"status": "RUNNABLE", "statusReason": "exit code 1"},
                    ]
                }
            },
            "retried",
            "exit code 1",
        ),
    ],
)
def test_jobs_that_wait(
    service: Service,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    scenario: str,
    status: str,
    changed: dict[str, Any],
    name: str,
    evidence: str,
) -> None:
    scripted_job(service, status)
    for path, answer in changed.items():
        service.on(f"GET /htc/projects/{path}", Answer(answer))
    note(scenario, why(scripted, scripted_task), name, evidence)


@pytest.mark.parametrize(
    ("scenario", "changed", "name"),
    [
        ("ErrorInfrastructureFault", {"failureCode": "ErrorInfrastructureFault"}, "infrastructure"),
        ("ErrorProviderDown", {"failureCode": "ErrorProviderDown"}, "provider-down"),
        ("ErrorProviderRegionDown", {"failureCode": "ErrorProviderRegionDown"}, "region-down"),
        ("ErrorCostExceeded", {"failureCode": "ErrorCostExceeded"}, "cost-exceeded"),
        ("ErrorUnknownFailure", {"failureCode": "ErrorUnknownFailure"}, "unknown-failure"),
        ("an unknown failure code", {"failureCode": "ErrorAddedLater"}, "unknown-code"),
        ("cancelled, without events", {"statusReason": "Cancelled"}, "cancelled"),
        ("no failure code", {"failureCode": None, "container": None}, "unknown-code"),
    ],
)
def test_jobs_that_failed(
    service: Service,
    scripted: HtcSession,
    scripted_task: htctasks.HtcTask,
    scenario: str,
    changed: dict[str, Any],
    name: str,
) -> None:
    scripted_job(service, "FAILED", **changed)
    note(scenario, why(scripted, scripted_task), name, "status FAILED")


def test_a_job_that_soon_reaches_its_timeout(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    scripted_job(service, "RUNNING", startedAt=LONG_AGO, execTimeoutSeconds=60)
    note(
        "running, with 90 % of the timeout over",
        why(scripted, scripted_task),
        "near-timeout",
        LONG_AGO,
    )


def test_a_job_that_is_gone(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    service.on("GET /htc/projects/p/tasks/t", Answer({**IDS, "lifecycleStatus": "DELETED"}))
    note("a job that does not exist", why(scripted, scripted_task), "gone", "404", "DELETED")
    service.on("GET /htc/projects/p/tasks/t", Answer(status=404))
    assert [cause.name for cause in scripted_task.why(scripted)] == ["gone"]


def test_what_may_not_be_read_is_said_in_the_evidence(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    scripted_job(service, "SUBMITTED_TO_RESCALE")
    service.on("GET /htc/projects/p/limits", Answer(status=403))
    service.on("GET /htc/workspaces/w/limits", Answer(status=404))
    (cause,) = why(scripted, scripted_task)
    assert cause.name == "queue"
    assert any("project's limits could not be read" in item for item in cause.evidence)


def test_a_service_that_fails_is_an_error(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    scripted_job(service, "RUNNABLE")
    service.on("GET /htc/projects/p/dimensions", Answer(status=500))
    with pytest.raises(HtcServerError):
        why(scripted.with_options(max_retries=0), scripted_task)


def test_on_an_event_loop_it_is_the_same(
    emulator: Emulator, fast: HtcSession, task: htctasks.HtcTask
) -> None:
    job, causes = ended(fast, task, "exit 4")

    async def main() -> list[Cause]:
        async with emulator.async_session() as rescale:
            found = await twins.htcjobs.get_job_with_id(rescale, task, job.json["jobUUID"])
            assert found
            return await found.why(rescale)

    assert asyncio.run(main()) == causes


def test_each_scenario_of_the_documentation_is_tried_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert len(DOCUMENTED) >= 12
    assert [scenario for scenario in DOCUMENTED if f'"{scenario}"' not in source] == []


# ---- fields of wrong types


WRONG: dict[str, dict[str, Any]] = {
    "failureCode": {"failureCode": ["x"]},
    "container": {"container": {"exitCode": {"x": 1}}},
    "tags": {"tags": [{"key": None, "value": 5}]},
    "envs": {"envs": 5},
}


@pytest.mark.parametrize("field", WRONG)
def test_a_field_of_a_wrong_type_is_one_clear_error(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, field: str
) -> None:
    job = {**IDS, "jobUUID": "a:0", "status": "FAILED", "group": "g", **WRONG[field]}
    scripted_job(service, "FAILED", **WRONG[field])
    service.on("GET /htc/projects/p/tasks/t/jobs", Answer({"items": [job]}))
    calls: list[Callable[[], object]] = [
        lambda: why(scripted, scripted_task),
        lambda: htcjobs.get_batch(scripted, scripted_task, group="g"),
    ]
    for call in calls:
        with pytest.raises(HtcResponseError, match=field):
            call()


@pytest.mark.parametrize(
    "odd",
    [
        {"maxMemory": 10**400, "failureCode": "ErrorNotEnoughMemory"},
        {"maxMemory": "4096", "failureCode": "ErrorNotEnoughMemory"},
        {"execTimeoutSeconds": True, "failureCode": "ErrorTimeout"},
        {"failureCode": {}, "container": {"exitCode": []}},
        {"tags": [None, {"key": "rescalehtc-attempt", "value": f"a:0:{'9' * 5000}"}]},
    ],
)
def test_odd_values_do_not_end_a_wait(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, odd: dict[str, Any]
) -> None:
    job = {**IDS, "jobUUID": "a:0", "status": "FAILED", "group": "g", **odd}
    service.on("GET /htc/projects/p/tasks/t/jobs", Answer({"items": [job]}))
    answer = {**IDS, "parentJobId": "a", "batchSize": 1, "group": "g"}
    batch = htcjobs.HtcJobBatch(answer, scripted_task)
    assert batch.wait(scripted, policy=htcjobs.RetryPolicy()).failed == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"startedAt": "0001-01-01T00:00:00", "completedAt": "9999-12-31T23:59:59"},
        {"startedAt": LONG_AGO, "completedAt": "2026-01-01T01:00:00Z", "maxVCpus": 10**400},
    ],
)
def test_odd_values_do_not_end_the_usage(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, odd: dict[str, Any]
) -> None:
    job = {**IDS, "jobUUID": "a:0", "status": "FAILED", **odd}
    service.on("GET /htc/projects/p/tasks/t/jobs", Answer({"items": [job]}))
    batch = htcjobs.HtcJobBatch({**IDS, "parentJobId": "a", "batchSize": 1}, scripted_task)
    assert htcjobs.usage(scripted, batch).jobs == 1


def test_a_job_id_with_a_huge_index_makes_no_huge_batch(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    for index in ("9" * 12, "9" * 5000):
        jobs = [{**IDS, "jobUUID": f"a:{index}", "status": "FAILED"}]
        service.on("GET /htc/projects/p/tasks/t/jobs", Answer({"items": jobs}))
        assert htcjobs.get_batch(scripted, scripted_task, group="g") is None


def test_odd_values_do_not_end_the_search_for_causes(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    scripted_job(service, "SUBMITTED_TO_RESCALE", maxVCpus="4")
    service.on("GET /htc/projects/p/dimensions", Answer([OTHER]))
    service.on("GET /htc/projects/p/limits", Answer([{"id": "l", "vCPUs": 2}]))
    assert why(scripted, scripted_task)
    service.on("GET /htc/projects/p/limits", Answer([None]))
    with pytest.raises(HtcResponseError, match="listProjectLimits"):
        why(scripted, scripted_task)


@pytest.mark.parametrize("count", [-1, 1.0, "1", True, [1]])
def test_counts_that_are_not_counts_do_not_end_a_wait(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, count: object
) -> None:
    """They were ignored, so a task with running jobs seemed to have none."""
    summary = {"jobStatuses": {"RUNNING": count}}
    service.on("GET /htc/projects/p/tasks/t/summary-statistics", Answer(summary))
    with pytest.raises(HtcResponseError, match="jobStatuses"):
        scripted_task.wait(scripted)
