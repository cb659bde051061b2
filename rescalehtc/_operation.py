"""An operation as a value: what to send, and how to read what comes back. No I/O here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from operator import index
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote, urlencode, urljoin, urlsplit

from ._hidden import Hidden, HiddenBytes, HiddenList
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
# Below this size importing pydantic_core takes longer than its faster decoder gains. The two
# take the same answers, but that pydantic_core's refuses those nested more than 200 deep.
SMALL_BODY_BYTES = 256 << 10
# Pages of half this size, or of half the 10,000 lines that a log's may have, are what the
# service's own clients ask for.
LARGE_PAGE = 1000
DESCRIPTION_CHARACTERS = 2000
SECRET_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Operation:
    """What the description says of an operation.

    Attributes:
        id: Its operationId.
        method: The HTTP method.
        path: The path, with `{name}` for a parameter of one segment, `{name:path}` for one
            that may have several, and `{name:int}` for a number.
        answer: What comes back when all went well: a JSON object, a JSON array, any JSON, a
            page `{items, next}` of a listing, such a page or an array that is the whole
            listing, text, or nothing.
        authorization: A bearer token, the session's credential itself, a header that the
            caller gives, or none.
        item_id: The field that names an item of a listing; empty where items have none.
        repeatable: Whether it may be sent twice although its method does not say so.
    """

    id: str
    method: str
    path: str
    answer: Literal["object", "array", "json", "page", "page_or_array", "text", "nothing"] = (
        "object"
    )
    authorization: Literal["bearer", "session", "given", "none"] = "bearer"
    item_id: str = ""
    repeatable: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.repeatable or self.method in ("GET", "PUT", "DELETE")

    @property
    def needs_token(self) -> bool:
        """Whether it is sent with a bearer token."""
        return self.authorization == "bearer"

    @property
    def is_listing(self) -> bool:
        """Whether the answer comes in pages."""
        return self.answer in ("page", "page_or_array")

    def call(
        self,
        path: Mapping[str, str | int] | None = None,
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
        names = re.findall(r"{(\w+)", self.path)
        for name in {*names} ^ {*(path or {})}:
            raise _wrong_parameter(self, name, "given" if name in names else "left out")
        for name, value in (path or {}).items():
            for suffix, quoted in (("", _segment), (":path", _segments), (":int", _number)):
                placeholder = f"{{{name}{suffix}}}"
                if placeholder in self.path:
                    target = target.replace(placeholder, quoted(self, name, value))
        given = {name: value for name, value in (query or {}).items() if value is not None}
        if given:
            for name in [name for name, text in given.items() if text == ""]:
                # To the service it might mean everything.
                raise _wrong_parameter(self, name, "a text that is not empty, if it is given")
            try:
                target += "?" + urlencode(
                    {name: _query_value(value) for name, value in given.items()}, doseq=True
                )
            except UnicodeEncodeError:
                raise _wrong_parameter(self, "query", "text that has a UTF-8 form") from None
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
    body: bytes | None = field(default=None, repr=False)
    authorization: str | None = field(default=None, repr=False)

    def url(self, base_url: str) -> str:
        """The address to send to."""
        return base_url + self.target if self.target.startswith("/") else self.target

    def in_smaller_pages(self) -> Call | None:
        """The same listing from its beginning, in pages half as large.

        None if they are small enough for any service, or if this is a later page.
        """
        size = re.search(r"(?<=[?&]pageSize=)\d+", self.target)
        if not self.target.startswith("/") or size is None or int(size[0]) < LARGE_PAGE:
            return None
        before, after = self.target[: size.start()], self.target[size.end() :]
        return replace(self, target=f"{before}{int(size[0]) // 2}{after}")


class Response(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    retry_after: str | None = None


class Page(NamedTuple):
    """A page of a listing, the call for the next one if there is one, and the items' ids."""

    items: list[Any]
    next: Call | None
    ids: list[str]


