"""Where API keys and tokens come from, and how a bearer token is kept and renewed."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ._environment import API_KEY_VARIABLES, REFRESH_TOKEN_VARIABLE, variable
from ._hidden import Hidden
from .exceptions import (
    HtcAuthenticationError,
    HtcCredentialsError,
    HtcException,
    HtcResponseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import Self

SERVICE_URL = "https://htc.rescale.com/api/v1"
DEFAULT_WORKSPACE = "default"
KEY_FILE = "rescale_api_token.txt"
TOKEN_FILE = "rescale_bearer_token.json"  # noqa: S105 - a file's name

_logger = logging.getLogger("rescalehtc")

# A token is renewed when this part of its lifetime is left, so that it outlives what it is
# handed to, whether it is valid for minutes or a day.
RENEWAL_FRACTION = 0.2
# A longer lifetime is not believed.
MAX_LIFETIME_SECONDS = 30 * 24 * 3600.0
# For so long a process waits for another one that renews the token they share.
LOCK_WAIT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Credential:
    """What a bearer token is asked for with.

    Attributes:
        scheme: `Token` for an API key, `Refresh` for a refresh token.
        secret: The key or token.
        found_in: Where it was found, for messages.
        folder: The folder of the key's file, where the bearer token is kept between
            processes; None if the credential was not in a file.
    """

    scheme: Literal["Token", "Refresh"]
    secret: str = field(repr=False)
    found_in: str
    folder: Path | None = None

    @property
    def authorization(self) -> str:
        """The header's value."""
        return Hidden(f"{self.scheme} {self.secret}")

    @property
    def fingerprint(self) -> str:
        """Tells credentials apart without telling what they are."""
        return hashlib.sha256(self.authorization.encode()).hexdigest()[:16]


def expand_home(path: str) -> Path:
    """Return the path, with the home folder in place of `~`.

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
    except (ImportError, KeyError):  # not POSIX; a user without an entry
        return "~"


def find_credential(
    api_key: str | None, workspace: str, config_folder: str | Path, environ: Mapping[str, str]
) -> Credential:
    """Look for a credential: the argument, a refresh token, an API key, the workspace's file.

    An API key in the environment stands for the default workspace, so it is passed over
    when another one is named. An empty variable counts as not set.

    Raises:
        HtcCredentialsError: There is none, or it can't be one.
    """
    names = (REFRESH_TOKEN_VARIABLE, *API_KEY_VARIABLES)
    # Tracebacks that show variables must not show all of the environment.
    found = {name: value for name in names if (value := variable(environ, name))}
    del environ
    if api_key is not None:
        return checked_credential("Token", api_key, "the argument api_key")
    if REFRESH_TOKEN_VARIABLE in found:
        return checked_credential("Refresh", found[REFRESH_TOKEN_VARIABLE], REFRESH_TOKEN_VARIABLE)
    looked_in = ["the argument api_key", f"the variable {REFRESH_TOKEN_VARIABLE}"]
    if workspace == DEFAULT_WORKSPACE:
        for name in API_KEY_VARIABLES:
            if name in found:
                return checked_credential("Token", found[name], name)
        looked_in += [f"the variable {name}" for name in API_KEY_VARIABLES]
    key_file = Path(config_folder, workspace, KEY_FILE)
    try:
        key_file = expand_home(str(key_file))
        # Where the link `default` leads to is settled once: the token stays beside its key.
        folder = Path(os.path.realpath(key_file.parent))
        text = Hidden((folder / KEY_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        looked_in.append(f"the file {key_file}")
        unreadable = None
    except HtcCredentialsError as error:  # no home folder
        looked_in.append(f"the file {error}")
        unreadable = None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        unreadable = f"the file {key_file} can't be read: {reason}"
    else:
        _report_readable(folder / KEY_FILE)
        return checked_credential("Token", text, f"the file {key_file}", folder)
    if unreadable:
        raise HtcCredentialsError(unreadable)
    lines = ["no API key or refresh token was found"]
    lines += [f"  in {place}" for place in looked_in]
    raise HtcCredentialsError("\n".join([*lines, "rauthenticate --interactive writes that file"]))


def _report_readable(key_file: Path) -> None:
    """Say so if others than the owner can read a file with a key."""
    if os.name == "posix" and key_file.stat().st_mode & 0o077:
        _logger.warning("others can read the key in %s; chmod 600 mends it", key_file)


def checked_credential(
    scheme: Literal["Token", "Refresh"], secret: str, found_in: str, folder: Path | None = None
) -> Credential:
    """Return the credential without the blanks and the byte order mark around it.

    Raises:
        HtcCredentialsError: It can't be one. The message does not show it.
    """
    secret = Hidden(secret.removeprefix("\ufeff").strip())
    if not secret:
        raise HtcCredentialsError(f"{found_in} is empty")
    if not is_secret_text(secret):
        raise HtcCredentialsError(
            f"{found_in} holds characters that no key or token has; its value is not shown here"
        )
    return Credential(scheme, Hidden(secret), found_in, folder)


def is_secret_text(text: str) -> bool:
    """Whether this can be a key, token or password: printable ASCII without a blank."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True)
