"""Work with other calls in 1.1.0, as its users write it. Run with that release on the path."""

import os

from benchmarks import work
from benchmarks.child import run


def submit(clock, size):
    from rescalehtc import htcjobs

    rescale, task = work.connected(size)
    with clock:
        batches = [
            htcjobs.create_job_batch(
                rescale,
                task,
                work.BATCH,
                "ON_DEMAND_ECONOMY",
                "solver:1",
                3600,
                job_name=f"wing-{number}",
                commands=["python", "solve.py"],
                envs=[{"name": "STUDY", "value": f"wing-{number}"}],
            )
            for number in range(size // work.BATCH)
        ]
    return [batch.json["parentJobId"] for batch in batches]


def refresh(clock, size):
    rescale, task = work.connected(size)
    jobs = work.jobs_of(task, size)
    with clock:
        for job in jobs:
            job.get_update(rescale)
    return sum(job.json["status"] == "SUCCEEDED" for job in jobs)


if __name__ == "__main__":
    from rescalehtc.internals import constants

    constants._RESCALE_API_BASE_URL = os.environ["RESCALE_API_BASE_URL"]
    run({**vars(work), **globals()})
