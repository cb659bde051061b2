"""HTTP URLs."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def origin(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port of a URL.

    Raises:
        ValueError: It is not an HTTP URL.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("a user and password in the URL would replace the token")
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = default if parts.port is None else parts.port
    if not port or not parts.hostname:
        raise ValueError("not an HTTP URL")
    return parts.scheme, parts.hostname, port


def is_loopback(host: str) -> bool:
    """Whether a host, without a port, is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
