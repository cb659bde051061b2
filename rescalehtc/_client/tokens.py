"""Bearer tokens: kept until shortly before they expire, renewed once for everybody who waits."""

from __future__ import annotations

import copy
import json
import os
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .._interrupts import is_from_signal_handler, suppressed
from .._secret import Secret
from ..exceptions import (
    HtcAuthenticationError,
    HtcCredentialsError,
    HtcException,
    HtcResponseError,
)
from .credentials import KEY_FILE, SERVICE_URL, Credential, is_printable_ascii, write_private

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from pathlib import Path

    from .io import Io

TOKEN_FILE = "rescale_bearer_token.json"  # noqa: S105 - a file's name
# A token is renewed when this part of its lifetime is left, so that it outlives what it is
# handed to, whether it is valid for minutes or a day.
RENEWAL_FRACTION = 0.2
# A longer lifetime is not believed.
MAX_LIFETIME_SECONDS = 30 * 24 * 3600.0
# How long a process waits for another one that renews the token they share.
LOCK_WAIT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.02


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
    def usable_for(cls, value: str, seconds: float, io: Io) -> ExpiringSecret:
        """Make one that is due in some seconds."""
        return cls(Secret(value), io.monotonic() + seconds, io.time() + seconds)

    def is_due(self, io: Io) -> bool:
        """Whether to ask for another one."""
        return io.monotonic() >= self.renew_at or io.time() >= self.renew_at_time


@dataclass
class _Current:
    """The token in use."""

    token: ExpiringSecret | None = None


class TokenSource:
    """Gives a valid bearer token. One caller in one process renews it while the others wait."""

    def __init__(
        self,
        io: Io,
        credential: Credential,
        base_url: str,
        fetch: Callable[[str], Awaitable[object]],
    ) -> None:
        """Make one.

        Args:
            io: Clock and locks.
            credential: The credential that tokens are fetched with.
            base_url: The service that the token is for; a kept one for another is not used.
            fetch: Sends getToken with an Authorization header and returns the decoded answer.
        """
        self.io: Io = io
        self._credential = credential
        self._base_url = base_url
        self._fetch = fetch
        self._current = _Current()
        self._failures: list[HtcException] = []

    def with_fetch(self, fetch: Callable[[str], Awaitable[object]]) -> TokenSource:
        """Return a source of the same tokens that fetches them in another way."""
        other = copy.copy(self)
        other._fetch = fetch
        return other

    async def get(self) -> str:
        """Return a token, renewed if it expires soon."""

        async def token() -> ExpiringSecret:
            current = self._current.token
            if current is None or current.is_due(self.io):
                return await self._kept_after(current) or await self._renewed(current)
            return current

        return await self._exclusively(token)

    async def renew(self, refused: str | None = None) -> str:
        """Return a new token; if one was refused, only unless somebody else has renewed it."""

        async def token() -> ExpiringSecret:
            if refused is None or self._current.token is None:
                return await self._ask()
            if self._current.token.value == refused:
                return await self._renewed(self._current.token)
            return self._current.token

        return await self._exclusively(token)

    async def _exclusively(self, token: Callable[[], Awaitable[ExpiringSecret]]) -> str:
        """One caller at a time; those that waited for one that failed fail like it."""
        known = self._failures

        async def work() -> str:
            if self._failures is not known:
                raise copy.copy(self._failures[0])
            try:
                self._current.token = await token()
            except HtcException as error:
                self._failures = [error]
                raise
            return self._current.token.value

        return await self.io.exclusively("token", work)

    async def _kept_after(self, old: ExpiringSecret | None) -> ExpiringSecret | None:
        """The token that another process kept; where there is an old one, only a later one."""
        kept = await self.io.call(self._read_file)
        if kept and old and (kept.value == old.value or kept.renew_at <= old.renew_at):
            return None
        return kept

    async def _renewed(self, old: ExpiringSecret | None) -> ExpiringSecret:
        """Ask for a token, unless another process has done so when the lock is free."""
        folder = self._credential.folder
        if folder is None:
            return await self._ask()
        async with _file_lock(folder / KEY_FILE, self.io):
            return await self._kept_after(old) or await self._ask()

    async def _ask(self) -> ExpiringSecret:
        asked_at = self.io.monotonic()
        try:
            value, lifetime = _token_in(await self._fetch(self._credential.authorization))
        except HtcAuthenticationError as error:
            refused = error
        else:
            if lifetime is None:
                raise HtcResponseError("getToken: the answer has no tokenValue and expiresIn")
            age = self.io.monotonic() - asked_at
            await self.io.call(self._write_file, value, lifetime, lifetime - age)
            usable = lifetime * (1 - RENEWAL_FRACTION) - age
            return ExpiringSecret.usable_for(value, usable, self.io)
        failure = HtcCredentialsError(
            f"the service at {self._base_url} refuses the credential in "
            f"{self._credential.found_in}",
            refused.status_code,
        )
        failure.request_id = refused.request_id
        raise failure

    def _read_file(self) -> ExpiringSecret | None:
        """The token kept by another process, unless it is near its end or unreadable."""
        if self._credential.folder is None:
            return None
        kept: Any = None
        with suppressed(OSError, ValueError, RecursionError):
            kept = json.loads((self._credential.folder / TOKEN_FILE).read_bytes())
        match kept:
            case {
                "tokenValue": str(value),
                "expiresIn": int() | float() as given,
                "expiresAt": str(end),
            }:
                lifetime = seconds_from(given, MAX_LIFETIME_SECONDS)
            case _:
                return None
        if lifetime is None or not is_printable_ascii(value):
            return None
        # 1.1.0 writes neither of the two: it knows one service, and keeps a token after its key.
        if kept.get("baseUrl", SERVICE_URL) != self._base_url:
            return None
        fingerprint = self._credential.fingerprint
        if kept.get("credential", fingerprint if self._is_after_key() else None) != fingerprint:
            return None
        left = 0.0
        with suppressed(ValueError, OverflowError, OSError):
            # Without a zone it is local time.
            left = datetime.fromisoformat(end).timestamp() - self.io.time()
        usable = min(left, lifetime) - lifetime * RENEWAL_FRACTION
        return ExpiringSecret.usable_for(value, usable, self.io) if usable > 0 else None

    def _is_after_key(self) -> bool:
        """Whether the kept token was written after the key was."""
        folder = self._credential.folder
        assert folder is not None
        with suppressed(OSError):
            return (folder / TOKEN_FILE).stat().st_mtime >= (folder / KEY_FILE).stat().st_mtime
        return False

    def _write_file(self, value: str, lifetime: float, left: float) -> None:
        """Keep the token for other processes."""
        if self._credential.folder is None:
            return
        kept = {
            "tokenValue": value,
            "expiresIn": lifetime,
            # In local time, without a zone, as 1.1.0 reads it.
            "expiresAt": datetime.fromtimestamp(self.io.time() + left).isoformat(),
            "baseUrl": self._base_url,
            "credential": self._credential.fingerprint,
        }
        # A home that can't be written to only costs the next process a request.
        with suppressed(OSError):
            write_private(self._credential.folder / TOKEN_FILE, json.dumps(kept))


