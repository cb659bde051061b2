"""A request, independent of the HTTP library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .content import Content


@dataclass(frozen=True)
class HttpRequest:
    """A request.

    Attributes:
        name: The operation's id, for messages.
        method: The HTTP method.
        url: The URL.
        headers: The headers, in addition to those of every request.
        body: The body.
        is_fresh: Whether to send it on a new connection. On a used connection, extra bytes after
            another response could be mistaken for the response to this request.
        seconds_per_piece: If given, the timeout restarts with each chunk that is sent.
    """

    name: str
    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | Content | None = field(default=None, repr=False)
    is_fresh: bool = False
    seconds_per_piece: float | None = None
