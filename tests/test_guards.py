"""The package is fast, measured by counts that do not depend on the machine: docs/performance.md.

It counts requests, imported modules, and created objects.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rescalehtc import HtcSession, api, htcjobs, htctasks
from rescalehtc._collector import without_collections
from rescalehtc._wire.answer import SMALL_BODY_BYTES, Response, read_answer, read_page
from rescalehtc._wire.operation import Operation
from rescalehtc._wire.operations import LIST_JOB_LOGS
from rescalehtc.exceptions import HtcResponseError

from .service import Answer, ReceivedRequest, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TASK = "/htc/projects/p/tasks/t"
JOBS = f"GET {TASK}/jobs"
SUBMIT = f"POST {TASK}/jobs/batch"
LOGS = f"GET {TASK}/jobs/a:0/logs"
IMAGE = "GET /htc/projects/p/container-registry/images/solver:1"


def records(count: int) -> list[dict[str, Any]]:
    """Listed jobs. Each contains a list, so that the garbage collector tracks it."""
    return [
        {"jobUUID": f"a:{n}", "projectId": "p", "taskId": "t", "status": "SUCCEEDED", "seen": []}
        for n in range(count)
    ]


def paged(items: list[Any], largest: int) -> Callable[[ReceivedRequest], Answer]:
    """Returns pages of the requested size, or the jobs in `jobId`."""

    def answer(request: ReceivedRequest) -> Answer:
        named = request.query.get("jobId")
        chosen = [item for item in items if item["jobUUID"] in named] if named else items
        size = min(int(request.query["pageSize"][0]), largest)
        begin = int(request.query.get("pageIndex", ["0"])[0])
        page: dict[str, Any] = {"items": chosen[begin : begin + size]}
        if begin + size < len(chosen):
            page["next"] = (
                f"{request.path.rpartition('/')[2]}?pageSize={size}&pageIndex={begin + size}"
            )
        return Answer(page)

    return answer


def test_a_listing_takes_a_request_a_thousand_jobs_and_one_token(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    service.on(JOBS, paged(records(2500), 1000))
    assert len(htcjobs.get_jobs(scripted, scripted_task)) == 2500
    assert len(service.requests_to(JOBS)) == 3
    assert len(service.requests) == 4


def test_a_log_takes_a_request_ten_thousand_lines(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask, tmp_path: Path
) -> None:
    service.on(LOGS, paged([{"message": "x"}] * 25_000, 10_000))
    job = htcjobs.HtcJob(records(1)[0], scripted_task)
    job.get_logs_to_file(scripted, tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"x\n" * 25_000
    assert len(service.requests_to(LOGS)) == 3


def test_a_submission_takes_a_request_a_hundred_batches_and_one_an_image(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    def submitted(request: ReceivedRequest) -> Answer:
        ids = {"projectId": "p", "taskId": "t"}
        return Answer([{**item, **ids, "parentJobId": item["jobName"]} for item in request.json])

    service.on(IMAGE, Answer({"status": "READY"}))
    service.on(SUBMIT, submitted)
    definition = {
        "imageName": "solver:1",
        "execTimeoutSeconds": 60,
        "maxVCpus": 1,
        "maxMemory": 4000,
        "architecture": "X86",
        "priority": "ON_DEMAND_ECONOMY",
    }
    requests = [{"jobName": f"b{n}", "htcJobDefinition": definition} for n in range(250)]
    batch = htcjobs.submit(scripted, scripted_task, requests)
    assert [item.json["parentJobId"] for item in batch.batches] == [f"b{n}" for n in range(250)]
    assert len(service.requests_to(SUBMIT)) == 3
    assert len(service.requests_to(IMAGE)) == 1


def test_a_refresh_takes_a_request_a_hundred_jobs(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    service.on(JOBS, paged(records(250), 1000))
    jobs = [htcjobs.HtcJob(record, scripted_task) for record in records(250)]
    htcjobs.refresh(scripted, jobs)
    assert len(service.requests_to(JOBS)) == 3


def test_a_listing_drops_a_page_before_it_requests_the_next_one(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    answer = paged(records(4000), 1000)
    held: list[int] = []

    def count_and_answer(request: ReceivedRequest) -> Answer:
        found = (item for item in gc.get_objects() if type(item) is dict)
        held.append(sum("jobUUID" in item for item in found))
        return answer(request)

    service.on(JOBS, count_and_answer)
    gc.collect()  # objects of earlier tests
    for number, job in enumerate(htcjobs.iter_jobs(scripted, scripted_task)):
        assert job.json["jobUUID"] == f"a:{number}"
    own, *later = held  # the service's own records, and the last job of the page
    assert later == [own + 1] * 3


def test_a_body_is_copied_once_from_its_chunks_and_once_to_decode_it(
    service: Service, scripted: HtcSession
) -> None:
    size = 8 << 20
    service.on("GET /htc/projects/p/container-registry/token", Answer(b"x" * size))
    api.get_htc_projects_container_registry_token(
        scripted, "p"
    )  # imports, and opens the connection
    tracemalloc.start()
    try:
        assert len(api.get_htc_projects_container_registry_token(scripted, "p")) == size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.2 * size


def test_the_jobs_of_a_batch_make_their_dictionaries_when_they_are_looked_at(
    scripted_task: htctasks.HtcTask,
) -> None:
    ids = {"projectId": "p", "taskId": "t", "group": "g"}
    answer = {**ids, "parentJobId": "a", "batchSize": 3}
    jobs = htcjobs.HtcJobBatch(answer, scripted_task).to_jobs()
    assert not any(isinstance(value, dict) for job in jobs for value in vars(job).values())
    answer["group"] = "another"
    assert [job.json for job in jobs] == [{**ids, "jobUUID": f"a:{n}"} for n in range(3)]
    assert jobs[0].json is jobs[0].json


def test_what_jobs_of_a_large_page_have_in_common_is_one_string(
    service: Service, scripted: HtcSession, scripted_task: htctasks.HtcTask
) -> None:
    page = [{**record, "padding": "x" * 500} for record in records(1000)]
    service.on(JOBS, paged(page, 1000))
    jobs = htcjobs.get_jobs(scripted, scripted_task)
    assert len(Answer({"items": page}).encoded()) > SMALL_BODY_BYTES
    assert len({id(job.json["status"]) for job in jobs}) == 1


def test_no_collection_runs_while_a_page_is_decoded_and_the_texts_of_its_lines_are_taken() -> None:
    """The decoder makes no cycles, and the collector never walks over the lines' dictionaries."""
    line = {"timestamp": "t", "message": "m", "seen": []}
    body = json.dumps({"items": [line] * 20_000}).encode()
    assert len(body) > SMALL_BODY_BYTES
    call = LIST_JOB_LOGS.call(
        {"projectId": "p", "taskId": "t", "jobId": "a:0"}, item_text="message"
    )
    collections: list[bool] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        frame = sys._getframe(1)
        while frame and frame.f_code is not read_page.__code__:
            frame = frame.f_back
        collections.append(frame is not None and phase == "start")

    thresholds = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(10)
    try:
        page = read_page(call, Response(200, body), "https://service.test")
        assert gc.isenabled()
        cycles = [[] for _ in range(100)]
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(note)
    assert page.items == ["m"] * 20_000
    assert cycles
    assert collections
    assert not any(collections)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(is_enabled: bool) -> None:
    call = LIST_JOB_LOGS.call({"projectId": "p", "taskId": "t", "jobId": "a:0"})
    if not is_enabled:
        gc.disable()
    try:
        read_page(call, Response(200, b'{"items": []}'), "https://service.test")
        with pytest.raises(HtcResponseError):
            read_page(call, Response(200, b"{"), "https://service.test")
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()


