"""Asynchronous sessions: main features, objects of both kinds, loops, pickles, forks."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
from contextlib import aclosing
from subprocess import run as run_program
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import trio

from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
from rescalehtc.aio import AsyncHtcSession
from rescalehtc.aio import api as aio_api
from rescalehtc.aio import container_registry as aio_container_registry
from rescalehtc.aio import htcjobs as aio_htcjobs
from rescalehtc.aio import htcprojects as aio_htcprojects
from rescalehtc.aio import htctasks as aio_htctasks
from rescalehtc.exceptions import HtcNotFoundError, HtcTimeoutError, HtcValidationError

from ..faults.wire import Step, Wire, answer, held
from ..limits import EXEC_SECONDS
from .conftest import API_KEY, async_session, open_descriptors, until_on_loop

if TYPE_CHECKING:
    from pathlib import Path

    from rescalehtc.emulator import Emulator
    from rescalehtc.htctasks import HtcTask

    from .conftest import Run

ARGUMENTS = ("ON_DEMAND_ECONOMY", "image", EXEC_SECONDS)
COMMANDS = ["sh", "-c", "echo one; echo two"]


def test_the_main_job(emulator: Emulator, on_loop: Run, tmp_path: Path) -> None:
    """Submit, wait, list, read, follow, count, upload, delete."""

    async def main() -> None:
        async with emulator.async_session() as rescale:
            rescale.status_refresh_seconds = 0.0
            [project] = await aio_htcprojects.get_projects(rescale)
            task = await aio_htctasks.create_task_with_name(rescale, project, "aio")
            batch = await aio_htcjobs.create_job_batch(
                rescale, task, 2, *ARGUMENTS, commands=COMMANDS
            )
            counts = await batch.wait(rescale)
            assert counts.by_status == {"SUCCEEDED": 2}
            jobs = await aio_htcjobs.get_jobs(rescale, task)
            assert [type(job) for job in jobs] == [aio_htcjobs.HtcJob] * 2
            assert jobs[0].record.status == "SUCCEEDED"
            assert [*await jobs[0].get_logs(rescale)] == ["one", "two"]
            assert [line async for line in jobs[1].follow_logs(rescale)] == ["one", "two"]
            await jobs[0].get_logs_to_file(rescale, tmp_path / "log", 1)
            assert (tmp_path / "log").read_text() == "two\n"
            assert [job async for job in aio_htcjobs.as_completed(rescale, batch.to_jobs())]
            assert (await jobs[0].events(rescale))[-1].status == "SUCCEEDED"
            assert not await task.is_still_running(rescale)
            assert not await batch.failed(rescale)
            (tmp_path / "file").write_text("content")
            await task.upload_file(rescale, tmp_path / "file", "file")
            registry = await aio_container_registry.get_container_registry(rescale, project)
            assert await registry.get_token(rescale)
            with pytest.raises(HtcNotFoundError):
                await aio_api.get_htc_projects(rescale, "nothing")
            await task.delete_task(rescale)

    on_loop(main)


def test_objects_of_a_blocking_session_on_a_loop(emulator: Emulator, on_loop: Run) -> None:
    with emulator.session() as blocking:
        blocking.status_refresh_seconds = 0.0
        [project] = htcprojects.get_projects(blocking)
        task = htctasks.create_task_with_name(blocking, project, "cross")
        batch = htcjobs.create_job_batch(blocking, task, 2, *ARGUMENTS, commands=["false"])

        async def main() -> None:
            async with emulator.async_session() as rescale:
                rescale.status_refresh_seconds = 0.0
                wait: Any = batch.wait(rescale)  # type: ignore[arg-type]
                assert (await wait).by_status == {"FAILED": 2}
                anything: Any = batch
                failed = await anything.failed(rescale, last_n_lines=1)
                assert [failure.index for failure in failed] == [0, 1]
                again = await anything.resubmit_failed(rescale)
                assert await (await again.submit(rescale)).wait(rescale)
                await aio_htcjobs.refresh(rescale, batch.to_jobs())
                jobs: Any = batch.to_jobs()
                assert len([job async for job in aio_htcjobs.as_completed(rescale, jobs)]) == 2
                assert await jobs[0].get_update(rescale) == jobs[0].json
                assert [event async for event in jobs[0].iter_events(rescale)]
                own = await aio_htcjobs.get_jobs(rescale, task)
                assert len(own) == 4
                more = await aio_htcjobs.create_single_job(rescale, task, *ARGUMENTS)
                assert isinstance(more, aio_htcjobs.HtcJob)
                projects_task: Any = project
                assert await projects_task.get_limits(rescale) == project.get_limits(blocking)

        on_loop(main)
        # The same objects have the data that was fetched on the loop.
        assert batch.to_jobs()[0].json["jobUUID"]
        assert {job.json["status"] for job in htcjobs.get_jobs(blocking, task, "FAILED")} == {
            "FAILED"
        }


def test_objects_of_a_loop_in_a_blocking_session(emulator: Emulator, on_loop: Run) -> None:
    async def main() -> tuple[Any, Any, Any]:
        async with emulator.async_session() as rescale:
            [project] = await aio_htcprojects.get_projects(rescale)
            task = await aio_htctasks.create_task_with_name(rescale, project, "cross")
            batch = await aio_htcjobs.create_job_batch(
                rescale, task, 2, *ARGUMENTS, commands=COMMANDS
            )
            return project, task, batch

    project, task, batch = on_loop(main)
    with emulator.session() as blocking:
        blocking.status_refresh_seconds = 0.0
        assert batch.wait(blocking).by_status == {"SUCCEEDED": 2}
        jobs = batch.to_jobs()
        htcjobs.refresh(blocking, jobs)
        assert jobs[0].is_still_running(blocking) is False
        assert [*jobs[0].get_logs(blocking)] == ["one", "two"]
        assert [*jobs[0].follow_logs(blocking)] == ["one", "two"]
        assert [*htcjobs.as_completed(blocking, jobs)] == jobs
        assert batch.failed(blocking) == []
        assert len(htcjobs.get_jobs(blocking, task)) == 2
        htcjobs.create_single_job(blocking, task, *ARGUMENTS)
        assert project.get_limits(blocking) == project.get_limits(blocking)
        assert pickle.loads(pickle.dumps(jobs[0])).json == jobs[0].json
        task.delete_task(blocking)


def test_one_session_on_one_loop_after_another(wire: Wire) -> None:
    """It is created outside of any loop. A new loop can't use connections of another loop."""
    rescale = async_session(wire.url)

    async def main() -> None:
        for _ in range(3):
            await aio_api.get_htc_projects(rescale, "p")

    for _ in range(2):
        asyncio.run(main())
        trio.run(main)
    rescale.close()
    assert len(wire.requests_to("GET /auth/token")) == 1
    assert len(wire.requests_to("GET /htc/projects/p")) == 12


