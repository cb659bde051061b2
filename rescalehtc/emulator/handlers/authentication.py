"""Tokens, the keys they are signed with, and who the user is."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, Response

from ... import api
from ..tokens import USER, InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ..._operation import Operation
    from .received import Handler, Received, Service


def bearer_claims(service: Service, request: Request) -> Mapping[str, Any]:
    """The claims of the bearer token that a request carries.

    Raises:
        InvalidTokenError: It carries no valid one.
    """
    scheme, token = _authorization(request)
    return service.tokens.read(token if scheme == "bearer" else "")


def expire_token(service: Service, request: Request) -> None:
    """Let the bearer token that a request carries be valid no more."""
    service.tokens.expire(_authorization(request)[1])


def _authorization(request: Request) -> tuple[str, str]:
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower(), credential.strip()


def _check_api_key(received: Received, given: str) -> None:
    if not hmac.compare_digest(given.encode(), received.store.api_key.encode()):
        raise InvalidTokenError


def _new_token(received: Received) -> str:
    """A bearer token in exchange for the API key, or for a refresh token with its claims."""
    tokens = received.service.tokens
    scheme, credential = _authorization(received.request)
    claims: Mapping[str, Any] = {}
    if scheme == "refresh":
        claims = tokens.read(credential, "refresh")
    elif scheme == "token":
        _check_api_key(received, credential)
    else:
        raise InvalidTokenError
    return tokens.issue(claims)


def _get_token(received: Received) -> Response:
    expires_in = received.service.tokens.bearer_seconds
    return JSONResponse({"tokenValue": _new_token(received), "expiresIn": expires_in})


def _create_oauth_token(received: Received) -> Response:
    token, expires_in = _new_token(received), received.service.tokens.bearer_seconds
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": expires_in}
    return JSONResponse(answer)


def _get_json_web_keys(received: Received) -> Response:
    return JSONResponse(received.service.tokens.key_set)


def _get_token_payload(received: Received) -> Response:
    return JSONResponse(received.claims)


def _get_user(received: Received) -> Response:
    scheme, credential = _authorization(received.request)
    if scheme != "token":
        raise InvalidTokenError
    _check_api_key(received, credential)
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


HANDLERS: Final[Mapping[Operation, Handler]] = {
    api.GET_JSON_WEB_KEYS: _get_json_web_keys,
    api.CREATE_OAUTH_TOKEN: _create_oauth_token,
    api.GET_TOKEN: _get_token,
    api.GET_TOKEN_PAYLOAD: _get_token_payload,
    api.GET_USER: _get_user,
}