def read(call: Call, response: Response) -> Any:
    """Decode an answer.

    Raises:
        HtcStatusError: The status is an error.
        HtcResponseError: The body is not what the operation answers.
    """
    if response.status >= 300:
        secrets = _secrets_sent(call)
        raise_for_status(call.operation.id, response, may_show=_may_show(call), secrets=secrets)
    kind = call.operation.answer
    if kind == "nothing":
        return None
    if kind == "text":
        return response.body.decode("utf-8", "replace")
    answer = _decode(call, response.body)
    allowed = _JSON_TYPES.get(kind)
    if allowed and not isinstance(answer, allowed):
        del answer  # a traceback that shows variables must not show secrets
        raise _not_understood(call, response.body, f"it is no JSON {kind}")
    return answer


def read_page(call: Call, response: Response, base_url: str) -> Page:
    """Decode a page and work out the call for the next one.

    Raises:
        HtcStatusError: The status is an error.
        HtcResponseError: This is no page, or its next page is not where the service is.
    """
    answer: Any = read(call, response)
    if isinstance(answer, list):
        return Page(HiddenList(answer), None, [])  # pyright: ignore[reportUnknownArgumentType]
    given: Any = answer.get("items")
    items = HiddenList[Any](given) if isinstance(given, list) else None  # pyright: ignore[reportUnknownArgumentType]
    following: object = answer.get("next")
    del answer, given  # a traceback that shows variables must not show secrets
    if items is None:
        raise _not_understood(call, response.body, "a page has an array named items")
    ids = _checked_ids(call, items) if call.operation.answer == "page" else []
    if following is None:
        return Page(items, None, ids)
    if not isinstance(following, str):
        raise HtcResponseError(f"{call.operation.id}: the address of the next page is no string")
    here = call.url(base_url)
    try:
        following.encode()
        address = urljoin(here, following)
        if origin(address) == origin(here):
            return Page(items, replace(call, target=address), ids)
    except ValueError:
        pass  # no address at all
    raise HtcResponseError(
        f"{call.operation.id}: the next page is said to be at another address than "
        f"{base_url}; nothing was sent there"
    )


def _checked_ids(call: Call, items: list[Any]) -> list[str]:
    """Return what names the items, if anything does.

    Raises:
        HtcResponseError: Items are no objects, or do not say which ones they are.
    """
    if not {*map(type, items)} <= {dict}:
        raise HtcResponseError(f"{call.operation.id}: an item of the page is no JSON object")
    item_id = call.operation.item_id
    if not item_id:
        return []
    ids = [item.get(item_id) for item in items]
    if not {*map(type, ids)} <= {str}:
        raise HtcResponseError(f"{call.operation.id}: an item of the page has no {item_id}")
    return ids


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "page": (dict,),
    "page_or_array": (dict, list),
}


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address.

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


def _segment(operation: Operation, name: str, value: object) -> str:
    if not isinstance(value, str) or value in ("", ".", ".."):
        raise _wrong_parameter(operation, name, "a string, not empty and not '.' or '..'")
    return _quoted(operation, name, value, ":")


def _segments(operation: Operation, name: str, value: object) -> str:
    if not isinstance(value, str) or {"", ".", ".."} & set(value.split("/")):
        raise _wrong_parameter(operation, name, "a name, or several with '/' between them")
    return _quoted(operation, name, value, ":/")


def _number(operation: Operation, name: str, value: object) -> str:
    if isinstance(value, str) and re.fullmatch("-?[0-9]+", value):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _wrong_parameter(operation, name, "an integer")
    return str(index(value))  # pyright: ignore[reportArgumentType]


def _quoted(operation: Operation, name: str, value: str, safe: str) -> str:
    try:
        return quote(value, safe=safe)
    except UnicodeEncodeError:
        raise _wrong_parameter(operation, name, "text that has a UTF-8 form") from None


def _wrong_parameter(operation: Operation, name: str, expected: str) -> HtcValidationError:
    return HtcValidationError(operation.id, [Problem(name, f"must be {expected}")])


