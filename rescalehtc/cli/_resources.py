"""Commands about projects, limits and the emulator."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any

import typer  # noqa: TC002 - it reads the annotations
from typer.core import TyperCommand

from .. import htcprojects, htcworkspaces, types
from ..exceptions import HtcException
from . import _options, _output
from ._finding import find_project
from ._output import Column, Format
from ._session import open_session

PROJECTS = (
    Column("PROJECT", lambda item: item.get("projectId")),
    Column("NAME", lambda item: item.get("projectName"), may_be_cut=True),
    Column("REGIONS", lambda item: item.get("regions"), may_be_cut=True),
)
LIMITS = (
    Column("LIMIT OF", lambda item: item["of"]),
    Column("ID", lambda item: item.get("id"), is_name=True),
    Column("VCPUS", lambda item: item.get("vCPUs")),
    Column("MAY BE CHANGED BY", lambda item: item.get("modifierRole")),
)


class _PassingOn(TyperCommand):
    """A command that passes its arguments, including `--help` and `--`, to a program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = args
        return args


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(projects)
    app.command()(limits)
    app.command(cls=_PassingOn, options_metavar="[OPTIONS] [-- COMMAND...]")(emulator)


def projects(
    sort: _options.Sort = None,
    limit: _options.Limit = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the projects of the workspace.

    Example: rescalehtc projects -o name
    """
    form = _options.form(output, fields, types.HTCProjectDict.__annotations__, sort, limit)
    with open_session(profile) as rescale:
        records = (project.json for project in htcprojects.iter_projects(rescale))
        _output.show_items(records, PROJECTS, form)


def limits(
    project: _options.Project = None,
    profile: _options.Profile = None,
    output: _options.Output = Format.TABLE,
    fields: _options.Fields = None,
) -> None:
    """List the limits on the virtual CPUs that run at the same time.

    Lists those of the workspace and of the project. The lowest limit applies.

    Example: rescalehtc limits -o json
    """
    form = _options.form(output, fields, {"of": str, **types.HTCProjectLimitDict.__annotations__})
    with open_session(profile) as rescale:
        owner = find_project(rescale, project)
        workspace_limit = htcworkspaces.get_workspace(rescale).get_limit(rescale)
        items: list[dict[str, Any]] = []
        if workspace_limit is not None:
            items.append({"of": "workspace", **workspace_limit.model_dump(mode="json")})
        items += [{"of": "project", **limit} for limit in owner.get_limits(rescale)]
        _output.show_items(items, LIMITS, form)


def emulator(ctx: typer.Context) -> None:
    """Run the emulator of the service on this machine.

    Example: rescalehtc emulator -- python hello.py
    """
    if not all(find_spec(name) for name in ("uvicorn", "starlette", "jwt")):
        raise HtcException(
            'the emulator needs more packages: pip install "rescalehtc[emulator]>=2"'
        )
    command = [sys.executable, "-m", "rescalehtc.emulator", *ctx.args]
    os.execv(sys.executable, command)  # noqa: S606 - the program gets signals directly
