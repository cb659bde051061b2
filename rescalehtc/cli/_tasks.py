"""Commands about tasks."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import htctasks, types
from . import _errors, _options, _output
from ._finding import find_project, find_task, note_last_task
from ._output import Column, Format
from ._session import open_session

TASKS = (
    Column("TASK", lambda item: item.get("taskId")),
    Column("STATUS", lambda item: item.get("lifecycleStatus")),
    Column("CREATED", lambda item: _output.time_text(item.get("createdAt")), place="pipe"),
    Column("AGE", lambda item: _output.age_text(item.get("createdAt")), place="terminal"),
    Column("NAME", lambda item: item.get("taskName"), may_be_cut=True),
)

tasks = typer.Typer(invoke_without_command=True)
TaskArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|ID",
        callback=_options.text,
        autocompletion=_options.complete_tasks,
        show_default=False,
        help="Task.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(tasks, name="tasks")


@tasks.callback()
def list_tasks(
    ctx: typer.Context,
    project: _options.Project = None,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="List archived and deleted tasks too.")
    ] = False,
    sort: _options.Sort = None,
    limit: _options.Limit = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the tasks of a project, or create, archive or delete one.

    Example: rescalehtc tasks --all
    """
    if ctx.invoked_subcommand:
        return
    form = _options.form(output, fields, types.HTCTaskDict.__annotations__, sort, limit)
    with open_session(profile) as rescale:
        owner = find_project(rescale, project)
        listed = htctasks.iter_tasks(rescale, owner, "any" if every else "ACTIVE")
        _output.show_items((task.json for task in listed), TASKS, form)


@tasks.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", callback=_options.text, show_default=False)
    ],
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
) -> None:
    """Create a task.

    Example: rescalehtc tasks create sweep -o name
    """
    with open_session(profile) as rescale:
        owner = find_project(rescale, project)
        with _errors.note_uncertain_change(f"task {name} may have been created"):
            task = htctasks.create_task_with_name(rescale, owner, name)
        note_last_task(rescale, task)
        _output.show_items([task.json], TASKS, _output.Form(output))


@tasks.command()
def archive(
    task: TaskArgument, project: _options.Project = None, profile: _options.Profile = None
) -> None:
    """Archive a task. It rejects new jobs and keeps its data.

    Example: rescalehtc tasks archive sweep
    """
    with open_session(profile) as rescale:
        htc_task = find_task(rescale, project, task)
        with _errors.note_uncertain_change(f"task {task} may have been archived"):
            htc_task.archive(rescale)
    _output.say(f"archived task {htc_task.json.get('taskName')}")


@tasks.command()
def delete(
    task: TaskArgument,
    project: _options.Project = None,
    yes: _options.Yes = False,
    profile: _options.Profile = None,
) -> None:
    """Delete a task with its jobs, logs and files. Asks for confirmation.

    Example: rescalehtc tasks delete sweep --yes
    """
    with open_session(profile) as rescale:
        htc_task = find_task(rescale, project, task)
        name = htc_task.json.get("taskName")
        _options.confirm(f"Delete task {name} with its jobs, logs and files?", is_agreed=yes)
        with _errors.note_uncertain_change(f"task {name} may have been deleted"):
            htc_task.delete_task(rescale)
    _output.say(f"deleted task {name}")
