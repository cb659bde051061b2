"""Run a batch, print the failed jobs, and resubmit only these jobs, up to three times.

A resubmitted job gets its old index in the variable PART, so it does the same part of the work.

    python -m rescalehtc.emulator -- python examples/rerun_failures.py
"""

import sys

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks

PARTS = 8
ATTEMPTS = 3

# The program of a job. Parts 2 and 5 find no license on their first attempt. They record the
# attempt in the folder that the jobs of a task share.
WORK = """
part=${PART:-$AWS_BATCH_JOB_ARRAY_INDEX}
tried=$TASK_SHARED_FOLDER/tried-$part
case $part in 2|5) [ -e "$tried" ] || { touch "$tried"; echo "no license is free"; exit 7; };; esac
echo "part $part is done"
"""


def main() -> int:
    with HtcSession() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        task = htctasks.create_task_with_name(rescale, project, "parts")
        batch = htcjobs.create_job_batch(
            rescale,
            task,
            batch_size=PARTS,
            priority="ON_DEMAND_ECONOMY",
            image_name="solver:1",
            exec_timeout_seconds=300,
            commands=["sh", "-c", WORK],
        )
        for attempt in range(1, ATTEMPTS + 1):
            print(f"attempt {attempt}: {batch.wait(rescale)}")
            failures = batch.failed(rescale, last_n_lines=1)
            if not failures:
                return 0
            for failure in failures:
                print(f"  {failure.failure_code}, exit code {failure.exit_code}:", end=" ")
                print(*failure.last_lines)
            if attempt < ATTEMPTS:
                again = batch.resubmit_failed(rescale, index_variable="PART")
                batch = again.submit(rescale)
                for job, index in zip(batch.to_jobs(), again.old_indices, strict=True):
                    print(f"  {job.record.job_uuid} does part {index} again")
    return 1


if __name__ == "__main__":
    sys.exit(main())
