"""The command `top`: what the jobs of a project do, updated as it changes."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import htcjobs, htctasks
from .._counts import JobCounts, count_statuses, running_in
from .._facts import FAILED_STATUSES
from .._objects.json_object import id_of
from .._raw import is_object
from ..exceptions import HtcNotFoundError
from . import _options, _output
from ._session import find_project, find_task, open_session
from ._watch import Estimate, markup_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from ..htcprojects import HtcProject
    from ..htcsession import HtcSession

MAX_TASKS = 50
MAX_FAILED_JOBS = 1000
MAX_CAUSES = 5


@dataclass
class TaskView:
    """What `top` knows of a task.

    Attributes:
        task: The task.
        estimate: How long its jobs will take.
        counts: Its jobs by status.
        causes: Why jobs failed: the number of jobs by failure code and exit code.
        example: The id of a job that failed, by cause.
    """

    task: htctasks.HtcTask
    estimate: Estimate
    counts: JobCounts = field(default_factory=lambda: JobCounts({}, 0))
    causes: Counter[str] = field(default_factory=Counter[str])
    example: dict[str, str] = field(default_factory=dict[str, str])

    def refresh(self, rescale: HtcSession) -> None:
        """Fetch the counts, and the causes of failures if there are more of them.

        Operations getTaskSummary and listJobs.
        """
        failed_before = self.counts.failed
        summary = self.task.get_task_summary(rescale)
        by_status = count_statuses(summary["jobStatuses"])
        self.counts = JobCounts(by_status, running_in(by_status))
        if self.counts.failed != failed_before:
            self.causes.clear()
            for job in islice(self._failed_jobs(rescale), MAX_FAILED_JOBS):
                cause = _cause(job.json)
                self.causes[cause] += 1
                self.example[cause] = str(job.json.get("jobUUID"))

    def _failed_jobs(self, rescale: HtcSession) -> Iterator[htcjobs.HtcJob]:
        for status in FAILED_STATUSES:
            if self.counts.by_status.get(status):
                yield from htcjobs.iter_jobs(rescale, self.task, status)


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
            help="Only this task; else all active tasks of the project.",
        ),
    ] = None,
    project: _options.Project = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print the counts once and exit, as in a pipe.")
    ] = False,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
) -> None:
    """Show the jobs of all tasks by status, live.

    Also shows how fast they end, and why jobs failed. Ctrl-C ends it; the jobs go on.

    Example: rescalehtc top --project wings
    """
    with open_session(profile, interval) as rescale:
        chosen = find_task(rescale, project, task) if task else None
        owner = chosen.project if chosen else find_project(rescale, project)
        views: dict[str, TaskView] = {}

        def refresh() -> list[TaskView]:
            listed = [chosen] if chosen else _tasks(rescale, owner)
            for one in listed:
                views.setdefault(id_of(one, "taskId"), TaskView(one, Estimate(time.monotonic)))
            shown = [views[id_of(one, "taskId")] for one in listed]
            return [view for view in shown if _refreshed(view, rescale)]

        if once or not _output.is_live(sys.stdout):
            for line in _lines(refresh()):
                _output.show_line(line)
            return
        _show(refresh, rescale.status_refresh_seconds)


def _tasks(rescale: HtcSession, project: HtcProject) -> list[htctasks.HtcTask]:
    return list(islice(htctasks.iter_tasks(rescale, project), MAX_TASKS))


def _refreshed(view: TaskView, rescale: HtcSession) -> bool:
    """Whether the task is still there."""
    try:
        view.refresh(rescale)
    except HtcNotFoundError:
        return False
    return True


def _show(refresh: Callable[[], list[TaskView]], interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout)
    with Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        while True:
            live.update(render(refresh()), refresh=True)
            time.sleep(interval)


def render(views: list[TaskView]) -> RenderableType:
    """The table of tasks, and beneath it the causes of failures."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    tasks = Table("TASK", "JOBS", "ENDED", "BY STATUS", "LEFT", box=None, pad_edge=False)
    for view in views:
        counts = view.counts
        tasks.add_row(
            escape(_name(view)),
            str(counts.total),
            f"{counts.ended / counts.total:.0%}" if counts.total else "",
            markup_of(counts),
            view.estimate.left(counts),
        )
    failures = [
        Text(
            f"{count} failed: {cause}\n  rescalehtc logs {view.example[cause]} -t {_argument(view)}\n"
        )
        for view in views
        for cause, count in view.causes.most_common(MAX_CAUSES)
    ]
    return Group(tasks, "", *failures)


def _lines(views: list[TaskView]) -> Iterator[str]:
    for view in views:
        yield f"{_name(view)}: {view.counts}"
        for cause, count in view.causes.most_common(MAX_CAUSES):
            yield f"  {count} failed: {cause}, such as {view.example[cause]}"


def _name(view: TaskView) -> str:
    return "".join(c if c.isprintable() else " " for c in str(view.task.json.get("taskName")))


def _argument(view: TaskView) -> str:
    """The task as an argument of a command: its name, if a shell takes it as it is."""
    name = str(view.task.json.get("taskName"))
    return name if re.fullmatch(r"[\w.][\w.-]*", name) else id_of(view.task, "taskId")


def _cause(job: Any) -> str:
    """The failure code and exit code of a job, in words."""
    container = job.get("container")
    exit_code = container.get("exitCode") if is_object(container) else None
    code = job.get("failureCode") or job.get("statusReason") or "no reason given"
    text = str(code) if exit_code is None else f"{code}, exit code {exit_code}"
    return "".join(c if c.isprintable() else " " for c in text)[:200]
