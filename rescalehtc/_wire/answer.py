"""Decode responses: an error status to its exception, JSON to a dictionary or a page. No I/O."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

from .._collector import without_collections
from .._interrupts import is_from_signal_handler, suppressed
from .._raw import is_list, is_object
from .._secret import redact
from .._url import origin
from ..exceptions import STATUS_ERRORS, HtcResponseError, HtcServerError, HtcStatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .operation import Call

    Secrets = Callable[[], Sequence[str]]
    """A function that returns the secrets to redact from messages."""

EXCERPT_CHARACTERS = 200
DESCRIPTION_CHARACTERS = 2000
# The HTTP library accepts no longer ones.
MAX_URL_CHARACTERS = 65_536
# For a smaller body, importing pydantic_core takes longer than its faster decoder saves. The two
# decoders accept the same JSON, except that pydantic_core rejects more than 200 nesting levels.
SMALL_BODY_BYTES = 256 << 10


class Response(NamedTuple):
    """An HTTP response.

    Attributes:
        status: The status.
        body: The decompressed body.
        retry_after: The header Retry-After.
        request_id: The service's id of the request, not redacted.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    request_id: str | None = None


class Page(NamedTuple):
    """A page of a listing.

    Attributes:
        items: The items. If the call has an `item_text`, that field of each item.
        next: The call for the next page, if there is one.
        ids: The items' ids, if they have any.
        likeness: A hash of the items.
    """

    items: list[Any]
    next: Call | None
    ids: list[str]
    likeness: int


def read_answer(call: Call, response: Response, secrets: Secrets = list) -> Any:
    """Decode a response.

    Args:
        call: The call.
        response: Its response.
        secrets: A function that returns the secrets to redact from messages.

    Raises:
        HtcStatusError: The status is an error.
        HtcResponseError: The body is invalid.
    """
    if response.status != 101 and response.status < 300:
        kind = call.operation.answer
        if kind == "nothing":
            return None
        if kind == "text":
            return response.body.decode("utf-8", "replace")
        answer = _decode(call, response.body, secrets)
        allowed = _JSON_TYPES.get(kind)
        if allowed and not isinstance(answer, allowed):
            raise _not_understood(call, response.body, f"it is not a JSON {kind}", secrets)
        return answer
    raise status_error(call.operation.id, response, secrets, may_show=_may_show(call))


@without_collections
def read_page(call: Call, response: Response, base_url: str, secrets: Secrets = list) -> Page:
    """Decode a page, and make the call for the next one.

    Raises:
        HtcStatusError: The status is an error.
        HtcResponseError: The page is invalid, or its next page is on another host.
    """
    answer: Any = read_answer(call, response, secrets)
    items: Any = answer
    following = None
    if not is_list(answer):
        items = answer.get("items")
        if not is_list(items):
            reason = "a page has an array named items"
            raise _not_understood(call, response.body, reason, secrets)
        following = _next_call(call, answer.get("next"), base_url)
    is_checked = call.operation.answer != "page_or_array" and not call.item_text
    ids = _checked_ids(call, items) if is_checked else []
    fingerprint = hash(tuple(ids) or (len(items), str(items[:1]), str(items[-1:])))
    if call.item_text:
        items = _checked_texts(call, items)
    return Page(items, following, ids, fingerprint)


def _next_call(call: Call, following: object, base_url: str) -> Call | None:
    if following is None:
        return None
    if not isinstance(following, str):
        raise HtcResponseError(f"{call.operation.id}: the URL of the next page is not a string")
    url = call.url(base_url)
    with suppressed(ValueError):  # not a URL
        following.encode()
        address = urljoin(url, following)
        is_valid = address.isprintable() and len(address) <= MAX_URL_CHARACTERS
        if is_valid and origin(address) == origin(url):
            return replace(call, target=address)
    raise HtcResponseError(
        f"{call.operation.id}: the URL of the next page is invalid, or not at {origin(url)[1]}; "
        "nothing was sent there"
    )


def _checked_ids(call: Call, items: list[Any]) -> list[str]:
    """Return the items' ids, if they have any.

    Raises:
        HtcResponseError: An item is not an object, or has no id.
    """
    if not {*map(type, items)} <= {dict}:
        raise HtcResponseError(f"{call.operation.id}: an item of the page is not a JSON object")
    item_id = call.operation.item_id
    if not item_id:
        return []
    ids = [item.get(item_id) for item in items]
    if not {*map(type, ids)} <= {str}:
        raise HtcResponseError(f"{call.operation.id}: an item of the page has no {item_id}")
    return ids


