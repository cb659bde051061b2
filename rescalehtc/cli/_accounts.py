"""Commands about who is calling: login, whoami, config."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from .. import htcworkspaces
from .._client.credentials import DEFAULT_WORKSPACE, find_credential
from .._session import CONFIG_FOLDER
from ..exceptions import HtcCredentialsError
from ..rauthenticate import authenticate, name_fault
from . import _options, _output, _profiles
from ._session import open_session

config = typer.Typer(
    no_args_is_help=True,
    help=f"Profiles: a workspace and an address under one name. They are in "
    f"~/.config/rescalehtc/{_profiles.FILE}; API keys are not.",
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(login)
    app.command()(whoami)
    app.add_typer(config, name="config")


def login(
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=_options.text,
            help="Keep the key under this name; else under that of the profile, or of the "
            "workspace that it belongs to, which becomes the default one.",
        ),
    ] = None,
    profile: _options.Profile = None,
) -> None:
    """Ask for an API key, try it, and keep it where sessions find it.

    From a pipe, the first line is the key. `rauthenticate` does the same.
    """
    chosen = _profiles.find(profile)
    name = workspace if workspace is not None else chosen.workspace
    fault = name_fault(name) if name is not None else None
    if fault:
        raise typer.BadParameter(fault, param_hint="--workspace")
    authenticate(interactive=True, workspace=name, base_url=chosen.base_url)


def whoami(
    profile: _options.Profile = None, output: _options.Output = _output.Format.TABLE
) -> None:
    """Show whose credential is in use, and which service it is for."""
    with open_session(profile) as rescale:
        claims = htcworkspaces.get_workspace(rescale).json
        if output is not _output.Format.TABLE:
            _output.show_item(claims, output)
            return
        shown = {
            "user": f"{claims.get('userFullName')} <{claims.get('userEmail')}>",
            "organization": claims.get("organizationCode"),
            "workspace": claims.get("workspaceName"),
            "workspace id": claims.get("workspaceId"),
            "service": rescale.base_url,
            "credential": _describe_credential(rescale.workspace),
        }
        _output.show_item(shown, output)


@config.command("list")
def list_profiles(output: _options.Output = _output.Format.TABLE) -> None:
    """List the profiles."""
    columns = (
        _output.Column("PROFILE", lambda item: item["name"]),
        _output.Column("WORKSPACE", lambda item: item["workspace"], may_be_cut=True),
        _output.Column("BASE URL", lambda item: item["base_url"], may_be_cut=True),
    )
    items = [
        {"name": name, "workspace": profile.workspace, "base_url": profile.base_url}
        for name, profile in _profiles.read().items()
    ]
    _output.show_items(items, columns, output)


@config.command("set")
def set_profile(
    name: Annotated[
        str, typer.Argument(metavar="NAME", callback=_options.text, show_default=False)
    ],
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", callback=_options.text, help="Workspace whose API key is used."
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", callback=_options.text, help="Address of the service."),
    ] = None,
) -> None:
    """Make a profile, or change what is given of one."""
    if workspace is None and base_url is None:
        raise typer.BadParameter("give --workspace, --base-url or both", param_hint="config set")
    _profiles.write(name, workspace, base_url)
    _output.say(f"wrote profile {name} to {_profiles.path()}")


@config.command("show")
def show_profile(
    profile: _options.Profile = None, output: _options.Output = _output.Format.TABLE
) -> None:
    """Show what commands would use: profile, address, and where the credential is found."""
    chosen = _profiles.find(profile)
    item: dict[str, Any] = {
        "file": str(_profiles.path()),
        "profile": profile,
        "workspace": chosen.workspace or DEFAULT_WORKSPACE,
        "base_url": chosen.address,
        "credential": _describe_credential(chosen.workspace or DEFAULT_WORKSPACE),
    }
    _output.show_item(item, output)


def _describe_credential(workspace: str) -> str:
    try:
        return find_credential(None, workspace, CONFIG_FOLDER, os.environ).found_in
    except HtcCredentialsError as error:
        return str(error).splitlines()[0]
