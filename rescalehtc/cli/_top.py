"""The command `top`: a live view of the jobs of a project."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import htcjobs, htctasks
from .._client.retry import is_transient
from .._counts import JobCounts, running_in
from .._facts import FAILED_STATUSES
from .._jobs.records import count_statuses, exit_code_of
from .._objects.json_object import id_of
from ..exceptions import HtcException, HtcNotFoundError
from . import _options, _output
from ._finding import find_project, find_task
from ._progress import Estimate, markup_of
from ._session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import ConsoleDimensions, RenderableType

    from ..htcprojects import HtcProject
    from ..htcsession import HtcSession

MAX_TASKS = 50
MAX_LISTED_JOBS = 1000
MAX_CAUSES = 5
MAX_SLOWEST = 3
MAX_NAME_CELLS = 20
MAX_ARGUMENT_CELLS = 36
MIN_TASK_ROWS = 5


@dataclass
class TaskView:
    """The state of a task.

    Attributes:
        task: The task.
        estimate: The estimate of the remaining time.
        counts: Its jobs by status.
        causes: The number of failed jobs by failure code and exit code.
        examples: The id of a failed job, by cause.
        slowest: The jobs that have been running for the longest time.
    """

    task: htctasks.HtcTask
    estimate: Estimate
    counts: JobCounts = field(default_factory=lambda: JobCounts({}, 0))
    causes: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, str] = field(default_factory=dict[str, str])
    slowest: list[Running] = field(default_factory=lambda: list[Running]())

    @property
    def name(self) -> str:
        """The task's name."""
        return _output.printable(str(self.task.json.get("taskName")))

    @property
    def markup(self) -> str:
        """The task's name as rich markup."""
        from rich.markup import escape

        return escape(self.name)

    @property
    def argument(self) -> str:
        """The task as an argument of a command: its name, or its id if the name is not plain."""
        quoted = shlex.quote(str(self.task.json.get("taskName")))
        is_plain = quoted.isprintable() and len(quoted) <= MAX_ARGUMENT_CELLS
        return quoted if is_plain and quoted[0] != "-" else id_of(self.task, "taskId")

    def refresh(self, rescale: HtcSession) -> None:
        """Fetch the counts and the slowest jobs, and the failed jobs if their number has changed.

        Operations getTaskSummary and listJobs.
        """
        failed_before = self.counts.failed
        summary = self.task.get_task_summary(rescale)
        by_status = count_statuses(summary, "getTaskSummary")
        self.counts = JobCounts(by_status, running_in(by_status))
        running = [
            Running(started, str(job["jobUUID"]), self)
            for job in self._jobs(rescale, ["RUNNING"])
            if (started := _output.parsed_time(job.get("startedAt")))
        ]
        self.slowest = sorted(running, key=lambda job: job.started)[:MAX_SLOWEST]
        if self.counts.failed != failed_before:
            self.causes.clear()
            for job in self._jobs(rescale, FAILED_STATUSES):
                cause = _cause(job)
                self.causes[cause] += 1
                self.examples[cause] = str(job.get("jobUUID"))

    def _jobs(self, rescale: HtcSession, statuses: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """The records of jobs with these statuses, up to a limit."""
        for status in statuses:
            if self.counts.by_status.get(status):
                jobs = htcjobs.iter_jobs(rescale, self.task, status)
                yield from (job.json for job in islice(jobs, MAX_LISTED_JOBS))


@dataclass(frozen=True)
class Running:
    """A running job, with the time of its start."""

    started: datetime
    job_id: str
    view: TaskView


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(top)


def top(
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|ID",
            callback=_options.text,
            autocompletion=_options.complete_tasks,
            help=f"Only this task. The default is all active tasks of the project, up to {MAX_TASKS}.",
        ),
    ] = None,
    project: _options.Project = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print the state once and exit, like in a pipe.")
    ] = False,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
) -> None:
    """Show a live view of the jobs of a project.

    Shows the jobs of each task by status, how fast they end, the slowest jobs, and why jobs
    failed. Press Ctrl-C to exit. The jobs keep running.

    Example: rescalehtc top --project wings
    """
    with open_session(profile, interval) as rescale:
        chosen = find_task(rescale, project, task) if task else None
        owner = chosen.project if chosen else find_project(rescale, project)
        views: dict[str, TaskView] = {}
        if chosen is None and len(_tasks(rescale, owner, MAX_TASKS + 1)) > MAX_TASKS:
            _output.say(
                f"The project has more than {MAX_TASKS} active tasks. These are the first ones in "
                "its list; --task shows any other."
            )

        def refresh() -> list[TaskView]:
            listed = [
                views.setdefault(id_of(task_, "taskId"), TaskView(task_, Estimate(time.monotonic)))
                for task_ in ([chosen] if chosen else _tasks(rescale, owner, MAX_TASKS))
            ]
            shown = [view for view in listed if _refreshed(view, rescale)]
            return sorted(shown, key=lambda view: -view.counts.running)

        if once or not _output.is_live(sys.stdout):
            for line in _lines(refresh()):
                _output.show_line(line)
            return
        _show(refresh, rescale.status_refresh_seconds)


