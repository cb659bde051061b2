"""Options and arguments that several commands share."""

from __future__ import annotations

import re
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from .._console import is_terminal
from .._environment import PROJECT_VARIABLE, TASK_VARIABLE
from .._problems import suggestion
from ..exceptions import HtcException
from . import _profiles
from ._completion import (
    complete_batches,
    complete_files,
    complete_groups,
    complete_jobs,
    complete_projects,
    complete_regions,
    complete_tasks,
    job_statuses,
    profile_names,
)
from ._output import Form, Format, say

if TYPE_CHECKING:
    from collections.abc import Collection


def text(value: str | None) -> str | None:
    """Return the value of an option or argument.

    Raises:
        typer.BadParameter: The value is empty, or not UTF-8.
    """
    if value is not None and not value.strip():
        raise typer.BadParameter("must not be empty")
    if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
        raise typer.BadParameter("must be encoded in UTF-8")
    return value


def texts(values: list[str] | None) -> list[str] | None:
    """Return the values of an option that may be given several times.

    Raises:
        typer.BadParameter: A value is empty, or not UTF-8.
    """
    for value in values or ():
        text(value)
    return values


def status(value: str | None) -> str | None:
    """Return the status that an option names.

    Raises:
        typer.BadParameter: The status does not exist.
    """
    if value is not None:
        refuse_unknown(value, job_statuses(), "a status of a job")
    return value


def refuse_unknown(name: str, known: Collection[str], noun: str, option: str | None = None) -> None:
    """Reject a name that is not one of the known names.

    Raises:
        typer.BadParameter: The name is not known.
    """
    if name not in known:
        suggested = suggestion(name, list(known))
        hint = (
            f"did you mean {suggested!r}?"
            if suggested
            else f"choose from {', '.join(sorted(known))}"
        )
        raise typer.BadParameter(f"{name!r} is not {noun}; {hint}", param_hint=option)


def form(
    output: Format,
    fields: str | None,
    known: Collection[str],
    sort: str | None = None,
    limit: int | None = None,
) -> Form:
    """Return how to print results.

    Args:
        output: The format.
        fields: The names of fields, separated by commas.
        known: The fields that results can have.
        sort: The field to sort by, with a - in front for descending order.
        limit: The maximum number of results.

    Raises:
        typer.BadParameter: A field does not exist.
    """
    if sort is not None:
        refuse_unknown(sort.removeprefix("-"), known, "a field of the results", "--sort")
    if fields is None:
        return Form(output, None, sort, limit)
    names = tuple(name.strip() for name in fields.split(","))
    for name in names:
        refuse_unknown(name, known, "a field of the results", "--json")
    structured = (Format.JSON, Format.JSONL, Format.YAML)
    return Form(output if output in structured else Format.JSON, names, sort, limit)


def moment(value: str | None) -> datetime | None:
    """Return the time that an option names: an ISO 8601 time, or an age such as 90s or 2h.

    Raises:
        typer.BadParameter: The value is neither.
    """
    if value is None:
        return None
    ago = re.fullmatch(r"(\d{1,9})([smhd])", value.strip())
    if ago:
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[ago[2]]
        try:
            return datetime.now(UTC) - timedelta(**{unit: int(ago[1])})
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    try:
        return datetime.fromisoformat(value.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        message = "must be a time such as 2026-03-14T08:00:00Z, or an age: 90s, 15m, 2h, 1d"
        raise typer.BadParameter(message, param_hint="--since") from None


def confirm(question: str, *, is_agreed: bool) -> None:
    """Ask for confirmation of a change that can't be undone.

    Raises:
        typer.Exit: The answer is no.
        HtcException: There is no terminal.
    """
    if is_agreed:
        return
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise HtcException(f"can't ask '{question}' without a terminal; to agree, pass --yes")
    if not typer.confirm(question, err=True):
        say("nothing was changed")
        raise typer.Exit(2)


def seconds(value: float | None) -> float | None:
    """Return the value of an option.

    Raises:
        typer.BadParameter: The value is too large, or not a number.
    """
    if value is not None and not value <= threading.TIMEOUT_MAX:
        raise typer.BadParameter("must be a number of seconds")
    return value


Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=text,
        envvar=_profiles.VARIABLE,
        show_envvar=True,
        autocompletion=profile_names,
        help="Profile to use; `rescalehtc config list` lists them.",
    ),
]
Output = Annotated[
    Format,
    typer.Option(
        "--output",
        "-o",
        help="Format of the results. jsonl prints one object per line, name only the ids.",
    ),
]
Fields = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FIELD,...",
        callback=text,
        help="Print only these fields of each result, as JSON.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=0, metavar="COUNT", help="Maximum number of results to print.")
]
Sort = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD",
        callback=text,
        help="Sort by this field, such as createdAt; with a - in front, in descending order.",
    ),
]
Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        "-p",
        metavar="NAME|ID",
        callback=text,
        envvar=PROJECT_VARIABLE,
        show_envvar=True,
        autocompletion=complete_projects,
        help="Project. Not needed if the workspace has only one, or the profile names one.",
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        "-t",
        metavar="NAME|ID",
        callback=text,
        envvar=TASK_VARIABLE,
        show_envvar=True,
        autocompletion=complete_tasks,
        help="Task; - is the last one that a command used. Not needed if the profile names one.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        "-g",
        metavar="NAME",
        callback=text,
        autocompletion=complete_groups,
        help="Group of jobs in the task.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Don't ask for confirmation. Needed in scripts.")
]
JobId = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        callback=text,
        autocompletion=complete_jobs,
        show_default=False,
        help="Job id, as `rescalehtc jobs` prints it.",
    ),
]
Batch = Annotated[
    str | None,
    typer.Argument(
        metavar="BATCH",
        callback=text,
        autocompletion=complete_batches,
        show_default=False,
        help="Batch id, as `rescalehtc submit` prints it.",
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="REGION",
        callback=text,
        autocompletion=complete_regions,
        help="Region. The default is the project's first region.",
    ),
]
File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        autocompletion=complete_files,
        show_default=False,
        help="JSON or YAML file with one submit request or a list of them; - for standard input.",
    ),
]
Interval = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        metavar="SECONDS",
        callback=seconds,
        show_default="30, or RESCALEHTC_STATUS_REFRESH_SECONDS",
        help="Polling interval. The service itself refreshes statuses every 30 seconds.",
    ),
]
