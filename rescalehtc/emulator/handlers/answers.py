"""JSON responses with the same null fields as the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic_core import from_json, to_json
from starlette.responses import Response

from ..._collector import without_collections
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
    content = without_collections(from_json)(body, cache_strings="keys")
    _remove_nulls(content, NULLABLE_FIELDS.get(operation_id, frozenset()), "")
    return json_response(to_json(content), response.status_code)


def _remove_nulls(content: object, nullable: Set[str], place: str) -> None:
    if isinstance(content, dict):
        record = cast("dict[str, object]", content)
        for name, field in list(record.items()):
            if field is None:
                if f"{place}{name}" not in nullable:
                    del record[name]
            elif isinstance(field, dict | list):
                _remove_nulls(cast("object", field), nullable, f"{place}{name}.")
    elif isinstance(content, list):
        for item in cast("list[object]", content):
            _remove_nulls(item, nullable, place)