def _tasks(rescale: HtcSession, project: HtcProject, count: int) -> list[htctasks.HtcTask]:
    return list(islice(htctasks.iter_tasks(rescale, project), count))


def _refreshed(view: TaskView, rescale: HtcSession) -> bool:
    """Refresh a view, and return whether its task still exists."""
    try:
        view.refresh(rescale)
    except HtcNotFoundError:
        return False
    return True


def _show(refresh: Callable[[], list[TaskView]], interval: float) -> None:
    """Show the views until Ctrl-C. An outage of the service does not end it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout)
    views: list[TaskView] = []
    with Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        while True:
            problem = ""
            try:
                views = refresh()
            except HtcException as error:
                if not is_transient(error):
                    raise
                problem = str(error)
            live.update(render(views, console.size, problem), refresh=True)
            time.sleep(interval)


def render(views: Sequence[TaskView], size: ConsoleDimensions, problem: str = "") -> RenderableType:
    """Return the table of tasks, the slowest jobs and the causes of failures.

    Args:
        views: The tasks, the most important first.
        size: The size of the terminal.
        problem: Why the views are not up to date.
    """
    from rich.console import Group
    from rich.text import Text

    head = [Text(f"not up to date: {problem}", "yellow")] if problem else []
    failures = [Text(line) for line in _failure_lines(views)]
    slowest = sorted((job for view in views for job in view.slowest), key=lambda job: job.started)
    slowest = slowest[:MAX_SLOWEST]
    most = max(MIN_TASK_ROWS, size.height - len(failures) - len(slowest) - 5)
    more = [Text(f"and {len(views) - most} more tasks")] if len(views) > most else []
    name_cells = min(MAX_NAME_CELLS, size.width // 4)
    tasks = _task_table(views[:most], name_cells)
    running = ["", _running_table(slowest, name_cells)] if slowest else []
    return Group(*head, tasks, *more, *running, "", *failures)


def _task_table(views: Sequence[TaskView], name_cells: int) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("TASK", no_wrap=True, max_width=name_cells)
    table.add_column("JOBS", justify="right")
    table.add_column("ENDED", justify="right")
    table.add_column("BY STATUS")
    table.add_column("LEFT", justify="right")
    table.add_column("RATE", justify="right")
    for view in views:
        counts = view.counts
        table.add_row(
            view.markup,
            str(counts.total),
            f"{counts.ended / counts.total:.0%}" if counts.total else "",
            markup_of(counts),
            *view.estimate.left_and_rate(counts),
        )
    return table


def _running_table(running: Sequence[Running], name_cells: int) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("RUNNING FOR", justify="right")
    table.add_column("JOB", overflow="fold")
    table.add_column("TASK", no_wrap=True, max_width=name_cells)
    now = datetime.now(UTC)
    for job in running:
        seconds = max(0, int((now - job.started).total_seconds()))
        table.add_row(str(timedelta(seconds=seconds)), job.job_id, job.view.markup)
    return table


def _failure_lines(views: Sequence[TaskView]) -> Iterator[str]:
    for view in views:
        for cause, count in view.causes.most_common(MAX_CAUSES):
            yield f"{count} failed: {cause}"
            yield f"  rescalehtc logs {view.examples[cause]} -t {view.argument}"


def _lines(views: Sequence[TaskView]) -> Iterator[str]:
    for view in views:
        yield f"{view.name}: {view.counts}"
        for cause, count in view.causes.most_common(MAX_CAUSES):
            yield f"  {count} failed: {cause}, such as {view.examples[cause]}"


def _cause(job: Mapping[str, Any]) -> str:
    """The failure code and exit code of a job, as text."""
    exit_code = exit_code_of(job)
    code = job.get("failureCode") or job.get("statusReason") or "no reason given"
    text = str(code) if exit_code is None else f"{code}, exit code {exit_code}"
    return _output.printable(text)[:200]
