"""Files never block the loop, and open files of a cancelled task are closed."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from rescalehtc.aio import api, htcjobs
from rescalehtc.exceptions import HtcFileError

from ..faults.wire import Wire, answer, held
from ..limits import HANG_SECONDS
from .conftest import async_session, open_descriptors, until_on_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from types import FrameType

    from rescalehtc.htctasks import HtcTask

    from .conftest import Run

LOG = "GET /htc/projects/p/tasks/t/jobs/j/logs"
BEATS = 50
# More than the buffer of a pipe.
PAGE = {"items": [{"timestamp": "t", "message": "x" * 1000} for _ in range(200)]}


async def beats_while(
    work: Callable[[], Coroutine[Any, Any, Any]], *, is_stuck: Callable[[], bool]
) -> None:
    """A blocked task does not block other tasks, and ends when it is cancelled."""
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await until_on_loop(is_stuck)
        for _ in range(BEATS):
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()


def is_in_a_thread(function: str) -> bool:
    """Whether another thread is in a function with this name."""
    for thread, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        while frame is not None and thread != threading.get_ident():
            if frame.f_code.co_name == function:
                return True
            frame = frame.f_back
    return False


@pytest.fixture
def job(wire_task: HtcTask) -> Any:
    return htcjobs.HtcJob({"jobUUID": "j", "projectId": "p", "taskId": "t"}, wire_task)  # type: ignore[arg-type]


def read_all(path: Path) -> threading.Thread:
    """Read a pipe to its end, so that its writer is not blocked."""
    reading = threading.Thread(target=path.read_bytes)
    reading.start()
    return reading


def test_a_log_is_written_to_a_pipe_without_a_reader(
    wire: Wire, on_loop: Run, job: Any, tmp_path: Path
) -> None:
    """Opening a pipe waits for its other end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            await beats_while(
                lambda: job.get_logs_to_file(rescale, pipe),
                is_stuck=lambda: is_in_a_thread("replaced_whole"),
            )
            assert await api.get_htc_projects(rescale, "p")
            read_all(pipe).join(HANG_SECONDS)

    on_loop(main)


@pytest.mark.parametrize("last_n_lines", [None, 150])
def test_a_log_is_written_to_a_pipe_that_is_full(
    wire: Wire, on_loop: Run, job: Any, tmp_path: Path, last_n_lines: int | None
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    wire.on(LOG, answer(PAGE))
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    is_closed = threading.Event()

    def read_to_the_end() -> None:
        os.set_blocking(descriptor, True)
        while os.read(descriptor, 1 << 16):
            pass
        is_closed.set()

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            await beats_while(
                lambda: job.get_logs_to_file(rescale, pipe, last_n_lines),
                is_stuck=lambda: bool(wire.requests_to(LOG)),
            )
            assert await api.get_htc_projects(rescale, "p")
            # The writing thread closes the pipe.
            reading = threading.Thread(target=read_to_the_end)
            reading.start()
            await until_on_loop(is_closed.is_set)
            reading.join()

    on_loop(main)
    os.close(descriptor)


def test_a_cancelled_download_leaves_no_file(
    wire: Wire, on_loop: Run, job: Any, tmp_path: Path
) -> None:
    gate = threading.Event()
    following = {**PAGE, "next": f"{wire.url}/htc/projects/p/tasks/t/jobs/j/logs?p=2"}
    wire.on(LOG, answer(following), held(gate, answer(PAGE)))
    (tmp_path / "log").write_text("before")

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            await beats_while(
                lambda: job.get_logs_to_file(rescale, tmp_path / "log"),
                is_stuck=lambda: len(wire.requests_to(LOG)) == 2,
            )

    on_loop(main)
    gate.set()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").read_text() == "before"


def test_downloads_cancelled_at_any_moment(
    wire: Wire,
    on_loop: Run,
    job: Any,
    tmp_path: Path,
    until: Callable[[Callable[[], bool]], None],
) -> None:
    """Even while a thread opens, writes or closes the file."""
    wire.on(LOG, answer({"items": [{"timestamp": "t", "message": "line"}]}))
    before = open_descriptors()

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            await rescale.do_authenticate()
            for rounds in range(100):
                async with anyio.create_task_group() as group:
                    group.start_soon(job.get_logs_to_file, rescale, tmp_path / f"log{rounds}")
                    for _ in range(rounds):
                        await anyio.sleep(0)
                    group.cancel_scope.cancel()

    on_loop(main)
    until(lambda: not [path for path in tmp_path.iterdir() if path.name.startswith(".")])
    until(lambda: open_descriptors() <= before)
    assert {path.read_text() for path in tmp_path.iterdir()} <= {"line\n"}


def test_renewals_cancelled_at_any_moment_leave_no_descriptor(
    wire: Wire, on_loop: Run, tmp_path: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    folder = tmp_path / "default"
    folder.mkdir()
    (folder / "rescale_api_token.txt").write_text("key-1")
    (folder / "rescale_api_token.txt").chmod(0o600)
    before = open_descriptors()

    async def main() -> None:
        for rounds in range(60):
            (folder / "rescale_bearer_token.json").unlink(missing_ok=True)
            async with (
                async_session(
                    wire.url, api_key=None, config_folder_override=str(tmp_path)
                ) as rescale,
                anyio.create_task_group() as group,
            ):
                group.start_soon(api.get_htc_projects, rescale, "p")
                for _ in range(rounds):
                    await anyio.sleep(0)
                group.cancel_scope.cancel()

    on_loop(main)
    whole = {"rescale_api_token.txt", "rescale_bearer_token.json"}
    # A thread that was given up may still write the token.
    until(lambda: {path.name for path in folder.iterdir()} <= whole)
    until(lambda: open_descriptors() <= before)


def test_an_upload_to_a_storage_that_does_not_read(
    wire: Wire, on_loop: Run, wire_task: HtcTask, tmp_path: Path
) -> None:
    source = tmp_path / "file"
    source.write_bytes(bytes(32 << 20))
    task: Any = wire_task
    gate = threading.Event()
    connected = threading.Event()

    def ignore(connection: Any) -> None:
        connected.set()
        gate.wait(HANG_SECONDS)

    async def main() -> None:
        with Wire() as storage:
            storage.at_connect = [ignore]
            wire.on(
                "GET /htc/projects/p/tasks/t/storage/presigned-url",
                answer({"url": f"{storage.origin}/file"}),
            )
            async with async_session(wire.url) as rescale:
                await beats_while(
                    lambda: task.upload_file(rescale, source, "file"), is_stuck=connected.is_set
                )
                assert await api.get_htc_projects(rescale, "p")
            gate.set()

    before = open_descriptors()
    on_loop(main)
    assert open_descriptors() <= before + 3  # the server's ends may take a moment longer


def test_a_pipe_can_not_be_uploaded(
    wire: Wire, on_loop: Run, wire_task: HtcTask, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    task: Any = wire_task

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            with pytest.raises(HtcFileError, match="not a regular file"):
                await task.upload_file(rescale, tmp_path / "pipe", "file")

    on_loop(main)
    assert not wire.requests
