"""Addresses of HTTP."""

from __future__ import annotations

from urllib.parse import urlsplit


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address.

    Raises:
        ValueError: It is not an HTTP address.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("a user and password in the address would take the token's place")
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = default if parts.port is None else parts.port
    if not port or not parts.hostname:
        raise ValueError("not an HTTP address")
    return parts.scheme, parts.hostname, port
