"""A step of a pipeline: run one command as a job, show its log, and exit with its exit code.

    python -m rescalehtc.emulator -- python examples/pipeline_step.py solver:1 sh -c 'exit 3'

The exit status is the job's exit code, 2 if the arguments are invalid, 3 if the service can't be
reached, rejects the request or fails, and 4 if the job ended without an exit code, for example
after its timeout.
"""

import argparse
import sys

from rescalehtc import HtcSession, exceptions, htcjobs, htcprojects, htctasks


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Run a command as a job, and exit with its exit code."
    )
    parser.add_argument("--task", default="pipeline", help="name of the task (%(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=3600, help="timeout of the job (%(default)s)"
    )
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        return run(arguments)
    except exceptions.HtcValidationError as error:
        print(error, file=sys.stderr)
        return 2
    except exceptions.HtcException as error:
        print(error, file=sys.stderr)
        return 3


def run(arguments: argparse.Namespace) -> int:
    with HtcSession() as rescale:
        project = htcprojects.get_projects(rescale)[0]
        tasks = htctasks.get_tasks_with_name(rescale, project, arguments.task)
        task = (
            tasks[0] if tasks else htctasks.create_task_with_name(rescale, project, arguments.task)
        )
        job = htcjobs.create_single_job(
            rescale,
            task,
            priority="ON_DEMAND_PRIORITY",
            image_name=arguments.image,
            exec_timeout_seconds=arguments.seconds,
            commands=arguments.command,
        )
        print(f"job {job.record.job_uuid}", file=sys.stderr)
        for line in job.follow_logs(rescale):  # ends when the job has ended
            print(line, flush=True)
        record = job.record
        print(f"{record.status} {record.failure_code or ''}".rstrip(), file=sys.stderr)
        if record.failure_code == "ErrorTimeout" or not record.container:
            return 4
        return record.container.exit_code if record.container.exit_code is not None else 4


if __name__ == "__main__":
    sys.exit(main())
