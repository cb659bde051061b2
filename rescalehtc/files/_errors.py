"""Readable reasons for errors of the storage."""

from __future__ import annotations

import errno
import html
import re

from ..exceptions import HtcException

_CODE = re.compile(r"<Code>([^<]*)</Code>(?:.*?<Message>([^<]*)</Message>)?", re.DOTALL)
# obstore retries these, and then raises its error.
_TRANSIENT = re.compile(r" - (HTTP error: |Server returned non-2xx status code: (408|429|5\d\d) )")
_SIGNATURE = re.compile(r"(?<=Signature=)[^\s,&<]+", re.IGNORECASE)


class TransientError(HtcException):
    """A retry may succeed."""

    @property
    def has_expired(self) -> bool:
        """Whether the storage says that the credentials have expired."""
        return "ExpiredToken" in str(self)


def reason_of(error: Exception) -> str:
    """Return the reason of an error, without URLs and signatures. It may contain other secrets."""
    text = _SIGNATURE.sub("***", str(error))
    if "NoSuchBucket" in text:
        return "the storage was deleted"
    if isinstance(error, FileNotFoundError) and error.errno is None:
        return "the file does not exist in the storage"
    if isinstance(error, OSError) and error.strerror:
        path = error.filename2 or error.filename
        return error.strerror if path is None else f"{error.strerror}: {path!a}"
    if match := _CODE.search(text):
        return ": ".join(html.unescape(text) for text in match.groups() if text)
    if match := re.search('Error parsing Path "(.*?)": ', text, re.DOTALL):
        return (
            f"the name {match[1]!a} can't be used: names have no control characters, no empty "
            "parts, and neither '.' nor '..'"
        )
    first = text.partition("\n")[0].partition("Debug source")[0]
    return re.sub(r"https?://\S+", "the storage", first.rpartition(" - ")[2]).strip()


def is_outage(error: Exception) -> bool:
    """Whether the storage did not respond or failed, according to obstore's error."""
    return type(error).__name__ == "GenericError" and _TRANSIENT.search(str(error)) is not None


def errno_of(error: Exception) -> int:
    """Return the error number of an error, EIO by default."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    kinds = {"FileNotFoundError": errno.ENOENT, "PermissionDeniedError": errno.EACCES}
    return kinds.get(type(error).__name__, errno.EIO)
