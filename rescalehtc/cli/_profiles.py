"""Profiles: a workspace, a base URL and defaults under one name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .._client.credentials import SERVICE_URL, expand_home, write_private
from .._environment import BASE_URL_VARIABLE, PROFILE_VARIABLE, variable
from .._files import read_settings
from .._session import CONFIG_FOLDER
from ..exceptions import HtcCredentialsError, HtcException, HtcFileError
from ..htcsession import HtcSession
from ..rauthenticate import name_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import tomlkit

FILE = "profiles.toml"
VARIABLE = PROFILE_VARIABLE
SETTINGS = ("workspace", "base_url", "project", "task")


@dataclass(frozen=True)
class Profile:
    """The settings of a profile.

    Attributes:
        workspace: The workspace whose key file to use; None for the default workspace.
        base_url: The service's base URL; None for the default of sessions.
        project: The default project.
        task: The default task.
    """

    workspace: str | None = None
    base_url: str | None = None
    project: str | None = None
    task: str | None = None

    @property
    def address(self) -> str:
        """The service's base URL for a session with this profile."""
        address = self.base_url or variable(os.environ, BASE_URL_VARIABLE) or SERVICE_URL
        return address.strip()

    @property
    def address_origin(self) -> str:
        """A description of the source of the base URL."""
        if self.base_url:
            return "from the profile"
        address = variable(os.environ, BASE_URL_VARIABLE)
        return f"from {BASE_URL_VARIABLE}" if address else "the default"


def path() -> Path:
    """The path of the file with the profiles.

    Raises:
        HtcFileError: The home folder is unknown.
    """
    try:
        return expand_home(CONFIG_FOLDER) / FILE
    except HtcCredentialsError as error:
        reason = str(error)
    raise HtcFileError(reason)


def read() -> dict[str, Profile]:
    """Return all profiles by name. Empty if the file does not exist.

    Raises:
        HtcFileError: The file can't be read, or is invalid.
    """
    import tomllib

    try:
        tables = tomllib.loads(_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _file_error(error) from None
    return {name: _profile(name, table) for name, table in tables.items()}


def find(name: str | None) -> Profile:
    """Return the profile with this name. Without a name, return a profile without settings.

    Raises:
        HtcException: The profile does not exist.
        HtcFileError: The file can't be read, or is invalid.
    """
    if not name:
        return Profile()
    profiles = read()
    if name not in profiles:
        known = f"its profiles are {', '.join(profiles)}" if profiles else "no profiles exist yet"
        raise HtcException(
            f"there is no profile {name!r} in {path()}; {known}; "
            f"run `rescalehtc config set {name}` to create it"
        )
    return profiles[name]


def write(name: str, settings: Mapping[str, str | None]) -> None:
    """Create a profile, or change settings of one. None removes a setting.

    The rest of the file does not change.

    Raises:
        HtcException: The workspace's name is invalid.
        HtcValidationError: The base URL is invalid.
        HtcFileError: The file can't be read or written.
    """
    import tomlkit

    workspace, base_url = settings.get("workspace"), settings.get("base_url")
    fault = name_fault(workspace) if workspace is not None else None
    if fault:
        raise HtcException(f"the workspace: {fault}")
    if base_url is not None:
        HtcSession(api_key="not-used", base_url=base_url).close()  # checks the address

    def change(document: tomlkit.TOMLDocument) -> None:
        table: Any = document.setdefault(name, tomlkit.table())
        for key, value in settings.items():
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value.strip()

    _change(change)


def remove(name: str) -> None:
    """Remove a profile.

    Raises:
        HtcFileError: The file can't be read or written.
    """

    def change(document: tomlkit.TOMLDocument) -> None:
        del document[name]

    _change(change)


def _change(change: Callable[[tomlkit.TOMLDocument], object]) -> None:
    """Change the file, and keep its comments and order."""
    import tomlkit

    read()  # an invalid file must not be changed
    try:
        document = tomlkit.parse(_text())
        change(document)
        path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path(), document.as_string())
    except (OSError, ValueError, RecursionError) as error:
        raise _file_error(error) from None


def _text() -> str:
    try:
        return read_settings(path()).decode("utf-8-sig")
    except FileNotFoundError:
        return ""


def _file_error(error: OSError | ValueError | RecursionError) -> HtcFileError:
    if isinstance(error, HtcFileError):  # no home folder
        return error
    reason = error.strerror if isinstance(error, OSError) else error
    return HtcFileError(f"{path()}: {reason}")


def _profile(name: str, table: object) -> Profile:
    settings: dict[str, Any] = {"": table}
    if isinstance(table, dict):
        settings = cast("dict[str, Any]", table)
    if not all(key in SETTINGS and isinstance(value, str) for key, value in settings.items()):
        raise HtcFileError(
            f"{path()}: {name!r} must be a table of strings with only the keys {', '.join(SETTINGS)}"
        )
    return Profile(**settings)
