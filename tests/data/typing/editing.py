"""What somebody is writing when the editor is asked for help. Asked by tests/tools, not run."""

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks, models


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


def read(job: htcjobs.HtcJob, definition: models.HTCJobDefinition) -> None:
    print(job.record.max_memory)
    print(definition.exec_timeout_seconds)
    job.get_update(HtcSession())