def test_pauses_that_overlap_in_two_threads_leave_the_garbage_collector_enabled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, ends = threading.Event(), threading.Event()

    @without_collections
    def wait() -> None:
        begun.set()
        ends.wait()

    thread = threading.Thread(target=wait)
    look = gc.isenabled

    def look_before_the_other_pause_ends() -> bool:
        is_enabled = look()
        ends.set()
        thread.join()
        return is_enabled

    thread.start()
    begun.wait()
    monkeypatch.setattr(gc, "isenabled", look_before_the_other_pause_ends)
    without_collections(int)()
    try:
        assert look()
    finally:
        gc.enable()


def test_a_first_page_imports_neither_models_nor_pydantic_and_makes_no_tls_context(
    service: Service,
) -> None:
    service.on(JOBS, paged(records(100), 1000))
    program = """
import gc, ssl, sys
from rescalehtc import HtcSession, htcjobs, htcprojects, htctasks
project = htcprojects.HtcProject({"projectId": "p"})
task = htctasks.HtcTask({"projectId": "p", "taskId": "t"}, project)
assert len(htcjobs.get_jobs(HtcSession(api_key="key"), task)) == 100
assert not [one for one in gc.get_objects() if isinstance(one, ssl.SSLContext)]
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "RESCALE_API_BASE_URL": service.url},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    loaded = set(done.stdout.split())
    ours = {"api", "exceptions", "htcjobs", "htcprojects", "htcsession", "htctasks"}
    assert {f"rescalehtc.{name}" for name in ours} <= loaded
    assert not loaded & {"pydantic", "pydantic_core"}
    assert not loaded & {f"rescalehtc.{name}" for name in ("models", "_jobs.dataframe", "_requests.submit_request")}  # fmt: skip


ANY = Operation("any", "GET", "/any", answer="json")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@example("[1]".encode("utf-16-le"))
@example(b"\xef\xbb\xbf1")
@example(rb'"\ud800"')
@example(b"[NaN, 1e999, -0]")
@given(st.binary() | st.text().map(str.encode) | JSON.map(json.dumps).map(str.encode))
def test_small_and_large_answers_are_read_alike(body: bytes) -> None:
    """Each has its own decoder."""

    def outcome(body: bytes) -> str:
        try:
            return repr(read_answer(ANY.call(), Response(200, body)))
        except HtcResponseError:
            return "refused"

    assert outcome(body) == outcome(body + b" " * SMALL_BODY_BYTES)
