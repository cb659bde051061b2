"""Free the sockets that interrupted calls leave open."""

from __future__ import annotations

import gc
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def leftovers_closed() -> Iterator[None]:
    """Close the sockets of connections that were interrupted while they were opened.

    The standard library leaves them open. Without this, a later test would report them.
    """
    before = _client_sockets()
    yield
    gc.collect()
    for left in _client_sockets() - before:
        left.close()


def _client_sockets() -> set[socket.socket]:
    """The open sockets of clients. Those of servers in this process have no protocol number."""
    sockets = (item for item in gc.get_objects() if isinstance(item, socket.socket))
    return {item for item in sockets if item.proto == socket.IPPROTO_TCP and item.fileno() != -1}
