"""Incomplete code, in which tests/tools requests completions from an editor. It is not run."""

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks, models, types
from rescalehtc.exceptions import Problem

chosen = "ON_DEMAND_ECONOMY"


def write(
    rescale: HtcSession, project: htcprojects.HtcProject, task: htctasks.HtcTask, chosen: str
) -> None:
    htcjobs.create_job_batch(
        rescale,
        task,
        5,
        priority="",
        image_name="solver",
        exec_timeout_seconds=60,
        architecture="",
        region="",
    )
    htcjobs.create_single_job(rescale, task, chosen, "solver", 60, region=chosen)
    htcjobs.iter_jobs(rescale, task, job_status="")
    htctasks.iter_tasks(rescale, project, lifecycle_status="")
    project.set_vcpu_limit(rescale, modifier_role="", vcpu_limit=1)


def payloads(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    htcjobs.submit(rescale, task, [{""}])  # pyright: ignore[reportArgumentType]
    htcjobs.create_job_batch_raw(rescale, task, [{"htcJobDefinition": {"imageName": "a", "": 1}}])
    htcjobs.validate([{"htcJobDefinition": {"imageName": "a", "architecture": ""}}])
    htcjobs.create_job_batch(rescale, task, 1, chosen, "a", 60, envs=[{""}])  # pyright: ignore[reportArgumentType]
    models.HTCJobDefinition(image_name="a", priority="")
    definition: types.HTCJobDefinitionDict = {"imageName": "a", "priority": ""}
    print(definition)


def answers(rescale: HtcSession, project: htcprojects.HtcProject, job: htcjobs.HtcJob) -> None:
    print(job.json["jobUUID"])
    print(project.get_limits(rescale)[0].vcpus)
    print(htcjobs.get_jobs(rescale, job.task, group="g"))
    HtcSession(deadline_seconds=60)
    print(rescale.settle_seconds, models.JobPriority.ON_DEMAND_ECONOMY)


def fields(counts: htcjobs.JobCounts, problem: Problem) -> None:
    print(counts.unseen, problem.where)


def read(job: htcjobs.HtcJob, definition: models.HTCJobDefinition) -> None:
    print(job.record.max_memory)
    print(definition.exec_timeout_seconds)
    job.get_update(HtcSession())