def _token_in(answer: object) -> tuple[str, float | None]:
    """The token that getToken answers, and its lifetime in seconds; None if there is neither."""
    match answer:
        case {"tokenValue": str(value), "expiresIn": int() | float() as given} if (
            is_printable_ascii(value)
        ):
            return Secret(value), seconds_from(given, MAX_LIFETIME_SECONDS)
        case _:
            return "", None


def seconds_from(given: float, longest: float) -> float | None:
    """A number of seconds somebody else gives: 0 where it makes no sense, None for no number."""
    if isinstance(given, bool):  # Python counts it as a number
        return None
    return min(max(0, given), longest)  # this way round max gives 0 for NaN


@asynccontextmanager
async def _file_lock(path: Path, io: Io) -> AsyncGenerator[None]:
    """Hold a lock among processes; go on without it after a time, or where there are no locks.

    The file is the key's own, so that none more has to be made: nothing is written to it.
    The system takes the lock from a process that dies.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX
        yield
        return
    async with io.holding(_opened_for_lock(path)) as (descriptor, _):
        if descriptor is None:
            yield
            return
        try:
            deadline = io.monotonic() + LOCK_WAIT_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if is_from_signal_handler(error):
                        raise
                    # Any other error comes of a file system without locks.
                    if not isinstance(error, BlockingIOError) or io.monotonic() >= deadline:
                        break
                await io.sleep(LOCK_POLL_SECONDS)
            yield
        finally:
            with suppressed(OSError):  # a forked child may hold the descriptor too
                fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def _opened_for_lock(path: Path) -> Generator[int | None]:
    descriptor = None
    for mode in (os.O_RDWR, os.O_RDONLY):  # NFS locks only what is open for writing
        with suppressed(OSError):
            descriptor = os.open(path, mode)
            break
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
