"""Count the primes below two million in 20 jobs, and add up their results.

It runs on the emulator (`make demo`). With an API key and an image with Python in the project's
registry, the same program runs on the service.
"""

from rescalehtc import HtcSession, exceptions, htcjobs, htcprojects, htctasks

LIMIT = 2_000_000
JOBS = 20

# The program of a job. Its index determines its slice of the numbers.
COUNT_PRIMES = f"""
import os
index = int(os.environ["AWS_BATCH_JOB_ARRAY_INDEX"])
size = {LIMIT} // {JOBS}
first, last = index * size, (index + 1) * size
sieve = bytearray([1]) * last
sieve[:2] = b"\\0\\0"
for n in range(2, int(last**0.5) + 1):
    if sieve[n]:
        sieve[n * n :: n] = bytes(len(range(n * n, last, n)))
print(f"numbers from {{first}} to {{last - 1}}")
print(sum(sieve[first:last]))
"""


def main() -> None:
    with HtcSession() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        print(
            f"project  {project.record.project_name} in {', '.join(project.record.regions or [])}"
        )
        task = htctasks.create_task_with_name(rescale, project, "count-primes")
        print(f"task     {task.record.task_name}, {task.record.lifecycle_status}")

        batch = htcjobs.create_job_batch(
            rescale,
            task,
            batch_size=JOBS,
            priority="ON_DEMAND_ECONOMY",
            image_name="python:3",
            exec_timeout_seconds=300,
            commands=["python3", "-c", COUNT_PRIMES],
        )
        print(f"batch    {batch.record.batch_size} jobs, parent {batch.record.parent_job_id}")
        counts = batch.wait(rescale, progress=True)
        print(f"ended    {counts.succeeded} succeeded, {counts.failed} failed")

        jobs = batch.to_jobs()
        parts = [list(job.get_logs(rescale)) for job in jobs]
        print(f"logs     {len(parts)} of them; the last one says: {' | '.join(parts[-1])}")
        print(f"result   {sum(int(lines[-1]) for lines in parts):,} primes below {LIMIT:,}")

        jobs[-1].get_update(rescale)
        record = jobs[-1].record
        assert record.started_at
        assert record.completed_at
        assert record.container
        seconds = (record.completed_at - record.started_at).total_seconds()
        print(f"\nrecord   {record.job_uuid}")
        print(
            f"         {record.status} in {record.region}, exit code {record.container.exit_code}"
        )
        print(f"         {record.max_vcpus} vCPU, {record.max_memory} MiB, {seconds:.1f} s")

        print("\nAnd a submission with mistakes in it:\n")
        try:
            htcjobs.create_job_batch(
                rescale,
                task,
                batch_size=2000,
                priority="CHEAP",
                image_name="python:3",
                exec_timeout_seconds=5,
                envs=[{"name": "AWS_BATCH_JOB_ARRAY_INDEX", "value": "7"}],
                region="AWS_EU_WEST_1",
            )
        except exceptions.HtcValidationError as error:
            print(error)


if __name__ == "__main__":
    main()
