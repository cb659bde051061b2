"""An operation as a value: what to send, and how to read what comes back. No I/O here."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote, urlencode, urljoin, urlsplit

from .exceptions import (
    STATUS_ERRORS,
    HtcResponseError,
    HtcServerError,
    HtcStatusError,
    HtcValidationError,
    Problem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    QueryValue = str | int | bool | Sequence[str] | None

EXCERPT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Operation:
    """What the description says of an operation.

    Attributes:
        id: Its operationId.
        method: The HTTP method.
        path: The path, with `{name}` for a parameter of one segment and `{name:path}` for
            one that may have several.
        answer: What comes back when all went well: a JSON object, a JSON array, a page
            `{items, next}` of a listing, or nothing.
        authorization: A bearer token of the session's, or a header that the caller gives.
    """

    id: str
    method: str
    path: str
    answer: Literal["object", "array", "page", "nothing"] = "object"
    authorization: Literal["bearer", "given"] = "bearer"

    def call(
        self,
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, QueryValue] | None = None,
        body: object = None,
        authorization: str | None = None,
    ) -> Call:
        """Fill in the parameters.

        Raises:
            HtcValidationError: A path parameter is empty, not a string, or would leave
                the operation's path; or the body is not JSON.
        """
        target = self.path
        for name, value in (path or {}).items():
            placeholder = f"{{{name}:path}}" if f"{{{name}:path}}" in target else f"{{{name}}}"
            segments = "/" if placeholder.endswith(":path}") else ""
            target = target.replace(placeholder, _path_value(self, name, value, segments))
        given = {name: value for name, value in (query or {}).items() if value is not None}
        if given:
            target += "?" + urlencode(
                {name: _query_value(value) for name, value in given.items()}, doseq=True
            )
        return Call(self, target, _encode(self, body), authorization)


@dataclass(frozen=True, slots=True)
class Call:
    """An operation with its parameters: all that is needed to send it.

    Attributes:
        operation: The operation.
        target: Path and query below the base URL, or the whole address of a later page.
        body: JSON to send.
        authorization: The header's value where the operation takes a given one.
    """

    operation: Operation
    target: str
    body: bytes | None = None
    authorization: str | None = None

    def url(self, base_url: str) -> str:
        """The address to send to."""
        return base_url + self.target if self.target.startswith("/") else self.target


class Response(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Page(NamedTuple):
    """A page of a listing, and the call for the next one if there is one."""

    items: list[Any]
    next: Call | None


def read(call: Call, response: Response) -> Any:
    """Decode an answer.

    Raises:
        HtcStatusError: The status is an error.
        HtcResponseError: The body is not what the operation answers.
    """
    _raise_for_status(call.operation, response)
    if call.operation.answer == "nothing":
        return None
    answer = _decode(call.operation, response.body)
    expected = list if call.operation.answer == "array" else dict
    if not isinstance(answer, expected):
        kind = "array" if expected is list else "object"
        raise _not_understood(call.operation, response.body, f"it is no JSON {kind}")
    return answer  # pyright: ignore[reportUnknownVariableType]


def read_page(call: Call, response: Response, base_url: str) -> Page:
    """Decode a page and work out the call for the next one.

    Raises:
        HtcStatusError: The status is an error.
        HtcResponseError: This is no page, or its next page is not where the service is.
    """
    answer: dict[str, Any] = read(call, response)
    items: Any = answer.get("items")
    if not isinstance(items, list):
        raise _not_understood(call.operation, response.body, "a page has an array named items")
    following: object = answer.get("next")
    if following is None:
        return Page(items, None)
    if not isinstance(following, str):
        raise HtcResponseError(f"{call.operation.id}: the address of the next page is no string")
    here = call.url(base_url)
    try:
        address = urljoin(here, following)
        if origin(address) == origin(here):
            return Page(items, replace(call, target=address))
    except ValueError:
        pass  # no address at all
    raise HtcResponseError(
        f"{call.operation.id}: the next page is said to be at another address than "
        f"{base_url}; nothing was sent there"
    )


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address.

    Raises:
        ValueError: It is no address of HTTP.
    """
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if default is None or not parts.hostname:
        raise ValueError("no address of HTTP")
    return parts.scheme, parts.hostname, parts.port or default


def _path_value(operation: Operation, name: str, value: object, safe: str) -> str:
    segments = value.split("/") if safe and isinstance(value, str) else [value]
    if not isinstance(value, str) or any(segment in ("", ".", "..") for segment in segments):
        expected = "a name, or several with '/' between them" if safe else "a string, not empty"
        raise HtcValidationError(
            operation.id, [Problem(name, f"must be {expected}, not '.' or '..'")]
        )
    return quote(value, safe=f":{safe}", errors="replace")


def _query_value(value: QueryValue) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _encode(operation: Operation, body: object) -> bytes | None:
    if body is None:
        return None
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"must be JSON: {error}" if isinstance(error, TypeError) else "must be JSON"
    raise HtcValidationError(operation.id, [Problem("payload", reason)])


def _raise_for_status(operation: Operation, response: Response) -> None:
    status = response.status
    if status < 300:
        return
    if status < 400:
        raise HtcResponseError(
            f"{operation.id} was answered with a redirect (HTTP {status}), which is not followed"
        )
    fallback = HtcServerError if status >= 500 else HtcStatusError
    try:
        said: Any = json.loads(response.body)
    except (ValueError, RecursionError):
        said = None
    kind = _first_text(said, "errorType", "error")
    description = _first_text(said, "errorDescription", "message") or _excerpt(response.body)
    raise STATUS_ERRORS.get(status, fallback)(operation.id, status, kind, description)


def _first_text(said: Any, *names: str) -> str | None:
    if not isinstance(said, dict):
        return None
    texts: list[Any] = [said.get(name) for name in names]  # pyright: ignore[reportUnknownMemberType]
    return next((text for text in texts if text and isinstance(text, str)), None)


def _decode(operation: Operation, body: bytes) -> Any:
    from pydantic_core import from_json

    try:
        return from_json(body)
    except ValueError as error:
        reason = str(error)
    if b"\\ud" in body.lower():  # perhaps half of a character that the service cut in two
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            reason = str(error)
    raise _not_understood(operation, body, reason)


def _not_understood(operation: Operation, body: bytes, reason: str) -> HtcResponseError:
    excerpt = _excerpt(body)
    began = f"it begins {excerpt!r}" if excerpt else "it is empty"
    return HtcResponseError(f"{operation.id}: the answer can't be understood ({reason}); {began}")


def _excerpt(body: bytes) -> str:
    text = body[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:EXCERPT_CHARACTERS]
