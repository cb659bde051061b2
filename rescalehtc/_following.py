"""Following a job's log: each line once, until the job has ended and its log is drained."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from . import _logs, api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ._operation import QueryValue
    from .htcsession import HtcSession


def follow(
    rescale: HtcSession, ids: Mapping[str, str], is_running: Callable[[], bool]
) -> Iterator[str]:
    """Yield the lines of a log as they come.

    What is remembered is the last page's address and how many of its lines were yielded. Once
    the job has ended, the log is read until a look, an interval after the last, brings nothing.
    """
    query: dict[str, QueryValue] = {"pageSize": _logs.PAGE_SIZE, "sort": "asc"}
    call = api.LIST_JOB_LOGS.call(ids, query=query)
    yielded = 0
    has_ended = False
    while True:
        is_draining = has_ended
        has_ended = has_ended or not is_running()
        brought_nothing = True
        while True:
            page = rescale.page(call)
            for line in _logs.messages(page.items[yielded:]):
                brought_nothing = False
                yielded += 1
                yield line
            # A page that names itself as the next one is the last one as well.
            if page.next is None or page.next.url(rescale.base_url) == call.url(rescale.base_url):
                break
            call, yielded = page.next, 0
        if is_draining and brought_nothing:
            return
        time.sleep(rescale.status_refresh_seconds)
