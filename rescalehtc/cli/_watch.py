"""The command `watch`, and waiting for the jobs of other commands."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .._counts import JobCounts
from .._facts import SUCCEEDED_STATUSES
from .._jobs.waiting import Interval, wait
from .._jobs.watching import fetch_group_counts, fetch_task_summary
from .._objects.json_object import id_of, task_ids
from ..exceptions import HtcWaitTimeoutError
from . import _errors, _options, _output
from ._finding import find_group, find_task, named_task
from ._output import Column, Format
from ._progress import shown
from ._session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from .._jobs.policy import RetryPolicy
    from ..htcjobs import HtcJob, HtcJobBatch
    from ..htcsession import HtcSession
    from ..htctasks import HtcTask

WATCHED = (
    Column("NAME", lambda item: item["group"] or item["taskName"], may_be_cut=True),
    Column("JOBS", lambda item: item["jobs"]),
    Column("ENDED", lambda item: item["ended"]),
    Column("STATUSES", lambda item: _statuses(item["jobStatuses"])),
)


class Watched(NamedTuple):
    """A task, or one of its groups."""

    task: HtcTask
    group: str | None

    @property
    def name(self) -> str:
        """The name of the task or group."""
        return self.group or str(self.task.json.get("taskName"))

    async def fetch(self, rescale: HtcSession, expires_at: Callable[[], float]) -> JobCounts:
        """Fetch the counts of its jobs."""
        ids = task_ids(self.task)
        if self.group is None:
            return (await fetch_task_summary(rescale.client, ids, expires_at))[1]
        counts = await fetch_group_counts(rescale.client, ids, [self.group], expires_at)
        return counts.get(self.group, JobCounts({}, running=1, unseen=1))


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(watch)


def watch(
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|ID",
            callback=_options.texts,
            autocompletion=_options.complete_tasks,
            help="Task; may be given several times. `-` is the last one that a command used. Not "
            "needed if RESCALEHTC_TASK or the profile names one.",
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            "-g",
            metavar="NAME",
            callback=_options.texts,
            autocompletion=_options.complete_groups,
            help="Only this group of the task; may be given several times.",
        ),
    ] = None,
    project: _options.Project = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", callback=_options.seconds, help="Maximum time to wait."
        ),
    ] = None,
    interval: _options.Interval = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """Wait until all jobs of tasks or groups have ended.

    Exits with status 1 if any job failed. A terminal shows a progress bar. A pipe gets one line
    per change. If you press Ctrl-C, the jobs keep running.

    Example: rescalehtc watch -t sweep -g monday -g tuesday --timeout 3600
    """
    if group and task and len(task) > 1:
        raise typer.BadParameter("works with a single --task only", param_hint="--group")
    named = task or [named_task(None, profile)]
    with open_session(profile, interval) as rescale:
        found = [find_task(rescale, project, name) for name in named]
        tasks = [*{id_of(item, "taskId"): item for item in found}.values()]
        for name in group or ():
            find_group(rescale, tasks[0], name)
        groups: list[str | None] = [*dict.fromkeys(group)] if group else [None]
        watched = [Watched(task, name) for task in tasks for name in groups]
        with noting_that_jobs_go_on():
            counts = watch_all(rescale, watched, timeout)
    form = _output.Form(output)
    if len(watched) == 1:
        _output.show_item(_nonzero(counts[0].by_status), form)
    else:
        _output.show_items(map(_record, watched, counts), WATCHED, form)
    for item, its_counts in zip(watched, counts, strict=True):
        say_where_to_look(its_counts, item.task)
    exit_if_failed(counts)


def watch_all(
    rescale: HtcSession, watched: Sequence[Watched], timeout: float | None
) -> list[JobCounts]:
    """Wait until all jobs of tasks and groups have ended, and return the counts of each.

    Operations getTaskSummary and listGroupSummaries.

    Raises:
        HtcWaitTimeoutError: The timeout passed before all jobs ended.
    """
    names = _unique_names(watched)
    interval = Interval(rescale, timeout, "watch")
    counts = [JobCounts({}, running=1, unseen=1) for _ in watched]
    with shown(names) as show:

        async def poll() -> JobCounts:
            for index, item in enumerate(watched):
                if counts[index].running:
                    counts[index] = await item.fetch(rescale, interval.expires_at)
                    show(names[index], counts[index])
            return _total(counts)

        rescale.run(wait(poll, interval, JobCounts({}, 0), lambda _: None))
    return counts


def watch_batch(
    rescale: HtcSession,
    batch: HtcJobBatch,
    timeout: float | None = None,
    policy: RetryPolicy | None = None,
) -> JobCounts:
    """Wait until the jobs of a batch have ended, and show the counts.

    Raises:
        HtcWaitTimeoutError: The timeout passed before all jobs ended.
        RunStoppedError: More jobs failed than the policy allows.
    """
    with shown([""]) as show:
        return batch.wait(rescale, timeout, progress=partial(show, ""), policy=policy)


@contextlib.contextmanager
def noting_that_jobs_go_on() -> Generator[None]:
    """Add a note that the jobs continue if the wait ends early."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, HtcWaitTimeoutError) as error:
        error.add_note(
            "the jobs continue; `rescalehtc cancel` ends them, `rescalehtc watch` waits for them"
        )
        raise


def say_where_to_look(counts: JobCounts, task: HtcTask) -> None:
    """On a terminal, print the next command if jobs failed."""
    if counts.succeeded < counts.ended:
        _say_next(f"rescalehtc why --task {task.json.get('taskId')}")


def exit_if_failed(counts: Sequence[JobCounts]) -> None:
    """Exit with the status for failed jobs if any job failed."""
    if any(count.succeeded < count.ended for count in counts):
        raise typer.Exit(_errors.JOBS_FAILED)


def exit_with_status_of_job(job: HtcJob) -> None:
    """Print the status of a job, and exit with the status for failed jobs if it failed."""
    status, job_id = str(job.json.get("status")), job.json.get("jobUUID")
    _output.say(f"job {job_id} is {status}")
    if status not in SUCCEEDED_STATUSES:
        _say_next(f"rescalehtc why {job_id} --task {job.json.get('taskId')}")
        raise typer.Exit(_errors.JOBS_FAILED)


def _say_next(command: str) -> None:
    if _output.is_live(sys.stderr):
        _output.say(f"next: {command}")


def _unique_names(watched: Sequence[Watched]) -> list[str]:
    """Names for the things that are watched. Tasks with the same name get their ids."""
    names = [item.name for item in watched]
    return [
        name if names.count(name) == 1 else f"{name} ({item.task.json.get('taskId')})"
        for name, item in zip(names, watched, strict=True)
    ]


def _record(watched: Watched, counts: JobCounts) -> dict[str, Any]:
    return {
        "taskId": watched.task.json.get("taskId"),
        "taskName": watched.task.json.get("taskName"),
        "group": watched.group,
        "jobs": counts.total,
        "ended": counts.ended,
        "jobStatuses": _nonzero(counts.by_status),
    }


def _statuses(by_status: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(by_status.items()))


def _nonzero(by_status: Mapping[str, int]) -> dict[str, int]:
    return {status: count for status, count in by_status.items() if count}


def _total(counts: Sequence[JobCounts]) -> JobCounts:
    by_status: Counter[str] = Counter()
    for item in counts:
        by_status.update(item.by_status)
    return JobCounts(
        dict(by_status), sum(item.running for item in counts), sum(item.unseen for item in counts)
    )
