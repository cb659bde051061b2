"""Options and arguments that several commands share."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from .._facts import FAILED_STATUSES, RUNNING_STATUSES, SUCCEEDED_STATUSES
from ..exceptions import HtcException
from . import _profiles
from ._output import Format


def _profile_names() -> list[str]:
    try:
        return list(_profiles.read())
    except HtcException:  # completion has no place for messages
        return []


def job_statuses() -> list[str]:
    """The statuses that a job can have, for completion."""
    return sorted((*RUNNING_STATUSES, *SUCCEEDED_STATUSES, *FAILED_STATUSES))


def text(value: str | None) -> str | None:
    """Return the value of an option or argument.

    Raises:
        typer.BadParameter: It is empty, or not text.
    """
    if value is not None and not value.strip():
        raise typer.BadParameter("must not be empty")
    if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
        raise typer.BadParameter("must be encoded in UTF-8")
    return value


def seconds(value: float | None) -> float | None:
    """Return the value of an option.

    Raises:
        typer.BadParameter: It is infinite or not a number.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("must be a number of seconds")
    return value


Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=text,
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
        callback=text,
        help="Project; may be left out if the workspace has only one.",
    ),
]
Task = Annotated[str, typer.Option("--task", "-t", metavar="NAME|ID", callback=text, help="Task.")]
Group = Annotated[
    str | None, typer.Option(metavar="NAME", callback=text, help="Group of jobs in the task.")
]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", callback=text, help="Job id.", show_default=False)
]
Interval = Annotated[
    float,
    typer.Option(
        min=0.1,
        metavar="SECONDS",
        callback=seconds,
        help="Seconds between two questions. The service itself looks every 30 seconds.",
    ),
]
