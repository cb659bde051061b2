"""Work with calls that only this package has, or that it names differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import work
from benchmarks.child import Clock, run

if TYPE_CHECKING:
    from rescalehtc import htctasks
    from rescalehtc.aio import htctasks as aio_htctasks


def iter_jobs(clock: Clock, size: int) -> int:
    """List jobs one page at a time and read the status of each."""
    from rescalehtc import htcjobs

    rescale, task = work.connected(size)
    with clock:
        jobs = htcjobs.iter_jobs(rescale, task)
        return sum(job.json.get("status") == "SUCCEEDED" for job in jobs)


def iter_records(clock: Clock, size: int) -> int:
    """List jobs, build the record of each and read its status."""
    from rescalehtc import htcjobs, models

    rescale, task = work.connected(size)
    succeeded = models.RescaleJobStatus.SUCCEEDED
    with clock:
        return sum(job.record.status == succeeded for job in htcjobs.iter_jobs(rescale, task))


def get_jobs_async(clock: Clock, size: int) -> int:
    """List jobs on an event loop and read the status of each."""
    import asyncio

    from rescalehtc.aio import AsyncHtcSession, htcjobs

    _, task = work.connected(size)

    async def listed() -> int:
        async with AsyncHtcSession(api_key="key") as rescale:
            await rescale.reauthenticate_if_needed()
            with clock:
                jobs = await htcjobs.get_jobs(rescale, _async_task(task))
                return sum(job.json.get("status") == "SUCCEEDED" for job in jobs)

    return asyncio.run(listed())


def get_logs_to_file_async(clock: Clock, size: int) -> tuple[int, int, bytes, bytes]:
    """Save a log on an event loop."""
    import asyncio
    import tempfile

    from rescalehtc.aio import AsyncHtcSession, htcjobs

    _, task = work.connected(size)
    [plain] = work.jobs_of(task, 1)

    async def saved(path: str) -> None:
        async with AsyncHtcSession(api_key="key") as rescale:
            await rescale.reauthenticate_if_needed()
            job = htcjobs.HtcJob(plain.json, _async_task(task))
            with clock:
                await job.get_logs_to_file(rescale, path)

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/job.log"
        asyncio.run(saved(path))
        return work.saved_log(path)


def _async_task(task: htctasks.HtcTask) -> aio_htctasks.HtcTask:
    from rescalehtc.aio import htcprojects, htctasks

    return htctasks.HtcTask(task.json, htcprojects.HtcProject(task.project.json))


def submit(clock: Clock, size: int) -> list[str]:
    """Submit batches in parallel."""
    from rescalehtc import htcjobs, models

    rescale, task = work.connected(size)
    with clock:
        requests = [
            models.HTCJobSubmitRequest(
                job_name=f"wing-{number}",
                batch_size=work.BATCH,
                htc_job_definition=models.HTCJobDefinition(
                    image_name="solver:1",
                    exec_timeout_seconds=3600,
                    max_vcpus=1,
                    max_memory=4000,
                    architecture=models.Architecture.AARCH64,
                    priority=models.JobPriority.ON_DEMAND_ECONOMY,
                    commands=["python", "solve.py"],
                    envs=[models.EnvPair(name="STUDY", value=f"wing-{number}")],
                ),
            )
            for number in range(size // work.BATCH)
        ]
        batch = htcjobs.submit(rescale, task, requests)
    return [part.json["parentJobId"] for part in batch.batches]


def refresh(clock: Clock, size: int) -> int:
    """Fetch the records of many jobs at once."""
    from rescalehtc import htcjobs

    rescale, task = work.connected(size)
    jobs = work.jobs_of(task, size)
    with clock:
        htcjobs.refresh(rescale, jobs)
    return sum(job.json.get("status") == "SUCCEEDED" for job in jobs)


DEFINITION: dict[str, object] = {
    "image_name": "solver:1",
    "exec_timeout_seconds": 3600,
    "max_vcpus": 2,
    "max_memory_mib": 4000,
    "max_swap_mib": 0,
    "max_disk_gib": 10,
    "job_tags": {"study": "wing"},
    "commands": ["python", "solve.py", "--case", "7"],
    "envs": [{"name": "STUDY", "value": "wing"}, {"name": "SOLVER_THREADS", "value": "2"}],
    "claims": [{"name": "case", "value": "7"}],
    "architecture": "AARCH64",
    "priority": "ON_DEMAND_ECONOMY",
    "batch_size": 1000,
    "job_name": "wing",
    "batch_tags": [{"key": "study", "value": "wing"}],
}


def check_arguments(clock: Clock, size: int) -> int:
    """Check the arguments of create_job_batch `size` times."""
    from rescalehtc._requests import submit_request

    _, task = work.connected(size)
    with clock:
        checked = [
            submit_request.from_arguments(DEFINITION, None, task.project.json) for _ in range(size)
        ]
    return len(checked)


def check_payload(clock: Clock, size: int) -> int:
    """Check `size` submit requests, given as dictionaries."""
    from rescalehtc._requests import submit_request

    _, task = work.connected(size)
    request = submit_request.from_arguments(DEFINITION, None, task.project.json)
    payloads = [[request.to_json_dict() for _ in range(100)] for _ in range(size // 100)]
    with clock:
        checked = [submit_request.from_payload(payload, task.project.json) for payload in payloads]
    return sum(map(len, checked))


if __name__ == "__main__":
    run({**vars(work), **globals()})
