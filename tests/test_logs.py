"""Logs are oldest first and exact for any text and number of lines, and files are atomic."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescalehtc import HtcSession, htcjobs, htctasks
from rescalehtc.exceptions import HtcFileError, HtcResponseError, HtcServerError, HtcValidationError

from .service import Answer, ReceivedRequest, Service

if TYPE_CHECKING:
    from collections.abc import Callable

LOGS = "GET /htc/projects/p/tasks/t/jobs/j/logs"
AWKWARD = ["first", "", "  \t", "ünïcödé 漢字 🚀", "a\rb", "a\nb\n", "\x1b[31mred\0", "'\"\\", ""]


def paged(lines: list[str], cap: int) -> Callable[[ReceivedRequest], Answer]:
    """The service's pages of a log, with at most `cap` lines each, some of them empty."""

    def answer(request: ReceivedRequest) -> Answer:
        newest_first = request.query.get("sort", ["desc"]) == ["desc"]
        ordered = lines[::-1] if newest_first else lines
        place = int(request.query.get("pageIndex", ["0"])[0])
        start, empty = divmod(place, 2)
        size = min(int(request.query["pageSize"][0]), cap)
        items = [] if empty else ordered[start : start + size]
        following = place + 1 if not empty and start % 3 == 0 else 2 * (start + size)
        if empty:
            following = place - 1 + 2 * size
        done = start + size >= len(ordered) and (empty or start % 3)
        query = f"?pageIndex={following}&pageSize={request.query['pageSize'][0]}&sort={request.query['sort'][0]}"
        return Answer(
            {
                "items": [{"timestamp": "2026-01-01T00:00:00Z", "message": m} for m in items],
                **({} if done else {"next": query}),
            }
        )

    return answer


@pytest.fixture
def job(scripted_task: htctasks.HtcTask) -> htcjobs.HtcJob:
    return htcjobs.HtcJob({"projectId": "p", "taskId": "t", "jobUUID": "j"}, scripted_task)


@given(
    lines=st.lists(st.text(st.characters(codec="utf-8")), max_size=12),
    cap=st.integers(1, 5),
    last=st.none() | st.integers(0, 15),
)
def test_any_log_is_read_exactly_through_any_paging(
    shared: tuple[Service, HtcSession], lines: list[str], cap: int, last: int | None
) -> None:
    """The complete log or any number of its last lines, in memory and in a file."""
    service, rescale = shared
    service.requests.clear()
    service.on(LOGS, paged(lines, cap))
    task = htctasks.HtcTask({}, htctasks.HtcProject({}))
    job = htcjobs.HtcJob({"projectId": "p", "taskId": "t", "jobUUID": "j"}, task)
    expected = lines if last is None else lines[max(0, len(lines) - last) :]
    assert list(job.get_logs(rescale, last)) == expected
    path = Path(os.environ["HOME"]) / "log"
    job.get_logs_to_file(rescale, str(path), last)
    assert path.read_bytes() == "".join(f"{line}\n" for line in expected).encode()


@pytest.mark.parametrize("last", [None, *range(12)])
def test_awkward_lines_are_kept(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path, last: int | None
) -> None:
    """When it writes a file, 1.1.0 drops blank lines and reverses lines inside a message."""
    service.on(LOGS, paged(AWKWARD, 4))
    expected = AWKWARD if last is None else AWKWARD[max(0, len(AWKWARD) - last) :]
    assert list(job.get_logs(scripted, last)) == expected
    job.get_logs_to_file(scripted, tmp_path / "log", last)
    assert (tmp_path / "log").read_bytes() == "".join(f"{line}\n" for line in expected).encode()


@pytest.mark.parametrize("last", [4999, 5000, 5001, 9999, 10001])
def test_the_last_lines_are_exact_around_the_size_of_a_page(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, last: int
) -> None:
    """1.1.0 reads everything for 5000 or more lines, and too few lines of small pages."""
    lines = [str(n) for n in range(10_000)]
    service.on(LOGS, paged(lines, 3000))
    assert list(job.get_logs(scripted, last)) == lines[-last:]