class ExpiringSecret:
    """A token or password, and when to ask for another one.

    Attributes:
        value: The secret.
        renew_at: When it is due, in seconds of the monotonic clock.
        renew_at_time: The same in seconds since 1970. The monotonic clock stands still while
            a machine sleeps, this one can be set back: it is due when either says so.
    """

    value: str = field(repr=False)
    renew_at: float
    renew_at_time: float

    @classmethod
    def usable_for(cls, value: str, seconds: float) -> Self:
        """Make one that is due after so many seconds from now."""
        return cls(Hidden(value), time.monotonic() + seconds, time.time() + seconds)

    @property
    def is_due(self) -> bool:
        """Whether to ask for another one."""
        return time.monotonic() >= self.renew_at or time.time() >= self.renew_at_time


class TokenSource:
    """Gives a valid bearer token. One thread of one process renews it while the others wait.

    Args:
        credential: What to ask with.
        base_url: The service that the token is for; a kept one for another is not used.
        fetch: Sends getToken with an Authorization header and returns the decoded answer.
    """

    def __init__(
        self, credential: Credential, base_url: str, fetch: Callable[[str], object]
    ) -> None:
        self.credential = credential
        self._base_url = base_url
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token: ExpiringSecret | None = None
        self._failures: list[HtcException] = []

    def get(self) -> str:
        """Return a token, renewed if it expires soon."""
        with self._my_turn():
            if self._token is None or self._token.is_due:
                self._token = self._kept_after(self._token) or self._renewed(self._token)
            return self._token.value

    def renew(self, refused: str | None = None) -> str:
        """Return a new token; if one was refused, only unless somebody else has renewed it."""
        with self._my_turn():
            if refused is None or self._token is None:
                self._token = self._ask()
            elif self._token.value == refused:
                self._token = self._renewed(self._token)
            return self._token.value

    def after_fork(self) -> None:
        """Forget who held the lock in the process that this one was forked from."""
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _my_turn(self) -> Generator[None]:
        """One thread at a time; those that waited for one that failed fail like it."""
        known = self._failures
        with self._lock:
            if self._failures is not known:
                raise copy.copy(self._failures[0])
            try:
                yield
            except HtcException as error:
                self._failures = [error]
                raise

    def _kept_after(self, old: ExpiringSecret | None) -> ExpiringSecret | None:
        """The token that another process kept; where there is an old one, only a later one."""
        kept = self._read_file()
        if kept and old and (kept.value == old.value or kept.renew_at <= old.renew_at):
            return None
        return kept

    def _renewed(self, old: ExpiringSecret | None) -> ExpiringSecret:
        """Ask for a token, unless another process has done so when it is this one's turn."""
        folder = self.credential.folder
        with _turn(folder / KEY_FILE) if folder else contextlib.nullcontext():
            return self._kept_after(old) or self._ask()

    def _ask(self) -> ExpiringSecret:
        asked_at = time.monotonic()
        try:
            value, lifetime = _token_in(self._fetch(self.credential.authorization))
        except HtcAuthenticationError as error:
            status = error.status_code
        else:
            if lifetime is None:
                raise HtcResponseError("getToken: the answer has no tokenValue and expiresIn")
            age = time.monotonic() - asked_at
            self._write_file(value, lifetime, lifetime - age)
            return ExpiringSecret.usable_for(value, lifetime * (1 - RENEWAL_FRACTION) - age)
        raise HtcCredentialsError(
            f"the service at {self._base_url} refuses the credential in {self.credential.found_in}",
            status,
        )

    def _read_file(self) -> ExpiringSecret | None:
        """The token kept by another process, unless it is near its end or unreadable."""
        if self.credential.folder is None:
            return None
        try:
            kept: Any = json.loads((self.credential.folder / TOKEN_FILE).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        match kept:
            case {
                "tokenValue": str(value),
                "expiresIn": int() | float() as given,
                "expiresAt": str(end),
            }:
                lifetime = seconds_from(given, MAX_LIFETIME_SECONDS)
            case _:
                return None
        if lifetime is None or not is_secret_text(value):
            return None
        # 1.1.0 writes neither of the two: it knows one service, and keeps a token after its key.
        if kept.get("baseUrl", SERVICE_URL) != self._base_url:
            return None
        fingerprint = self.credential.fingerprint
        if kept.get("credential", fingerprint if self._is_after_key() else None) != fingerprint:
            return None
        try:
            # Without a zone it is local time.
            left = datetime.fromisoformat(end).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
        usable = min(left, lifetime) - lifetime * RENEWAL_FRACTION
        return ExpiringSecret.usable_for(value, usable) if usable > 0 else None

    def _is_after_key(self) -> bool:
        """Whether the kept token was written after the key was."""
        folder = self.credential.folder
        assert folder is not None
        try:
            return (folder / TOKEN_FILE).stat().st_mtime >= (folder / KEY_FILE).stat().st_mtime
        except OSError:
            return False

    def _write_file(self, value: str, lifetime: float, left: float) -> None:
        """Keep the token for other processes."""
        if self.credential.folder is None:
            return
        kept = {
            "tokenValue": value,
            "expiresIn": lifetime,
            # In local time, without a zone, as 1.1.0 reads it.
            "expiresAt": datetime.fromtimestamp(time.time() + left).isoformat(),
            "baseUrl": self._base_url,
            "credential": self.credential.fingerprint,
        }
        # A home that can't be written to only costs the next process a request.
        with contextlib.suppress(OSError):
            write_private(self.credential.folder / TOKEN_FILE, json.dumps(kept))


def _token_in(answer: object) -> tuple[str, float | None]:
    """The token that getToken answers, and its lifetime in seconds; None if there is neither."""
    match answer:
        case {"tokenValue": str(value), "expiresIn": int() | float() as given} if is_secret_text(
            value
        ):
            return Hidden(value), seconds_from(given, MAX_LIFETIME_SECONDS)
        case _:
            return "", None


def seconds_from(given: float, longest: float) -> float | None:
    """A number of seconds somebody else gives: 0 where it makes no sense, None for no number."""
    if isinstance(given, bool):  # Python counts it as a number
        return None
    return min(max(0, given), longest)  # this way round max gives 0 for NaN


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only; a link stays a link.

    Raises:
        OSError: It can't be written.
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
        with contextlib.suppress(OSError):  # the first error is the one to tell
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _turn(path: Path) -> Generator[None]:
    """Wait for a turn among processes, for a time; go on without where locks can't be had.

    The file is the key's own, so that none more has to be made: nothing is written to it.
    The system takes the lock from a process that dies.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX
        yield
        return
    descriptor = _open_for_lock(path)
    if descriptor is None:
        yield
        return
    try:
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
            except OSError:  # a file system without locks
                break
            time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold the descriptor too
        os.close(descriptor)


def _open_for_lock(path: Path) -> int | None:
    for mode in (os.O_RDWR, os.O_RDONLY):  # NFS locks only what is open for writing
        with contextlib.suppress(OSError):
            return os.open(path, mode)
    return None
