"""Find API keys and refresh tokens."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .._environment import API_KEY_VARIABLES, REFRESH_TOKEN_VARIABLE, variable
from .._files import read_settings
from .._interrupts import is_from_signal_handler, suppressed
from .._secret import Secret
from ..exceptions import HtcCredentialsError

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_URL = "https://htc.rescale.com/api/v1"
DEFAULT_WORKSPACE = "default"
KEY_FILE = "rescale_api_token.txt"
ADVICE = """\
To store a key, run `rescalehtc login` or `rauthenticate --interactive`. To try your program without
an account, run it on the emulator: `python -m rescalehtc.emulator -- python PROGRAM`"""

_logger = logging.getLogger("rescalehtc")


@dataclass(frozen=True)
class Credential:
    """An API key or a refresh token, used to fetch bearer tokens.

    Attributes:
        scheme: `Token` for an API key, `Refresh` for a refresh token.
        secret: The key or token.
        found_in: The source of the credential, for messages.
        folder: The folder of the key file, where processes share a bearer token. None if the
            credential is not from a file.
    """

    scheme: Literal["Token", "Refresh"]
    secret: str = field(repr=False)
    found_in: str
    folder: Path | None = None

    @property
    def authorization(self) -> str:
        """The value of the Authorization header."""
        return Secret(f"{self.scheme} {self.secret}")

    @property
    def fingerprint(self) -> str:
        """A hash that identifies the credential without revealing it."""
        return hashlib.sha256(self.authorization.encode()).hexdigest()[:16]


def expand_home(path: str) -> Path:
    """Return the path with `~` replaced by the home folder.

    Raises:
        HtcCredentialsError: The home folder is unknown.
    """
    expanded = os.path.expanduser(path)  # noqa: PTH111 - pathlib's raises
    if path.startswith("~/") and os.environ.get("HOME") == "":  # empty counts as not set
        expanded = f"{_home_of_user()}{path[1:]}"
    if path.startswith("~") and not Path(expanded).is_absolute():
        reason = "the home folder is unknown; set the variable HOME"
        raise HtcCredentialsError(f"{path}: {reason}")
    return Path(expanded)


def _home_of_user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):  # not POSIX, or no entry for the user
        return "~"


def find_credential(
    api_key: str | None, workspace: str, config_folder: str | Path, environ: Mapping[str, str]
) -> Credential:
    """Find a credential: the argument, a refresh token, an API key, or the workspace's file.

    An API key in the environment belongs to the default workspace, so it is ignored if another
    workspace is named. An empty variable counts as not set.

    Raises:
        HtcCredentialsError: The credential is missing or invalid.
    """
    names = (REFRESH_TOKEN_VARIABLE, *API_KEY_VARIABLES)
    credentials = {name: value for name in names if (value := variable(environ, name))}
    if api_key is not None:
        return checked_credential("Token", api_key, "the argument api_key")
    if REFRESH_TOKEN_VARIABLE in credentials:
        return checked_credential(
            "Refresh", credentials[REFRESH_TOKEN_VARIABLE], REFRESH_TOKEN_VARIABLE
        )
    looked_in = ["the argument api_key", f"the variable {REFRESH_TOKEN_VARIABLE}"]
    if workspace == DEFAULT_WORKSPACE:
        for name in API_KEY_VARIABLES:
            if name in credentials:
                return checked_credential("Token", credentials[name], name)
        looked_in += [f"the variable {name}" for name in API_KEY_VARIABLES]
    key_file = Path(config_folder, workspace, KEY_FILE)
    try:
        key_file = expand_home(str(key_file))
        # Resolve the link `default` once, so that the token stays next to its key.
        folder = Path(os.path.realpath(key_file.parent))
        text = Secret(read_settings(folder / KEY_FILE).decode())
    except HtcCredentialsError as error:  # no home folder
        key_file, is_missing, reason = Path(str(error)), True, ""
    except (OSError, ValueError) as error:
        if is_from_signal_handler(error):
            raise
        reason = (isinstance(error, OSError) and error.strerror) or "not text"
        is_missing = isinstance(error, FileNotFoundError)
    else:
        _report_readable(folder / KEY_FILE)
        return checked_credential("Token", text, f"the file {key_file}", folder)
    if not is_missing:
        raise HtcCredentialsError(f"the file {key_file} can't be read: {reason}")
    looked_in.append(f"the file {key_file}")
    lines = ["no API key or refresh token was found"]
    lines += [f"  in {place}" for place in looked_in]
    raise HtcCredentialsError("\n".join([*lines, ADVICE]))


def _report_readable(key_file: Path) -> None:
    """Log a warning if other users can read a key file."""
    with suppressed(OSError):
        if os.name == "posix" and key_file.stat().st_mode & 0o077:
            _logger.warning("other users can read the key in %s; run chmod 600 on it", key_file)


def checked_credential(
    scheme: Literal["Token", "Refresh"], secret: str, found_in: str, folder: Path | None = None
) -> Credential:
    """Return the credential without surrounding whitespace and byte order mark.

    Raises:
        HtcCredentialsError: It is invalid. The message does not show it.
    """
    secret = Secret(secret.removeprefix("\ufeff").strip())
    if not secret:
        raise HtcCredentialsError(f"{found_in} is empty; it must be an API key or a refresh token")
    if not is_printable_ascii(secret):
        raise HtcCredentialsError(
            f"{found_in} contains characters that are invalid in a key or token; its value is not "
            "shown here"
        )
    return Credential(scheme, secret, found_in, folder)


def is_printable_ascii(text: str) -> bool:
    """Whether a string is a valid key, token or password: printable ASCII without spaces."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def write_private(path: Path, text: str) -> None:
    """Write a file atomically, readable only by its owner. A link stays a link.

    Raises:
        OSError: The file can't be written.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppressed(OSError):  # report the first error
            partial.unlink(missing_ok=True)
        raise
