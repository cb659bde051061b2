"""Receiving the body of an answer: decompressed, limited in size, and whole."""

from __future__ import annotations

import zlib

import httpx

from .._wire.answer import Response
from ..exceptions import HtcResponseError

_GZIP = 16 + zlib.MAX_WBITS
_NO_BODY = (204, 304)


class BodyReader:
    """Takes in the body of an answer, decompressed and limited in size."""

    def __init__(self, name: str, answer: httpx.Response, max_bytes: int) -> None:
        """Make one.

        Args:
            name: What the request does, for messages.
            answer: The answer, without its body.
            max_bytes: The size of the largest body, after decompression.

        Raises:
            HtcResponseError: The body is compressed in a way that was not asked for.
        """
        self._name = name
        self._answer = answer
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip"):
            raise HtcResponseError(f"{name}: the answer is compressed in an unknown way")
        self._gzip = zlib.decompressobj(_GZIP) if "gzip" in encoding else None

    def feed(self, piece: bytes) -> None:
        """Take in a piece.

        Raises:
            HtcResponseError: The body is too large.
            zlib.error: It is damaged.
        """
        if self._gzip:
            piece = self._gzip.decompress(piece, self._max_bytes + 1 - self._size)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._max_bytes:
            message = f"{self._name}: the answer has more than {self._max_bytes} bytes"
            raise HtcResponseError(message, is_too_large=True)

    def response(self) -> Response:
        """Return the answer when its body is complete.

        Raises:
            httpx.RemoteProtocolError: The compressed body is cut, or something follows it.
        """
        status = self._answer.status_code
        if self._gzip and status not in _NO_BODY:
            if not self._gzip.eof:
                raise httpx.RemoteProtocolError("the compressed answer is cut")
            if self._gzip.unused_data:
                raise httpx.RemoteProtocolError("there is something behind the compressed answer")
        return Response(status, b"".join(self._pieces), self._answer.headers.get("Retry-After"))
