"""Listings and logs are complete or raise an error, and files are replaced atomically."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rescalehtc import HtcSession, htcjobs
from rescalehtc._client import listing as client_listing
from rescalehtc._client.listing import MAX_PAGES_WITHOUT_NEWS
from rescalehtc.exceptions import (
    HtcConnectionError,
    HtcFileError,
    HtcResponseError,
    HtcServerError,
)
from rescalehtc.htcjobs import HtcJob

from ..limits import HANG_SECONDS
from .books import JOBS
from .canary import API_KEY, ENV, caught
from .conftest import limit_bodies
from .matrix import row
from .wire import (
    Step,
    Wire,
    answer,
    compressed,
    computed,
    held,
    interrupt_main_thread,
    raw,
    reset,
    truncated,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rescalehtc.htctasks import HtcTask

    from .wire import ReceivedRequest

LOG = "GET /htc/projects/p/tasks/t/jobs/j/logs"
PAGES = 4
JOBS_A_PAGE = 3


def jobs_on(page: int) -> list[dict[str, Any]]:
    secret = {"envs": [{"name": "PASSWORD", "value": ENV}]}
    return [{"jobUUID": f"j:{page}-{number}", **secret} for number in range(JOBS_A_PAGE)]


def lines_on(page: int) -> list[dict[str, Any]]:
    return [{"message": f"line {page}-{number}"} for number in range(JOBS_A_PAGE)]


WHOLE_LOG = "".join(f"line {p}-{n}\n" for p in range(PAGES) for n in range(JOBS_A_PAGE))


class Paged:
    """A listing of four pages, one of which can be replaced."""

    def __init__(self, wire: Wire, operation: str, items: Callable[[int], list[Any]]) -> None:
        self._wire = wire
        self._operation = operation
        self._items = items
        self.instead: dict[int, list[Step]] = {}
        wire.on(operation, computed(self._answer))

    def page(self, number: int, **fields: Any) -> dict[str, Any]:
        path = self._operation.split(" ")[1]
        following = f"{self._wire.url}{path}?page={number + 1}" if number + 1 < PAGES else None
        return {"items": self._items(number), "next": following, **fields}

    def _answer(self, request: ReceivedRequest) -> Step:
        number = int(request.query.get("page", ["0"])[0])
        instead = self.instead.get(number)
        return instead.pop(0) if instead else answer(self.page(number))


@pytest.fixture
def listing(wire: Wire) -> Paged:
    return Paged(wire, JOBS, jobs_on)


@pytest.fixture
def log(wire: Wire) -> Paged:
    return Paged(wire, LOG, lines_on)


@pytest.fixture
def job(task: HtcTask) -> HtcJob:
    return HtcJob({"projectId": "p", "taskId": "t", "jobUUID": "j"}, task)


def listed(rescale: HtcSession, task: HtcTask) -> list[str]:
    return [job.json["jobUUID"] for job in htcjobs.iter_jobs(rescale, task)]


ALL = [job["jobUUID"] for page in range(PAGES) for job in jobs_on(page)]


# ---- listings


@row("one page is truncated, reset, damaged or a 5xx", "listing", "retried; no item is lost")
@pytest.mark.parametrize(
    "fault",
    [
        reset,
        truncated({"items": jobs_on(2), "next": None}),
        compressed({"items": jobs_on(2), "next": None}, cut=-6),
        answer(b'{"items": ['),
        answer(status=503),
        answer(status=429),
    ],
)
def test_a_page_fails_once(rescale: HtcSession, task: HtcTask, listing: Paged, fault: Step) -> None:
    listing.instead = {0: [fault], 2: [fault, fault]}
    assert listed(rescale, task) == ALL


@row(
    "a page fails on every attempt",
    "listing",
    "the exception, after the items of the previous pages",
)
def test_a_page_fails_for_good(rescale: HtcSession, task: HtcTask, listing: Paged) -> None:
    listing.instead = {2: [answer(status=500)] * 12}
    with caught(HtcServerError):
        htcjobs.get_jobs(rescale, task)
    got: list[str] = []
    with caught(HtcServerError):
        for job in htcjobs.iter_jobs(rescale, task):
            got.append(job.json["jobUUID"])  # noqa: PERF401 - what came before is looked at
    assert got == ALL[:6]


@row("whole pages are compressed", "listing", "read")
def test_compressed_pages(rescale: HtcSession, task: HtcTask, listing: Paged) -> None:
    listing.instead = {number: [compressed(listing.page(number))] for number in range(PAGES)}
    assert listed(rescale, task) == ALL


@row(
    "an item without an id, or not an object",
    "listing",
    "HtcResponseError, not an incomplete listing",
)
@pytest.mark.parametrize("item", [{}, {"jobUUID": None}, {"jobUUID": 7}, None, "j", []])
def test_an_item_without_an_id(
    rescale: HtcSession, task: HtcTask, listing: Paged, item: Any
) -> None:
    broken = listing.page(1, items=[*jobs_on(1), item])
    listing.instead = {1: [answer(broken)]}
    with caught(HtcResponseError, "listJobs: an item of the page"):
        listed(rescale, task)


@row("items is missing, null or not a list", "listing", "HtcResponseError")
@pytest.mark.parametrize("items", [None, {}, "x", 3])
def test_no_items(rescale: HtcSession, task: HtcTask, listing: Paged, items: Any) -> None:
    listing.instead = {1: [answer(listing.page(1, items=items))]}
    with caught(HtcResponseError, "an array named items"):
        listed(rescale, task)


@row("next points to the same page or an earlier one", "listing", "HtcResponseError, not a loop")
@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_next_repeats(
    wire: Wire, rescale: HtcSession, task: HtcTask, listing: Paged, back_to: int
) -> None:
    again = f"{wire.url}/htc/projects/p/tasks/t/jobs?page={back_to}"
    listing.instead = {2: [answer(listing.page(2, next=again))]}
    with caught(HtcResponseError):
        listed(rescale, task)
    assert len(wire.requests_to(JOBS)) <= PAGES + 1


@row(
    "next on another host, scheme or port",
    "listing",
    "HtcResponseError; nothing is sent to that address",
)
@pytest.mark.parametrize("change", ["host", "scheme", "port", "user", "slashes"])
def test_next_elsewhere(
    wire: Wire, rescale: HtcSession, task: HtcTask, listing: Paged, change: str
) -> None:
    with Wire() as elsewhere:
        following = {
            "host": wire.url.replace("127.0.0.1", "localhost"),
            "scheme": wire.url.replace("http:", "https:"),
            "port": elsewhere.url,
            "user": wire.url.replace("127.", "me:secret@127."),
            "slashes": f"//127.0.0.1:{elsewhere.port}",
        }[change]
        listing.instead = {1: [answer(listing.page(1, next=f"{following}/htc/x"))]}
        with caught(HtcResponseError, "nothing was sent there"):
            listed(rescale, task)
        assert elsewhere.requests == []
    assert len(wire.requests_to(JOBS)) == 2


@row("next is not a string, or not a URL", "listing", "HtcResponseError, not an incomplete listing")
@pytest.mark.parametrize(
    "following",
    [
        *(7, True, {}, [], "http://[", "http://x:99999/", "ftp://a"),
        *("?page=\0", "?page=\x7f", f"?page={'x' * 70_000}"),
    ],
    ids=lambda following: repr(following)[:20],
)
def test_next_that_is_none(
    rescale: HtcSession, task: HtcTask, listing: Paged, following: Any
) -> None:
    listing.instead = {1: [answer(listing.page(1, next=following))]}
    with caught(HtcResponseError, "next page"):
        listed(rescale, task)


@row("next is relative", "listing", "followed")
@pytest.mark.parametrize(
    "following",
    [
        *("?page=2", "jobs?page=2", "/api/v1/htc/projects/p/tasks/t/jobs?page=2"),
        f"?page=2&pageSize={'9' * 5000}",
    ],
    ids=["query", "name", "path", "page size"],
)
def test_next_is_relative(
    rescale: HtcSession, task: HtcTask, listing: Paged, following: str
) -> None:
    listing.instead = {1: [answer(listing.page(1, next=following))]}
    assert listed(rescale, task) == ALL


@row("next is null or absent", "listing", "the end")
def test_next_is_null(rescale: HtcSession, task: HtcTask, listing: Paged) -> None:
    listing.instead = {1: [answer(listing.page(1, next=None))], 0: []}
    assert listed(rescale, task) == ALL[:6]
    listing.instead = {0: [answer({"items": jobs_on(0)})]}
    assert listed(rescale, task) == ALL[:3]


@row("a few empty pages", "listing", "ignored")
def test_some_empty_pages(rescale: HtcSession, task: HtcTask, listing: Paged) -> None:
    listing.instead = {1: [answer(listing.page(1, items=[]))], 2: []}
    assert listed(rescale, task) == ALL[:3] + ALL[6:]


@row("endless empty pages", "listing", "HtcResponseError after 1000 pages")
def test_empty_pages_without_end(
    wire: Wire, rescale: HtcSession, task: HtcTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_PAGES_WITHOUT_NEWS == 1000
    monkeypatch.setattr(client_listing, "MAX_PAGES_WITHOUT_NEWS", 50)

    def empty(request: ReceivedRequest) -> Step:
        number = int(request.query.get("page", ["0"])[0])
        return answer({"items": [], "next": f"?page={number + 1}"})

    wire.on(JOBS, computed(empty))
    with caught(HtcResponseError, "nothing new for many pages"):
        listed(rescale, task)
    assert len(wire.requests_to(JOBS)) == 51


@row("an item moves to the next page during the listing", "listing", "listed once")
def test_an_item_comes_again(rescale: HtcSession, task: HtcTask, listing: Paged) -> None:
    shifted = [*jobs_on(0)[-1:], *jobs_on(1)]
    listing.instead = {1: [answer(listing.page(1, items=shifted))]}
    assert listed(rescale, task) == ALL


@row("a page repeats an earlier one", "listing", "its items are listed once; the listing continues")
def test_a_page_comes_again(rescale: HtcSession, task: HtcTask, listing: Paged) -> None:
    listing.instead = {2: [answer(listing.page(2, items=jobs_on(1)))]}
    assert listed(rescale, task) == ALL[:6] + ALL[9:]


@row(
    "items of earlier pages are repeated",
    "listing",
    "each item is listed once, and different items are never confused",
)
@pytest.mark.parametrize("parents_kept", [50_000, 20])
def test_items_of_the_first_page_come_again(
    wire: Wire,
    rescale: HtcSession,
    task: HtcTask,
    monkeypatch: pytest.MonkeyPatch,
    parents_kept: int,
) -> None:
    monkeypatch.setattr(client_listing, "_PARENTS_KEPT", parents_kept)
    batches = [f"{batch}:{index}" for batch in "abc" for index in range(40)]
    alike = ["a", "a:", ":1", "1", ":", "a:01", "a:1000", "a:-1", "a:²", "a:1:1", "a:x", "A:1"]
    names = [*batches[:50], *alike, *batches[:49:-1], "x:3", "x:2", "x:1", *"yz"]
    pages = [names[start : start + 4] for start in range(0, len(names), 4)]
    pages += [names[:7], [*names[40:60], "new:0", "new:0"], ["new:1", *names]]

    def page(request: ReceivedRequest) -> Step:
        number = int(request.query.get("page", ["0"])[0])
        following = f"?page={number + 1}" if number + 1 < len(pages) else None
        items = [{"jobUUID": name} for name in pages[number]]
        return answer({"items": items, "next": following})

    wire.on(JOBS, computed(page))
    assert listed(rescale, task) == [*names, "new:0", "new:1"]


@row(
    "more batches than the session remembers",
    "listing",
    "the jobs of the remembered batches are listed once",
)
def test_ids_of_single_jobs_are_remembered_within_limits() -> None:
    seen = client_listing.SeenIds()
    for number in range(3 * client_listing._PARENTS_KEPT):
        assert not seen.add([f"{number}:0"])
    assert seen.add([f"{2 * client_listing._PARENTS_KEPT}:0", "0:0"]) == {0}


@row("a loop of pages with changing URLs", "listing, log", "HtcResponseError")
@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_circle(
    wire: Wire,
    rescale: HtcSession,
    task: HtcTask,
    job: HtcJob,
    monkeypatch: pytest.MonkeyPatch,
    length: int,
) -> None:
    monkeypatch.setattr(client_listing, "MAX_PAGES_WITHOUT_NEWS", 50)

    def page(items: Callable[[int], list[Any]]) -> Step:
        def step(request: ReceivedRequest) -> Step:
            number = int(request.query.get("page", ["0"])[0])
            return answer({"items": items(number % length), "next": f"?page={number + 1}"})

        return computed(step)

    wire.on(JOBS, page(jobs_on))
    with caught(HtcResponseError, "no end"):
        listed(rescale, task)
    assert len(wire.requests_to(JOBS)) == length + 50 + 1
    wire.on(LOG, page(lines_on))
    with caught(HtcResponseError, "no end"):
        job.get_logs(rescale)
    assert len(wire.requests_to(LOG)) == length + 50 + 1


@row(
    "jobs start and end during the listing",
    "listing by cursor",
    "no job that exists all the time is lost",
)
def test_a_listing_shifts(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    """The newest jobs come first. A page starts after the job in its URL."""
    jobs = [f"j:{number}" for number in range(100, 0, -1)]
    arrived = itertools.count(101)

    def page(request: ReceivedRequest) -> Step:
        after = request.query.get("after", [""])[0]
        begin = jobs.index(after) + 1 if after else 0
        ids = jobs[begin : begin + 10]
        following = f"?after={ids[-1]}" if jobs[-1] != ids[-1] else None
        step = answer({"items": [{"jobUUID": name} for name in ids], "next": following})
        jobs[:0] = [f"j:{next(arrived)}" for _ in range(3)]  # meanwhile
        jobs.remove(ids[0])
        return step

    wire.on(JOBS, computed(page))
    names = listed(rescale, task)
    assert len(names) == len(set(names))
    assert set(names) >= {name for name in jobs if int(name[2:]) <= 100}


@row(
    "a listing grows as fast as it is read",
    "listing by offset",
    "each job is listed once, to the end",
)
def test_a_listing_grows(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    """Two jobs are added in front with each page, so half of a page repeats the previous one."""
    jobs = [f"j:{number}" for number in range(60)]
    arrived = itertools.count(1000)

    def page(request: ReceivedRequest) -> Step:
        begin = int(request.query.get("page", ["0"])[0])
        ids = jobs[begin : begin + 4]
        following = f"?page={begin + 4}" if begin + 4 < len(jobs) else None
        if len(jobs) < 500:
            jobs[:0] = [f"j:{next(arrived)}", f"j:{next(arrived)}"]
        return answer({"items": [{"jobUUID": name} for name in ids], "next": following})

    wire.on(JOBS, computed(page))
    assert listed(rescale, task) == [f"j:{number}" for number in range(60)]


@row(
    "a page exceeds the size limit",
    "listing, log",
    "requested with half as many items, down to one",
)
@pytest.mark.parametrize("fits", [1000, 300, 7, 1])
def test_a_page_that_is_too_large(
    wire: Wire, rescale: HtcSession, task: HtcTask, job: HtcJob, fits: int
) -> None:
    """Small items come first, so that only a later page is too large."""
    rescale.do_authenticate()
    limit_bodies(rescale, 1000 * 100)
    items = [
        {"jobUUID": f"j:{n}", "message": "m" if n < 400 else "x" * (90_000 // fits)}
        for n in range(430)
    ]

    def page(request: ReceivedRequest) -> Step:
        begin, size = int(request.query.get("page", ["0"])[0]), int(request.query["pageSize"][0])
        end = begin + min(size, 400)
        following = f"?page={end}&pageSize={size}" if end < len(items) else None
        return answer({"items": items[begin:end], "next": following})

    wire.on(JOBS, computed(page))
    wire.on(LOG, computed(page))
    assert listed(rescale, task) == [item["jobUUID"] for item in items]
    assert list(job.get_logs(rescale)) == [item["message"] for item in items]


@row("a single item exceeds the size limit", "listing, log", "HtcResponseError")
def test_an_item_that_is_too_large(wire: Wire, rescale: HtcSession, task: HtcTask) -> None:
    rescale.do_authenticate()
    limit_bodies(rescale, 10_000)
    wire.on(JOBS, answer({"items": [{"jobUUID": "j" * 20_000}]}))
    with caught(HtcResponseError, "more than 10000 bytes"):
        listed(rescale, task)
    sizes = [request.query["pageSize"][0] for request in wire.requests_to(JOBS)]
    assert sizes == ["1000", "500", "250", "125", "62", "31", "15", "7", "3", "1"]


@row("a page was too large", "the next listing", "starts with full pages again")
def test_the_next_listing_begins_with_whole_pages(
    wire: Wire, rescale: HtcSession, task: HtcTask
) -> None:
    rescale.do_authenticate()
    limit_bodies(rescale, 10_000)
    large = answer({"items": [{"jobUUID": "j" * 20_000}]})
    wire.on(JOBS, large, answer({"items": jobs_on(0)}))
    for _ in range(2):
        assert listed(rescale, task) == ALL[:3]
    sizes = [request.query["pageSize"][0] for request in wire.requests_to(JOBS)]
    assert sizes == ["1000", "500", "1000"]


@row("many pages of identical lines", "log", "all lines are returned")
def test_a_log_that_repeats_itself(wire: Wire, rescale: HtcSession, job: HtcJob) -> None:
    same = [{"message": ""}] * 10

    def page(request: ReceivedRequest) -> Step:
        number = int(request.query.get("page", ["0"])[0])
        return answer({"items": same, "next": f"?page={number + 1}" if number < 200 else None})

    wire.on(LOG, computed(page))
    assert len(list(job.get_logs(rescale))) == 2010


# ---- logs


@row("one page is truncated, reset or damaged", "log to a file", "retried; no line is lost")
def test_a_page_of_a_log_fails_once(
    rescale: HtcSession, job: HtcJob, log: Paged, tmp_path: Path
) -> None:
    log.instead = {
        0: [reset],
        1: [truncated(log.page(1))],
        2: [compressed(log.page(2), cut=-6)],
        3: [raw(b"garbage")],
    }
    job.get_logs_to_file(rescale, tmp_path / "log")
    assert (tmp_path / "log").read_text() == WHOLE_LOG


@row("a page fails on every attempt", "log to a file", "the exception; the old file or none")
@pytest.mark.parametrize("last_n_lines", [None, 10])
@pytest.mark.parametrize("old", ["an older log\n", None])
def test_a_page_of_a_log_fails_for_good(
    rescale: HtcSession,
    job: HtcJob,
    log: Paged,
    tmp_path: Path,
    old: str | None,
    last_n_lines: int | None,
) -> None:
    if old is not None:
        (tmp_path / "log").write_text(old)
    log.instead = {3: [truncated(log.page(3))] * 6}
    with caught(HtcConnectionError):
        job.get_logs_to_file(rescale, tmp_path / "log", last_n_lines)
    unchanged(tmp_path, old)


@row("a line without its message", "log", "HtcResponseError, not an incomplete log")
@pytest.mark.parametrize("line", [{}, {"message": None}, {"message": 7}, None, "text"])
def test_a_line_without_a_message(
    rescale: HtcSession, job: HtcJob, log: Paged, tmp_path: Path, line: Any
) -> None:
    log.instead = {1: [answer(log.page(1, items=[*lines_on(1), line]))] * 2}
    with caught(HtcResponseError, "listJobLogs"):
        job.get_logs_to_file(rescale, tmp_path / "log")
    with caught(HtcResponseError, "listJobLogs"):
        job.get_logs(rescale)
    unchanged(tmp_path, None)


@row("terminal control characters", "log", "unchanged in files and in memory")
def test_control_characters(wire: Wire, rescale: HtcSession, job: HtcJob, tmp_path: Path) -> None:
    line = "\x1b]0;title\x07\x1b[2J\x08\x00\x9b31m end"
    wire.on(LOG, answer({"items": [{"message": line}]}))
    job.get_logs_to_file(rescale, tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == f"{line}\n".encode()
    assert list(job.get_logs(rescale)) == [line]


@row("the disk is full", "log to a file", "HtcFileError; the old file or none")
@pytest.mark.parametrize("old", ["an older log\n", None])
def test_a_full_disk(wire: Wire, log: Paged, tmp_path: Path, old: str | None) -> None:
    if old is not None:
        (tmp_path / "log").write_text(old)
    program = saving(wire, tmp_path) + "job.get_logs_to_file(rescale, sys.argv[1])"
    limit = len(WHOLE_LOG) // 2
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, str(tmp_path / "log")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert "HtcFileError" in done.stderr
    assert "File too large" in done.stderr
    assert API_KEY not in done.stderr.replace(program, "")
    unchanged(tmp_path, old)


@row("a device without space", "log to a file", "HtcFileError")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_device(rescale: HtcSession, job: HtcJob, log: Paged) -> None:
    with caught(HtcFileError, "No space left"):
        job.get_logs_to_file(rescale, "/dev/full")


@row("Ctrl-C", "log to a file", "the old file or none; the session still works")
def test_an_interrupt(rescale: HtcSession, job: HtcJob, log: Paged, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("an older log\n")
    gate = threading.Event()

    def interrupt(connection: Any, request: ReceivedRequest) -> None:
        interrupt_main_thread()
        gate.wait(HANG_SECONDS)

    log.instead = {2: [interrupt]}
    with caught(KeyboardInterrupt):
        job.get_logs_to_file(rescale, tmp_path / "log")
    gate.set()
    unchanged(tmp_path, "an older log\n")
    job.get_logs_to_file(rescale, tmp_path / "log")
    assert (tmp_path / "log").read_text() == WHOLE_LOG


@row("kill -9", "log to a file", "the old file or none, and at most a hidden *.partial beside it")
def test_a_crash(
    wire: Wire,
    log: Paged,
    tmp_path: Path,
    until: Callable[[Callable[[], bool]], None],
) -> None:
    (tmp_path / "log").write_text("an older log\n")
    gate = threading.Event()
    log.instead = {2: [held(gate, reset)]}
    program = saving(wire, tmp_path) + "job.get_logs_to_file(rescale, sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "log")])
    until(lambda: len(wire.requests_to(LOG)) == 3)
    process.kill()
    process.wait()
    gate.set()
    assert (tmp_path / "log").read_text() == "an older log\n"
    left = [path.name for path in tmp_path.iterdir() if path.name != "log"]
    assert all(name.startswith(".") and name.endswith(".partial") for name in left)


def saving(wire: Wire, folder: Path) -> str:
    """The start of a program: a session and a job."""
    return (
        "import sys\n"
        "from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks\n"
        f"rescale = HtcSession(api_key={API_KEY!r}, base_url={wire.url!r})\n"
        "project = htcprojects.HtcProject({'projectId': 'p'})\n"
        "task = htctasks.HtcTask({'projectId': 'p', 'taskId': 't'}, project)\n"
        "job = htcjobs.HtcJob({'projectId': 'p', 'taskId': 't', 'jobUUID': 'j'}, task)\n"
    )


def unchanged(folder: Path, old: str | None) -> None:
    """There is only the old file, or no file."""
    left = {path.name: path.read_text() for path in folder.iterdir()}
    assert left == ({} if old is None else {"log": old})
