"""Wait for jobs with a progress bar on a terminal, or lines in a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .._facts import SUCCEEDED_STATUSES
from ..exceptions import HtcWaitTimeoutError
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


def watch_batch(rescale: HtcSession, batch: HtcJobBatch, timeout: float | None) -> JobCounts:
    """Wait for the jobs of a batch, and show the counts.

    Raises:
        HtcWaitTimeoutError: The jobs have not ended in time.
    """
    with _shown() as show:
        return batch.wait(rescale, timeout, progress=show)


def _say_next(command: str) -> None:
    """Say how to go on, to people."""
    if _output.is_live(sys.stderr):
        _output.say(f"next: {command}")


def exit_with_status_of(counts: JobCounts, task: HtcTask) -> None:
    """End the program with the status for jobs that failed, if any did, and say how to go on."""
    if counts.succeeded < counts.ended:
        _say_next(f"rescalehtc jobs --task {task.json.get('taskId')} --status FAILED")
        raise typer.Exit(_errors.JOBS_FAILED)


@contextlib.contextmanager
def _shown() -> Generator[Callable[[JobCounts], None]]:
    """A function that shows counts on the error stream."""
    if _output.is_live(sys.stderr):
        with _bar() as show:
            yield show
    else:
        yield _show_in_lines()


@contextlib.contextmanager
def noting_that_jobs_go_on() -> Generator[None]:
    """Say that the jobs go on if waiting for them ends early."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, HtcWaitTimeoutError) as error:
        error.add_note(
            "the jobs go on; `rescalehtc cancel` ends them, `rescalehtc watch` waits again"
        )
        raise


@contextlib.contextmanager
def _bar() -> Generator[Callable[[JobCounts], None]]:
    """A function that shows counts in a bar, with the time that has passed and that is left."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ended"),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    console = Console(file=sys.stderr)
    with Progress(
        *columns,
        console=console,
        redirect_stdout=False,
        redirect_stderr=False,
        refresh_per_second=2,
    ) as progress:
        bar = progress.add_task("", total=None, counts="", left="")
        estimate = Estimate(time.monotonic)

        def show(counts: JobCounts) -> None:
            progress.update(
                bar,
                total=counts.total,
                completed=counts.ended,
                counts=markup_of(counts),
                left=estimate.left(counts),
            )

        yield show


class Estimate:
    """How long the jobs that are left will take, if they end as fast as those that were seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def left(self, counts: JobCounts) -> str:
        """Return the time that is left, such as `about 0:12:00 left`; empty if it is not known."""
        now = self._clock()
        if self._first is None:
            self._first = now, counts.ended
        seconds, ended = now - self._first[0], counts.ended - self._first[1]
        if not (ended > 0 and seconds > 0 and counts.running):
            return ""
        left = timedelta(seconds=round(counts.running / ended * seconds))
        return f"about {left} left, {ended / seconds * 60:.3g} jobs a minute"


def markup_of(counts: JobCounts) -> str:
    """Return the counts by status, in the colours that tables use."""
    parts: list[str] = []
    for status, count in sorted(counts.by_status.items()):
        colour = _output.STATUS_COLOURS.get(status)
        text = f"{count} {escape(status)}"
        if count:
            parts.append(f"[{colour}]{text}[/]" if colour else text)
    return ", ".join(parts)


def _show_in_lines() -> Callable[[JobCounts], None]:
    shown = ""

    def show(counts: JobCounts) -> None:
        nonlocal shown
        if str(counts) != shown:
            shown = str(counts)
            _output.say(shown)

    return show


def exit_with_status_of_job(job: HtcJob) -> None:
    """Print the job's status, and exit with the status for failed jobs if it failed."""
    status = str(job.json.get("status"))
    _output.say(f"job {job.json.get('jobUUID')} is {status}")
    if status not in SUCCEEDED_STATUSES:
        _say_next(f"rescalehtc events {job.json.get('jobUUID')} --task -")
        raise typer.Exit(_errors.JOBS_FAILED)