def test_one_session_on_two_loops_at_once(wire: Wire) -> None:
    rescale = async_session(wire.url)
    failures: list[BaseException] = []

    async def calls() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(aio_api.get_htc_projects, rescale, "p")

    def work(backend: str) -> None:
        try:
            anyio.run(calls, backend=backend)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("asyncio", "trio") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rescale.close()
    assert not failures
    assert len(wire.requests_to("GET /htc/projects/p")) == 80


def test_a_session_is_pickled(wire: Wire, on_loop: Run) -> None:
    original = async_session(wire.url, max_retries=3)
    on_loop(lambda: aio_api.get_htc_projects(original, "p"))
    copied = pickle.loads(pickle.dumps(original))
    assert isinstance(copied, AsyncHtcSession)
    assert copied.base_url == original.base_url
    assert on_loop(lambda: aio_api.get_htc_projects(copied, "p")) == {"projectId": "p"}
    for session in (original, copied):
        session.close()


def test_a_session_is_used_after_a_fork(wire: Wire) -> None:
    """A child opens its own connections."""
    program = f"""
import asyncio, os, sys
from rescalehtc.aio import AsyncHtcSession, api

rescale = AsyncHtcSession(api_key={API_KEY!r}, base_url={wire.url!r})

async def main():
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(api.get_htc_projects(rescale, "p"))

asyncio.run(main())
child = os.fork()
asyncio.run(main())
if child:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""
    run_program([sys.executable, "-W", "error", "-c", program], check=True)
    assert len(wire.requests_to("GET /htc/projects/p")) == 15


def test_an_iterator_that_is_abandoned_leaves_nothing_open(wire: Wire, on_loop: Run) -> None:
    first = [{"projectId": f"p{number}"} for number in range(3)]
    wire.on("GET /htc/projects", answer({"items": first, "next": f"{wire.url}/htc/projects?p=2"}))

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            async with aclosing(aio_htcprojects.iter_projects(rescale)) as projects:
                async for project in projects:
                    assert project.json["projectId"] == "p0"
                    break
            with pytest.raises(StopAsyncIteration):
                await anext(projects)
            assert await rescale.send(aio_api.LIST_PROJECTS.call(), max_items=1) == first[:1]
            assert await aio_api.get_htc_projects(rescale, "p")

    before = open_descriptors()
    on_loop(main)
    assert open_descriptors() <= before + 10  # the server's ends may take a moment longer


def test_an_iterator_that_is_only_dropped(wire: Wire) -> None:
    """Most programs use `break` without closing the iterator."""
    items = [{"projectId": f"p{number}"} for number in range(3)]
    wire.on("GET /htc/projects", answer({"items": items, "next": f"{wire.url}/htc/projects?p=2"}))

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            async for project in aio_htcprojects.iter_projects(rescale):
                assert project.json["projectId"] == "p0"
                break
            assert await aio_api.get_htc_projects(rescale, "p")

    asyncio.run(main())


def test_waiting_for_a_free_connection_counts_as_time_of_the_request(
    wire: Wire, on_loop: Run
) -> None:
    gate = threading.Event()
    step: Step = held(gate, answer({"projectId": "p"}))
    wire.on("GET /htc/projects/p", step)

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            await rescale.do_authenticate()
            quick = rescale.with_options(timeout_seconds=0.05, max_retries=0)
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(aio_api.get_htc_projects, rescale, "p")
                await until_on_loop(lambda: len(wire.requests) == 101)
                with pytest.raises(HtcTimeoutError, match="100 requests in progress") as info:
                    await aio_api.get_htc_projects(quick, "q")
                assert not info.value.request_sent
                gate.set()

    on_loop(main)


def test_tasks_that_wait_cost_neither_threads_nor_connections(
    wire: Wire, on_loop: Run, wire_task: HtcTask
) -> None:
    gate = threading.Event()
    wire.on("GET /htc/projects/p/tasks/t/jobs/j", held(gate, answer(status=404)))
    job = aio_htcjobs.HtcJob({"jobUUID": "j", "projectId": "p", "taskId": "t"}, wire_task)  # type: ignore[arg-type]

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            await rescale.do_authenticate()
            before, descriptors = threading.active_count(), open_descriptors()
            async with anyio.create_task_group() as group:
                for _ in range(500):
                    group.start_soon(job.wait, rescale)
                await until_on_loop(lambda: len(wire.requests) == 101)
                # The server has a thread and a socket for each connection. Looking up the host
                # takes up to 32 threads of asyncio's own, however many tasks there are.
                assert threading.active_count() - before <= 100 + 32
                assert open_descriptors() - descriptors <= 100 * 3
                group.cancel_scope.cancel()
            assert len(wire.requests) == 101

    on_loop(main)
    gate.set()


def test_tasks_that_sleep_between_polls_hold_no_connection(
    wire: Wire, on_loop: Run, wire_task: HtcTask
) -> None:
    record = {"jobUUID": "j", "projectId": "p", "taskId": "t", "status": "RUNNING"}
    wire.on("GET /htc/projects/p/tasks/t/jobs/j", answer(record))
    job = aio_htcjobs.HtcJob(record, wire_task)  # type: ignore[arg-type]

    async def main() -> None:
        async with async_session(wire.url, status_refresh_seconds=3600.0) as rescale:
            await rescale.do_authenticate()
            before = open_descriptors()
            async with anyio.create_task_group() as group:
                for _ in range(200):
                    group.start_soon(job.wait, rescale)
                await until_on_loop(lambda: len(wire.requests) == 201)
                while open_descriptors() > before:
                    rescale.close()  # idle connections
                    await anyio.sleep(0.005)
                group.cancel_scope.cancel()

    on_loop(main)


def test_a_progress_function_must_not_be_asynchronous(wire: Wire, wire_task: HtcTask) -> None:
    """The session would not await it."""
    job = aio_htcjobs.HtcJob({"jobUUID": "j", "projectId": "p", "taskId": "t"}, wire_task)  # type: ignore[arg-type]

    async def show(counts: htcjobs.JobCounts) -> None: ...

    async def main() -> None:
        async with async_session(wire.url) as rescale:
            progress: Any = show
            with pytest.raises(HtcValidationError, match="progress: must be"):
                await job.wait(rescale, progress=progress)

    asyncio.run(main())
    assert not wire.requests


def test_a_transport_of_the_other_kind_is_rejected(wire: Wire) -> None:
    with pytest.raises(HtcValidationError, match="AsyncBaseTransport"):
        async_session(wire.url, transport=httpx.HTTPTransport())
    with pytest.raises(HtcValidationError, match="BaseTransport"):
        HtcSession(api_key=API_KEY, base_url=wire.url, transport=httpx.AsyncHTTPTransport())
