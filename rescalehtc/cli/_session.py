"""The session of a command, and the project, task and job of its arguments."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

import typer

from .. import htcjobs, htcprojects, htctasks
from .._client.credentials import DEFAULT_WORKSPACE, SERVICE_URL, expand_home, write_private
from .._environment import TASK_VARIABLE, variable
from .._problems import suggestion
from .._session import CONFIG_FOLDER
from ..exceptions import HtcConfigurationError, HtcConnectionError, HtcException
from ..htcsession import HtcSession
from ..rauthenticate import BACKOFF_SECONDS
from . import _output, _profiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..hooks import RequestInfo, ResponseInfo

FoundT = TypeVar("FoundT", htcprojects.HtcProject, htctasks.HtcTask)

MAX_NAMED = 10
LAST_TASK = "-"
LAST_TASKS_FILE = "last_tasks.json"
SECONDS_BEFORE_NOTICE = 3.0
SECONDS_TO_COMPLETE = 3.0


class CommandSession(HtcSession):
    """The session of a command.

    Attributes:
        profile: The profile that it was made with.
        is_quiet: Whether it says nothing and remembers nothing, as completion needs it.
    """

    profile: _profiles.Profile
    is_quiet: bool


class _Notices:
    """Tells people why they wait: once that the service can't be reached, once that it is slow."""

    def __init__(self, profile: _profiles.Profile) -> None:
        self._profile = profile
        self._timer: threading.Timer | None = None
        self._has_said = False

    def on_request(self, _info: RequestInfo) -> None:
        if not self._has_said:
            self._timer = threading.Timer(SECONDS_BEFORE_NOTICE, self._say, ["waiting for", ""])
            self._timer.daemon = True
            self._timer.start()

    def on_response(self, info: ResponseInfo) -> None:
        if self._timer:
            self._timer.cancel()
        error = info.error
        if isinstance(error, HtcConnectionError) and not isinstance(error, HtcConfigurationError):
            reason = re.sub(r"\[Errno \d+\] ", "", str(error).rpartition(": ")[2])
            self._say("can't reach", f": {reason}; trying again for up to 15 minutes")

    def _say(self, verb: str, reason: str) -> None:
        if not self._has_said:
            self._has_said = True
            place = f"{self._profile.address} ({self._profile.address_origin})"
            _output.say(f"rescalehtc: {verb} {place}{reason}")


def open_session(
    profile_name: str | None, interval: float | None = None, *, is_quiet: bool = False
) -> CommandSession:
    """Make the session that a profile describes; say which service it is with, if not the usual.

    Args:
        profile_name: The profile; None for the session that HtcSession() makes.
        interval: The session's `status_refresh_seconds`; None for its default.
        is_quiet: Whether to say nothing, and to give up soon.
    """
    profile = _profiles.find(profile_name)
    notices = None if is_quiet else _Notices(profile)
    rescale = CommandSession(
        profile.workspace or DEFAULT_WORKSPACE,
        base_url=profile.base_url,
        status_refresh_seconds=interval,
        backoff_seconds=BACKOFF_SECONDS,
        on_request=notices.on_request if notices else None,
        on_response=notices.on_response if notices else None,
        deadline_seconds=SECONDS_TO_COMPLETE if is_quiet else 900.0,
    )
    rescale.profile, rescale.is_quiet = profile, is_quiet
    if rescale.base_url != SERVICE_URL and not is_quiet:
        _output.say(f"rescalehtc: using the service at {rescale.base_url}")
    return rescale


def require_storage() -> None:
    """Refuse to begin what needs the extra packages for files.

    Raises:
        HtcException: They are not installed.
    """
    if not find_spec("obstore"):
        raise HtcException("files need pip install 'rescalehtc[storage]>=2'")


def find_project(rescale: CommandSession, given: str | None) -> htcprojects.HtcProject:
    """Return the project with this name or id.

    Without either it is the profile's, or the only one that there is.

    Operation listProjects.

    Raises:
        HtcException: No project or several projects match.
    """
    given = given or rescale.profile.project
    projects = htcprojects.iter_projects(rescale)
    found = [p for p in projects if given in (None, *_names(p, "project"))]
    return _only_one(found, "project", given, "the workspace")


def named_task(given: str | None, profile_name: str | None) -> str:
    """Return the name or id of a task; without one, the environment's or the profile's.

    Raises:
        typer.BadParameter: There is none.
    """
    named = given or variable(os.environ, TASK_VARIABLE) or _profiles.find(profile_name).task
    if named is None:
        message = f"name a task here, in {TASK_VARIABLE} or with `rescalehtc config set`"
        raise typer.BadParameter(message, param_hint="--task")
    return named


def find_task(rescale: CommandSession, project: str | None, given: str) -> htctasks.HtcTask:
    """Return the task with this name or id; `-` is the last one that a command used.

    Operations listProjects, and getTask or listTasks.

    Raises:
        HtcException: No task or several tasks match.
    """
    if given == LAST_TASK:
        project, given = _last_task(rescale)
    owner = find_project(rescale, project)
    found = htctasks.get_task_with_id(rescale, owner, given) if _is_id(given) else None
    if found is None:
        tasks = htctasks.iter_tasks(rescale, owner)
        named = [task for task in tasks if given in _names(task, "task")]
        found = _only_one(named, "task", given, f"project {owner.json.get('projectName')!r}")
    note_last_task(rescale, found)
    return found


def note_last_task(rescale: CommandSession, task: htctasks.HtcTask) -> None:
    """Remember a task as the last one that was used with the service."""
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
        return  # a home that can't be written to costs only this convenience


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
        found: object = json.loads((expand_home(CONFIG_FOLDER) / LAST_TASKS_FILE).read_bytes())
    except (OSError, ValueError, RecursionError, HtcException):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


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
        raise HtcException(f"task {task.json.get('taskName')!r} has no job {job_id!r}")
    return job


def find_group(rescale: CommandSession, task: htctasks.HtcTask, given: str | None) -> None:
    """Make sure that a group has jobs, if one is given.

    Operation listGroups.

    Raises:
        HtcException: It has none.
    """
    if given is None:
        return
    groups = task.get_groups(rescale)
    if given not in groups:
        meant = suggestion(given, groups)
        hint = f"; did you mean {meant!r}?" if meant else ""
        raise HtcException(f"task {task.json.get('taskName')!r} has no group {given!r}{hint}")


def _names(found: htcprojects.HtcProject | htctasks.HtcTask, noun: str) -> tuple[object, object]:
    return found.json.get(f"{noun}Id"), found.json.get(f"{noun}Name")


def _only_one(found: Iterable[FoundT], noun: str, given: str | None, within: str) -> FoundT:
    several = list(found)
    if len(several) == 1:
        return several[0]
    named = f" with the name or id {given!r}" if given else ""
    if not several:
        raise HtcException(f"{within} has no {noun}{named}")
    lines = [
        f"  {_names(one, noun)[0]}  {_names(one, noun)[1]}" for one in islice(several, MAX_NAMED)
    ]
    if len(several) > MAX_NAMED:
        lines.append(f"  and {len(several) - MAX_NAMED} more")
    listed = "\n".join(lines)
    raise HtcException(
        f"{within} has {len(several)} {noun}s{named}; choose one by its id:\n{listed}"
    )


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
