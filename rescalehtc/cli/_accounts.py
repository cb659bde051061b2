"""Commands about credentials and profiles: login, logout, whoami, config."""

from __future__ import annotations

import operator
import os
from typing import Annotated, Any

import typer

from .. import htcworkspaces
from .._client.credentials import DEFAULT_WORKSPACE, find_credential
from .._session import CONFIG_FOLDER
from ..exceptions import HtcCredentialsError, HtcException
from ..rauthenticate import authenticate, name_fault, stored_files
from . import _options, _output, _profiles
from ._session import open_session

config = typer.Typer(
    no_args_is_help=True,
    help="Manage profiles. A profile gives a workspace, a base URL and defaults one name. Profiles "
    f"are in ~/.config/rescalehtc/{_profiles.FILE}, without API keys.",
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(login)
    app.command()(logout)
    app.command()(whoami)
    app.add_typer(config, name="config")


def login(
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=_options.text,
            help="Store the key under this name. The default is the profile's workspace, or else "
            "the key's workspace, which becomes the default workspace.",
        ),
    ] = None,
    profile: _options.Profile = None,
) -> None:
    """Prompt for an API key, check it, and store it for sessions.

    In a pipe, the first line is the key. `rauthenticate` does the same.

    Example: rescalehtc login --workspace staging
    """
    chosen = _profiles.find(profile)
    name = workspace if workspace is not None else chosen.workspace
    fault = name_fault(name) if name is not None else None
    if fault:
        raise typer.BadParameter(fault, param_hint="--workspace")
    authenticate(interactive=True, workspace=name, base_url=chosen.base_url)


def logout(
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=_options.text,
            help="Workspace of the key. The default is the profile's or the default workspace.",
        ),
    ] = None,
    profile: _options.Profile = None,
) -> None:
    """Remove the API key that `login` stored.

    The key stays valid until you revoke it at Rescale.

    Example: rescalehtc logout
    """
    name = workspace or _profiles.find(profile).workspace or DEFAULT_WORKSPACE
    fault = name_fault(name)
    if fault:
        raise typer.BadParameter(fault, param_hint="--workspace")
    key, *others = stored_files(name, CONFIG_FOLDER)
    try:
        key.unlink()
    except FileNotFoundError:
        raise HtcException(f"there is no API key of workspace {name!r} in {key}") from None
    for other in others:
        other.unlink(missing_ok=True)
    _output.say(f"removed {key}")


def whoami(
    profile: _options.Profile = None, output: _options.Output = _output.Format.TABLE
) -> None:
    """Show the user and workspace of the credential in use.

    Example: rescalehtc whoami -o json
    """
    with open_session(profile) as rescale:
        claims = htcworkspaces.get_workspace(rescale).json
        form = _output.Form(output)
        if output is not _output.Format.TABLE:
            _output.show_item(claims, form)
            return
        shown = {
            "user": f"{claims.get('userFullName')} <{claims.get('userEmail')}>",
            "organization": claims.get("organizationCode"),
            "workspace": claims.get("workspaceName"),
            "workspace id": claims.get("workspaceId"),
            "service": rescale.base_url,
            "credential": _describe_credential(rescale.workspace),
        }
        _output.show_item(shown, form)


@config.command("list")
def list_profiles(output: _options.Output = _output.Format.TABLE) -> None:
    """List the profiles.

    Example: rescalehtc config list
    """
    columns = [
        _output.Column(title, operator.itemgetter(name), may_be_cut=name != "name")
        for title, name in (
            ("PROFILE", "name"),
            ("WORKSPACE", "workspace"),
            ("BASE URL", "base_url"),
            ("PROJECT", "project"),
            ("TASK", "task"),
        )
    ]
    items = [{"name": name, **vars(profile)} for name, profile in _profiles.read().items()]
    _output.show_items(items, columns, _output.Form(output))


@config.command("set")
def set_profile(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            callback=_options.text,
            show_default=False,
            help="Name of the profile.",
        ),
    ],
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", callback=_options.text, help="Workspace whose API key to use."
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", callback=_options.text, help="Base URL of the service."),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|ID", callback=_options.text, help="Default project of commands."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME|ID", callback=_options.text, help="Default task of commands."),
    ] = None,
) -> None:
    """Create a profile, or change settings of one.

    Example: rescalehtc config set staging --workspace staging --project wings
    """
    changes = {"workspace": workspace, "base_url": base_url, "project": project, "task": task}
    settings = {key: value for key, value in changes.items() if value is not None}
    if not settings:
        raise typer.BadParameter(
            "give at least one of --workspace, --base-url, --project and --task"
        )
    _profiles.write(name, settings)
    _output.say(f"wrote profile {name} to {_profiles.path()}")


@config.command("unset")
def unset_profile(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            callback=_options.text,
            autocompletion=_options.profile_names,
            show_default=False,
            help="Name of the profile.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SETTING",
            show_default=False,
            autocompletion=lambda: list(_profiles.SETTINGS),
            help="workspace, base_url, project or task. Without it, remove the whole profile.",
        ),
    ] = None,
) -> None:
    """Remove a profile, or settings of one.

    API keys stay. `logout` removes them.

    Example: rescalehtc config unset staging project
    """
    _profiles.find(name)
    for setting in settings or ():
        _options.refuse_unknown(setting, _profiles.SETTINGS, "a setting of a profile")
    if settings:
        _profiles.write(name, dict.fromkeys(settings))
    else:
        _profiles.remove(name)
    removed = f"{', '.join(settings)} of profile {name}" if settings else f"profile {name}"
    _output.say(f"removed {removed} from {_profiles.path()}")


@config.command("show")
def show_profile(
    profile: _options.Profile = None, output: _options.Output = _output.Format.TABLE
) -> None:
    """Show the profile, base URL and credential that commands use.

    Example: rescalehtc config show --profile staging
    """
    chosen = _profiles.find(profile)
    item: dict[str, Any] = {
        "file": str(_profiles.path()),
        "profile": profile,
        "workspace": chosen.workspace or DEFAULT_WORKSPACE,
        "base_url": chosen.address,
        "project": chosen.project,
        "task": chosen.task,
        "credential": _describe_credential(chosen.workspace or DEFAULT_WORKSPACE),
    }
    _output.show_item(item, _output.Form(output))


def _describe_credential(workspace: str) -> str:
    try:
        return find_credential(None, workspace, CONFIG_FOLDER, os.environ).found_in
    except HtcCredentialsError as error:
        return str(error).splitlines()[0]
