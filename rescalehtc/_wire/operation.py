"""An operation as a value, and a call of an operation. No I/O."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from operator import index
from typing import TYPE_CHECKING, Any, Generic, Literal, SupportsIndex, TypeVar
from urllib.parse import quote, urlencode

from .._interrupts import is_from_signal_handler
from .._tracebacks import trimmed
from ..exceptions import HtcValidationError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    QueryValue = str | int | bool | Sequence[str] | None

RecordT = TypeVar("RecordT")

# httpx rejects a URL with more than 65536 characters.
MAX_TARGET_CHARACTERS = 60_000


@dataclass(frozen=True, slots=True)
class Operation(Generic[RecordT]):
    """An operation of the service, as openapi/htc.yaml describes it.

    Attributes:
        id: Its operationId.
        method: The HTTP method.
        path: The path, with `{name}` for a parameter of one segment, `{name:path}` for one or more
            segments, and `{name:int}` for a number.
        answer: The kind of a successful response: a JSON object, a JSON array, any JSON, a page
            `{items, next}` of a listing, a page or an array with the whole listing, text, or
            nothing.
        authorization: A bearer token, the session's credential itself, a header that the
            caller passes, or none.
        item_id: The field with the id of an item in a listing. Empty if items have none.
        idempotent: Whether the operation is idempotent although its method is not.
        record: The name of the model of its response, or of each item. Empty if there is none.
    """

    id: str
    method: str
    path: str
    answer: Literal["object", "array", "json", "page", "page_or_array", "text", "nothing"] = (
        "object"
    )
    authorization: Literal["bearer", "session", "given", "none"] = "bearer"
    item_id: str = ""
    idempotent: bool = False
    record: str = ""

    def to_record(self, json: object) -> RecordT:
        """Validate the response, or an item of it.

        Raises:
            HtcResponseError: A field has an unexpected type.
        """
        from .. import models
        from .._model_base import validated

        with trimmed():
            record: RecordT = validated(getattr(models, self.record), json)
            return record

    @property
    def is_idempotent(self) -> bool:
        """Whether the operation is idempotent."""
        return self.idempotent or self.method in ("GET", "PUT", "DELETE")

    @property
    def needs_token(self) -> bool:
        """Whether the operation needs a bearer token."""
        return self.authorization == "bearer"

    @property
    def is_listing(self) -> bool:
        """Whether the response has pages."""
        return self.answer in ("page", "page_or_array")

    def call(
        self,
        path: Mapping[str, str | int] | None = None,
        *,
        query: Mapping[str, QueryValue] | None = None,
        body: object = None,
        authorization: str | None = None,
        item_text: str = "",
    ) -> Call:
        """Fill in the parameters; see `Call` for `item_text`.

        Raises:
            HtcValidationError: A path parameter is empty, is not a string, or would change the
                operation's path, or the path with its query is too long. Or the body is not JSON.
        """
        target = self.path
        names = re.findall(r"{(\w+)", self.path)
        for name in {*names} ^ {*(path or {})}:
            raise _wrong_parameter(self, name, "given" if name in names else "omitted")
        for name, value in (path or {}).items():
            for suffix, quoted in (("", _segment), (":path", _segments), (":int", _number)):
                placeholder = f"{{{name}{suffix}}}"
                if placeholder in self.path:
                    target = target.replace(placeholder, quoted(self, name, value))
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        if parameters:
            for name in [name for name, text in parameters.items() if text == ""]:
                # The service could treat an empty value as "all".
                raise _wrong_parameter(self, name, "None or a non-empty string")
            try:
                target += "?" + urlencode(
                    {name: _query_value(value) for name, value in parameters.items()}, doseq=True
                )
            except UnicodeEncodeError:
                raise _wrong_parameter(self, "query", "text that UTF-8 can encode") from None
        if len(target) > MAX_TARGET_CHARACTERS:
            expected = f"at most {MAX_TARGET_CHARACTERS:,} characters long"
            raise _wrong_parameter(self, "the path with its query", expected)
        return Call(self, target, _encode(self, body), authorization, item_text)


@dataclass(frozen=True, slots=True)
class Call:
    """An operation with its parameters.

    Attributes:
        operation: The operation.
        target: The path and query below the base URL, or the whole URL of a later page.
        body: The JSON to send.
        authorization: The Authorization header, if the caller passes it.
        item_text: The field of a listing's items to return instead of the items. Empty for the
            items.
    """

    operation: Operation[Any]
    target: str
    body: bytes | None = field(default=None, repr=False)
    authorization: str | None = field(default=None, repr=False)
    item_text: str = ""

    def url(self, base_url: str) -> str:
        """The URL of the request."""
        return base_url + self.target if self.target.startswith("/") else self.target

    @property
    def page_size(self) -> int | None:
        """The requested number of items per page. None for the service's default."""
        match = _PAGE_SIZE.search(self.target)
        return int(match[0][:9]) if match else None

    @property
    def is_first_page(self) -> bool:
        """Whether this is the call for the first page of a listing."""
        return self.target.startswith("/")

    def with_page_size(self, page_size: int) -> Call:
        """The same call with another page size."""
        if self.page_size is None:
            separator = "&" if "?" in self.target else "?"
            return replace(self, target=f"{self.target}{separator}pageSize={page_size}")
        return replace(self, target=_PAGE_SIZE.sub(str(page_size), self.target))


_PAGE_SIZE = re.compile(r"(?<=[?&]pageSize=)[0-9]+")


def _segment(operation: Operation[Any], name: str, value: object) -> str:
    if not isinstance(value, str) or value in ("", ".", ".."):
        raise _wrong_parameter(operation, name, "a non-empty string other than '.' and '..'")
    return _quoted(operation, name, value, ":")


def _segments(operation: Operation[Any], name: str, value: object) -> str:
    if not isinstance(value, str) or {"", ".", ".."} & set(value.split("/")):
        raise _wrong_parameter(operation, name, "one or more names separated by '/'")
    return _quoted(operation, name, value, ":/")


def _number(operation: Operation[Any], name: str, value: object) -> str:
    if isinstance(value, str) and re.fullmatch("-?[0-9]+", value):
        return value
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise _wrong_parameter(operation, name, "an integer")
    return str(index(value))


def _quoted(operation: Operation[Any], name: str, value: str, safe: str) -> str:
    try:
        return quote(value, safe=safe)
    except UnicodeEncodeError:
        raise _wrong_parameter(operation, name, "text that UTF-8 can encode") from None


def _wrong_parameter(operation: Operation[Any], name: str, expected: str) -> HtcValidationError:
    return HtcValidationError(operation.id, [Problem(name, f"must be {expected}")])


def _query_value(value: QueryValue) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _encode(operation: Operation[Any], body: object) -> bytes | None:
    if body is None:
        return None
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        if is_from_signal_handler(error):
            raise
        reason = f"must be JSON: {error}" if isinstance(error, TypeError) else "must be JSON"
    raise HtcValidationError(operation.id, [Problem("payload", reason)])
