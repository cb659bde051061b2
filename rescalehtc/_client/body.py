"""Receive the body of a response: decompressed, complete, and limited in size."""

from __future__ import annotations

import zlib

import httpx

from .._wire.answer import Response
from ..exceptions import HtcResponseError

_GZIP = 16 + zlib.MAX_WBITS
_NO_BODY = (204, 304)
# Headers with the id of a request, in order of preference: AWS services and gateways, proxies,
# the storages of Azure and Google, CloudFront.
_REQUEST_ID_HEADERS = (
    b"x-amzn-requestid",
    b"x-amz-request-id",
    b"x-request-id",
    b"x-ms-request-id",
    b"x-guploader-uploadid",
    b"x-amz-apigw-id",
    b"x-amz-cf-id",
)


class BodyReader:
    """Collects the body of a response.

    Attributes:
        request_id: The service's id of the request, not redacted. None if it sent none.
    """

    def __init__(self, name: str, status: int, headers: httpx.Headers, max_bytes: int) -> None:
        """Initialize it.

        Args:
            name: The name of the request, for messages.
            status: The status of the response.
            headers: The headers of the response.
            max_bytes: The maximum size of the body after decompression.

        Raises:
            HtcResponseError: The content encoding is neither identity nor gzip.
        """
        self._name = name
        self._status = status
        self._headers = headers
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self.request_id: str | None = _request_id(headers)
        encoding = headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip"):
            raise self._error("the response is compressed in an unknown way")
        self._gzip = zlib.decompressobj(_GZIP) if "gzip" in encoding else None

    def feed(self, piece: bytes) -> None:
        """Add a chunk.

        Raises:
            HtcResponseError: The body is too large.
            zlib.error: The compressed data is invalid.
        """
        if self._gzip:
            piece = self._gzip.decompress(piece, self._max_bytes + 1 - self._size)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._max_bytes:
            message = f"the response has more than {self._max_bytes} bytes"
            raise self._error(message, is_too_large=True)

    def response(self) -> Response:
        """Return the response, when all chunks were added.

        Raises:
            httpx.RemoteProtocolError: The compressed body is truncated, or more bytes follow it.
        """
        if self._gzip and self._status not in _NO_BODY:
            if not self._gzip.eof:
                raise httpx.RemoteProtocolError("the compressed response is truncated")
            if self._gzip.unused_data:
                raise httpx.RemoteProtocolError("more bytes follow the compressed response")
        body = b"".join(self._pieces)
        return Response(self._status, body, self._headers.get("Retry-After"), self.request_id)

    def _error(self, reason: str, *, is_too_large: bool = False) -> HtcResponseError:
        error = HtcResponseError(f"{self._name}: {reason}", is_too_large=is_too_large)
        error.request_id = self.request_id
        return error


def _request_id(headers: httpx.Headers) -> str | None:
    # Every response is searched, so look at each header only once.
    values = {name.lower(): value for name, value in headers.raw}
    ids = (values[name] for name in _REQUEST_ID_HEADERS if values.get(name))
    return next(ids, b"").decode("latin-1") or None
