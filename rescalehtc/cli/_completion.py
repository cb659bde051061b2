"""Completion of names that only the service knows: projects, tasks, groups."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import typer

from .. import htcprojects, htctasks
from ..exceptions import HtcException
from ._session import find_project, find_task, named_task, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._session import CommandSession

MAX_NAMES = 200


def complete_projects(ctx: typer.Context) -> list[str]:
    """Return the names of the workspace's projects."""
    return _names(ctx, lambda rescale: htcprojects.iter_projects(rescale), "projectName")


def complete_tasks(ctx: typer.Context) -> list[str]:
    """Return the names of the project's active tasks."""

    def tasks(rescale: CommandSession) -> Iterator[htctasks.HtcTask]:
        project = find_project(rescale, ctx.params.get("project"))
        return htctasks.iter_tasks(rescale, project)

    return _names(ctx, tasks, "taskName")


def complete_groups(ctx: typer.Context) -> list[str]:
    """Return the names of the task's groups."""
    try:
        profile = ctx.params.get("profile")
        given = named_task(ctx.params.get("task"), profile)
        with open_session(profile, is_quiet=True) as rescale:
            task = find_task(rescale, ctx.params.get("project"), given)
            return list(islice(task.iter_groups(rescale), MAX_NAMES))
    except (HtcException, typer.BadParameter):  # completion has no place for messages
        return []


def _names(
    ctx: typer.Context,
    list_items: Callable[[CommandSession], Iterator[htcprojects.HtcProject | htctasks.HtcTask]],
    field: str,
) -> list[str]:
    try:
        with open_session(ctx.params.get("profile"), is_quiet=True) as rescale:
            items = islice(list_items(rescale), MAX_NAMES)
            return [str(item.json.get(field)) for item in items]
    except (HtcException, typer.BadParameter):  # completion has no place for messages
        return []
