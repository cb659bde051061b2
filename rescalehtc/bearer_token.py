"""The bearer token that authenticates calls, a JSON Web Token."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Protocol

from ._interrupts import is_from_signal_handler, suppressed
from ._raw import is_list, is_object
from ._secret import Secret
from ._tracebacks import trimmed
from ._wire.operations import GET_JSON_WEB_KEYS
from .exceptions import HtcException, HtcResponseError

if TYPE_CHECKING:
    from ._wire.operation import Call

__all__ = ["BearerToken", "HtcException", "Session", "token_from_str"]


def __dir__() -> list[str]:
    return __all__


_USER_PREFIX = "userDefined_"
_ALGORITHM = "RS256"


class Session(Protocol):
    """The part of HtcSession that `BearerToken.verify` uses."""

    base_url: str

    def send(self, call: Call) -> Any:
        """Send a call.

        Args:
            call: An operation with its parameters.
        """
        ...


class BearerToken:
    """A decoded token. Only `verify` checks its signature.

    Attributes:
        header: The token's header.
        payload: The token's claims.
        encoded_token: The token itself. It is secret, so the repr does not show it.
    """

    def __init__(self, header: dict[str, Any], payload: dict[str, Any], encoded_token: str) -> None:
        self.header: dict[str, Any] = dict(header)
        self.payload: dict[str, Any] = dict(payload)
        self.encoded_token: str = encoded_token

    def __repr__(self) -> str:
        return f"BearerToken(claims: {', '.join(sorted(self.payload))})"

    def get_user_claims(self) -> dict[str, Any]:
        """Return the claims of the job's submit request, without the prefix `userDefined_`."""
        return {
            name.removeprefix(_USER_PREFIX): value
            for name, value in self.payload.items()
            if name.startswith(_USER_PREFIX)
        }

    def verify(self, rescale: Session) -> None:
        """Check that the token is signed with a key of the service (RS256) and has not expired.

        Needs the extra `rescalehtc[verify]`. Operation getJsonWebKeys.

        Args:
            rescale: The session that fetches the service's keys.

        Raises:
            HtcException: The token is invalid. Or the extra is not installed.
            HtcResponseError: The service has no RS256 key.
        """
        try:
            from jwt.algorithms import has_crypto
        except ImportError:
            has_crypto = False
        if not has_crypto:
            raise HtcException(
                'BearerToken.verify needs more packages: pip install "rescalehtc[verify]>=2"'
            )
        key_id = self.header.get("kid")
        reason = f"none of the keys of {rescale.base_url} matches its signature"
        for key in _published_keys(rescale):
            if key_id is None or key.get("kid") in (None, key_id):
                fault = _fault(self, key)
                if fault is None:
                    return
                reason = fault or reason
        raise HtcException(f"the bearer token is invalid: {reason}")


def _published_keys(rescale: Session) -> list[dict[str, Any]]:
    """The service's keys that can verify a token."""
    answer = rescale.send(GET_JSON_WEB_KEYS.call())
    keys: list[dict[str, Any]] = []
    for listed in (answer.get("keys"), answer.get("jsonWebKeys")):
        if is_list(listed):
            keys += filter(_is_usable, listed)
    if not keys:
        raise HtcResponseError(f"getJsonWebKeys: the response has no {_ALGORITHM} key")
    return keys


def _is_usable(key: Any) -> bool:
    match key:
        case {"kty": "RSA", "n": str(), "e": str()}:
            return key.get("use") in (None, "sig") and key.get("alg") in (None, _ALGORITHM)
        case _:
            return False


def _fault(token: BearerToken, key: dict[str, Any]) -> str | None:
    """The reason why the token is invalid. None if it is valid, "" if this key does not match."""
    import jwt

    try:
        signed = jwt.decode_complete(
            token.encoded_token,
            jwt.PyJWK({name: key[name] for name in ("kty", "n", "e")}, _ALGORITHM),
            algorithms=[_ALGORITHM],
            options={
                "require": ["exp"],
                "enforce_minimum_key_length": True,
                # The service does not document the values of these claims.
                "verify_aud": False,
                "verify_iat": False,
                "verify_iss": False,
                "verify_jti": False,
                "verify_sub": False,
            },
        )
    except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
        return ""
    except jwt.InvalidAlgorithmError:
        return f"it is not signed with {_ALGORITHM}"
    except jwt.ExpiredSignatureError:
        return "it has expired"
    except jwt.ImmatureSignatureError:
        return "it is not valid yet"
    except jwt.MissingRequiredClaimError:
        return "it has no expiration time"
    except (jwt.PyJWTError, ValueError) as error:
        if is_from_signal_handler(error):
            raise
        return "it is malformed"
    if (signed["header"], signed["payload"]) != (token.header, token.payload):
        return "its header or claims were changed after decoding"
    return None


def token_from_str(data: str) -> BearerToken:
    """Decode a token of the form `header.payload.signature`.

    Args:
        data: The token.

    Raises:
        HtcException: `data` is not a token.
    """
    with trimmed():
        parts = _parts(data)
        if len(parts) != 3:
            raise HtcException(
                f"not a bearer token: it must have 3 parts separated by '.', got {len(parts)}"
            )
        return BearerToken(_decode("header", parts[0]), _decode("payload", parts[1]), Secret(data))


def _parts(data: object) -> list[str]:
    return data.split(".") if isinstance(data, str) else []


def _decode(name: str, part: str) -> dict[str, Any]:
    decoded: Any = None
    with suppressed(ValueError, RecursionError):
        decoded = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not is_object(decoded):
        raise HtcException(f"not a bearer token: its {name} is not a JSON object in base64")
    return decoded
