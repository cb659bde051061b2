"""Responses in XML."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from starlette.responses import Response

if TYPE_CHECKING:
    from ..objects import Object


def xml(tag: str, *elements: str, **values: object) -> str:
    """Create an element with a value per name, and other elements."""
    named = [f"<{name}>{_escaped(str(value))}</{name}>" for name, value in values.items()]
    return f"<{tag}>{''.join([*named, *elements])}</{tag}>"


def _escaped(text: str) -> str:
    return escape(text, {chr(code): f"&#{code};" for code in range(32)})


def answer(tag: str, *elements: str, **values: object) -> Response:
    """Create a response with an XML document."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>{xml(tag, *elements, **values)}'
    return Response(body, media_type="application/xml")


def describe(item: Object) -> dict[str, object]:
    """Return the values that describe an object."""
    modified = item.modified.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"LastModified": modified, "ETag": item.etag, "Size": item.size}
