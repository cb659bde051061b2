"""Sending bytes and receiving bytes. The only file that knows the HTTP library."""

from __future__ import annotations

import threading
import time

import httpx

from . import __version__
from ._operation import Call, Response
from .exceptions import HtcConnectionError, HtcTimeoutError

CONNECT_TIMEOUT_SECONDS = 20.0
MAX_CONNECTIONS = 10


class Transport:
    """A pool of connections to the service. Safe to use from many threads."""

    def __init__(self, base_url: str, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._open_client: httpx.Client | None = None

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._open_client is None:
                self._open_client = httpx.Client(
                    headers={"User-Agent": f"rescalehtc/{__version__}"},
                    timeout=httpx.Timeout(
                        self._timeout_seconds,
                        connect=min(CONNECT_TIMEOUT_SECONDS, self._timeout_seconds),
                        pool=None,
                    ),
                    limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
                    follow_redirects=False,
                )
            return self._open_client

    def send(self, call: Call, authorization: str) -> Response:
        """Send once and receive the whole answer.

        Raises:
            HtcTimeoutError: No answer in time.
            HtcConnectionError: The service can't be reached, or the answer broke off.
        """
        headers = {"Authorization": authorization}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        operation = call.operation.id
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with self._client().stream(
                call.operation.method,
                call.url(self._base_url),
                content=call.body,
                headers=headers,
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > deadline:  # it comes, but in drops
                        raise httpx.ReadTimeout("")
                return Response(response.status_code, bytes(body))
        except httpx.TimeoutException:
            within = f"within {self._timeout_seconds:g} s"
            failure: HtcConnectionError = HtcTimeoutError(
                f"{operation}: no whole answer from {self._base_url} {within}"
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            failure = HtcConnectionError(f"{operation}: no answer from {self._base_url}: {reason}")
        raise failure

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        with self._lock:
            client, self._open_client = self._open_client, None
        if client is not None:
            client.close()
