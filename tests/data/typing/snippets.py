"""Good code and mistakes, for five type checkers. Checked by tests/test_checkers.py, not run.

A comment `error` at the end of a line means that all of them refuse it; `error: mypy ty` names
those that do. All other lines are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never, assert_type

from rescalehtc import HtcSession, api, htcjobs, htcprojects, htctasks, models, types

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = models.RescaleJobStatus


# ---- models in code: Python names, and strings for enumerations


def definitions(chosen: str, regions: list[str], members: list[models.RescaleRegion]) -> None:
    one = models.HTCJobDefinition(image_name="a:1", architecture="AARCH64", max_vcpus=4)
    models.HTCJobDefinition(image_name="a:1", priority=chosen, commands=["true"])
    models.HTCJobDefinition(image_name="a:1", architecture=models.Architecture.X86)
    models.HTCJobDefinition(image_name="a:1", envs=[models.EnvPair(name="A", value="1")])
    models.HTCJobDefinition(image_name="a:1", tags={"study": "wing"}, working_dir=None)
    models.HTCJobSubmitRequest(htc_job_definition=one, regions=["AWS_US_EAST_1"], batch_size=3)
    models.HTCJobSubmitRequest(htc_job_definition=one, regions=regions, cloud_provider="AWS")
    models.HTCJobSubmitRequest(htc_job_definition=one, regions=members)
    models.HTCJobSubmitRequest(htc_job_definition=one, regions=[*members, "AWS_NEW_1", chosen])
    one.architecture = "X86"
    one.priority = models.JobPriority.ON_DEMAND_ECONOMY


def wrong_definitions(one: models.HTCJobDefinition) -> None:
    models.HTCJobDefinition(image_name=1)  # error
    models.HTCJobDefinition(image_name="a:1", max_vcpus="4")  # error
    models.HTCJobDefinition(image_name="a:1", architecture=4)  # error
    models.HTCJobDefinition(image_name="a:1", max_vcpu=4)  # error
    models.HTCJobDefinition()  # error: mypy pyright basedpyright
    models.HTCJobDefinition(image_name="a", maxVCpus=4)  # error: mypy pyright basedpyright pyrefly
    models.HTCJobSubmitRequest(htc_job_definition=one, regions="AWS_US_EAST_1")  # error
    models.EnvPair(name="A", value=1)  # error
    one.max_memory = "4 GB"  # error
    print(models.Architecture.X87)  # error


# ---- enumerations that grow


def statuses(record: models.HTCJob, failed: htcjobs.FailedJob) -> str:
    assert_type(record.status, models.RescaleJobStatus | str | None)
    assert_type(failed.failure_code, models.HTCJobErrorCodeName | str | None)
    if record.status == Status.FAILED or record.status == "POD_FAILED":
        return "failed"
    if isinstance(record.status, Status) and not record.status.is_listed:
        return "new"
    if record.status in (Status.SUCCEEDED, Status.POD_SUCCEEDED):
        return "succeeded"
    match record.status:
        case Status.RUNNING | Status.STARTING:
            return "soon"
        case None:
            return "not known"
        case _:
            return record.status.lower()


def not_exhaustive(image: models.HTCImageStatus) -> int:  # error
    match image.status:  # error: pyright basedpyright
        case models.ImageStatus.READY:
            return 1
        case models.ImageStatus.PENDING:
            return 2
        case None:
            return 3


def asserted(image: models.HTCImageStatus) -> int:
    match image.status:
        case models.ImageStatus.READY | models.ImageStatus.PENDING | None:
            return 1
        case new:
            assert_never(new)  # error


def wrong_reading(record: models.HTCJob) -> None:
    print(record.statuss)  # error
    print(record.status.lower())  # error
    print(record.started_at.year)  # error
    print(record.jobUUID)  # error


# ---- dictionaries to submit


def payloads(
    rescale: HtcSession, task: htctasks.HtcTask, loaded: Any, raw: list[dict[str, Any]]
) -> None:
    htcjobs.submit(rescale, task, [{"htcJobDefinition": {"imageName": "a:1"}, "batchSize": 2}])
    payload = [{"htcJobDefinition": {"imageName": "a:1"}, "batchSize": 2}]
    htcjobs.submit(rescale, task, payload)
    htcjobs.create_job_batch_raw(rescale, task, raw)
    htcjobs.create_job_batch_raw(rescale, task, loaded)
    typed: list[types.HTCJobSubmitRequestDict] = [{"htcJobDefinition": {"imageName": "a:1"}}]
    htcjobs.submit(rescale, task, typed)
    one = models.HTCJobSubmitRequest(htc_job_definition=models.HTCJobDefinition(image_name="a:1"))
    htcjobs.submit(rescale, task, [one, one.to_json_dict(), typed[0]])
    batch = htcjobs.submit(rescale, task, [one])
    htcjobs.submit(rescale, task, [part.json for part in batch.batches])
    print(htcjobs.validate(payload), htcjobs.validate([one]))


def typed_payloads() -> None:
    definition: types.HTCJobDefinitionDict = {
        "imageName": "a:1",
        "architecture": "AARCH64",
        "envs": {"A": "1"},
    }
    request: types.HTCJobSubmitRequestDict = {"htcJobDefinition": definition}
    request["regions"] = ["AWS_US_EAST_1", "AWS_NEW_1"]
    request["batchsize"] = 2  # error
    request["batchSize"] = "2"  # error
    wrong: types.HTCJobSubmitRequestDict = {"htcJobDefinition": {"imageNam": "a"}}  # error
    empty: types.HTCJobSubmitRequestDict = {}  # error
    print(request, wrong, empty)


def arguments(rescale: HtcSession, task: htctasks.HtcTask, names: Mapping[str, str]) -> None:
    htcjobs.create_single_job(rescale, task, "ON_DEMAND_ECONOMY", "a:1", 60, envs={"A": "1"})
    htcjobs.create_single_job(rescale, task, "ON_DEMAND_ECONOMY", "a:1", 60, claims=names)
    pairs = [{"name": "A", "value": "1"}]
    htcjobs.create_single_job(rescale, task, "ON_DEMAND_ECONOMY", "a:1", 60, envs=pairs)
    htcjobs.create_single_job(rescale, task, "X", "a:1", 60, batch_tags=[{"key": "a"}])
    htcjobs.create_single_job(rescale, task, "X", "a:1", 60, envs={"A": 1})  # error
    htcjobs.create_single_job(rescale, task, "X", "a:1", "60")  # error
    htcjobs.submit(rescale, task, {"htcJobDefinition": {"imageName": "a:1"}})  # error


# ---- dictionaries that come back


def show(record: Mapping[str, Any]) -> str:
    return str(record["anything"])


def answers(rescale: HtcSession, project: htcprojects.HtcProject, job: htcjobs.HtcJob) -> None:
    assert_type(job.json, types.HTCJobDict)
    assert_type(job.json["jobUUID"], str)
    assert_type(api.get_htc_projects_tasks_jobs(rescale, "p", "t", "j"), types.HTCJobDict)
    print(job.json.get("status") == "SUCCEEDED", "status" in job.json, {**job.json})
    print(show(job.json), dict(job.json), list(job.json.items()))
    task = htctasks.HtcTask({"taskId": "t", "projectId": "p"}, project)
    htctasks.HtcTask({"taskId": "t", "anything": 1}, htcprojects.HtcProject({"projectId": "p"}))
    htcjobs.HtcJob({**job.json}, task)
    htcjobs.HtcJob(job.json, task)
    print(job.json["jobUUId"])  # error
    print(job.json["jobUUID"] + 1)  # error
    htctasks.HtcTask({"taskId": "t"}, "p")  # error
