"""Work with the same code for this package and for 1.1.0.

Each function prepares, does its work in a `Clock` block, and returns the outcome, which must be the
same on both sides. The task determines the sizes: see server.py.
"""

from __future__ import annotations

BATCH = 1000
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rescalehtc import HtcSession, htcjobs, htctasks

    from .child import Clock


def connected(size: int) -> tuple[HtcSession, htctasks.HtcTask]:
    """A session that has its token, and a task of `size` jobs."""
    from rescalehtc import HtcSession, htcprojects, htctasks

    rescale = HtcSession(api_key="key")
    rescale.reauthenticate_if_needed()
    project = htcprojects.HtcProject({"projectId": "p", "regions": ["AWS_EU_WEST_1"]})
    return rescale, htctasks.HtcTask({"projectId": "p", "taskId": str(size)}, project)


def jobs_of(task: htctasks.HtcTask, count: int) -> list[htcjobs.HtcJob]:
    """Jobs without fetched records."""
    from benchmarks.server import job_id
    from rescalehtc import htcjobs

    ids = {"projectId": "p", "taskId": task.json["taskId"]}
    return [htcjobs.HtcJob({**ids, "jobUUID": job_id(index)}, task) for index in range(count)]


def do_nothing(_clock: Clock, _size: int) -> None:
    """Do nothing: a bare interpreter."""


def import_package(_clock: Clock, _size: int) -> None:
    """Import the package."""
    import rescalehtc  # noqa: F401  # pyright: ignore[reportUnusedImport]


def get_jobs(clock: Clock, size: int) -> int:
    """List jobs and read the status of each."""
    from rescalehtc import htcjobs

    rescale, task = connected(size)
    with clock:
        jobs = htcjobs.get_jobs(rescale, task)
        return sum(job.json.get("status") == "SUCCEEDED" for job in jobs)


def get_logs_to_file(clock: Clock, size: int) -> tuple[int, int, bytes, bytes]:
    """Save a log."""
    import tempfile

    rescale, task = connected(size)
    [job] = jobs_of(task, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/job.log"
        with clock:
            job.get_logs_to_file(rescale, path)
        return saved_log(path)


def saved_log(path: str) -> tuple[int, int, bytes, bytes]:
    """Lines, bytes, first and last line of a file."""
    first = last = b""
    lines = size = 0
    with open(path, "rb") as saved:
        for last in saved:
            first = first or last
            lines, size = lines + 1, size + len(last)
    return lines, size, first, last


def get_logs(clock: Clock, size: int) -> tuple[int, int]:
    """Read all lines of a log."""
    rescale, task = connected(size)
    [job] = jobs_of(task, 1)
    lines = characters = 0
    with clock:
        for line in job.get_logs(rescale):
            lines += 1
            characters += len(line)
    return lines, characters


def to_jobs(clock: Clock, size: int) -> tuple[int, str]:
    """Create the jobs of batches, without requests."""
    from rescalehtc import htcjobs

    _, task = connected(size)
    shared: dict[str, Any] = {"group": "g", "projectId": "p", "taskId": "t", "batchSize": BATCH}
    batches = [
        htcjobs.HtcJobBatch({**shared, "parentJobId": f"parent-{number}"}, task)
        for number in range(size // BATCH)
    ]
    with clock:
        jobs = [job for batch in batches for job in batch.to_jobs()]
    return len(jobs), jobs[-1].json["jobUUID"]