def _checked_texts(call: Call, items: list[Any]) -> list[str]:
    """Return the `item_text` field of each item.

    Raises:
        HtcResponseError: An item is not an object, or the field is missing or not a string.
    """
    texts: list[Any]
    try:
        name = call.item_text
        texts = [item[name] for item in items]
    except (KeyError, TypeError):
        texts = [None]
    if not {*map(type, texts)} <= {str}:
        reason = f"an item of the page is not a JSON object with a {call.item_text}"
        raise HtcResponseError(f"{call.operation.id}: {reason}")
    return texts


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "page": (dict,),
    "page_or_array": (dict, list),
}


def status_error(
    operation: str, response: Response, secrets: Secrets, *, may_show: bool
) -> HtcStatusError | HtcResponseError:
    """Create the exception for a status that is not a success.

    Args:
        operation: The operation's id.
        response: The response.
        secrets: A function that returns the secrets to redact.
        may_show: Whether the message may show a body that is not JSON.
    """
    status = response.status
    if status < 200:
        return HtcResponseError(
            f"{operation}: the response has the status HTTP {status}, which is not final"
        )
    if status < 400:
        return HtcResponseError(
            f"{operation}: the response is a redirect (HTTP {status}), which the session does not follow"
        )
    fallback = HtcServerError if status >= 500 else HtcStatusError
    body: Any = None
    with suppressed(ValueError, RecursionError):
        body = json.loads(response.body)
    error_type = _first_text(body, "errorType", "error") or _storage_code(response.body)
    description = _first_text(body, "errorDescription", "message")
    if body is None and may_show:
        description = _excerpt(response.body, secrets) or None
    return STATUS_ERRORS.get(status, fallback)(
        operation,
        status,
        error_type and shown(error_type, secrets, DESCRIPTION_CHARACTERS),
        description and shown(description, secrets, DESCRIPTION_CHARACTERS),
    )


def _storage_code(body: bytes) -> str | None:
    """The error code of a storage. The rest of the body may contain a signature."""
    match = re.search(rb"<Code>(\w{1,60})</Code>", body[:4096])
    return match[1].decode("ascii", "replace") if match else None


def _first_text(body: Any, *names: str) -> str | None:
    texts = (body.get(name) for name in names) if is_object(body) else ()
    return next((text for text in texts if text and isinstance(text, str)), None)


def _decode(call: Call, body: bytes, secrets: Secrets) -> Any:
    try:
        if len(body) < SMALL_BODY_BYTES:
            return json.loads(body.decode())
        from pydantic_core import from_json

        # Equal values of jobs become one string. Lines of a log rarely repeat.
        return from_json(body, cache_strings="all" if call.operation.item_id else "keys")
    except (ValueError, RecursionError) as error:
        if is_from_signal_handler(error):
            raise
        reason = str(error)
    if b"\\ud" in body.lower():  # perhaps half of a surrogate pair
        with suppressed(ValueError, RecursionError):
            return json.loads(body)
    raise _not_understood(call, body, reason, secrets, is_garbled=True)


def _not_understood(
    call: Call,
    body: bytes,
    reason: str,
    secrets: Secrets,
    *,
    is_garbled: bool = False,
) -> HtcResponseError:
    message = f"{call.operation.id}: the response of {len(body)} bytes is invalid: {reason}"
    if _may_show(call) and (excerpt := _excerpt(body, secrets)):
        message += f"; it begins {excerpt!r}"
    return HtcResponseError(message, is_garbled)


def _may_show(call: Call) -> bool:
    """Whether a message may show a body that is not JSON. Not if it may contain a new secret."""
    operation = call.operation
    answers_secret = re.search("/storage/|/token|/presigned", operation.path)
    return call.body is None and operation.authorization == "bearer" and not answers_secret


def _excerpt(body: bytes, secrets: Secrets) -> str:
    text = body[: 32 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
    if text.lstrip().startswith(("{", "[", '"')):  # complete or truncated JSON may contain secrets
        return ""
    return shown(text, secrets, EXCERPT_CHARACTERS)


def shown(text: str, secrets: Secrets, characters: int) -> str:
    """The text for a message: redacted, in one line, without control characters, truncated."""
    redacted = redact(text[: 8 * characters], secrets())
    printable = "".join(c if c.isprintable() else " " for c in redacted)
    return " ".join(printable.split())[:characters]
