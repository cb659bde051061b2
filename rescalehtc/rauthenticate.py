"""The console script `rauthenticate`: store an API key where sessions find it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import secrets
import sys
import warnings
from typing import TYPE_CHECKING, Any

from . import api, htcworkspaces
from ._client.credentials import (
    DEFAULT_WORKSPACE,
    KEY_FILE,
    Credential,
    checked_credential,
    expand_home,
    find_credential,
    write_private,
)
from ._client.tokens import TOKEN_FILE
from ._console import INTERRUPTED, console, discard, ignore_interrupts, is_terminal
from ._environment import API_KEY_VARIABLES, variable
from ._interrupts import is_from_signal_handler
from ._session import CONFIG_FOLDER
from .exceptions import HtcAuthenticationError, HtcCredentialsError, HtcException, HtcFileError
from .htcsession import HtcSession

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

KEYS_ADDRESS = "https://platform.rescale.com/user/settings/api-key/"
MAX_NAME_BYTES = 255
MAX_KEY_CHARACTERS = 1 << 16
# The user is waiting, so report an unreachable service within seconds.
BACKOFF_SECONDS = 0.2

DESCRIPTION = f"""\
Store an API key of a workspace where HtcSession() finds it, and check it.

With --interactive, the script prompts for the key. Otherwise it reads RESCALE_API_TOKEN
or, if that is not set, RESCALE_API_KEY. The key is written to
{CONFIG_FOLDER}/<workspace>/{KEY_FILE}, which only you can read, and
{CONFIG_FOLDER}/default becomes a link to that folder. The service determines
the workspace of the key. Bearer tokens in the folder are deleted.

Without a key, the script checks the credential that sessions would use:
RESCALE_HTC_REFRESH_TOKEN, which the service sets inside jobs, or else the stored key.
"""
EPILOG = f"""\
RESCALE_API_BASE_URL overrides the service's base URL.
Create API keys at {KEYS_ADDRESS}

exit status: 0 if the service accepts the credential, 1 if not, 2 if the arguments
are invalid, 130 if interrupted with Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script.

    Operations getUser, for the workspace of the key, then getToken and getTokenPayload, for its
    user.

    Args:
        arguments: The command line without the program's name. None for that of this process.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        "rauthenticate",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-i",
        "--interactive",
        action="store_true",
        help="prompt for the API key without showing it, or read the first line of a pipe",
    )
    parser.add_argument(
        "--workspace",
        metavar="NAME",
        help="store the key under this name, for HtcSession(NAME), and do not change the link "
        "`default`",
    )
    with console():
        return _run(parser, arguments)


def stored_files(workspace: str, config_folder: str) -> list[Path]:
    """Return the folder of a workspace's key, and the file of its token.

    Raises:
        HtcCredentialsError: The home folder is unknown.
    """
    folder = (expand_home(config_folder) / workspace).resolve()
    return [folder / name for name in (KEY_FILE, TOKEN_FILE)]


def _run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    if options.workspace is not None:
        fault = name_fault(options.workspace)
        if fault:
            parser.error(f"argument --workspace: {fault}")
    try:
        authenticate(options.interactive, options.workspace)
    except HtcException as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except KeyboardInterrupt:
        ignore_interrupts()
        reason = "interrupted"
    else:
        return 0
    sys.stderr.write(f"rauthenticate: error: {_one_line(reason)}\n")
    return INTERRUPTED if reason == "interrupted" else 1


def authenticate(interactive: bool, workspace: str | None, base_url: str | None = None) -> None:
    """Store an API key and check it. Without a key, check the credential that sessions would use.

    Operations getUser, getToken and getTokenPayload.

    Args:
        interactive: Whether to prompt for the key. Otherwise the environment has the key.
        workspace: The workspace under whose name to store the key. None for the workspace that the
            service returns for the key.
        base_url: The service's base URL, as in HtcSession.

    Raises:
        HtcCredentialsError: There is no key, the service rejected it, or the home folder is
            unknown.
        HtcFileError: The key can't be written.
    """
    config_folder = expand_home(CONFIG_FOLDER)
    used = workspace or DEFAULT_WORKSPACE
    key = _given_key(interactive)
    if key is None:
        credential = find_credential(None, used, CONFIG_FOLDER, os.environ)
        if credential.folder is not None:
            with _file_errors():
                _drop_token(credential.folder)
        with HtcSession(used, base_url=base_url, backoff_seconds=BACKOFF_SECONDS) as rescale:
            _try(rescale, credential.found_in)
        return
    with HtcSession(
        api_key=key.secret, base_url=base_url, backoff_seconds=BACKOFF_SECONDS
    ) as rescale:
        key_workspace = _workspace_of(rescale, key)
        fault = None if workspace else name_fault(key_workspace)
        if fault:
            raise HtcException(f"the key's workspace: {fault}; choose one with --workspace NAME")
        with _file_errors():
            _store_key(
                key.secret,
                config_folder,
                workspace or key_workspace,
                is_default=workspace is None,
            )
        if workspace is not None and workspace != key_workspace:
            _say(f"note: the workspace's name on the service is {key_workspace or 'missing'}")
        _try(rescale, key.found_in)
    note = _why_unused(key, used)
    if note:
        _say(f"note: a session for the workspace {used} does not use this key: {note}")


