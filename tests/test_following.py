"""Following a log yields each line once, in order, until no more lines arrive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc.exceptions import HtcNotFoundError, HtcResponseError

from .clock import inject_clock
from .limits import EXEC_SECONDS
from .service import Answer, ReceivedRequest, Service

JOB = "GET /htc/projects/p/tasks/t/jobs/j"
LOGS = f"{JOB}/logs"
IDS = {"projectId": "p", "taskId": "t", "jobUUID": "j"}


class Log:
    """A log that grows with each polling interval, with any kind of pages.

    Args:
        pieces: The lines that are written before each poll. The job ends with piece number `end`.
        cap: The maximum number of lines per page.
        pages: With `full`, the last page has no next page. With `empty`, an empty page follows every
            full page. With `token`, the last page is empty and links to itself.
    """

    def __init__(
        self, service: Service, rescale: HtcSession, pieces: list[list[str]], end: int
    ) -> None:
        self.ticks = inject_clock(rescale)
        self.pieces, self.end = pieces, end
        self.cap, self.kind = 3, "full"
        self.sizes: list[int] = []
        service.on(LOGS, self._lines)
        service.on(JOB, lambda _: Answer({**IDS, "status": self.status}))

    @property
    def tick(self) -> int:
        return len(self.ticks.slept)

    @property
    def status(self) -> str:
        return "FAILED" if self.tick >= self.end else "RUNNING"

    def _lines(self, request: ReceivedRequest) -> Answer:
        assert request.query["sort"] == ["asc"]
        lines = [line for piece in self.pieces[: self.tick + 1] for line in piece]
        place = int(request.query.get("pageIndex", ["0"])[0])
        start, is_empty = divmod(place, 2)
        items = [] if is_empty else lines[start : start + self.cap]
        self.sizes.append(len(items))
        following: int | None = None
        if is_empty:
            following = 2 * start
        elif self.kind == "token" and (items or not lines):
            following = 2 * (start + len(items))
        elif len(items) == self.cap:
            following = 2 * (start + self.cap) + (self.kind == "empty")
            if self.kind == "full" and start + self.cap == len(lines):
                following = None
        if self.kind == "token" and not items:
            following = place
        # All timestamps are the same.
        records = [{"timestamp": "2026-01-01T00:00:00Z", "message": line} for line in items]
        page: dict[str, Any] = {"items": records}
        if following is not None:
            page["next"] = f"?pageIndex={following}&sort=asc"
        return Answer(page)


def a_job() -> htcjobs.HtcJob:
    task = htctasks.HtcTask({}, htcprojects.HtcProject({}))
    return htcjobs.HtcJob(dict(IDS), task)


@given(
    pieces=st.lists(st.lists(st.sampled_from("ab"), max_size=7), min_size=1, max_size=6),
    end=st.integers(0, 4),
    cap=st.integers(1, 4),
    kind=st.sampled_from(["full", "empty", "token"]),
)
def test_every_line_comes_once_however_the_log_grows_and_is_paged(
    shared: tuple[Service, HtcSession], pieces: list[list[str]], end: int, cap: int, kind: str
) -> None:
    """With equal lines and timestamps, empty pages, and lines that arrive after the job's end."""
    service, rescale = shared
    late = end + 1
    pieces = [piece or ["a"] if number > late else piece for number, piece in enumerate(pieces)]
    log = Log(service, rescale, pieces, end)
    log.cap, log.kind = cap, kind
    job = a_job()
    came = list(job.follow_logs(rescale))
    # The last poll is the first one without lines after the end of the job.
    quiet = next((n for n in range(end + 1, len(pieces)) if not pieces[n]), len(pieces))
    assert came == [line for piece in pieces[: max(quiet, end + 1)] for line in piece]
    assert job.json["status"] == "FAILED"


def test_a_line_comes_before_the_next_one_is_written(
    service: Service, scripted: HtcSession
) -> None:
    log = Log(service, scripted, [["a"], [], ["b", "c"], ["d"], ["late"]], end=3)
    came = [(line, log.tick) for line in a_job().follow_logs(scripted)]
    assert came == [("a", 0), ("b", 2), ("c", 2), ("d", 3), ("late", 4)]
    assert log.tick == 5  # one more poll, without lines


def test_what_was_read_is_not_requested_again(service: Service, scripted: HtcSession) -> None:
    """Except for the last page of the log."""
    log = Log(service, scripted, [[str(n) for n in range(100)], *[["x"]] * 20], end=20)
    log.cap = 10
    assert len(list(a_job().follow_logs(scripted))) == 120
    assert sum(log.sizes) < 100 + 22 * 10


def test_the_job_and_its_log_are_requested_once_per_interval(
    service: Service, scripted: HtcSession
) -> None:
    scripted.status_refresh_seconds = 30.0
    log = Log(service, scripted, [["a"], ["b"], []], end=2)
    assert list(a_job().follow_logs(scripted)) == ["a", "b"]
    assert log.ticks.slept == [30.0] * 3
    assert len(service.requests_to(JOB)) == 3
    assert len(service.requests_to(LOGS)) == 4


def test_a_job_that_is_not_there_is_an_error(service: Service, scripted: HtcSession) -> None:
    with pytest.raises(HtcNotFoundError):
        next(iter(a_job().follow_logs(scripted)))


def test_a_line_without_a_message_is_an_error(service: Service, scripted: HtcSession) -> None:
    service.on(JOB, Answer({**IDS, "status": "FAILED"}))
    service.on(LOGS, Answer({"items": [{"timestamp": ""}]}))
    with pytest.raises(HtcResponseError, match="not a JSON object with a message"):
        list(a_job().follow_logs(scripted))


# ---- on the emulator


def test_a_running_job_is_followed_to_its_end(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    """The job continues only after the test has seen its first line."""
    rescale.status_refresh_seconds = 0.05
    wait = "until [ -e $TASK_SHARED_FOLDER/seen ]; do sleep 0.02; done"
    script = f"echo first; {wait}; for i in $(seq 12000); do echo; echo same; done; exit 3"
    arguments: Any = ("ON_DEMAND_ECONOMY", "image", EXEC_SECONDS)
    job = htcjobs.create_single_job(rescale, task, *arguments, commands=["sh", "-c", script])
    lines = job.follow_logs(rescale)
    assert next(lines) == "first"
    assert job.is_still_running(rescale)
    seen = ["sh", "-c", "touch $TASK_SHARED_FOLDER/seen"]
    htcjobs.create_single_job(rescale, task, *arguments, commands=seen)
    assert list(lines) == ["", "same"] * 12000
    assert job.record.container is not None
    assert job.record.container.exit_code == 3


def test_a_job_that_has_ended_can_be_followed(rescale: HtcSession, task: htctasks.HtcTask) -> None:
    rescale.status_refresh_seconds = 0.05
    job = htcjobs.create_single_job(
        rescale, task, "ON_DEMAND_ECONOMY", "image", EXEC_SECONDS, commands=["echo", "a"]
    )
    job.wait(rescale)
    assert list(job.follow_logs(rescale)) == ["a"]
