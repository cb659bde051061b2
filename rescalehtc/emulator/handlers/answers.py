"""JSON responses with the same null fields as the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic_core import from_json, to_json
from starlette.responses import Response

from .._nulls import NULLABLE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Set


def json_response(text: str | bytes, status: int = 200) -> Response:
    """Return a response with encoded JSON."""
    return Response(text, status, media_type="application/json")


def drop_nulls(response: Response, operation_id: str) -> Response:
    """Remove null fields from a response, except those that the service sends as null."""
    body = bytes(response.body)
    if response.media_type != "application/json" or b"null" not in body:
        return response
    nullable = NULLABLE_FIELDS.get(operation_id, frozenset())
    kept = _without_nulls(from_json(body), nullable, "")
    return json_response(to_json(kept), response.status_code)


def _without_nulls(value: object, nullable: Set[str], place: str) -> object:
    if isinstance(value, dict):
        record = cast("dict[str, object]", value)
        return {
            name: _without_nulls(field, nullable, f"{place}{name}.")
            for name, field in record.items()
            if field is not None or f"{place}{name}" in nullable
        }
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_without_nulls(item, nullable, place) for item in items]
    return value
