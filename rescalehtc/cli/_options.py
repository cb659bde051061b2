"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ..htctasks import ENDED_STATUSES, RUNNING_STATUSES
from . import _profiles
from ._output import Format


def _profile_names() -> list[str]:
    return list(_profiles.read())


def job_statuses() -> list[str]:
    """The statuses that a job can have, for completion."""
    return sorted(ENDED_STATUSES | RUNNING_STATUSES)


Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar=_profiles.VARIABLE,
        show_envvar=True,
        autocompletion=_profile_names,
        help="Profile to use; `rescalehtc config list` lists them.",
    ),
]
Output = Annotated[
    Format,
    typer.Option("--output", "-o", help="How results are printed; jsonl is an object a line."),
]
Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        "-p",
        metavar="NAME|ID",
        help="Project; may be left out if the workspace has only one.",
    ),
]
Task = Annotated[str, typer.Option("--task", "-t", metavar="NAME|ID", help="Task.")]
Group = Annotated[str | None, typer.Option(metavar="NAME", help="Group of jobs in the task.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Job id.", show_default=False)]
Interval = Annotated[
    float,
    typer.Option(
        min=0.1,
        metavar="SECONDS",
        help="Seconds between two questions. The service itself looks every 30 seconds.",
    ),
]
