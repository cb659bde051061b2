"""Work for the emulator. Run by `python -m rescalehtc.emulator -- ...`, which sets the address."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.child import Clock, run

if TYPE_CHECKING:
    from collections.abc import Generator

    from rescalehtc import HtcSession, htctasks
    from rescalehtc.files import Files

AWSCLI = Path(__file__).parents[1] / ".venv" / "awscli"
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


def files_up(clock: Clock, size: int) -> int:
    """Upload files of 10 kB."""
    rescale, task = _task()
    files = task.files(rescale)
    with _folder(size) as folder, clock:
        return len(files.sync_up(folder))


def files_down(clock: Clock, size: int) -> int:
    """Download files of 10 kB."""
    rescale, task = _task()
    files = task.files(rescale)
    with _folder(size) as folder, _folder(0) as target:
        files.sync_up(folder)
        with clock:
            return len(files.sync_down(target))


def aws_up(clock: Clock, size: int) -> int:
    """Upload the same files with `aws s3 sync`."""
    with _folder(size) as folder:
        files = _aws_sync(clock, str(folder), None)
    return len(files.list())


def aws_down(clock: Clock, size: int) -> int:
    """Download the same files with `aws s3 sync`."""
    with _folder(size) as folder, _folder(0) as target:
        _aws_sync(clock, None, str(target), stored=folder)
        return len(list(target.iterdir()))


def _aws_sync(
    clock: Clock, source: str | None, target: str | None, stored: Path | None = None
) -> Files:
    rescale, task = _task()
    files = task.files(rescale)
    if stored is not None:
        files.sync_up(stored)
    address = f"{files.url()}/"
    command = [sys.executable, "-m", "awscli", "s3", "sync", "--quiet"]
    environment = {**os.environ, **files.variables(), "AWS_CONFIG_FILE": os.devnull}
    environment["PYTHONPATH"] = str(AWSCLI)
    with clock:
        subprocess.run(
            [*command, source or address, target or address], env=environment, check=True
        )
    return files


@contextmanager
def _folder(size: int) -> Generator[Path]:
    with tempfile.TemporaryDirectory() as name:
        for index in range(size):
            (Path(name) / str(index)).write_bytes(os.urandom(10_000))
        yield Path(name)


if __name__ == "__main__":
    run(globals())
