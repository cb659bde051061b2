"""The tokens that the emulator issues, and the check that one is its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Use = Literal["bearer", "refresh"]

BEARER_SECONDS: Final = 21600
# Longer than any job can run.
REFRESH_SECONDS: Final = 30 * 24 * 3600

ALGORITHM: Final = "RS256"
CLAIM_PREFIX: Final = "userDefined_"

WORKSPACE_ID: Final = "04-0000001"
USER_ID: Final = "eMuLa"
USER: Final[Mapping[str, str]] = {
    "userId": USER_ID,
    "userFullName": "Emulator User",
    "userEmail": "user@emulator.invalid",
    "workspaceId": WORKSPACE_ID,
    "workspaceName": "Emulator",
    "organizationCode": "emulator",
}


class InvalidTokenError(Exception):
    """The token is not one of the emulator's, or has expired, or is for another use."""


class Tokens:
    """Issues tokens and reads them.

    Args:
        signing_key: A private key as made by `new_signing_key`.
        clock_rate: How many emulated seconds pass in a second.
    """

    def __init__(self, signing_key: str, clock_rate: float) -> None:
        key = load_pem_private_key(signing_key.encode(), password=None)
        assert isinstance(key, RSAPrivateKey)
        self._private = key
        self._public = key.public_key()
        self._seconds: Mapping[Use, int] = {
            "bearer": max(1, round(BEARER_SECONDS / clock_rate)),
            "refresh": max(1, round(REFRESH_SECONDS / clock_rate)),
        }

    @property
    def bearer_seconds(self) -> int:
        """Seconds that a bearer token is valid for."""
        return self._seconds["bearer"]

    def issue(self, claims: Mapping[str, Any], use: Use = "bearer") -> str:
        """Make a token with the user's claims and these."""
        now = int(time.time())
        payload = {
            **USER,
            **claims,
            "tokenUse": use,
            "iat": now,
            "exp": now + self._seconds[use],
        }
        return jwt.encode(payload, self._private, algorithm=ALGORITHM)

    def read(self, token: str, use: Use = "bearer") -> dict[str, Any]:
        """Return a token's claims.

        Raises:
            InvalidTokenError: The token is not valid for this use.
        """
        try:
            payload: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=[ALGORITHM],
                options={"require": ["exp", "iat", "tokenUse"]},
            )
        except jwt.PyJWTError as error:
            raise InvalidTokenError from error
        if payload["tokenUse"] != use:
            raise InvalidTokenError
        return payload


def new_signing_key() -> str:
    """Make a private key in PEM form."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
