"""Tokens, their public keys, and the user."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, Response

from ..._wire import operations
from ..tokens import USER, InvalidTokenError, read_authorization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ..._wire.operation import Operation
    from .request import ApiRequest, Handler, Service


def read_bearer_claims(service: Service, http: Request) -> Mapping[str, Any]:
    """Return the claims of a request's bearer token.

    Raises:
        InvalidTokenError: The request has no valid token.
    """
    scheme, token = _authorization(http)
    return service.tokens.read(token if scheme == "bearer" else "")


def _authorization(http: Request) -> tuple[str, str]:
    return read_authorization(http.headers.get("Authorization", ""))


def _check_api_key(request: ApiRequest, key: str) -> None:
    if not hmac.compare_digest(key.encode(), request.store.api_key.encode()):
        raise InvalidTokenError


def _new_token(request: ApiRequest) -> str:
    """Exchange the API key, or a refresh token with its claims, for a bearer token."""
    tokens = request.service.tokens
    scheme, credential = _authorization(request.http)
    claims: Mapping[str, Any] = {}
    if scheme == "refresh":
        claims = tokens.read(credential, "refresh")
    elif scheme == "token":
        _check_api_key(request, credential)
    else:
        raise InvalidTokenError
    return tokens.issue(claims)


def _get_token(request: ApiRequest) -> Response:
    expires_in = request.service.tokens.bearer_seconds
    return JSONResponse({"tokenValue": _new_token(request), "expiresIn": expires_in})


def _create_oauth_token(request: ApiRequest) -> Response:
    token, expires_in = _new_token(request), request.service.tokens.bearer_seconds
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": expires_in}
    return JSONResponse(answer)


def _get_json_web_keys(request: ApiRequest) -> Response:
    return JSONResponse(request.service.tokens.key_set)


def _get_token_payload(request: ApiRequest) -> Response:
    return JSONResponse(request.claims)


def _get_user(request: ApiRequest) -> Response:
    scheme, credential = _authorization(request.http)
    if scheme != "token":
        raise InvalidTokenError
    _check_api_key(request, credential)
    return JSONResponse(
        {
            "user": {
                "userId": USER["userId"],
                "email": USER["userEmail"],
                "fullName": USER["userFullName"],
                "isRescaleAdmin": False,
                "isOrganizationAdmin": False,
                "isWorkspaceAdmin": True,
                "isSuperuser": False,
                "workspace": {"id": USER["workspaceId"], "name": USER["workspaceName"]},
                "organization": {
                    "code": USER["organizationCode"],
                    "canViewOrganizationJobs": True,
                },
            },
            "userFeatures": {},
        }
    )


HANDLERS: Final[Mapping[Operation[Any], Handler]] = {
    operations.GET_JSON_WEB_KEYS: _get_json_web_keys,
    operations.CREATE_OAUTH_TOKEN: _create_oauth_token,
    operations.GET_TOKEN: _get_token,
    operations.GET_TOKEN_PAYLOAD: _get_token_payload,
    operations.GET_USER: _get_user,
}
