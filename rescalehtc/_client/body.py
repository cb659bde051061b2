"""Receiving the body of an answer: decompressed, limited in size, and whole."""

from __future__ import annotations

import zlib

import httpx

from .._wire.answer import Response
from ..exceptions import HtcResponseError

_GZIP = 16 + zlib.MAX_WBITS
_NO_BODY = (204, 304)
# Headers with the id of a request, the best known first: AWS services and gateways, proxies,
# storages of Azure and Google, CloudFront.
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
    """Takes in the body of an answer, decompressed and limited in size.

    Attributes:
        request_id: The service's id of the request, as it came in; None if there is none.
    """

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
        self.request_id: str | None = _request_id(answer)
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip"):
            raise self._error("the answer is compressed in an unknown way")
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
            message = f"the answer has more than {self._max_bytes} bytes"
            raise self._error(message, is_too_large=True)

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
        body = b"".join(self._pieces)
        return Response(status, body, self._answer.headers.get("Retry-After"), self.request_id)

    def _error(self, reason: str, *, is_too_large: bool = False) -> HtcResponseError:
        error = HtcResponseError(f"{self._name}: {reason}", is_too_large=is_too_large)
        error.request_id = self.request_id
        return error


def _request_id(answer: httpx.Response) -> str | None:
    # One look at each header: this is done for every answer.
    headers = {name.lower(): value for name, value in answer.headers.raw}
    ids = (headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name))
    return next(ids, b"").decode("latin-1") or None
