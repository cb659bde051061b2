"""Answers in XML, and errors, as S3 has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..objects import Object

_STATUSES: Final[Mapping[str, int]] = {
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "MethodNotAllowed": 405,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "QuotaExceeded": 403,
    "InvalidRange": 416,
    "RequestTimeTooSkewed": 403,
    "SignatureDoesNotMatch": 403,
}


class S3Error(Exception):
    """An error as S3 answers it: its code and a message. The status is that of the code, or 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code: str = code
        self.message: str = message
        self.status: int = _STATUSES.get(code, 400)


def split_path(path: str) -> tuple[str, str]:
    """The bucket and the key that a quoted path names."""
    try:
        bucket, _, key = unquote(path.removeprefix("/"), errors="strict").partition("/")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The key is not UTF-8.") from None
    return bucket, key


def read_range(header: str, size: int) -> tuple[int, int]:
    """The bytes that are asked for: from the first of them up to the last one's successor."""
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    if match is None or not any(match.groups()):
        return 0, size
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or start >= end:
        raise S3Error("InvalidRange", "The requested range is not satisfiable")
    return start, end


def described(listed: Object) -> dict[str, object]:
    """The elements that describe an object."""
    modified = listed.modified.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"LastModified": modified, "ETag": listed.etag, "Size": listed.size}


def xml(tag: str, *elements: str, **texts: object) -> str:
    """An element with these elements, and one for each of these texts."""
    inner = [f"<{name}>{_escaped(str(text))}</{name}>" for name, text in texts.items()]
    return f"<{tag}>{''.join([*inner, *elements])}</{tag}>"


def _escaped(text: str) -> str:
    return re.sub("[\x00-\x1f&<>\"'\x7f\ufffe\uffff]", lambda match: f"&#{ord(match[0])};", text)


def answer(tag: str, *elements: str, **texts: object) -> Response:
    """Answer with an XML document."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>{xml(tag, *elements, **texts)}'
    return Response(body, media_type="application/xml")
