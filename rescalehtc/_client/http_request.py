"""A request, before the HTTP library gives it its form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .content import Content


@dataclass(frozen=True)
class HttpRequest:
    """A request.

    Attributes:
        name: What it does, for messages: an operation's id.
        method: The HTTP method.
        url: The address.
        headers: Headers beside those of every request.
        body: What to send.
        is_fresh: Whether to send it on a new connection: on one that was used before, leftovers
            of another answer could be taken for the answer to this request.
        seconds_per_piece: With it, the time limit begins anew with each piece that is sent.
    """

    name: str
    method: str
    url: str = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | Content | None = field(default=None, repr=False)
    is_fresh: bool = False
    seconds_per_piece: float | None = None
