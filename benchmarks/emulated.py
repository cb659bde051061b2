"""Work for the emulator. Run by `python -m rescalehtc.emulator -- ...`, which sets the address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.child import Clock, run

if TYPE_CHECKING:
    from rescalehtc import HtcSession, htctasks

BATCH = 1000
POLL_SECONDS = 0.5


def _task() -> tuple[HtcSession, htctasks.HtcTask]:
    from rescalehtc import HtcSession, htcprojects, htctasks

    rescale = HtcSession(status_refresh_seconds=0)
    project = htcprojects.get_projects(rescale)[0]
    return rescale, htctasks.create_task_with_name(rescale, project, "benchmark")


def _submit(rescale: HtcSession, task: htctasks.HtcTask, size: int, commands: list[str]) -> None:
    from rescalehtc import htcjobs

    region = task.project.json.get("regions", [])[0]
    for begin in range(0, size, BATCH):
        htcjobs.create_job_batch(
            rescale,
            task,
            min(BATCH, size - begin),
            "ON_DEMAND_ECONOMY",
            "solver:1",
            3600,
            commands=commands,
            region=region,
        )


def run_jobs(clock: Clock, size: int) -> int:
    """Submit jobs, and wait until all of them have ended."""
    rescale, task = _task()
    with clock:
        _submit(rescale, task, size, ["true"])
        while task.is_still_running(rescale):
            time.sleep(POLL_SECONDS)
    succeeded: int = task.get_task_summary(rescale)["jobStatuses"]["SUCCEEDED"]
    return succeeded


def list_stored(clock: Clock, size: int) -> int:
    """List jobs that are stored; one of them runs, the others wait."""
    from rescalehtc import htcjobs

    rescale, task = _task()
    _submit(rescale, task, size, ["sleep", "3600"])
    with clock:
        return sum(1 for _ in htcjobs.iter_jobs(rescale, task))


if __name__ == "__main__":
    run(globals())