def _given_key(interactive: bool) -> Credential | None:
    if interactive:
        return checked_credential("Token", _prompted(), "your input")
    for name in reversed(API_KEY_VARIABLES):  # as in 1.1.0, RESCALE_API_TOKEN comes first
        if key := variable(os.environ, name):
            return checked_credential("Token", key, f"the variable {name}")
    return None


def _prompted() -> str:
    try:
        if not is_terminal(sys.stdin):
            return sys.stdin.readline(MAX_KEY_CHARACTERS)
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"API key from {KEYS_ADDRESS} (input is hidden): ")
    except EOFError:
        reason = "you entered no key"
    except getpass.GetPassWarning:
        reason = "this terminal would show the key; pass it through a pipe"
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a closed stream
        if is_from_signal_handler(error):
            raise
        reason = "the key can't be read"
    raise HtcCredentialsError(reason)


def _workspace_of(rescale: HtcSession, key: Credential) -> str:
    """The name of the key's workspace. Empty if the service does not return it."""
    try:
        user = api.get_auth_whoami(rescale, key.authorization)
    except HtcAuthenticationError as error:
        refused = error
    else:
        match user:
            case {"user": {"workspace": {"name": str(name)}}}:
                return name
            case _:
                return ""
    failure = HtcCredentialsError(
        f"the service at {rescale.base_url} rejected the API key in {key.found_in}; "
        "nothing was written",
        refused.status_code,
    )
    failure.request_id = refused.request_id
    raise failure


def name_fault(name: str) -> str | None:
    """The reason why a name is invalid for a workspace's folder. None if it is valid."""
    if not name.strip():
        return "its name is empty"
    if (
        name in (".", "..")
        or "/" in name
        or not name.isprintable()
        or len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES
    ):
        return f"{name[:MAX_NAME_BYTES]!a} is not a valid name for a folder"
    return None


def _store_key(key: str, config_folder: Path, name: str, *, is_default: bool) -> None:
    """Write the key file and, if it is the default key, the link to its folder."""
    default = config_folder / DEFAULT_WORKSPACE
    if name == DEFAULT_WORKSPACE:
        if default.is_symlink():
            raise HtcException(
                f"{default} is a link to the folder of another workspace, so nothing was written; "
                "choose another name with --workspace NAME"
            )
    elif is_default and os.path.lexists(default) and not default.is_symlink():
        raise HtcException(
            f"{default} exists and is not a link, so nothing was written; move it, or choose "
            "another name for the key with --workspace NAME"
        )
    config_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = config_folder / name
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    write_private(folder / KEY_FILE, key)
    _say(f"wrote the API key to {folder / KEY_FILE}")
    _drop_token(folder)
    if is_default and name != DEFAULT_WORKSPACE:
        _link(default, name)
        _say(f"{default} is a link to {name}: HtcSession() uses this key")
    else:
        _say(f"HtcSession({name!r}) uses this key")


def _drop_token(folder: Path) -> None:
    token_file = folder / TOKEN_FILE
    if os.path.lexists(token_file):
        token_file.unlink()
        _say(f"deleted the bearer token in {token_file}")


def _link(link: Path, name: str) -> None:
    """Create or replace the link."""
    partial = link.with_name(f".{link.name}.{secrets.token_hex(8)}")
    partial.symlink_to(name, target_is_directory=True)
    try:
        partial.replace(link)
    finally:
        partial.unlink(missing_ok=True)


def _try(rescale: HtcSession, found_in: str) -> None:
    """Authenticate, and print the user and workspace."""
    rescale.do_authenticate()
    claims: Mapping[str, Any] = htcworkspaces.get_workspace(rescale).json
    names = ("userFullName", "userEmail", "organizationCode", "workspaceName", "workspaceId")
    user, email, organization, workspace, workspace_id = (
        claims.get(name) or "unknown" for name in names
    )
    _say(f"{rescale.base_url} accepts the credential in {found_in}")
    _say(
        f"you are {user} ({email}), in organization {organization}, "
        f"in workspace {workspace} ({workspace_id})"
    )


def _why_unused(key: Credential, workspace: str) -> str | None:
    """The reason why a session does not use the stored key. None if it uses the key."""
    try:
        credential = find_credential(None, workspace, CONFIG_FOLDER, os.environ)
    except HtcCredentialsError as error:
        return str(error)
    return None if credential.secret == key.secret else f"{credential.found_in} overrides it"


@contextlib.contextmanager
def _file_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if is_from_signal_handler(error):
            raise
        reason = f"{error.filename}: {error.strerror}"
    else:
        return
    raise HtcFileError(reason)


def _say(text: str) -> None:
    """Print a line. Ignore errors, because the key was already stored."""
    try:
        sys.stdout.write(f"{_one_line(text)}\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        discard(sys.stdout)


def _one_line(text: str) -> str:
    """The text in one line, without control characters."""
    joined = "; ".join(line.strip() for line in text.splitlines())
    return "".join(c if c.isprintable() else " " for c in joined)


if __name__ == "__main__":
    sys.exit(main())
