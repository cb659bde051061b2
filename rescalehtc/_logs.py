"""Fetching a job's log: oldest line first, exact, and to a file without holding it in memory."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from . import api
from .exceptions import HtcException, HtcFileError, HtcResponseError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from os import PathLike
    from typing import BinaryIO

    from .htcsession import HtcSession

PAGE_SIZE = 10_000  # the most that the service gives


def read_lines(rescale: HtcSession, ids: Mapping[str, str], last_n_lines: int | None) -> list[str]:
    """Return the log, or its last lines, oldest first."""
    if last_n_lines is None:
        return [line for page in _pages(rescale, ids, "asc", PAGE_SIZE) for line in page]
    newest_first = [line for page in _last_pages(rescale, ids, last_n_lines) for line in page]
    return newest_first[::-1]


def write_lines(
    rescale: HtcSession,
    ids: Mapping[str, str],
    destination: str | bytes | PathLike[str],
    last_n_lines: int | None,
) -> None:
    """Write the log, or its last lines, to a file that appears whole or not at all.

    Raises:
        HtcFileError: The file can't be written.
    """
    with _replaced_whole(destination) as file:
        if last_n_lines is None:
            for page in _pages(rescale, ids, "asc", PAGE_SIZE):
                _write(file, page)
        else:
            _write_reversed(file, _last_pages(rescale, ids, last_n_lines))


def _write_reversed(file: BinaryIO, pages: Iterable[list[str]]) -> None:
    """Write pages that come newest first: each one spooled in order, then the last one first."""
    import tempfile

    with tempfile.TemporaryFile() as spool:
        sizes = [_write(spool, page[::-1]) for page in pages]
        end = sum(sizes)
        for size in reversed(sizes):
            end -= size
            spool.seek(end)
            file.write(spool.read(size))


def _write(file: BinaryIO, lines: list[str]) -> int:
    # A lone half of a surrogate pair has no UTF-8; it is written as its escape sequence.
    text = "\n".join([*lines, ""])
    return file.write(text.encode("utf-8", "backslashreplace"))


def _last_pages(
    rescale: HtcSession, ids: Mapping[str, str], last_n_lines: int
) -> Iterator[list[str]]:
    """Yield pages of exactly the last lines, newest first."""
    missing = last_n_lines
    if missing <= 0:
        return
    for page in _pages(rescale, ids, "desc", min(missing, PAGE_SIZE)):
        yield page[:missing]
        missing -= len(page)
        if missing <= 0:
            return


def _pages(
    rescale: HtcSession, ids: Mapping[str, str], sort: str, page_size: int
) -> Iterator[list[str]]:
    query: dict[str, str | int] = {"pageSize": page_size, "sort": sort}
    for page in rescale.pages(api.LIST_JOB_LOGS.call(ids, query=query)):
        yield messages(page)


def messages(page: list[dict[str, Any]]) -> list[str]:
    """The text of each line.

    Raises:
        HtcResponseError: A line has none.
    """
    try:
        texts: list[Any] = [line["message"] for line in page]
    except KeyError:
        texts = [None]
    if not {*map(type, texts)} <= {str}:
        raise HtcResponseError("listJobLogs: a line has no message")
    return texts


@contextlib.contextmanager
def _replaced_whole(destination: str | bytes | PathLike[str]) -> Generator[BinaryIO]:
    """A file beside the destination that takes its place if all goes well, and else goes away.

    What is there and no file, such as a device or a pipe, is written to as it is.
    """
    try:
        path = os.fsdecode(destination)
        before = os.stat(path) if os.path.exists(path) else None
        if before and not stat.S_ISREG(before.st_mode):
            with open(path, "wb") as file:
                yield file
            return
        if before and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if path.endswith(os.sep):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target = os.path.realpath(path)
        partial = os.path.join(os.path.dirname(target), f".{os.urandom(8).hex()}.partial")
        try:
            with open(partial, "xb") as file:
                if before:
                    os.chmod(partial, stat.S_IMODE(before.st_mode))
                yield file
            os.replace(partial, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
    except HtcException:  # HtcTimeoutError is an OSError, but not one of the file
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else error
        failure = HtcFileError(f"{destination!a} can't be written: {reason}")
        failure.errno = getattr(error, "errno", None) or errno.EINVAL
    else:
        return
    raise failure
