"""Error responses of handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from collections.abc import Mapping


class ApiError(Exception):
    """A handler rejects a request.

    Args:
        status: The status of the response.
        body: The JSON of the response. None for an empty response.
    """

    def __init__(self, status: int, body: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body

    def response(self) -> Response:
        """Return the response."""
        if self.body is None:
            return Response(status_code=self.status)
        return JSONResponse(self.body, self.status)


def api_error(status: int, kind: str, description: str) -> ApiError:
    """Create an error with the documented body."""
    return ApiError(status, {"errorType": kind, "errorDescription": description})


def bad_request(description: str) -> ApiError:
    """Create the error for an invalid request."""
    return api_error(400, "BadRequest", description)


def not_found(description: str) -> ApiError:
    """Create the error for an object that does not exist."""
    return api_error(404, "NotFound", description)


def oauth_error(status: int, kind: str, description: str) -> ApiError:
    """Create an error for OAuth clients, which expect its name in `error`."""
    body = {"errorType": kind, "error": kind, "errorDescription": description}
    return ApiError(status, body)
