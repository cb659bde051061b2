"""The bearer token that proves who is calling: a JSON Web Token, read here without trusting it."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from .exceptions import HtcException

_USER_PREFIX = "userDefined_"


class BearerToken:
    """A decoded token. Its signature is not checked.

    Attributes:
        header: The token's header.
        payload: The token's claims.
        encoded_token: The token itself. A secret; it is not part of the repr.
    """

    def __init__(self, header: dict[str, Any], payload: dict[str, Any], encoded_token: str) -> None:
        self.header: dict[str, Any] = dict(header)
        self.payload: dict[str, Any] = dict(payload)
        self.encoded_token: str = encoded_token

    def __repr__(self) -> str:
        return f"BearerToken(claims: {', '.join(sorted(self.payload))})"

    def get_user_claims(self) -> dict[str, Any]:
        """Return the claims given when the job was submitted, under the names given then."""
        return {
            name.removeprefix(_USER_PREFIX): value
            for name, value in self.payload.items()
            if name.startswith(_USER_PREFIX)
        }


def token_from_str(data: str) -> BearerToken:
    """Decode a token of the form `header.payload.signature`.

    Raises:
        HtcException: This is not a token.
    """
    parts = data.split(".")
    if len(parts) != 3:
        raise HtcException(f"not a bearer token: {len(parts)} parts between full stops, not 3")
    return BearerToken(_decode(parts[0], "header"), _decode(parts[1], "payload"), data)


def _decode(part: str, place: str) -> dict[str, Any]:
    try:
        decoded: Any = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise HtcException(f"not a bearer token: its {place} is not a JSON object in base64")
    return decoded  # pyright: ignore[reportUnknownVariableType]
