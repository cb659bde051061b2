"""The signatures of requests (AWS Signature Version 4), in headers or in a presigned address."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from ..tokens import ExpiredTokenError, InvalidTokenError
from .answers import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ..tokens import Tokens

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_MAX_SKEW: Final = timedelta(minutes=15)
_MAX_EXPIRES: Final = 7 * 24 * 3600


class Signed(NamedTuple):
    """A request whose signature was verified."""

    claims: Mapping[str, Any]
    """The claims of its session token."""
    payload_sha256: str | None
    """What the SHA-256 of the body must be, or None if it is not signed."""


class _Parts(NamedTuple):
    credential: str
    signed_headers: str
    signature: str
    date: str
    token: str
    payload: str


def query_of(request: Request) -> list[tuple[str, str]]:
    """Return the query's parameters."""
    return parse_qsl(request.url.query, keep_blank_values=True)


def verify(request: Request, tokens: Tokens, now: datetime) -> Signed:
    """Verify a request's signature and session token.

    Raises:
        S3Error: It is not signed, or not with credentials that are good now.
    """
    query = dict(query_of(request))
    parts = _from_query(query, now) if "X-Amz-Signature" in query else _from_headers(request, now)
    key_id, _, scope = parts.credential.partition("/")
    try:
        claims = tokens.read(parts.token, "storage")
    except ExpiredTokenError:
        raise S3Error("ExpiredToken", "The provided token has expired.") from None
    except InvalidTokenError:
        raise S3Error("InvalidToken", "The session token is missing or malformed.") from None
    if claims.get("keyId") != key_id:
        raise S3Error("InvalidAccessKeyId", "The access key does not belong to the session token.")
    if not re.fullmatch(r"[0-9]{8}/[^/]+/s3/aws4_request", scope) or scope[:8] != parts.date[:8]:
        raise S3Error("AuthorizationHeaderMalformed", "The credential's scope is wrong.")
    to_sign = "\n".join(
        [
            *(_ALGORITHM, parts.date, scope),
            hashlib.sha256(_canonical(request, parts).encode()).hexdigest(),
        ]
    )
    key = f"AWS4{tokens.storage_secret(key_id)}".encode()
    for step in (*scope.split("/"), to_sign):
        key = hmac.digest(key, step.encode(), "sha256")
    if not hmac.compare_digest(key.hex().encode(), parts.signature.encode()):
        raise S3Error("SignatureDoesNotMatch", "The signature is not that of the request.")
    if parts.payload == _UNSIGNED:
        return Signed(claims, None)
    if not re.fullmatch("[0-9a-f]{64}", parts.payload):
        raise S3Error("NotImplemented", f"The emulator does not read {parts.payload[:80]} bodies.")
    return Signed(claims, parts.payload)


def _from_headers(request: Request, now: datetime) -> _Parts:
    header = request.headers.get("Authorization", "")
    algorithm, _, rest = header.partition(" ")
    fields = dict(re.findall(r"(\w+)=([^,\s]+)", rest))
    if algorithm != _ALGORITHM or not {"Credential", "SignedHeaders", "Signature"} <= fields.keys():
        raise S3Error("AccessDenied", f"Sign the request with {_ALGORITHM} (boto3: s3v4).")
    date = request.headers.get("X-Amz-Date", "")
    if abs(now - _read_date(date)) > _MAX_SKEW:
        raise S3Error("RequestTimeTooSkewed", "The request's time differs too much from the time.")
    return _Parts(
        fields["Credential"],
        fields["SignedHeaders"],
        fields["Signature"],
        date,
        request.headers.get("X-Amz-Security-Token", ""),
        request.headers.get("X-Amz-Content-Sha256", ""),
    )


def _from_query(query: Mapping[str, str], now: datetime) -> _Parts:
    names = ("Credential", "SignedHeaders", "Signature", "Date", "Security-Token")
    credential, signed, signature, date, token = (query.get(f"X-Amz-{n}", "") for n in names)
    expires = query.get("X-Amz-Expires", "")
    is_valid = re.fullmatch("[0-9]{1,6}", expires) and 0 < int(expires) <= _MAX_EXPIRES
    if query.get("X-Amz-Algorithm") != _ALGORITHM or not is_valid:
        raise S3Error("AuthorizationQueryParametersError", "The address is not presigned right.")
    age = now - _read_date(date)
    if not -_MAX_SKEW <= age <= timedelta(seconds=int(expires)):
        raise S3Error("AccessDenied", "Request has expired")
    return _Parts(credential, signed, signature, date, token, _UNSIGNED)


def _read_date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise S3Error("AccessDenied", "The request's X-Amz-Date is missing or malformed.") from None


def _canonical(request: Request, parts: _Parts) -> str:
    """The request in the form that is signed."""
    query = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in query_of(request)
        if name != "X-Amz-Signature"
    )
    names = parts.signed_headers.split(";")
    if "host" not in names:
        raise S3Error("AccessDenied", "The header Host must be signed.")
    headers = (
        f"{name}:{','.join(' '.join(value.split()) for value in request.headers.getlist(name))}\n"
        for name in names
    )
    return "\n".join(
        [
            request.method,
            quote(unquote(request.scope["raw_path"].decode("latin-1")), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            "".join(headers),
            parts.signed_headers,
            parts.payload,
        ]
    )