def test_no_more_is_requested_than_is_wanted(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob
) -> None:
    service.on(LOGS, paged(["a"] * 50, 5000))
    job.get_logs(scripted, 7)
    job.get_logs(scripted)
    sizes = [request.query["pageSize"] for request in service.requests_to(LOGS)]
    assert sizes[0] == ["7"]
    assert sizes[-1] == ["10000"]


def test_no_line_is_requested_with_zero(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path
) -> None:
    """1.1.0 returns 5000 lines."""
    assert list(job.get_logs(scripted, 0)) == []
    job.get_logs_to_file(scripted, tmp_path / "log", 0)
    assert (tmp_path / "log").read_bytes() == b""
    assert not service.requests_to(LOGS)


@pytest.mark.parametrize("last", [-1, 1.0, "1", True])
def test_another_number_of_lines_is_rejected(
    scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path, last: object
) -> None:
    with pytest.raises(HtcValidationError, match="last_n_lines"):
        job.get_logs(scripted, last)  # type: ignore[arg-type]
    with pytest.raises(HtcValidationError, match="last_n_lines"):
        job.get_logs_to_file(scripted, tmp_path / "log", last)  # type: ignore[arg-type]
    assert not (tmp_path / "log").exists()


def test_half_a_character_is_kept_in_memory_and_escaped_in_a_file(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path
) -> None:
    service.on(LOGS, Answer(rb'{"items": [{"message": "cut \ud83d"}]}'))
    assert list(job.get_logs(scripted)) == ["cut \ud83d"]
    job.get_logs_to_file(scripted, tmp_path / "log")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "cut \\ud83d\n"


def test_a_call_within_the_interval_sends_nothing_and_answers_the_same_question_only(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob
) -> None:
    """In 1.1.0, a second call returns the lines of the first one and ignores `last_n_lines`."""
    scripted.status_refresh_seconds = 1000
    service.on(LOGS, paged(AWKWARD, 100))
    assert list(job.get_logs(scripted, 2)) == AWKWARD[-2:]
    count = len(service.requests_to(LOGS))
    assert list(job.get_logs(scripted, 2)) == AWKWARD[-2:]
    assert len(service.requests_to(LOGS)) == count
    assert list(job.get_logs(scripted, 3)) == AWKWARD[-3:]
    assert list(job.get_logs(scripted)) == AWKWARD


def test_the_iterator_is_fresh_at_every_call(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob
) -> None:
    scripted.status_refresh_seconds = 1000
    service.on(LOGS, paged(["a", "b"], 100))
    assert next(iter(job.get_logs(scripted))) == "a"
    assert list(job.get_logs(scripted)) == ["a", "b"]


