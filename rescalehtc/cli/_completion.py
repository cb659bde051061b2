"""Complete the values of options and arguments in a shell."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, get_args

import typer

from .. import container_registry, htcjobs, htcprojects, htctasks
from .._facts import FAILED_STATUSES, RUNNING_STATUSES, SUCCEEDED_STATUSES
from .._literals import Architecture, JobPriority
from .._raw import strings_of
from ..exceptions import HtcException
from . import _profiles
from ._finding import find_project, find_task, named_task
from ._session import open_session
from ._shells import FILES, FOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._session import CommandSession

MAX_NAMES = 200
MAX_JOBS = 1000


def complete_projects(ctx: typer.Context) -> list[str]:
    """Return the names of the workspace's projects."""

    def names(rescale: CommandSession) -> Iterable[str | None]:
        return (project.json.get("projectName") for project in htcprojects.iter_projects(rescale))

    return _names(ctx, names)


def complete_tasks(ctx: typer.Context) -> list[str]:
    """Return the names of the project's active tasks."""

    def names(rescale: CommandSession) -> Iterable[str | None]:
        project = find_project(rescale, ctx.params.get("project"))
        return (task.json.get("taskName") for task in htctasks.iter_tasks(rescale, project))

    return _names(ctx, names)


def complete_groups(ctx: typer.Context) -> list[str]:
    """Return the names of the task's groups."""
    return _names(ctx, lambda rescale: _task(ctx, rescale).iter_groups(rescale))


def complete_jobs(ctx: typer.Context) -> list[str]:
    """Return the ids of the task's jobs."""

    def ids(rescale: CommandSession) -> Iterable[str | None]:
        jobs = htcjobs.iter_jobs(rescale, _task(ctx, rescale))
        return (job.json.get("jobUUID") for job in jobs)

    return _names(ctx, ids)


def complete_batches(ctx: typer.Context) -> list[str]:
    """Return the ids of the task's batches."""

    def ids(rescale: CommandSession) -> Iterable[str]:
        jobs = islice(htcjobs.iter_jobs(rescale, _task(ctx, rescale)), MAX_JOBS)
        return dict.fromkeys(str(job.json.get("jobUUID")).rpartition(":")[0] for job in jobs)

    return _names(ctx, ids)


def complete_images(ctx: typer.Context) -> list[str]:
    """Return the names of the project's images."""

    def names(rescale: CommandSession) -> Iterable[str]:
        project = find_project(rescale, ctx.params.get("project"))
        registry = container_registry.get_container_registry(rescale, project)
        return registry.get_images(rescale)

    return _names(ctx, names)


def complete_regions(ctx: typer.Context) -> list[str]:
    """Return the regions of the project."""

    def names(rescale: CommandSession) -> Iterable[str]:
        project = find_project(rescale, ctx.params.get("project"))
        return strings_of(project.json.get("regions")) or []

    return _names(ctx, names)


def profile_names() -> list[str]:
    """Return the names of the profiles."""
    try:
        return list(_profiles.read())
    except HtcException:  # completion can't show messages
        return []


def job_statuses() -> list[str]:
    """Return the statuses of jobs."""
    return sorted((*RUNNING_STATUSES, *SUCCEEDED_STATUSES, *FAILED_STATUSES))


def priorities() -> list[str]:
    """Return the priorities of jobs."""
    return _literals(JobPriority)


def architectures() -> list[str]:
    """Return the architectures of jobs."""
    return _literals(Architecture)


def complete_files(incomplete: str) -> list[tuple[str, str]]:
    """Let the shell complete the name of a file."""
    return [(incomplete, FILES)]


def complete_policies(incomplete: str) -> list[str | tuple[str, str]]:
    """Return the name of the default policy, or let the shell complete the name of a file."""
    return ["default"] if "default".startswith(incomplete) else [(incomplete, FILES)]


def complete_folders(incomplete: str) -> list[tuple[str, str]]:
    """Let the shell complete the name of a folder."""
    return [(incomplete, FOLDERS)]


def _literals(alias: Any) -> list[str]:
    return [value for kind in get_args(alias) for value in get_args(kind)]


def _task(ctx: typer.Context, rescale: CommandSession) -> htctasks.HtcTask:
    values: Any = ctx.params.get("task") or [None]
    value = values if isinstance(values, str) else values[0]  # `watch` takes several
    named = named_task(value, ctx.params.get("profile"))
    return find_task(rescale, ctx.params.get("project"), named)


def _names(
    ctx: typer.Context, names: Callable[[CommandSession], Iterable[str | None]]
) -> list[str]:
    try:
        with open_session(ctx.params.get("profile"), is_quiet=True) as rescale:
            items = islice(names(rescale), MAX_NAMES)
            return [name for name in items if name and name.isprintable()]
    except (HtcException, typer.BadParameter):  # completion can't show messages
        return []
