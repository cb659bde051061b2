"""Bearer tokens, cached until shortly before they expire, and renewed once for all callers."""

from __future__ import annotations

import copy
import json
import os
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .._files import read_settings
from .._interrupts import is_from_signal_handler, suppressed
from .._secret import Secret
from ..exceptions import (
    HtcAuthenticationError,
    HtcCredentialsError,
    HtcException,
    HtcResponseError,
)
from .credentials import (
    ADVICE,
    KEY_FILE,
    SERVICE_URL,
    Credential,
    is_printable_ascii,
    write_private,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from pathlib import Path

    from .io import Io

TOKEN_FILE = "rescale_bearer_token.json"  # noqa: S105 - a file's name
# A token is renewed when this part of its lifetime is left, so that it stays valid for the requests
# that use it.
RENEWAL_FRACTION = 0.2
# The maximum lifetime of a token. Longer ones are invalid and reduced to this one.
MAX_LIFETIME_SECONDS = 30 * 24 * 3600.0
# The maximum time that a process waits for another process to renew their shared token.
LOCK_WAIT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ExpiringSecret:
    """A token or password, with the time of its renewal.

    Attributes:
        value: The secret.
        renew_at: The time of renewal, in seconds of the monotonic clock.
        renew_at_time: The time of renewal, in seconds since 1970. The monotonic clock stops while
            a machine sleeps, and this clock can be set back, so the earlier one counts.
    """

    value: str = field(repr=False)
    renew_at: float
    renew_at_time: float

    @classmethod
    def usable_for(cls, value: str, seconds: float, io: Io) -> ExpiringSecret:
        """Create a secret that must be renewed in some seconds."""
        return cls(Secret(value), io.monotonic() + seconds, io.time() + seconds)

    def is_due(self, io: Io) -> bool:
        """Whether it must be renewed."""
        return io.monotonic() >= self.renew_at or io.time() >= self.renew_at_time


@dataclass
class _Current:
    """The token in use."""

    token: ExpiringSecret | None = None


class TokenSource:
    """Provides a valid bearer token. One caller in one process renews it while others wait."""

    def __init__(
        self,
        io: Io,
        credential: Credential,
        base_url: str,
        fetch: Callable[[str], Awaitable[object]],
    ) -> None:
        """Initialize it.

        Args:
            io: The clock and locks.
            credential: The credential to fetch tokens with.
            base_url: The service of the token. A cached token of another service is ignored.
            fetch: A function that sends getToken with an Authorization header, and returns the
                decoded response.
        """
        self.io: Io = io
        self._credential = credential
        self._base_url = base_url
        self._fetch = fetch
        self._current = _Current()
        self._failures: list[HtcException] = []

    def with_fetch(self, fetch: Callable[[str], Awaitable[object]]) -> TokenSource:
        """Return a source that shares the tokens of this one, but uses another `fetch`."""
        other = copy.copy(self)
        other._fetch = fetch
        return other

    async def get(self) -> str:
        """Return a token. Renews it if it expires soon."""

        async def token() -> ExpiringSecret:
            current = self._current.token
            if current is None or current.is_due(self.io):
                return await self._newer_in_cache(current) or await self._renewed(current)
            return current

        return await self._exclusively(token)

    async def renew(self, refused: str | None = None) -> str:
        """Return a new token. If the old one was rejected, first check whether it was renewed."""

        async def token() -> ExpiringSecret:
            if refused is None or self._current.token is None:
                return await self._ask()
            if self._current.token.value == refused:
                return await self._renewed(self._current.token)
            return self._current.token

        return await self._exclusively(token)

    async def _exclusively(self, token: Callable[[], Awaitable[ExpiringSecret]]) -> str:
        """Renew the token, one caller at a time. If this fails, waiting callers fail too."""
        failures = self._failures

        async def work() -> str:
            if self._failures is not failures:
                raise copy.copy(self._failures[0])
            try:
                self._current.token = await token()
            except HtcException as error:
                self._failures = [error]
                raise
            return self._current.token.value

        return await self.io.exclusively("token", work)

    async def _newer_in_cache(self, old: ExpiringSecret | None) -> ExpiringSecret | None:
        """The cached token of another process, if it is newer than the old one."""
        content = await self.io.call(self._read_file)
        if content and old and (content.value == old.value or content.renew_at <= old.renew_at):
            return None
        return content

    async def _renewed(self, old: ExpiringSecret | None) -> ExpiringSecret:
        """Fetch a token, unless another process has fetched one when the lock is free."""
        folder = self._credential.folder
        if folder is None:
            return await self._ask()
        async with _file_lock(folder / KEY_FILE, self.io):
            return await self._newer_in_cache(old) or await self._ask()

    async def _ask(self) -> ExpiringSecret:
        asked_at = self.io.monotonic()
        try:
            value, lifetime = _token_in(await self._fetch(self._credential.authorization))
        except HtcAuthenticationError as error:
            refused = error
        else:
            if lifetime is None:
                raise HtcResponseError("getToken: the response has no tokenValue and expiresIn")
            age = self.io.monotonic() - asked_at
            await self.io.call(self._write_file, value, lifetime, lifetime - age)
            usable = lifetime * (1 - RENEWAL_FRACTION) - age
            return ExpiringSecret.usable_for(value, usable, self.io)
        failure = HtcCredentialsError(
            f"the service at {self._base_url} rejects the credential in "
            f"{self._credential.found_in}\n{ADVICE}",
            refused.status_code,
        )
        failure.request_id = refused.request_id
        raise failure

    def _read_file(self) -> ExpiringSecret | None:
        """The cached token of another process, unless it expires soon or is unreadable."""
        if self._credential.folder is None:
            return None
        content: Any = None
        with suppressed(OSError, ValueError, RecursionError):
            content = json.loads(read_settings(self._credential.folder / TOKEN_FILE))
        match content:
            case {
                "tokenValue": str(value),
                "expiresIn": int() | float() as seconds,
                "expiresAt": str(end),
            }:
                lifetime = seconds_from(seconds, MAX_LIFETIME_SECONDS)
            case _:
                return None
        if lifetime is None or not is_printable_ascii(value):
            return None
        # 1.1.0 writes neither field: it has only one service, and writes a token after its key.
        if content.get("baseUrl", SERVICE_URL) != self._base_url:
            return None
        fingerprint = self._credential.fingerprint
        if content.get("credential", fingerprint if self._is_after_key() else None) != fingerprint:
            return None
        remaining = 0.0
        with suppressed(ValueError, OverflowError, OSError):
            # Without a time zone, it is local time.
            remaining = datetime.fromisoformat(end).timestamp() - self.io.time()
        usable = min(remaining, lifetime) - lifetime * RENEWAL_FRACTION
        return ExpiringSecret.usable_for(value, usable, self.io) if usable > 0 else None

    def _is_after_key(self) -> bool:
        """Whether the cached token is newer than the key file."""
        folder = self._credential.folder
        assert folder is not None
        with suppressed(OSError):
            return (folder / TOKEN_FILE).stat().st_mtime >= (folder / KEY_FILE).stat().st_mtime
        return False

    def _write_file(self, value: str, lifetime: float, remaining: float) -> None:
        """Cache the token for other processes."""
        if self._credential.folder is None:
            return
        content = {
            "tokenValue": value,
            "expiresIn": lifetime,
            # In local time without a time zone, the format of 1.1.0.
            "expiresAt": datetime.fromtimestamp(self.io.time() + remaining).isoformat(),
            "baseUrl": self._base_url,
            "credential": self._credential.fingerprint,
        }
        # If the home folder is read-only, the next process fetches its own token.
        with suppressed(OSError):
            write_private(self._credential.folder / TOKEN_FILE, json.dumps(content))


def _token_in(answer: object) -> tuple[str, float | None]:
    """The token in a response of getToken, and its lifetime in seconds, or None."""
    match answer:
        case {"tokenValue": str(value), "expiresIn": int() | float() as given} if (
            is_printable_ascii(value)
        ):
            return Secret(value), seconds_from(given, MAX_LIFETIME_SECONDS)
        case _:
            return "", None


def seconds_from(seconds: float, longest: float) -> float | None:
    """A number of seconds from an untrusted source, limited to a valid range, or None."""
    if isinstance(seconds, bool):  # a bool is an int in Python
        return None
    return min(max(0, seconds), longest)  # in this order, max returns 0 for NaN


@asynccontextmanager
async def _file_lock(path: Path, io: Io) -> AsyncGenerator[None]:
    """Hold a lock between processes. Continue without it after a timeout, or without lock support.

    The lock is on the key file, so no other file is needed. Nothing is written to it. The system
    releases the lock of a process that dies.
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
                    # Other errors mean that the file system does not support locks.
                    if not isinstance(error, BlockingIOError) or io.monotonic() >= deadline:
                        break
                await io.sleep(LOCK_POLL_SECONDS)
            yield
        finally:
            with suppressed(OSError):  # a forked child may have the descriptor too
                fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def _opened_for_lock(path: Path) -> Generator[int | None]:
    descriptor = None
    for mode in (os.O_RDWR, os.O_RDONLY):  # NFS can lock only files that are open for writing
        with suppressed(OSError):
            descriptor = os.open(path, mode)
            break
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