@pytest.mark.parametrize("last", [None, 5])
@pytest.mark.parametrize("failure", [Answer(status=500), Answer({"items": [{"timestamp": ""}]})])
def test_a_failure_leaves_the_old_file_or_none(
    service: Service,
    scripted: HtcSession,
    job: htcjobs.HtcJob,
    tmp_path: Path,
    last: int | None,
    failure: Answer,
) -> None:
    """1.1.0 leaves an empty file."""
    page = Answer({"items": [{"message": "new"}], "next": "?pageIndex=1"})
    (tmp_path / "old").write_text("old")
    for name in ("old", "none"):
        service.on(LOGS, page, failure)
        with pytest.raises((HtcServerError, HtcResponseError)):
            job.get_logs_to_file(scripted, tmp_path / name, last)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_a_file_that_can_not_be_written_is_named(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path
) -> None:
    service.on(LOGS, paged(["a"], 5))
    (tmp_path / "folder").mkdir()
    paths: list[Any] = [tmp_path / "missing" / "log", tmp_path / "folder", None, 5]
    for path in paths:
        with pytest.raises(HtcFileError, match=getattr(path, "name", str(path))) as info:
            job.get_logs_to_file(scripted, path)
        assert isinstance(info.value, OSError)
        assert info.value.errno
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_keeps_its_permissions_and_a_read_only_one_its_content(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path, mode: int
) -> None:
    service.on(LOGS, paged(["new"], 5))
    path = tmp_path / "log"
    path.write_text("old\n")
    path.chmod(mode)
    if os.access(path, os.W_OK):  # root can write to all files
        job.get_logs_to_file(scripted, path)
        assert path.read_text() == "new\n"
    else:
        with pytest.raises(HtcFileError):
            job.get_logs_to_file(scripted, path)
        assert path.read_text() == "old\n"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_special_file_is_written_to_and_not_replaced(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path
) -> None:
    service.on(LOGS, paged(["a", "b"], 5))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        job.get_logs_to_file(scripted, pipe)
        assert os.read(reader, 100) == b"a\nb\n"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", ["a" * 255, b"bytes", "\N{SNOWMAN}"])
def test_any_name_that_a_file_can_have_will_do(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path, name: Any
) -> None:
    service.on(LOGS, paged(["a"], 5))
    folder = os.fsencode(tmp_path) if isinstance(name, bytes) else str(tmp_path)
    path = folder + (b"/" if isinstance(name, bytes) else "/") + name  # type: ignore[operator]
    job.get_logs_to_file(scripted, path)
    assert Path(os.fsdecode(path)).read_text() == "a\n"


@pytest.mark.parametrize("name", ["a\0b", "a" * 256, "new/"])
def test_a_name_that_no_file_can_have_is_an_htc_exception(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path, name: str
) -> None:
    service.on(LOGS, paged(["a"], 5))
    with pytest.raises(HtcFileError):
        job.get_logs_to_file(scripted, f"{tmp_path}/{name}")
    assert sorted(p.name for p in tmp_path.iterdir()) == []


def test_the_locale_does_not_matter(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path
) -> None:
    """1.1.0 uses the locale's encoding."""
    service.on(LOGS, paged(["漢字"], 5))
    program = (
        "import sys; from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks\n"
        "task = htctasks.HtcTask({}, htcprojects.HtcProject({}))\n"
        "job = htcjobs.HtcJob({'projectId': 'p', 'taskId': 't', 'jobUUID': 'j'}, task)\n"
        "job.get_logs_to_file(HtcSession(api_key='k', base_url=sys.argv[1]), sys.argv[2])"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    path = tmp_path / "log"
    command = [sys.executable, "-c", program, service.url, str(path)]
    subprocess.run(command, env=environment, check=True)
    assert path.read_bytes() == "漢字\n".encode()


def test_the_file_has_the_usual_permissions_and_a_link_keeps_leading_to_it(
    service: Service, scripted: HtcSession, job: htcjobs.HtcJob, tmp_path: Path
) -> None:
    service.on(LOGS, paged(["a"], 5))
    (tmp_path / "link").symlink_to(tmp_path / "log")
    job.get_logs_to_file(scripted, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "log").read_text() == "a\n"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("last", [None, 10**9])
def test_memory_does_not_grow_with_the_log(
    service: Service,
    scripted: HtcSession,
    job: htcjobs.HtcJob,
    tmp_path: Path,
    last: int | None,
) -> None:
    """1.1.0 holds the complete log in memory."""
    page = Answer({"items": [{"message": "x" * 199}] * 500}).encoded()[:-1]
    answers = [Answer(page + b', "next": "?pageIndex=%d"}' % n) for n in range(60)]
    service.on(LOGS, *answers, Answer({"items": []}))
    tracemalloc.start()
    job.get_logs_to_file(scripted, tmp_path / "log", last)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "log").stat().st_size == 6_000_000
    assert peak < 3_000_000
