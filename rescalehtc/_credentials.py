"""Where API keys and tokens come from, and how a bearer token is kept and renewed."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .exceptions import HtcAuthenticationError, HtcCredentialsError, HtcResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_WORKSPACE = "default"
KEY_FILE = "rescale_api_token.txt"
TOKEN_FILE = "rescale_bearer_token.json"  # noqa: S105 - a file's name
REFRESH_TOKEN_VARIABLE = "RESCALE_HTC_REFRESH_TOKEN"  # noqa: S105 - a variable's name
API_KEY_VARIABLES = ("RESCALE_API_KEY", "RESCALE_API_TOKEN")

# A token is renewed when this part of its lifetime is left, so that it outlives what it is
# handed to, whether it is valid for minutes or a day.
RENEWAL_FRACTION = 0.2


@dataclass(frozen=True)
class Credential:
    """What a bearer token is asked for with.

    Attributes:
        scheme: `Token` for an API key, `Refresh` for a refresh token.
        secret: The key or token.
        found_in: Where it was found, for messages.
        token_file: Where the bearer token is kept between processes, if anywhere.
    """

    scheme: Literal["Token", "Refresh"]
    secret: str = field(repr=False)
    found_in: str
    token_file: Path | None = None

    @property
    def authorization(self) -> str:
        """The header's value."""
        return f"{self.scheme} {self.secret}"


def find_credential(
    api_key: str | None, workspace: str, config_folder: Path, environ: Mapping[str, str]
) -> Credential:
    """Look for a credential: the argument, a refresh token, an API key, the workspace's file.

    An API key in the environment stands for the default workspace, so it is passed over
    when another one is named.

    Raises:
        HtcCredentialsError: There is none, or it can't be one.
    """
    if api_key is not None:
        return _checked("Token", api_key, "the argument api_key")
    if REFRESH_TOKEN_VARIABLE in environ:
        return _checked("Refresh", environ[REFRESH_TOKEN_VARIABLE], REFRESH_TOKEN_VARIABLE)
    looked_in = ["the argument api_key", f"the variable {REFRESH_TOKEN_VARIABLE}"]
    if workspace == DEFAULT_WORKSPACE:
        for name in API_KEY_VARIABLES:
            if name in environ:
                return _checked("Token", environ[name], name)
        looked_in += [f"the variable {name}" for name in API_KEY_VARIABLES]
    folder = config_folder / workspace
    key_file = folder / KEY_FILE
    try:
        text = key_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        looked_in.append(f"the file {key_file}")
        unreadable = None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        unreadable = f"the file {key_file} can't be read: {reason}"
    else:
        return _checked("Token", text, f"the file {key_file}", folder / TOKEN_FILE)
    if unreadable:
        raise HtcCredentialsError(unreadable)
    places = "\n".join(f"  {place}" for place in looked_in)
    raise HtcCredentialsError(f"no API key or refresh token was found in\n{places}")


def _checked(
    scheme: Literal["Token", "Refresh"], secret: str, found_in: str, token_file: Path | None = None
) -> Credential:
    secret = secret.strip()
    if not secret:
        raise HtcCredentialsError(f"{found_in} is empty")
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise HtcCredentialsError(
            f"{found_in} holds characters that no key or token has; its value is not shown here"
        )
    return Credential(scheme, secret, found_in, token_file)


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float  # monotonic seconds


class TokenSource:
    """Gives a valid bearer token. One thread renews it while the others wait.

    Args:
        credential: What to ask with.
        base_url: The service that the token is for; a kept one for another is not used.
        fetch: Sends getToken with an Authorization header and returns the decoded answer.
    """

    def __init__(
        self, credential: Credential, base_url: str, fetch: Callable[[str], object]
    ) -> None:
        self._credential = credential
        self._base_url = base_url
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token: _Token | None = None

    def get(self) -> str:
        """Return a token, renewed if it expires soon."""
        with self._lock:
            if self._token is None:
                self._token = self._read_file()
            if self._token is None or time.monotonic() >= self._token.renew_at:
                self._token = self._ask()
            return self._token.value

    def renew(self, refused: str | None = None) -> str:
        """Return a new token; if one was refused, only unless another thread has renewed it."""
        with self._lock:
            if refused is None or self._token is None or self._token.value == refused:
                self._token = self._ask()
            return self._token.value

    def _ask(self) -> _Token:
        try:
            answer = self._fetch(self._credential.authorization)
        except HtcAuthenticationError as error:
            status = error.status_code
        else:
            return self._read_answer(answer)
        raise HtcCredentialsError(
            f"the service at {self._base_url} refuses the credential in "
            f"{self._credential.found_in}",
            status,
        )

    def _read_answer(self, answer: object) -> _Token:
        match answer:
            case {"tokenValue": str(value), "expiresIn": int() | float() as lifetime} if value:
                self._write_file(value, lifetime)
                return _Token(value, time.monotonic() + lifetime * (1 - RENEWAL_FRACTION))
            case _:
                raise HtcResponseError("getToken: the answer has no tokenValue and expiresIn")

    def _read_file(self) -> _Token | None:
        """The token kept by an earlier process, unless it is near its end or unreadable."""
        if self._credential.token_file is None:
            return None
        try:
            kept: Any = json.loads(self._credential.token_file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        match kept:
            case {
                "tokenValue": str(value),
                "expiresIn": int() | float() as lifetime,
                "expiresAt": str(end),
            }:
                if kept.get("baseUrl", self._base_url) != self._base_url:
                    return None
                try:
                    expires_at = datetime.fromisoformat(end)
                    left = (expires_at - datetime.now(expires_at.tzinfo)).total_seconds()
                except (ValueError, OverflowError):
                    return None
                usable = min(left, lifetime) - lifetime * RENEWAL_FRACTION
                return _Token(value, time.monotonic() + usable) if usable > 0 else None
            case _:
                return None

    def _write_file(self, value: str, lifetime: float) -> None:
        """Keep the token for later processes, whole or not at all, for the owner's eyes only."""
        path = self._credential.token_file
        if path is None:
            return
        expires_at = datetime.now() + timedelta(seconds=lifetime)  # local time, as 1.1.0 reads it
        kept = {
            "tokenValue": value,
            "expiresIn": lifetime,
            "expiresAt": expires_at.isoformat(),
            "baseUrl": self._base_url,
        }
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(kept, file)
            partial.replace(path)
        except OSError:  # a home that can't be written to only costs the next process a request
            partial.unlink(missing_ok=True)
