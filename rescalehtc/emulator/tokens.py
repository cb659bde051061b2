"""The tokens that the emulator issues, and the check that one is its own."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Use = Literal["bearer", "refresh", "upload"]

BEARER_SECONDS: Final = 21600
# Longer than any job can run.
REFRESH_SECONDS: Final = 30 * 24 * 3600
# As long as the clouds' own usually live.
STORAGE_SECONDS: Final = 3600
REGISTRY_SECONDS: Final = 12 * 3600

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
GROUPS: Final = ("WORKSPACE_ADMIN",)


class InvalidTokenError(Exception):
    """The token is not one of the emulator's, or has expired, or is for another use."""


class Tokens:
    """Issues tokens and reads them.

    Args:
        signing_key: A private key as made by `new_signing_key`.
        clock_rate: How many emulated seconds pass in a second.
    """

    def __init__(self, signing_key: str, clock_rate: float) -> None:
        # The emulator made the key itself. Validating it takes longer than all else at the start.
        key = load_pem_private_key(
            signing_key.encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
        assert isinstance(key, RSAPrivateKey)
        self._private = key
        self._public = key.public_key()
        self._expired: set[str] = set()
        self._clock_rate = clock_rate
        self._key_id, self._jwk = _public_jwk(self._public)
        self._seconds: Mapping[Use, int] = {
            "bearer": self.lifetime(BEARER_SECONDS),
            "refresh": self.lifetime(REFRESH_SECONDS),
            "upload": self.lifetime(STORAGE_SECONDS),
        }

    @property
    def bearer_seconds(self) -> int:
        """Seconds that a bearer token is valid for."""
        return self._seconds["bearer"]

    @property
    def key_set(self) -> dict[str, list[dict[str, str]]]:
        """The public key that tokens are signed with, as a JSON Web Key Set."""
        return {"keys": [self._jwk]}

    def lifetime(self, seconds: int) -> int:
        """Turn emulated seconds into real ones, at least one."""
        return max(1, round(seconds / self._clock_rate))

    def issue(self, claims: Mapping[str, Any], use: Use = "bearer") -> str:
        """Make a token with the user's claims and these."""
        return self._sign({**USER, "groups": GROUPS, **claims}, use, int(time.time()))

    def issue_for_upload(self, path: str) -> tuple[str, int]:
        """Make a token to upload one file with, and tell when it expires."""
        issued_at = int(time.time())
        token = self._sign({"path": path}, "upload", issued_at)
        return token, issued_at + self._seconds["upload"]

    def _sign(self, claims: Mapping[str, Any], use: Use, issued_at: int) -> str:
        payload = {
            **claims,
            "tokenUse": use,
            "iat": issued_at,
            "exp": issued_at + self._seconds[use],
            # No two tokens are the same, even if they are issued within a second.
            "jti": str(uuid.uuid4()),
        }
        headers = {"kid": self._key_id}
        return jwt.encode(payload, self._private, algorithm=ALGORITHM, headers=headers)

    def expire(self, token: str) -> None:
        """Make a token invalid before its time."""
        self._expired.add(token)

    def read(self, token: str, use: Use = "bearer") -> dict[str, Any]:
        """Return a token's claims.

        Raises:
            InvalidTokenError: The token is not valid for this use.
        """
        if token in self._expired:
            raise InvalidTokenError
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


def read_authorization(header: str) -> tuple[str, str]:
    """Return the scheme of an Authorization header, in lower case, and the credential."""
    scheme, _, credential = header.partition(" ")
    return scheme.lower(), credential.strip()


def new_signing_key() -> str:
    """Make a private key in PEM form."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public_jwk(key: RSAPublicKey) -> tuple[str, dict[str, str]]:
    """A key's id and its JSON Web Key. The id is the thumbprint of RFC 7638."""
    numbers = key.public_numbers()
    required = {"e": _encode(numbers.e), "kty": "RSA", "n": _encode(numbers.n)}
    thumbprint = hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
    key_id = base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode()
    return key_id, {**required, "kid": key_id, "alg": ALGORITHM, "use": "sig"}


def _encode(number: int) -> str:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