def _query_value(value: QueryValue) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _encode(operation: Operation, body: object) -> bytes | None:
    if body is None:
        return None
    try:
        return HiddenBytes(json.dumps(body, separators=(",", ":"), allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"must be JSON: {error}" if isinstance(error, TypeError) else "must be JSON"
    raise HtcValidationError(operation.id, [Problem("payload", reason)])


def raise_for_status(
    operation: str, response: Response, *, may_show: bool, secrets: Sequence[str] = ()
) -> None:
    """Raise the exception of an error status.

    Args:
        operation: What was asked.
        response: The answer.
        may_show: Whether a body that is no JSON may be in the message.
        secrets: What the service's description of the error must not repeat.

    Raises:
        HtcStatusError: The status is an error.
        HtcResponseError: The status is a redirect, which is not followed.
    """
    status = response.status
    if status < 300:
        return
    if status < 400:
        raise HtcResponseError(
            f"{operation} was answered with a redirect (HTTP {status}), which is not followed"
        )
    fallback = HtcServerError if status >= 500 else HtcStatusError
    try:
        said: Any = json.loads(response.body)
    except (ValueError, RecursionError):
        said = None
    kind = _first_text(said, "errorType", "error") or _storage_code(response.body)
    description = _first_text(said, "errorDescription", "message")
    if said is None and may_show:
        description = _excerpt(response.body) or None
    for secret in secrets:
        description = description and description.replace(secret, "***")
    del said, secrets
    raise STATUS_ERRORS.get(status, fallback)(operation, status, kind, description)


def _storage_code(body: bytes) -> str | None:
    """The short name that a storage gives an error. What else it says may hold a signature."""
    found = re.search(rb"<Code>(\w{1,60})</Code>", body[:4096])
    return found[1].decode("ascii", "replace") if found else None


def _first_text(said: Any, *names: str) -> str | None:
    if not isinstance(said, dict):
        return None
    texts: list[Any] = [said.get(name) for name in names]  # pyright: ignore[reportUnknownMemberType]
    found = next((text for text in texts if text and isinstance(text, str)), None)
    return _printable(found)[:DESCRIPTION_CHARACTERS] if found else None


def _decode(call: Call, body: bytes) -> Any:
    try:
        if len(body) < SMALL_BODY_BYTES:
            return json.loads(body.decode())
        from pydantic_core import from_json

        # Jobs repeat their values: one string for all of them. The lines of a log do not.
        return from_json(body, cache_strings="all" if call.operation.item_id else "keys")
    except (ValueError, RecursionError) as error:
        reason = str(error)
    if b"\\ud" in body.lower():  # perhaps half of a character that the service cut in two
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            reason = str(error)
    raise _not_understood(call, body, reason, is_garbled=True)


def _not_understood(
    call: Call, body: bytes, reason: str, *, is_garbled: bool = False
) -> HtcResponseError:
    message = f"{call.operation.id}: the answer of {len(body)} bytes can't be understood: {reason}"
    if _may_show(call) and (excerpt := _excerpt(body)):
        message += f"; it begins {excerpt!r}"
    return HtcResponseError(message, is_garbled)


def _may_show(call: Call) -> bool:
    """Whether a body that is no JSON may be shown: not where it may repeat or be a secret."""
    operation = call.operation
    answers_secret = re.search("/storage/|/token|/presigned", operation.path)
    return call.body is None and operation.authorization == "bearer" and not answers_secret


def _secrets_sent(call: Call) -> Sequence[str]:
    """The values of variables and claims in what was sent, so long that they may be secret."""
    found: list[str] = []

    def look(pair: dict[str, Any]) -> dict[str, Any]:
        match pair:
            case {"value": str(value)} if len(value) >= SECRET_CHARACTERS:
                found.append(Hidden(value))
            case _:
                pass
        return pair

    if call.body is not None:
        json.loads(call.body, object_hook=look)
    return tuple(found)


def _excerpt(body: bytes) -> str:
    text = body[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
    if text.lstrip().startswith(("{", "[", '"')):  # JSON, or half of it, may hold secrets
        return ""
    return _printable(text)[:EXCERPT_CHARACTERS]


def _printable(text: str) -> str:
    """The text without what would do something to a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
