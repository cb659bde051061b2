"""The session of a command, and what its arguments name."""

from __future__ import annotations

import uuid
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from .. import htcjobs, htcprojects, htctasks
from .._client.credentials import DEFAULT_WORKSPACE, SERVICE_URL
from ..exceptions import HtcException
from ..htcsession import HtcSession
from ..rauthenticate import BACKOFF_SECONDS
from . import _output, _profiles

if TYPE_CHECKING:
    from collections.abc import Iterable

FoundT = TypeVar("FoundT", htcprojects.HtcProject, htctasks.HtcTask)

MAX_NAMED = 10


def open_session(profile_name: str | None, interval: float | None = None) -> HtcSession:
    """Make the session that a profile describes; say which service it is with, if not the usual.

    Args:
        profile_name: The profile; None for the session that HtcSession() makes.
        interval: The session's `status_refresh_seconds`, if not its default.
    """
    profile = _profiles.find(profile_name)
    rescale = HtcSession(
        profile.workspace or DEFAULT_WORKSPACE,
        base_url=profile.base_url,
        status_refresh_seconds=30.0 if interval is None else interval,
        backoff_seconds=BACKOFF_SECONDS,
    )
    if rescale.base_url != SERVICE_URL:
        _output.say(f"rescalehtc: using the service at {rescale.base_url}")
    return rescale


def find_project(rescale: HtcSession, given: str | None) -> htcprojects.HtcProject:
    """Return the project with this name or id; without either, the only one there is.

    Operation listProjects.

    Raises:
        HtcException: There is no such project, or there are several.
    """
    projects = htcprojects.iter_projects(rescale)
    found = [p for p in projects if given in (None, *_names(p, "project"))]
    return _only_one(found, "project", given, "the workspace")


def find_task(rescale: HtcSession, project: str | None, given: str) -> htctasks.HtcTask:
    """Return the task with this name or id.

    Operations listProjects, and getTask or listTasks.

    Raises:
        HtcException: There is no such task, or there are several.
    """
    owner = find_project(rescale, project)
    by_id = htctasks.get_task_with_id(rescale, owner, given) if _is_id(given) else None
    if by_id is not None:
        return by_id
    tasks = htctasks.iter_tasks(rescale, owner)
    found = [task for task in tasks if given in _names(task, "task")]
    return _only_one(found, "task", given, f"project {owner.json.get('projectName')!r}")


def find_job(
    rescale: HtcSession, project: str | None, task_given: str, job_id: str
) -> htcjobs.HtcJob:
    """Return the job with this id.

    Operations listProjects, getTask or listTasks, and getJob.

    Raises:
        HtcException: There is no such job.
    """
    task = find_task(rescale, project, task_given)
    job = htcjobs.get_job_with_id(rescale, task, job_id)
    if job is None:
        raise HtcException(f"task {task.json.get('taskName')!r} has no job {job_id!r}")
    return job


def _names(found: htcprojects.HtcProject | htctasks.HtcTask, noun: str) -> tuple[object, object]:
    return found.json.get(f"{noun}Id"), found.json.get(f"{noun}Name")


def _only_one(found: Iterable[FoundT], noun: str, given: str | None, within: str) -> FoundT:
    several = list(found)
    if len(several) == 1:
        return several[0]
    what = f"{noun} with the name or id {given!r}" if given else noun
    if not several:
        raise HtcException(f"{within} has no {what}")
    lines = [
        f"  {_names(one, noun)[0]}  {_names(one, noun)[1]}" for one in islice(several, MAX_NAMED)
    ]
    if len(several) > MAX_NAMED:
        lines.append(f"  and {len(several) - MAX_NAMED} more")
    listed = "\n".join(lines)
    raise HtcException(f"{within} has {len(several)} such: {what}; name one by its id:\n{listed}")


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
