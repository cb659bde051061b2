"""Waiting for jobs while people look on: a bar on a terminal, lines in a pipe."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .._facts import SUCCEEDED_STATUSES
from . import _errors, _output

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .._counts import JobCounts
    from ..htcjobs import HtcJob, HtcJobBatch
    from ..htcsession import HtcSession
    from ..htctasks import HtcTask


def watch_task(rescale: HtcSession, task: HtcTask, timeout: float | None) -> JobCounts:
    """Wait for the jobs of a task, and show the counts.

    Raises:
        HtcWaitTimeoutError: The jobs have not ended in time.
    """
    with _shown() as show:
        return task.wait(rescale, timeout, progress=show)


def watch_batch(rescale: HtcSession, batch: HtcJobBatch) -> JobCounts:
    """Wait for the jobs of a batch, and show the counts."""
    with _shown() as show:
        return batch.wait(rescale, progress=show)


def exit_with_status_of(counts: JobCounts) -> None:
    """End the program with the status for jobs that failed, if any did."""
    if counts.succeeded < counts.ended:
        raise typer.Exit(_errors.JOBS_FAILED)


@contextlib.contextmanager
def _shown() -> Generator[Callable[[JobCounts], None]]:
    """A function that shows counts on the error stream."""
    if not _output.is_live(sys.stderr):
        yield _show_in_lines()
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ended, {task.fields[failed]} failed", markup=False),
        TimeElapsedColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(
        *columns,
        console=console,
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=2,
    ) as progress:
        bar = progress.add_task("", total=None, failed=0)

        def show(counts: JobCounts) -> None:
            progress.update(bar, total=counts.total, completed=counts.ended, failed=counts.failed)

        yield show


def _show_in_lines() -> Callable[[JobCounts], None]:
    shown = ""

    def show(counts: JobCounts) -> None:
        nonlocal shown
        if str(counts) != shown:
            shown = str(counts)
            _output.say(shown)

    return show


def exit_with_status_of_job(job: HtcJob) -> None:
    """Tell how a job ended, and end the program with the status for jobs that failed if it did."""
    status = str(job.json.get("status"))
    _output.say(f"job {job.json.get('jobUUID')} is {status}")
    if status not in SUCCEEDED_STATUSES:
        raise typer.Exit(_errors.JOBS_FAILED)
