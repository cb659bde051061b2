"""Sending bytes and receiving bytes. The only file that knows the HTTP library."""

from __future__ import annotations

import os
import threading
import time
from typing import BinaryIO

import httpx

from . import __version__
from ._operation import Call, Response, origin
from .exceptions import HtcConnectionError, HtcCredentialsError, HtcTimeoutError

CONNECT_TIMEOUT_SECONDS = 20.0
MAX_CONNECTIONS = 10


class Transport:
    """A pool of connections to the service. Safe to use from many threads."""

    def __init__(self, base_url: str, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._is_local = origin(base_url)[1] in ("127.0.0.1", "localhost", "::1")
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._open_client: httpx.Client | None = None

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._open_client is None:
                self._open_client = self._new_client()
            return self._open_client

    def _new_client(self) -> httpx.Client:
        try:
            return httpx.Client(
                trust_env=not self._is_local,  # no proxy leads to this machine
                headers={"User-Agent": f"rescalehtc/{__version__}"},
                timeout=httpx.Timeout(
                    self._timeout_seconds,
                    connect=min(CONNECT_TIMEOUT_SECONDS, self._timeout_seconds),
                    pool=None,
                ),
                limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
                follow_redirects=False,
            )
        except (ImportError, OSError, ValueError) as error:
            # What the environment says of proxies and certificates can't be used.
            reason = str(error)
        raise HtcConnectionError(f"no connection can be set up: {reason}")

    def send(self, call: Call, authorization: str | None) -> Response:
        """Send once and receive the whole answer.

        Raises:
            HtcTimeoutError: No answer in time.
            HtcConnectionError: The service can't be reached, or the answer broke off.
        """
        headers = {"Authorization": authorization} if authorization else {}
        if authorization and not (authorization.isascii() and authorization.isprintable()):
            raise HtcCredentialsError(
                f"{call.operation.id}: the key or token holds characters that none has; it is "
                "not shown here"
            )
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        url = call.url(self._base_url)
        return self._send(call.operation.id, call.operation.method, url, call.body, headers)

    def upload(self, url: str, file: BinaryIO) -> Response:
        """Send a file to a presigned address, with nothing that says who sends it.

        Raises:
            HtcTimeoutError: No answer in time.
            HtcConnectionError: The address can't be reached, or the answer broke off.
        """
        size = str(os.fstat(file.fileno()).st_size - file.tell())
        return self._send("upload", "PUT", url, file, {"Content-Length": size})

    def _send(
        self,
        name: str,
        method: str,
        url: str,
        content: bytes | BinaryIO | None,
        headers: dict[str, str],
    ) -> Response:
        client = self._client()
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with client.stream(method, url, content=content, headers=headers) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > deadline:  # it comes, but in drops
                        raise httpx.ReadTimeout("")
                return Response(response.status_code, bytes(body))
        except httpx.TimeoutException:
            within = f"within {self._timeout_seconds:g} s"
            failure: HtcConnectionError = HtcTimeoutError(
                f"{name}: no whole answer from {_host(url)} {within}"
            )
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            failure = HtcConnectionError(f"{name}: no answer from {_host(url)}: {reason}")
        except RuntimeError:
            if not client.is_closed:
                raise
            failure = HtcConnectionError(f"{name}: the session was closed by another thread")
        raise failure

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        with self._lock:
            client, self._open_client = self._open_client, None
        if client is not None:
            client.close()


def _host(url: str) -> str:
    """Where a request went, without path and query: they may hold a secret."""
    scheme, host, port = origin(url)
    return f"{scheme}://{host}:{port}"
