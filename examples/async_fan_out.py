"""Submit several studies in parallel on an event loop, and print each result as it arrives."""

import asyncio

from rescalehtc.aio import AsyncHtcSession, htcjobs, htcprojects, htctasks

# Sums the squares of the numbers from 1 to the study's limit. Each job takes every tenth number.
COMMAND = """
i=$AWS_BATCH_JOB_ARRAY_INDEX sum=0
while [ $((i += 10)) -le $((LIMIT + 9)) ]; do sum=$((sum + (i - 9) * (i - 9))); done
echo $sum
"""
LIMITS = [100, 200, 300, 400]
JOBS = 10


async def study(rescale: AsyncHtcSession, task: htctasks.HtcTask, limit: int) -> tuple[int, int]:
    batch = await htcjobs.create_job_batch(
        rescale,
        task,
        JOBS,
        priority="ON_DEMAND_ECONOMY",
        image_name="busybox:1",
        exec_timeout_seconds=300,
        commands=["sh", "-c", COMMAND],
        envs=[{"name": "LIMIT", "value": str(limit)}],
    )
    total = 0
    async for job in htcjobs.as_completed(rescale, batch.to_jobs()):
        [line] = await job.get_logs(rescale)
        total += int(line)
    return limit, total


async def main() -> None:
    async with AsyncHtcSession(status_refresh_seconds=1) as rescale:
        project = (await htcprojects.get_projects(rescale))[0]
        task = await htctasks.create_task_with_name(rescale, project, "async-fan-out")
        studies = [study(rescale, task, limit) for limit in LIMITS]
        for done in asyncio.as_completed(studies):
            limit, total = await done
            print(f"the squares up to {limit}² sum up to {total:,}")
        await task.delete_task(rescale)


asyncio.run(main())
