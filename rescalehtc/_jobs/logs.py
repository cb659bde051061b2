"""Logs of jobs: reading them exactly, writing them to files, following them."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .._client.listing import ListingGuard
from .._counts import JobCounts
from .._facts import MAX_LOG_PAGE_SIZE
from .._files import replaced_whole
from .._wire.operations import GET_JOB, LIST_JOB_LOGS
from ..exceptions import HtcException, HtcResponseError
from .records import is_running, seconds_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from os import PathLike
    from typing import IO, BinaryIO

    from .._client.client import Client
    from .._client.io import Caller
    from .._wire.operation import Call
    from .waiting import Interval

# Lines of a log may come this long after the job's end.
COMPLETE_AFTER_SECONDS = 60.0
# A running job's log may have this many empty pages in a row before the next poll.
MAX_EMPTY_PAGES_PER_POLL = 100


async def read_lines(
    client: Client, job_ids: Mapping[str, str], last_n_lines: int | None
) -> list[str]:
    """Return the log, or its last lines, oldest first."""
    if last_n_lines is None:
        return await client.items(_call(job_ids, "asc", MAX_LOG_PAGE_SIZE))
    lines: list[str] = []
    async with aclosing(_last_pages(client, job_ids, last_n_lines)) as pages:
        async for page in pages:
            lines += page
    lines.reverse()
    return lines


async def write_lines(
    client: Client,
    job_ids: Mapping[str, str],
    destination: str | bytes | PathLike[str],
    last_n_lines: int | None,
) -> None:
    """Write the log, or its last lines, to a file that appears whole or not at all.

    Raises:
        HtcFileError: The file can't be written.
    """
    async with client.io.holding(replaced_whole(destination)) as (file, call):
        if last_n_lines is None:
            call_for_all = _call(job_ids, "asc", MAX_LOG_PAGE_SIZE)
            async with aclosing(client.pages(call_for_all)) as pages:
                async for page in pages:
                    await call(_write, file, page)
                    del page  # before the next one is decoded
        else:
            async with aclosing(_last_pages(client, job_ids, last_n_lines)) as pages:
                await _write_reversed(call, file, pages)


async def _write_reversed(call: Caller, file: BinaryIO, pages: AsyncIterator[list[str]]) -> None:
    """Write pages that come newest first: spool each one in order, then copy the last one first."""
    import tempfile

    with tempfile.TemporaryFile() as spool:
        sizes = [await call(_write, spool, page[::-1]) async for page in pages]
        await call(_copy_reversed, spool, sizes, file)


def _copy_reversed(spool: IO[bytes], sizes: list[int], file: BinaryIO) -> None:
    end = sum(sizes)
    for size in reversed(sizes):
        end -= size
        spool.seek(end)
        file.write(spool.read(size))
    file.flush()


def _write(file: IO[bytes], lines: list[str]) -> int:
    # Half of a surrogate pair has no UTF-8; it is written as its escape sequence.
    text = "\n".join([*lines, ""])
    size = file.write(text.encode("utf-8", "backslashreplace"))
    file.flush()  # closing the file does not wait
    return size


async def _last_pages(
    client: Client, job_ids: Mapping[str, str], last_n_lines: int
) -> AsyncGenerator[list[str]]:
    """Yield pages of exactly the last lines, newest first."""
    missing = last_n_lines
    if missing <= 0:
        return
    page_size = min(missing, MAX_LOG_PAGE_SIZE)
    async with aclosing(client.pages(_call(job_ids, "desc", page_size))) as pages:
        async for page in pages:
            yield page[:missing]
            missing -= len(page)
            if missing <= 0:
                return


def _call(
    job_ids: Mapping[str, str], sort: str, page_size: int, item_text: str = "message"
) -> Call:
    query: dict[str, int | str] = {"pageSize": page_size, "sort": sort}
    return LIST_JOB_LOGS.call(job_ids, query=query, item_text=item_text)


async def follow(
    client: Client,
    job_ids: Mapping[str, str],
    interval: Interval,
    last_n_lines: int | None,
    *,
    with_times: bool = False,
) -> AsyncGenerator[tuple[dict[str, Any], list[Any]]]:
    """Yield the lines of a log as they come, with the job's record, until the job has ended.

    When the job has ended, polling continues until a poll returns no new lines. If the job ended
    more than a minute ago, the log is read once.

    Args:
        client: The client.
        job_ids: The job.
        interval: The polling interval.
        last_n_lines: Begin with the last N of the existing lines. None begins with the first line.
        with_times: Yield the service's objects, which have times, instead of strings.
    """
    reader = _LogReader(client, job_ids, interval, "" if with_times else "message")
    record: dict[str, Any] = {}
    has_ended = is_complete = False
    tail = None if last_n_lines is None else deque[Any](maxlen=min(last_n_lines, sys.maxsize))
    while True:
        is_draining = has_ended
        has_new_lines = False
        try:
            if not has_ended:
                record = await _fetch_record(client, job_ids, interval)
                has_ended = not is_running(record)
                is_complete = has_ended and _ended_a_while_ago(record, client.io.time())
                yield record, []
            async with aclosing(reader.new_lines()) as pages:
                async for lines in pages:
                    has_new_lines = True
                    if tail is None:
                        yield record, lines
                    else:
                        tail += lines
            if reader.is_at_end and tail is not None:
                yield record, [*tail]
                tail = None
        except HtcException as error:
            interval.note_outage(error)
        else:
            interval.note_answer()
            if (is_complete and reader.is_at_end) or (is_draining and not has_new_lines):
                return
        await interval.pause(JobCounts({}, 1, 1))


class _LogReader:
    """Reads new lines of a log.

    The position is the URL of the last page and the number of its lines that were yielded.

    Attributes:
        is_at_end: Whether the last poll reached the end of the log.
    """

    def __init__(
        self, client: Client, job_ids: Mapping[str, str], interval: Interval, item_text: str
    ) -> None:
        self.is_at_end = False
        self._client = client
        self._interval = interval
        self._call = _call(job_ids, "asc", MAX_LOG_PAGE_SIZE, item_text)
        self._guard = ListingGuard(self._call.operation.id)
        self._yielded = 0

    async def new_lines(self) -> AsyncGenerator[list[Any]]:
        """Yield the new lines, page by page, until the end of the log or after many empty pages."""
        self.is_at_end = False
        base_url = self._client.base_url
        empty_pages = 0
        while empty_pages < MAX_EMPTY_PAGES_PER_POLL:
            page = await self._client.page(self._call, expires_at=self._interval.expires_at())
            lines = page.items[self._yielded :]
            if lines:
                self._yielded += len(lines)
                yield lines
            url = self._call.url(base_url)
            # The last page may have its own URL as the next one.
            if page.next is None or page.next.url(base_url) == url:
                self.is_at_end = True
                return
            if page.items:
                self._guard.new_items(page, url)
            empty_pages = 0 if page.items else empty_pages + 1
            self._call, self._yielded = page.next, 0


async def _fetch_record(
    client: Client, job_ids: Mapping[str, str], interval: Interval
) -> dict[str, Any]:
    call = GET_JOB.call(job_ids)
    record: dict[str, Any] = await client.send(call, expires_at=interval.expires_at())
    if record.get("jobUUID") != job_ids["jobId"]:
        raise HtcResponseError(f"getJob: the response is not about job {job_ids['jobId']}")
    return record


def _ended_a_while_ago(record: Mapping[str, Any], now: float) -> bool:
    """Whether a job ended long enough ago that its log is complete."""
    ended = seconds_in(record.get("completedAt"))
    return ended is not None and now - ended > COMPLETE_AFTER_SECONDS
