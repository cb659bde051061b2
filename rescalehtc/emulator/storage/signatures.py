"""Verifies requests that are signed with AWS Signature Version 4, in headers or in the URL."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from ..bucket import StorageError
from ..tokens import ExpiredTokenError, InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ..tokens import Tokens

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_MAX_SKEW: Final = timedelta(minutes=15)


def verify(request: Request, tokens: Tokens) -> tuple[Mapping[str, Any], str]:
    """Return the claims of a request's session token, and the SHA-256 of its body or UNSIGNED.

    Raises:
        StorageError: The request is not signed with valid credentials.
    """
    try:
        parameters, payload = _read(request)
        key_id, *scope = parameters["Credential"].split("/")
        signed = f"{_canonical(request, parameters['SignedHeaders'])}\n{payload}"
        digest = hashlib.sha256(signed.encode()).hexdigest()
        to_sign = "\n".join([_ALGORITHM, parameters["Date"], "/".join(scope), digest])
        claims = tokens.read(parameters["Security-Token"], "storage")
        key = f"AWS4{tokens.storage_secret(key_id)}".encode()
        for step in (*scope, to_sign):
            key = hmac.digest(key, step.encode(), "sha256")
        is_right = hmac.compare_digest(key.hex().encode(), parameters["Signature"].encode())
    except (KeyError, ValueError, OverflowError):
        reason = f"Sign the request with {_ALGORITHM}; for boto3, set signature_version='s3v4'."
        raise StorageError("AccessDenied", reason) from None
    except ExpiredTokenError:
        raise StorageError("ExpiredToken", "The provided token has expired.") from None
    except InvalidTokenError:
        raise StorageError("InvalidToken", "The session token is malformed.") from None
    if claims["keyId"] != key_id:
        raise StorageError("InvalidAccessKeyId", "The session token is for another access key.")
    if not is_right:
        raise StorageError("SignatureDoesNotMatch", "The signature does not match the request.")
    return claims, payload


def _read(request: Request) -> tuple[dict[str, str], str]:
    """Return the parts of a signature by their names in a presigned URL, and the body's SHA-256."""
    headers, query = request.headers, request.query_params
    if "X-Amz-Signature" in query:
        parameters = {name.removeprefix("X-Amz-"): value for name, value in query.items()}
        payload, lifetime = UNSIGNED, timedelta(seconds=int(parameters["Expires"]))
        expired = StorageError("AccessDenied", "Request has expired")
    else:
        algorithm, _, fields = headers["Authorization"].partition(" ")
        parameters = dict(re.findall(r"(\w+)=([^,\s]+)", fields))
        parameters |= {"Algorithm": algorithm, "Date": headers["X-Amz-Date"]}
        parameters["Security-Token"] = headers["X-Amz-Security-Token"]
        payload, lifetime = headers["X-Amz-Content-Sha256"], _MAX_SKEW
        expired = StorageError("RequestTimeTooSkewed", "The request's time is too far from now.")
    age = datetime.now(UTC) - datetime.strptime(parameters["Date"], "%Y%m%dT%H%M%S%z")
    if parameters["Algorithm"] != _ALGORITHM:
        raise ValueError
    if not -_MAX_SKEW <= age <= lifetime:
        raise expired
    return parameters, payload


def _canonical(request: Request, signed_headers: str) -> str:
    """Return the method, path, query and headers in the form that is signed."""
    query = sorted(
        [quote(name, safe="-_.~"), quote(value, safe="-_.~")]
        for name, value in request.query_params.multi_items()
        if name != "X-Amz-Signature"
    )
    names = signed_headers.split(";")
    headers = [f"{name}:{' '.join(request.headers[name].split())}\n" for name in names]
    path = quote(unquote(request.scope["raw_path"].decode("latin-1")), safe="/-_.~")
    pairs = "&".join(map("=".join, query))
    return "\n".join([request.method, path, pairs, "".join(headers), signed_headers])
