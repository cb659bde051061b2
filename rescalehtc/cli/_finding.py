"""Find the projects, tasks, groups, batches and jobs that arguments name."""

from __future__ import annotations

import json
import os
import uuid
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

import typer

from .. import htcjobs, htcprojects, htctasks
from .._client.credentials import expand_home, write_private
from .._environment import TASK_VARIABLE, variable
from .._files import read_settings
from .._problems import suggestion
from .._session import CONFIG_FOLDER
from ..exceptions import HtcException
from . import _profiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._session import CommandSession

FoundT = TypeVar("FoundT", htcprojects.HtcProject, htctasks.HtcTask)

MAX_NAMED = 10
LAST_TASK = "-"
LAST_TASKS_FILE = "last_tasks.json"


def find_project(rescale: CommandSession, name: str | None) -> htcprojects.HtcProject:
    """Return the project with this name or id.

    Without either, return the profile's project, or the only project of the workspace.

    Operation listProjects.

    Raises:
        HtcException: No project or several projects match.
    """
    name = name or rescale.profile.project
    return _only_one(htcprojects.iter_projects(rescale), "project", name, "the workspace")


def named_task(name: str | None, profile_name: str | None) -> str:
    """Return the name or id of a task: the given one, or that of the environment or the profile.

    Raises:
        typer.BadParameter: None of them names a task.
    """
    named = name or variable(os.environ, TASK_VARIABLE) or _profiles.find(profile_name).task
    if named is None:
        message = (
            f"no task is named; pass --task, set {TASK_VARIABLE}, or store a default with "
            "`rescalehtc config set`; `rescalehtc tasks` lists the tasks"
        )
        raise typer.BadParameter(message, param_hint="--task")
    return named


def find_task(rescale: CommandSession, project: str | None, name: str) -> htctasks.HtcTask:
    """Return the task with this name or id. `-` is the task that a command used last.

    Operations listProjects, and getTask or listTasks.

    Raises:
        HtcException: No task or several tasks match.
    """
    if name == LAST_TASK:
        project, name = _last_task(rescale)
    owner = find_project(rescale, project)
    task = htctasks.get_task_with_id(rescale, owner, name) if _is_id(name) else None
    if task is None:
        place = f"project {owner.json.get('projectName')!r}"
        task = _only_one(htctasks.iter_tasks(rescale, owner), "task", name, place)
    note_last_task(rescale, task)
    return task


def find_job(
    rescale: CommandSession, project: str | None, task_given: str, job_id: str
) -> htcjobs.HtcJob:
    """Return the job with this id.

    Operations listProjects, getTask or listTasks, and getJob.

    Raises:
        HtcException: The job does not exist.
    """
    task = find_task(rescale, project, task_given)
    job = htcjobs.get_job_with_id(rescale, task, job_id)
    if job is None:
        how = "`rescalehtc jobs` lists the ids, BATCH:INDEX"
        raise HtcException(f"{_place_of(task)} has no job {job_id!r}; {how}")
    return job


def find_group(rescale: CommandSession, task: htctasks.HtcTask, group: str | None) -> None:
    """Check that a group has jobs, if one is given.

    Operation listGroups.

    Raises:
        HtcException: The group has no jobs.
    """
    if group is None:
        return
    groups = task.get_groups(rescale)
    if group not in groups:
        raise HtcException(f"{_place_of(task)} has no group {group!r}{hint(group, groups)}")


def find_batch(
    rescale: CommandSession, task: htctasks.HtcTask, batch: str | None, group: str | None
) -> htcjobs.HtcJobBatch:
    """Return the batch with an id, or all batches of a group.

    Operation listJobs; if the group has no jobs, also listGroups.

    Raises:
        typer.BadParameter: Neither or both are given.
        HtcException: The batch or group has no jobs.
    """
    if (batch is None) == (group is None):
        raise typer.BadParameter("give either BATCH or --group", param_hint="BATCH")
    htc_batch = htcjobs.get_batch(rescale, task, parent_job_id=batch, group=group)
    if htc_batch is None:
        find_group(rescale, task, group)
        how = "`rescalehtc jobs` lists the ids of jobs, BATCH:INDEX"
        raise HtcException(f"{_place_of(task)} has no batch {batch or group!r}; {how}")
    return htc_batch


def note_last_task(rescale: CommandSession, task: htctasks.HtcTask) -> None:
    """Store a task as the last one that was used with the service."""
    if rescale.is_quiet:
        return
    try:
        tasks = _last_tasks()
        ids = [task.json.get("projectId"), task.json.get("taskId")]
        if tasks.get(rescale.base_url) != ids:
            path = expand_home(CONFIG_FOLDER) / LAST_TASKS_FILE
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, json.dumps({**tasks, rescale.base_url: ids}))
    except (OSError, HtcException):
        return  # without a writable home folder, only `--task -` does not work


def _last_task(rescale: CommandSession) -> tuple[str, str]:
    match _last_tasks().get(rescale.base_url):
        case [str(project), str(task)]:
            return project, task
        case _:
            raise HtcException(
                f"no task was used with the service at {rescale.base_url} before; name one"
            )


def _last_tasks() -> dict[str, Any]:
    try:
        tasks: object = json.loads(read_settings(expand_home(CONFIG_FOLDER) / LAST_TASKS_FILE))
    except (OSError, ValueError, RecursionError, HtcException):
        return {}
    return cast("dict[str, Any]", tasks) if isinstance(tasks, dict) else {}


def _only_one(listed: Iterable[FoundT], noun: str, name: str | None, place: str) -> FoundT:
    """Return the one item with this name or id, or the only item if none is given.

    Raises:
        HtcException: No item or several items match.
    """
    items: list[FoundT] = []
    others: list[str] = []
    for item in listed:
        names = item.json.get(f"{noun}Id"), item.json.get(f"{noun}Name")
        if name is None or name in names:
            items.append(item)
        else:
            others.append(str(names[1]))
    if len(items) == 1:
        return items[0]
    named = f" with the name or id {name!r}" if name else ""
    if not items:
        how = f"; `rescalehtc {noun}s` lists them" if others else ""
        raise HtcException(f"{place} has no {noun}{named}{hint(name or '', others) or how}")
    lines = [
        f"  {item.json.get(f'{noun}Id')}  {item.json.get(f'{noun}Name')}"
        for item in islice(items, MAX_NAMED)
    ]
    if len(items) > MAX_NAMED:
        lines.append(f"  and {len(items) - MAX_NAMED} more")
    listing = "\n".join(lines)
    how = "choose one by its id" if name else f"choose one with --{noun}"
    raise HtcException(f"{place} has {len(items)} {noun}s{named}; {how}:\n{listing}")


def _place_of(task: htctasks.HtcTask) -> str:
    return f"task {task.json.get('taskName')!r}"


def hint(name: str, known: list[str]) -> str:
    """Return "; did you mean ...?" with the most similar name; empty if none is similar."""
    suggested = suggestion(name, known)
    return f"; did you mean {suggested!r}?" if suggested else ""


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
