"""Issue and verify the emulator's tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
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

from ..exceptions import HtcFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

Use = Literal["bearer", "refresh", "upload", "registry", "storage"]

BEARER_SECONDS: Final = 21600
# Longer than the maximum timeout of a job.
REFRESH_SECONDS: Final = 30 * 24 * 3600
# The usual lifetime of cloud credentials.
STORAGE_SECONDS: Final = 3600
REGISTRY_SECONDS: Final = 12 * 3600

REGISTRY_USER: Final = "AWS"

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
    """The token is from another issuer, has expired, or is for another use."""


class ExpiredTokenError(InvalidTokenError):
    """The token has expired."""


class Tokens:
    """Issues and reads tokens.

    Args:
        signing_key: A private key from `new_signing_key`.
        clock_rate: Emulated seconds per real second.

    Raises:
        HtcFileError: The key is invalid.
    """

    def __init__(self, signing_key: str, clock_rate: float) -> None:
        # The emulator created the key itself. Validating it would take most of the start time.
        key: object = None
        with suppress(ValueError, TypeError, UnsupportedAlgorithm):
            key = load_pem_private_key(
                signing_key.encode(), password=None, unsafe_skip_rsa_key_validation=True
            )
        if not isinstance(key, RSAPrivateKey):
            raise HtcFileError("the stored signing key is invalid; choose a new data folder")
        self._private = key
        self._secret = hashlib.sha256(signing_key.encode()).digest()
        self._public = key.public_key()
        self._expired: set[str] = set()
        self._clock_rate = clock_rate
        self._key_id, self._jwk = _public_jwk(self._public)
        self._seconds: Mapping[Use, int] = {
            "bearer": self.lifetime(BEARER_SECONDS),
            "refresh": self.lifetime(REFRESH_SECONDS),
            "upload": self.lifetime(STORAGE_SECONDS),
            "registry": self.lifetime(REGISTRY_SECONDS),
            "storage": self.lifetime(STORAGE_SECONDS),
        }

    @property
    def bearer_seconds(self) -> int:
        """The lifetime of a bearer token in seconds."""
        return self._seconds["bearer"]

    @property
    def key_set(self) -> dict[str, list[dict[str, str]]]:
        """The public key for verifying tokens, as a JSON Web Key Set."""
        return {"keys": [self._jwk]}

    def lifetime(self, seconds: int) -> int:
        """Convert emulated seconds to real seconds, at least one."""
        return max(1, round(seconds / self._clock_rate))

    def issue(self, claims: Mapping[str, Any], use: Use = "bearer") -> str:
        """Create a token with the user's claims and additional claims."""
        return self._sign({**USER, "groups": GROUPS, **claims}, use, int(time.time()))

    def issue_for_upload(self, path: str) -> tuple[str, int]:
        """Create a token to upload one file, and return it with its expiration time."""
        issued_at = int(time.time())
        token = self._sign({"path": path}, "upload", issued_at)
        return token, issued_at + self._seconds["upload"]

    def issue_registry_password(self) -> str:
        """Create a password that contains its expiration time, as passwords of AWS do."""
        issued_at = int(time.time())
        token = self._sign({}, "registry", issued_at)
        content = {"payload": token, "expiration": issued_at + self._seconds["registry"]}
        return base64.b64encode(json.dumps(content).encode()).decode()

    def check_registry_password(self, password: str) -> None:
        """Check a password.

        Raises:
            InvalidTokenError: The password is invalid or has expired.
        """
        try:
            content = json.loads(base64.b64decode(password, validate=True))
        except (ValueError, RecursionError) as error:
            raise InvalidTokenError from error
        match content:
            case {"payload": str(token)}:
                self.read(token, "registry")
            case _:
                raise InvalidTokenError

    def issue_for_storage(self, claims: Mapping[str, Any]) -> tuple[dict[str, str], int]:
        """Create credentials for a storage as AWS variables, and return their expiration time."""
        issued_at = int(time.time())
        key_id = f"ASIA{secrets.token_hex(8).upper()}"
        token = self._sign({**claims, "keyId": key_id}, "storage", issued_at)
        credentials = {
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": self.storage_secret(key_id),
            "AWS_SESSION_TOKEN": token,
        }
        return credentials, issued_at + self._seconds["storage"]

    def storage_secret(self, key_id: str) -> str:
        """The secret key of a key id."""
        return hmac.new(self._secret, key_id.encode(), "sha256").hexdigest()[:40]

    def _sign(self, claims: Mapping[str, Any], use: Use, issued_at: int) -> str:
        payload = {
            **claims,
            "tokenUse": use,
            "iat": issued_at,
            "exp": issued_at + self._seconds[use],
            # Make each token unique, even if several are issued within a second.
            "jti": str(uuid.uuid4()),
        }
        headers = {"kid": self._key_id}
        return jwt.encode(payload, self._private, algorithm=ALGORITHM, headers=headers)

    def expire(self, token: str) -> None:
        """Invalidate a token before it expires."""
        self._expired.add(token)

    def read(self, token: str, use: Use = "bearer") -> dict[str, Any]:
        """Return a token's claims.

        Raises:
            ExpiredTokenError: The token has expired.
            InvalidTokenError: The token is not valid for this use.
        """
        if token in self._expired:
            raise ExpiredTokenError
        try:
            payload: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=[ALGORITHM],
                options={"require": ["exp", "iat", "tokenUse"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise ExpiredTokenError from error
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
    """Create a private key in PEM format."""
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
